"""The settings that live outside the state: how each is put into effect, at the start and at a reload.

What has no row here is read from the state, which every reload makes anew; so a new key needs a row only when something
that outlives a reload is built from it. The tests change every key and reload.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from penstock.config.admission import KEYS as ADMISSION_KEYS
from penstock.config.admission import LITELLM_KEYS as ADMISSION_LITELLM_KEYS
from penstock.config.admission import read_admission
from penstock.config.jwt_auth import read_jwt
from penstock.config.keys_redis import OF_ROUTER, VARIABLES
from penstock.config.known import secrets_of
from penstock.config.priorities import read_priorities
from penstock.config.routes import KEYS as ROUTE_KEYS
from penstock.config.routes import read_routes
from penstock.runtime.addresses import PRIVATE, Addresses, read_networks
from penstock.runtime.admission import Admission
from penstock.runtime.custom_auth import open_custom_auth
from penstock.runtime.custom_keys import KEYS as HOOK_KEYS
from penstock.runtime.custom_keys import open_hooks
from penstock.runtime.identity import Identity, is_loopback
from penstock.runtime.jwt_auth import open_jwt
from penstock.runtime.line import Line, Places
from penstock.runtime.trace import Trace
from penstock.runtime.web_pages import CREDENTIALS, ORIGINS, WebPages
from penstock.server.books import KEYS as BOOKS_KEYS
from penstock.server.books import LITELLM_KEYS as BOOKS_LITELLM_KEYS
from penstock.server.callbacks import KEYS as CALLBACK_KEYS
from penstock.server.lines import LEVELS, level_of, wants_json, write_lines
from penstock.server.memory import SHARE_HELD, memory_bytes
from penstock.server.metrics.settings import read_counting
from penstock.server.options import ONE_WORKER, ServeOptions, master_key, serves_everybody

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.runtime.gate import Others
    from penstock.runtime.records import LogSink
    from penstock.server.gateway import Gateway


log = logging.getLogger("penstock")


class Setting(NamedTuple):
    """A setting that outlives the state. ``name``: as users write it, ``section.key`` or a variable of the environment.
    ``apply`` may be called any number of times; RESTART where only a start puts it into effect. ``option``: the field
    of ``ServeOptions`` that wins over it, and ``flag`` how users write that."""

    name: str
    apply: Callable[[InEffect, Config], None] | None
    option: str = ""
    flag: str = ""


RESTART = None
DATABASE_KEYS = (
    "database_url",
    "database_connect_timeout",
    "database_socket_timeout",
    "database_extra_connection_params",
    "allow_requests_on_db_unavailable",
    "apply_user_budget_to_team_keys",
)


@dataclass
class InEffect:
    """What the settings are applied to. ``values``: by name, as last put into effect. ``memory``: bytes that this
    machine, or its container, has. ``others``: who else says whom keys belong to, behind what it was made of.
    ``hooks``: what those who check keys were made of.
    ``serving``: the loop runs in which engines can be started."""

    options: ServeOptions
    gateway: Gateway
    log: LogSink
    values: dict[str, object] = field(default_factory=dict)
    memory: int = field(default_factory=memory_bytes)
    others: tuple[object, Others | None] = (None, None)
    hooks: object = None
    serving: bool = False

    def put(self, config: Config) -> list[str]:
        """Put every setting into effect that can be; return a sentence for each that changed and cannot."""
        for apply in dict.fromkeys(row.apply for row in SETTINGS if row.apply is not None):
            apply(self, config)
        said = []
        for row in SETTINGS:
            value = value_of(config, row.name)
            before = self.values.setdefault(row.name, value)
            if value == before:
                continue
            if row.apply is RESTART:
                said.append(f"{row.name} changed{_from_to(before, value)}: it takes effect after a restart")
            elif row.option and getattr(self.options, row.option) != getattr(ServeOptions, row.option):
                said.append(f"{row.name} changed{_from_to(before, value)}: {row.flag} wins over it")
            else:
                self.values[row.name] = value
        return said


def _others(to: InEffect, config: Config) -> Others | None:
    """Make who else says whom keys belong to. A module of the operator's is read once, as long as it is the same."""
    general = config.general.values
    name = str(general.get("custom_auth") or "").strip()
    if name:
        folder = _folder_of(config)
        key: object = (name, folder)
        if to.others[0] != key:
            to.others = key, open_custom_auth(name, folder)
        return to.others[1]
    settings, problems = read_jwt(config)
    for problem in problems:
        log.warning("%s", problem)
    if to.others[0] != settings:
        to.others = settings, None if settings is None else open_jwt(settings)
    return to.others[1]


def _folder_of(config: Config) -> Path:
    """Return where the operator's own modules lie: beside the config file."""
    return config.files[0].resolve().parent if config.files else Path.cwd()


