"""`router_settings`, `litellm_settings` and `general_settings` -> the settings classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from penstock.config import keys
from penstock.config.models import GeneralSettings, LitellmSettings, RouterSettings
from penstock.config.problems import Problems
from penstock.config.routes import KEYS as ROUTE_KEYS
from penstock.config.routes import check_routes
from penstock.config.secret import Secret
from penstock.config.section import Section, check, warn_unknown
from penstock.config.tree import Node

MASTER_KEY_VARIABLES = ("LITELLM_MASTER_KEY", "PENSTOCK_MASTER_KEY")
"""Where the master key is looked for when the config has none, in this order."""

WELL_KNOWN = "is a key that everybody knows from samples; choose a random one"

_SHARED_NAMES = (
    "num_retries fallbacks context_window_fallbacks content_policy_fallbacks default_fallbacks max_fallbacks "
    "allowed_fails"
)
_LITELLM_NAMES = (
    "drop_params request_timeout num_retries fallbacks context_window_fallbacks content_policy_fallbacks "
    "default_fallbacks max_fallbacks callbacks success_callback failure_callback ssl_verify "
    "enable_json_schema_validation"
)
_ROUTER_NAMES = (
    "num_retries timeout stream_timeout retry_after fallbacks context_window_fallbacks content_policy_fallbacks "
    "default_fallbacks max_fallbacks allowed_fails cooldown_time disable_cooldowns"
)
_GENERAL_NAMES = "store_model_in_db completion_model max_request_size_mb background_health_checks health_check_interval"
_OF_HEALTH = ("enable_health_check_routing", "health_check_staleness_threshold", "health_check_ignore_transient_errors")
_SHARED = frozenset(_SHARED_NAMES.split())
_LITELLM_FIELDS = frozenset(_LITELLM_NAMES.split())
_ROUTER_FIELDS = frozenset(_ROUTER_NAMES.split())
_GENERAL_FIELDS = frozenset(_GENERAL_NAMES.split())


def read_section(table: keys.Table, node: Node | None, problems: Problems) -> Section:
    """Read a settings section, with all checks of its keys and values."""
    path = (table.place,)
    section = check(table, node, path, problems)
    warn_unknown(table, section, path, problems)
    return section


# Who may call, and where keys are kept, is never decided by a default that nobody meant.
_DECISIVE = frozenset(("master_key", "no_auth", "require_master_key", "database_url", *ROUTE_KEYS))


def read_general(node: Node | None, problems: Problems) -> Section:
    """Read `general_settings`. What is wrong in it is an error and counts as absent, but in what decides who may call:
    that keeps the config from being used."""
    if node is not None and not (node.value is None or isinstance(node.value, dict)):
        return read_section(keys.general, node, problems)
    with problems.graded("error"):
        section = read_section(keys.general, node, problems)
        _read_coordination(section, node, problems)
        check_routes(section, node, problems)
    for key in _DECISIVE:
        child = node.value.get(key) if node is not None and node.value else None
        if child is not None and child.value is not None and key not in section.values and str(child.value).strip():
            problems.failed = True  # what is wrong with it has been said
    return section


def _read_coordination(section: Section, node: Node | None, problems: Problems) -> None:
    if "coordination_redis" in section.values and node is not None:
        path = (keys.general.place, "coordination_redis")
        found = check(keys.coordination, node.value["coordination_redis"], path, problems)
        warn_unknown(keys.coordination, found, path, problems)
        section.values["coordination_redis"] = found.values


def build_router(section: Section, litellm: Section, general: Section) -> RouterSettings:
    """Build the router's settings, with `litellm_settings` under them, and what `general_settings` says of health."""
    for key in _OF_HEALTH:
        if key not in section.values and key in general.values:
            section.values[key] = general.values[key]
    given: dict[str, Any] = {key: litellm.values[key] for key in _SHARED if key in litellm.values}
    if "request_timeout" in litellm.values:
        given["timeout"] = litellm.values["request_timeout"]
    given.update((key, value) for key, value in section.values.items() if key in _ROUTER_FIELDS)
    given.setdefault("default_fallbacks", litellm.get("model_fallbacks", ()))
    aliases: Mapping[str, tuple[str, bool]] = section.get("model_group_alias", {})
    renames: Mapping[str, tuple[str, bool]] = litellm.get("model_alias_map", {})
    return RouterSettings(
        routing_strategy=section.get("routing_strategy", "simple-shuffle"),
        routing_groups=section.get("routing_groups", ()),
        model_group_alias={alias: group for alias, (group, _) in aliases.items()},
        model_alias_map={alias: group for alias, (group, _) in renames.items()},
        verbose=bool(section.get("set_verbose")) and section.get("debug_level") == "DEBUG",
        most_tries=litellm.get("num_retries_per_request"),
        hidden_aliases=frozenset(alias for alias, (_, hidden) in aliases.items() if hidden),
        values=section.values,
        **given,
    )


