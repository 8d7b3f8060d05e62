"""The config as the rest of Penstock reads it: frozen, typed, defaults filled in, names checked.

Times are seconds. Fields that may hold credentials are left out of `repr`. `values` of a settings class holds every key
of its section that was given, converted to its type, also keys that nothing acts on yet.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from penstock.config.cache import CacheSettings
from penstock.config.problems import KeyPath, Problem
from penstock.config.secret import Secret
from penstock.config.spec_groups import RoutingGroup

if TYPE_CHECKING:
    from penstock.config.engines import EngineSettings
    from penstock.config.guards import GuardSettings
    from penstock.config.tree import Node

OnUnsupported = Literal["drop", "warn", "reject"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """One entry of `model_list`: a target with its credential.

    `id` is `model_info.id`, else the SHA-256 (hex) of the entry as written, so it survives a new key value and another
    order of keys. `provider` and `upstream_model` come from the resolver (`""` and `model` without one). `defaults` are
    request parameters for requests that do not set them, in Chat's words; `extra_body` is for the body as it goes out.
    `params` is the whole block, credentials as `Secret`. `stored`: it was sent while the gateway ran. `engine`: the
    one of `engines.models` that serves it, "" for none.
    """

    id: str
    model_name: str
    model: str
    provider: str = ""
    upstream_model: str = ""
    api_base: str | None = None
    api_key: Secret | None = None
    api_version: str | None = None
    organization: str | None = None
    timeout: float | None = None
    stream_timeout: float | None = None
    max_retries: int | None = None
    num_retries: int | None = None
    rpm: int | None = None
    tpm: int | None = None
    weight: float | None = None
    order: int | None = None
    tags: tuple[str, ...] = ()
    tag_patterns: tuple[re.Pattern[str], ...] = ()
    extra_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    drop_params: bool | None = None
    additional_drop_params: tuple[str, ...] = ()
    allowed_openai_params: tuple[str, ...] = ()
    on_unsupported: OnUnsupported | None = None
    validate: bool | None = None
    guided_engine: str | None = None
    ssl_verify: bool | str | None = None
    defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra_body: Mapping[str, Any] = field(default_factory=dict, repr=False)
    params: Mapping[str, Any] = field(default_factory=dict, repr=False)
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)
    mode: str | None = None
    file: str = ""
    line: int = 0
    stored: bool = False
    engine: str = ""

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def is_wildcard(self) -> bool:
        """Tell whether `model_name` is a pattern such as `openai/*`."""
        return "*" in self.model_name


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """`router_settings`, with `litellm_settings` under it where LiteLLM reads both.

    None means that the reader's own default holds. `routing_strategy` is the one in effect, `values` has the one given.
    Every name in the fallbacks and aliases exists.
    """

    routing_strategy: str = "simple-shuffle"
    num_retries: int | None = None
    timeout: float | None = None
    stream_timeout: float | None = None
    retry_after: float = 0.0
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    context_window_fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    content_policy_fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_fallbacks: tuple[str, ...] = ()
    max_fallbacks: int = 5
    model_group_alias: Mapping[str, str] = field(default_factory=dict)
    model_alias_map: Mapping[str, str] = field(default_factory=dict)
    hidden_aliases: frozenset[str] = frozenset()
    routing_groups: tuple[RoutingGroup, ...] = ()
    most_tries: int | None = None
    allowed_fails: int | None = None
    cooldown_time: float | None = None
    disable_cooldowns: bool = False
    verbose: bool = False
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LitellmSettings:
    """`litellm_settings`. What the router reads too is merged into `RouterSettings`; read it there."""

    drop_params: bool = False
    request_timeout: float | None = None
    num_retries: int | None = None
    set_verbose: bool = False
    json_logs: bool = False
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    context_window_fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    content_policy_fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default_fallbacks: tuple[str, ...] = ()
    max_fallbacks: int | None = None
    callbacks: tuple[str, ...] = ()
    success_callback: tuple[str, ...] = ()
    failure_callback: tuple[str, ...] = ()
    enable_json_schema_validation: bool = False
    ssl_verify: bool | str = True
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneralSettings:
    """`general_settings`. `set_verbose` and `json_logs` are the same here and in `LitellmSettings`: either place sets
    both.

    `master_key_source` says where the key came from: "config", the name of a variable, or "". With
    `database_url_is_null` the config says `database_url: null` and the environment's DATABASE_URL was not looked at.
    """

    master_key: Secret | None = None
    master_key_source: str = ""
    database_url: str | None = field(default=None, repr=False)
    database_url_is_null: bool = False
    store_model_in_db: bool = False
    completion_model: str | None = None
    max_request_size_mb: float | None = None
    background_health_checks: bool = False
    health_check_interval: float = 300.0
    set_verbose: bool = False
    json_logs: bool = False
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Waiting(NamedTuple):
    """An entry of `model_list` whose credential is not in the config: as it is read, as it is written, and where."""

    node: Node
    written: Node
    path: KeyPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A config without errors. `environment` is the environment with `environment_variables` over it.

    `files` are the main file and its includes in the order they were read; `raw` is the merged document, variables
    put in, without `include` and `environment_variables`. `waiting` are entries of `model_list` that name a credential
    which may be kept in a database. `places`: the file and line of each key of a section, by `section.key`.
    """

    deployments: tuple[Deployment, ...] = ()
    router: RouterSettings = RouterSettings()
    litellm: LitellmSettings = LitellmSettings()
    general: GeneralSettings = GeneralSettings()
    cache: CacheSettings | None = None
    engines: EngineSettings | None = None
    guards: tuple[GuardSettings, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: tuple[Path, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, repr=False)
    waiting: tuple[Waiting, ...] = field(default=(), repr=False)
    places: Mapping[str, tuple[str, int]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def model_names(self) -> tuple[str, ...]:
        """List the names clients may send, each once, in the order of the file; wildcards as written."""
        return tuple(dict.fromkeys(deployment.model_name for deployment in self.deployments))


@dataclass(frozen=True, slots=True)
class Loaded:
    """What `load` found: the config and all problems by file, line and path. The config is None where an error keeps it
    from being used; what other errors are about is left out of it."""

    config: Config | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """List the problems that keep the config, or the part that they are about, from being used."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """List the problems that keep nothing from being used but a value without meaning."""
        return tuple(problem for problem in self.problems if problem.level == "warning")