def _hooks(to: InEffect, config: Config) -> None:
    """Load who checks virtual keys. A module of the operator's is read once, as long as it is the same."""
    named = {key: str(config.general.values.get(key) or "").strip() for key in HOOK_KEYS}
    names = {key: name for key, name in named.items() if name}
    made_of = (names, _folder_of(config)) if names else None
    if made_of != to.hooks:
        to.hooks, to.gateway.key_hooks = made_of, open_hooks(names, _folder_of(config))


def decide_who_may_call(to: InEffect, config: Config) -> None:
    """Put into effect who is served."""
    # Workers, too: they are told the address of the socket that they inherit.
    everybody = serves_everybody(config, to.options)
    guard = not everybody or is_loopback(to.options.host)
    pages = WebPages.of(config.environment)
    others = to.gateway.gate.others = _others(to, config)
    to.gateway.identity = Identity(
        master_key(config),
        guard,
        local_only=not everybody,
        pages=pages.named,
        keyring=to.gateway.keyring,
        others=others is not None,
        key_header=str(config.general.values.get("litellm_key_header_name") or "").strip().lower().encode(),
    )
    to.gateway.gate.web_pages = pages


def _admission(to: InEffect, config: Config) -> None:
    """Set up who is counted against what; what was counted stays."""
    engine, keyring = to.gateway.engine, to.gateway.keyring
    settings, problems = read_admission(config)
    for problem in problems:
        log.warning("%s", problem)
    shares = read_priorities(config.litellm.values, []) is not None
    if keyring is None and to.gateway.gate.others is None and not (settings.demands or shares):
        engine.admission = None
        return
    if engine.admission is None:
        engine.admission = Admission(keyring, engine.means.clock, settings, engine.means.lives)
        engine.admission.rates.processes = to.options.workers
        engine.admission.rates.common = engine.means.shared
    engine.admission.settings = settings


def _addresses(to: InEffect, config: Config) -> None:
    general, problems = config.general.values, list[str]()
    trusted = allowed = None
    if general.get("use_x_forwarded_for"):
        name = "general_settings.trusted_proxy_ranges"
        trusted = read_networks(name, general.get("trusted_proxy_ranges") or PRIVATE, problems)
    if general.get("allowed_ips"):
        allowed = read_networks("general_settings.allowed_ips", general["allowed_ips"], problems)
    for problem in problems:
        log.warning("%s", problem)
    to.gateway.gate.addresses = None if trusted is None and allowed is None else Addresses(trusted, allowed)


def _routes(to: InEffect, config: Config) -> None:
    to.gateway.gate.routes = read_routes(config.general.values)


def _budgets(to: InEffect, config: Config) -> None:
    if to.gateway.books is not None:
        to.gateway.books.put(config)


