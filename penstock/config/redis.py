"""Where Redis or Valkey is, and how it is reached: out of the config and of the environment's `REDIS_*`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from penstock.config.keys_redis import ADDRESS, OF_ROUTER, REDIS, VARIABLES
from penstock.config.problems import Problems
from penstock.config.redis_address import PORT, parse_url, show_node
from penstock.config.redis_address import Node as Address
from penstock.config.secret import Secret
from penstock.config.spec import ABSENT, convert
from penstock.config.tree import Node

if TYPE_CHECKING:
    from penstock.config.models import Config

ENVIRONMENT = "environment"
_SPECS = {row[0]: row[1] for row in REDIS}
_SAME = {"redis_startup_nodes": "startup_nodes", "redis_url": "url"}
_OF_CACHE = frozenset(("redis", "redis-semantic", "valkey-semantic"))


class RedisSettings(Struct, frozen=True, kw_only=True):
    """A connection to Redis or Valkey. ``source``: where its address is said. ``nodes``: of a cluster. ``sentinels``
    with ``service``: who knows the master. ``socket_path``: instead of host and port. ``check``: whether the server's
    certificate is checked: required, optional, none. ``connect_timeout``, ``timeout``: seconds; the second is for a
    command. ``connections``: at most so many. ``service_account``: of Google's, whose ``token`` is the password;
    whoever connects must have put a function there that gets it."""

    source: str
    host: str = "localhost"
    port: int = PORT
    socket_path: str = ""
    nodes: tuple[Address, ...] = ()
    sentinels: tuple[Address, ...] = ()
    service: str = ""
    sentinel_password: Secret | None = None
    username: str | None = None
    password: Secret | None = None
    db: int = 0
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    check: str = "required"
    check_hostname: bool = True
    connect_timeout: float = 1.0
    timeout: float = 0.25
    connections: int = 50
    service_account: str = ""
    token: Callable[[], Awaitable[str]] | None = None

    @property
    def place(self) -> str:
        """Say where it is, without what is secret."""
        with_tls = ", TLS" if self.tls else ""
        if self.nodes:
            return f"the cluster of {', '.join(map(show_node, self.nodes[:3]))}{with_tls}"
        if self.sentinels:
            return f"{self.service}, as told by the sentinels {', '.join(map(show_node, self.sentinels[:3]))}{with_tls}"
        if self.socket_path:
            return f"{self.socket_path}, database {self.db}"
        return f"{show_node((self.host, self.port))}, database {self.db}{with_tls}"


class Found(NamedTuple):
    """The settings, None where nobody names an address, and what is wrong with what was said: (where, sentence)."""

    settings: RedisSettings | None
    problems: tuple[tuple[str, str], ...] = ()


def shared_redis(config: Config) -> Found:
    """Find the Redis for what several processes share. Who is nearest wins, as in LiteLLM: `coordination_redis`, then
    `router_settings`, then the Redis of the answer cache, then the environment."""
    router = config.router.values
    of_router = {name: router[key] for key, name in OF_ROUTER.items() if key in router}
    sources = (
        ("general_settings.coordination_redis", config.general.values.get("coordination_redis")),
        ("router_settings", {**_mapping(router.get("cache_kwargs")), **of_router}),
        ("litellm_settings.cache_params", cache_arguments(config)),
        (ENVIRONMENT, None),
    )
    told: tuple[tuple[str, str], ...] = ()
    for source, given in sources:
        if source == ENVIRONMENT or not _SPECS.keys().isdisjoint(_mapping(given)):
            found = find_redis(source, _mapping(given), config.environment)
            told += found.problems
            if found.settings is not None:
                return Found(found.settings, told)
    return Found(None, told)


def cache_arguments(config: Config) -> Mapping[str, Any] | None:
    """Return what `cache_params` says where the answer cache is in Redis; None where there is no such cache."""
    values = config.litellm.values
    given = _mapping(values.get("cache_params"))
    return given if values.get("cache") is True and given.get("type", "redis") in _OF_CACHE else None


def find_redis(source: str, given: Mapping[str, Any], env: Mapping[str, str]) -> Found:
    """Read the settings that a source gives, with the environment's under them. ``given``: by the names of
    `keys_redis.REDIS`, typed or as text; other keys are left to whoever knows them."""
    told: list[tuple[str, str]] = []
    values = _typed(source, {name: given[name] for name in _SPECS if given.get(name) is not None}, told)
    for other, name in _SAME.items():
        if other in values:
            values.setdefault(name, values.pop(other))
    for name, variable in _variables(values, env):
        values |= _typed(ENVIRONMENT, {name: env[variable]}, told, variable)
    if not _names_address(values):
        if source != ENVIRONMENT and not told:
            told.append((source, f"says how to reach Redis and not where: give it one of {', '.join(ADDRESS)}"))
        return Found(None, tuple(told))
    return _settings(source, values, told)


def _variables(values: Mapping[str, Any], env: Mapping[str, str]) -> list[tuple[str, str]]:
    """List what stands in for what nobody gives: (key, variable)."""
    found = {name: variable for variable, name in VARIABLES.items() if env.get(variable, "").strip()}
    there = {name for name in ADDRESS if name in found}
    apart: set[str] = set()
    if _names_address(values):
        # A port belongs to its host; who names a host alone means the port of the environment, if that names no other.
        same = "host" in values and there <= {"host"} and env.get("REDIS_HOST", values["host"]) == values["host"]
        apart = {*ADDRESS} if same else {*ADDRESS, "port", "db"}
        apart |= {"username", "password", "ssl"} if "url" in values else set()
    elif not there and not values:
        apart = set(found)  # Kubernetes sets REDIS_PORT for every service that is called redis: nobody means it
    return [(name, variable) for name, variable in found.items() if name not in values and name not in apart]


def _settings(source: str, values: dict[str, Any], told: list[tuple[str, str]]) -> Found:
    if "url" in values:
        values = _with_url(source, values, told)
    kind = next(name for name in ADDRESS if values.get(name))
    if kind == "sentinel_nodes" and not values.get("service_name"):
        told.append((f"{source}.service_name", "is needed beside sentinel_nodes: the name that the sentinels know"))
        return Found(None, tuple(told))
    if kind == "startup_nodes" and values.get("db"):
        told.append((f"{source}.db", f"a cluster has only database 0; {values['db']} is not used"))
        values["db"] = 0
    sentinels = kind == "sentinel_nodes"
    settings = RedisSettings(
        source=source,
        host=values.get("host", "localhost"),
        port=values.get("port", PORT),
        socket_path=values["unix_socket_path"] if kind == "unix_socket_path" else "",
        nodes=values["startup_nodes"] if kind == "startup_nodes" else (),
        sentinels=values["sentinel_nodes"] if sentinels else (),
        service=values["service_name"] if sentinels else "",
        sentinel_password=values.get("sentinel_password") if sentinels else None,
        username=values.get("username"),
        # LiteLLM's rule: a server without a password of its own has that of its sentinels.
        password=values.get("password") or (values.get("sentinel_password") if sentinels else None),
        db=values.get("db", 0),
        tls=values.get("ssl", "gcp_ssl_ca_certs" in values),
        ca_file=values.get("ssl_ca_certs") or values.get("gcp_ssl_ca_certs"),
        cert_file=values.get("ssl_certfile"),
        key_file=values.get("ssl_keyfile"),
        check=values.get("ssl_cert_reqs", "required"),
        check_hostname=values.get("ssl_check_hostname", True),
        connect_timeout=values.get("socket_connect_timeout", 1.0),
        timeout=values.get("socket_timeout", 0.25),
        connections=values.get("max_connections", 50),
        service_account=values.get("gcp_service_account", ""),
    )
    return Found(settings, tuple(told))


def _with_url(source: str, values: dict[str, Any], told: list[tuple[str, str]]) -> dict[str, Any]:
    """Put what a URL says in the place of it. As in LiteLLM, where and who stands in the URL alone; the rest, and what
    the same source says of a user, may stand beside it."""
    said = parse_url(values["url"].reveal())
    inside = _typed(source, {name: value for name, value in said.items() if name in _SPECS}, told, "url")
    for name in sorted(said.keys() - _SPECS.keys()):
        told.append((f"{source}.url", f"{name[:40]} is not known here; it is left out"))
    apart = {*ADDRESS, "port", "db"} | ({"password", "username"} if source == ENVIRONMENT else set())
    return {name: value for name, value in values.items() if name not in apart} | inside


def _typed(source: str, given: Mapping[str, Any], told: list[tuple[str, str]], place: str = "") -> dict[str, Any]:
    """Convert values that nobody has converted yet; what is wrong is told and counts as absent."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        problems = Problems()
        converted = value if isinstance(value, Secret) else convert(_SPECS[name], _node_of(value), (), problems)
        where = (place or name) if source == ENVIRONMENT else f"{source}.{place or name}"
        told.extend((where, f"{problem.message}; counts as absent") for problem in problems.sorted())
        empty = converted == "" or (isinstance(converted, Secret) and not converted.reveal())
        if converted is not ABSENT and not empty:  # `password: ""` stands in many files, and means none
            found[name] = converted
    return found


def _node_of(value: Any) -> Node:
    if isinstance(value, Mapping):
        return Node({str(key): _node_of(item) for key, item in value.items()}, "", 0)
    if isinstance(value, list | tuple):
        return Node([_node_of(item) for item in value], "", 0)
    return Node(value, "", 0, str(value))


def _names_address(given: Mapping[str, Any]) -> bool:
    return any(given.get(name) for name in (*ADDRESS, *_SAME))


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