def build_litellm(section: Section, general: Section) -> LitellmSettings:
    """Build `litellm_settings`, with the two log switches of `general_settings` under them."""
    given = {key: value for key, value in section.values.items() if key in _LITELLM_FIELDS}
    return LitellmSettings(values=section.values, **given, **log_switches(section, general))


def log_switches(litellm: Section, general: Section) -> dict[str, Any]:
    """Return `set_verbose` and `json_logs` from either section; `litellm_settings` wins (LiteLLM reads them only
    there)."""
    return {key: litellm.get(key, general.get(key, False)) for key in ("set_verbose", "json_logs")}


def build_general(
    section: Section, litellm: Section, node: Node | None, env: Mapping[str, str], file: str, problems: Problems
) -> GeneralSettings:
    """Build `general_settings`. `env` supplies the master key and the database where the file does not say."""
    given = {key: value for key, value in section.values.items() if key in _GENERAL_FIELDS}
    children: Mapping[str, Node] = node.value if node is not None and isinstance(node.value, dict) else {}
    database = children.get("database_url")
    # Only a null that stands in the file forbids DATABASE_URL (S3-06); `os.environ/X` with X unset does not.
    is_null = database is not None and database.value is None and database.written is None
    url: Secret | None = section.get("database_url")
    _compare_sizes(section.values, children, problems)
    return GeneralSettings(
        **given,
        **_master_key(section, children.get("master_key"), env, file, problems),
        database_url=url.reveal() if url is not None else None if is_null else env.get("DATABASE_URL") or None,
        database_url_is_null=is_null,
        values=section.values,
        **log_switches(litellm, section),
    )


def _compare_sizes(values: Mapping[str, Any], children: Mapping[str, Node], problems: Problems) -> None:
    """Warn of a bound for all requests that is below the one for each of them."""
    together, each = values.get("max_held_mb"), values.get("max_request_size_mb")
    if together is not None and each is not None and together < each:
        child = children["max_held_mb"]
        text = f"is below max_request_size_mb ({each:g}): no request over {together:g} MB is ever served"
        problems.warn(child.file, child.line, ("general_settings", "max_held_mb"), text)


def _master_key(
    section: Section, node: Node | None, env: Mapping[str, str], file: str, problems: Problems
) -> dict[str, Any]:
    where, line = (node.file, node.line) if node is not None else (file, 0)
    path = ("general_settings", "master_key")
    key: Secret | None = section.get("master_key")
    source = "config"
    if key is not None and not key.reveal().strip():
        problems.warn(where, line, path, "is empty; counts as absent")
        key = None
    if key is None:
        key, source = master_key_from(env)
        if key is None:
            return {}
    text = key.reveal()
    named = "" if source == "config" else f"the master key in {source} "
    if text != text.strip():
        problems.warn(where, line, path, f"{named}has spaces around it; they are left out")
        key = Secret(text.strip())
    if key.is_well_known():
        problems.warn(where, line, path, f"{named}{WELL_KNOWN}")
    return {"master_key": key, "master_key_source": source}


def master_key_from(env: Mapping[str, str]) -> tuple[Secret | None, str]:
    """Return the master key of the environment and the variable's name; (None, "") when no variable holds one."""
    for name in MASTER_KEY_VARIABLES:
        if env.get(name, "").strip():
            return Secret(env[name]), name
    return None, ""