def _sizes(to: InEffect, config: Config) -> None:
    body = to.options.max_body_mb or config.general.max_request_size_mb
    to.gateway.limit(_bytes(body), _bytes(config.general.values.get("max_file_size_mb")))
    held = _bytes(config.general.values.get("max_held_mb")) or to.memory * SHARE_HELD // 100
    to.gateway.held.limit = max(1, held // to.options.workers)


def _places(to: InEffect, config: Config) -> None:
    most, gate = config.general.values.get("global_max_parallel_requests"), to.gateway.gate
    share = max(1, most // to.options.workers) if most else 0
    if gate.places is None or not share:
        # Who has a place of a bound that is gone gives it back to nobody.
        gate.places = Places(share, Line()) if share else None
        gate.inside.clear()
    else:
        gate.places.places = share


def _metrics(to: InEffect, config: Config) -> None:
    to.gateway.tally.go_by(*read_counting(config))


def _engines(to: InEffect, config: Config) -> None:
    """Let the engines be those of the config; what runs and did not change goes on."""
    engine = to.gateway.engine
    if config.engines is None and engine.hosts is None:
        return
    if to.options.workers > 1:
        log.error("engines: %s; no engine is started", ONE_WORKER)
        return
    begins = engine.hosts is None
    if engine.hosts is None:
        from penstock.runtime.hosts import Hosts  # few gateways have engines

        engine.hosts = Hosts(engine.means.clock)
    engine.hosts.put(config.engines, secrets_of(config, config.environment))
    if to.serving:
        engine.hosts.open() if begins else engine.hosts.turn()


def _log_lines(to: InEffect, config: Config) -> None:
    env = config.environment
    level = level_of(to.options, env, config)

    def clean(text: str) -> str:  # what is served by then: a reload brings other secrets
        return to.gateway.state.mask.clean(text)

    write_lines(to.log, level, wants_json(to.options, env, config), clean)
    named = env.get("LITELLM_LOG", "").strip()
    if named and named.upper() not in LEVELS:
        log.warning("LITELLM_LOG is %r and no level of a log; known are %s", named[:20], ", ".join(LEVELS))
    engine = to.gateway.engine
    bodies = bool(config.litellm.values.get("log_raw_request_response"))
    engine.means = engine.means._replace(trace=Trace(bodies) if level <= logging.DEBUG else None)


def _callbacks(to: InEffect, config: Config) -> None:
    if to.gateway.callbacks is not None:
        to.gateway.callbacks.put(config)


_WHO = ("litellm_key_header_name", "custom_auth", "enable_jwt_auth", "litellm_jwtauth")
SETTINGS = (
    Setting("general_settings.master_key", decide_who_may_call),
    Setting("general_settings.no_auth", decide_who_may_call),
    Setting("general_settings.dangerously_permit_weak_or_unset_master_key", decide_who_may_call),
    Setting(ORIGINS, decide_who_may_call),
    Setting(CREDENTIALS, decide_who_may_call),
    *(Setting(f"general_settings.{name}", decide_who_may_call) for name in _WHO),
    *(Setting(name, decide_who_may_call) for name in ("JWT_PUBLIC_KEY_URL", "JWT_AUDIENCE", "JWT_ISSUER")),
    Setting("general_settings.use_x_forwarded_for", _addresses),
    Setting("general_settings.trusted_proxy_ranges", _addresses),
    Setting("general_settings.allowed_ips", _addresses),
    *(Setting(f"general_settings.{name}", _hooks) for name in HOOK_KEYS),
    *(Setting(f"general_settings.{name}", _routes) for name in ROUTE_KEYS),
    *(Setting(f"general_settings.{name}", _admission) for name in ADMISSION_KEYS),
    *(Setting(f"litellm_settings.{name}", _admission) for name in ADMISSION_LITELLM_KEYS),
    *(Setting(f"general_settings.{name}", _budgets) for name in BOOKS_KEYS),
    *(Setting(f"litellm_settings.{name}", _budgets) for name in BOOKS_LITELLM_KEYS),
    Setting("general_settings.budget_sharing", RESTART),
    Setting("general_settings.max_request_size_mb", _sizes, "max_body_mb", "--max-body-mb"),
    Setting("general_settings.max_file_size_mb", _sizes),
    Setting("general_settings.max_held_mb", _sizes),
    Setting("general_settings.global_max_parallel_requests", _places),
    Setting("litellm_settings.prometheus_metrics_max_series_per_metric", _metrics),
    # What was counted by other bounds cannot be told by these.
    Setting("litellm_settings.prometheus_latency_buckets", RESTART),
    Setting("engines", _engines),
    *(Setting(f"litellm_settings.{name}", _callbacks) for name in CALLBACK_KEYS),
    Setting("general_settings.json_logs", _log_lines, "json_logs", "--log-format"),
    Setting("litellm_settings.json_logs", _log_lines, "json_logs", "--log-format"),
    Setting("litellm_settings.log_raw_request_response", _log_lines),
    Setting("JSON_LOGS", _log_lines, "json_logs", "--log-format"),
    Setting("LITELLM_LOG", _log_lines, "verbose", "--verbose"),
    Setting("general_settings.set_verbose", _log_lines, "verbose", "--verbose"),
    Setting("litellm_settings.set_verbose", _log_lines, "verbose", "--verbose"),
    Setting("router_settings.set_verbose", _log_lines, "verbose", "--verbose"),
    Setting("router_settings.debug_level", _log_lines, "verbose", "--verbose"),
    # What is known through the one Redis is not known through another.
    Setting("general_settings.coordination_redis", RESTART),
    *(Setting(f"router_settings.{name}", RESTART) for name in OF_ROUTER),
    *(Setting(name, RESTART) for name in VARIABLES),
    # Keys that one database has are no keys of another.
    *(Setting(f"general_settings.{name}", RESTART) for name in DATABASE_KEYS),
    Setting("DATABASE_URL", RESTART),
    # Connections that stand would go on through the old proxy.
    Setting("HTTP_PROXY", RESTART),
    Setting("HTTPS_PROXY", RESTART),
    Setting("ALL_PROXY", RESTART),
    Setting("NO_PROXY", RESTART),
)


def value_of(config: Config, name: str) -> object:
    """Return what a config says for a row's name; None when it says nothing."""
    section, _, key = name.partition(".")
    if name == "engines":
        return config.engines
    if not key:
        return config.environment.get(name.lower()) or config.environment.get(name) or None
    settings: Mapping[str, Mapping[str, object]] = {
        "general_settings": config.general.values,
        "litellm_settings": config.litellm.values,
        "router_settings": config.router.values,
    }
    return settings[section].get(key)


def _from_to(before: object, after: object) -> str:
    """Render the two values, where they cannot hold a secret: texts may be keys, or addresses with a password."""
    if not all(value is None or isinstance(value, bool | int | float) for value in (before, after)):
        return ""
    return f" from {_shown(before)} to {_shown(after)}"


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else f"{value:.15g}"


def _bytes(megabytes: float | None) -> int:
    return int((megabytes or 0) * 1024 * 1024)
