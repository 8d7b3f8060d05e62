"""Where a database is: the forms in which people write it, LiteLLM's and Prisma's among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

SQLITE, POSTGRES, MYSQL = "sqlite", "postgresql", "mysql"
NAMES = {SQLITE: "SQLite", POSTGRES: "PostgreSQL", MYSQL: "MySQL"}
FORMS = "postgresql://USER:PASSWORD@HOST:5432/NAME, mysql://USER:PASSWORD@HOST:3306/NAME or sqlite:///FILE"
_SCHEMES = {"sqlite": SQLITE, "file": SQLITE, "postgresql": POSTGRES, "postgres": POSTGRES, "mysql": MYSQL,
            "mariadb": MYSQL}  # fmt: skip

# Prisma's own, which say nothing to a connection that has one thread and no prepared statements.
_MOOT = frozenset("connection_limit pool_timeout pgbouncer statement_cache_size max_idle_connection_lifetime".split())
_SECONDS = {"connect_timeout": "connect_seconds", "socket_timeout": "query_seconds"}
# libpq's, see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS
_LIBPQ = frozenset(
    "application_name channel_binding fallback_application_name gssencmode gsslib hostaddr host keepalives "
    "keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts options passfile require_auth "
    "require_peer requirepeer requiressl service sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslmode "
    "sslnegotiation sslpassword sslrootcert sslsni ssl_max_protocol_version ssl_min_protocol_version "
    "target_session_attrs tcp_user_timeout".split()
)
_PYMYSQL = frozenset("charset unix_socket ssl_ca ssl_cert ssl_key ssl_key_password".split())
_MYSQL_MODES: Mapping[str, Mapping[str, Any]] = {
    "disable": {"ssl_disabled": True},
    "disabled": {"ssl_disabled": True},
    "prefer": {},
    "preferred": {},
    "require": {"ssl": {"check_hostname": False, "verify_mode": False}},
    "required": {"ssl": {"check_hostname": False, "verify_mode": False}},
    "verify-ca": {"ssl_verify_cert": True},
    "verify_ca": {"ssl_verify_cert": True},
    "verify-full": {"ssl_verify_cert": True, "ssl_verify_identity": True},
    "verify_identity": {"ssl_verify_cert": True, "ssl_verify_identity": True},
}


@dataclass(frozen=True)
class Address:
    """A database. ``kind``: SQLITE, POSTGRES or MYSQL; ``database``: its name, or its file; ``schema``: of PostgreSQL,
    "" for the usual one; ``arguments``: what its driver is told. ``connect_seconds`` and ``query_seconds``: how long a
    new connection and a query may take."""

    kind: str
    database: str
    host: str = ""
    port: int | None = None
    user: str = ""
    password: str = field(default="", repr=False)
    schema: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    connect_seconds: float = 10.0
    query_seconds: float = 60.0

    @property
    def where(self) -> str:
        """Tell where it is, without a password."""
        if self.kind == SQLITE:
            return f"SQLite, {self.database}"
        port = f":{self.port}" if self.port else ""
        return f"{NAMES[self.kind]}, {self.host or 'localhost'}{port}/{self.database}"


def read_address(text: str, more: Mapping[str, Any] | None = None) -> Address:
    """Read the address of a database. ``more``: parameters that are laid over those of its query. Raises ``ValueError``
    that names what is wrong, and never shows a password."""
    scheme, colon, rest = text.strip().partition(":")
    kind = _SCHEMES.get(scheme.lower().partition("+")[0]) if colon else None
    if kind is None:
        told = f"{scheme[:20]!r} is no kind of database" if colon and scheme.isalnum() else "is no database address"
        raise ValueError(f"{told}: write {FORMS}")
    if kind == SQLITE:
        return _read_file(rest)
    if "#" in rest:
        raise ValueError("has a '#' in it: in a password it is written %23")
    try:
        parts = urlsplit(f"{kind}:{rest}")
        port = parts.port
    except ValueError:
        raise ValueError("its host or port cannot be read; signs in a password are written as %2F, %3A, ...") from None
    database = unquote(parts.path[1:])
    if not database:
        raise ValueError(f"names no database: write {FORMS}")
    asked = dict(parse_qsl(parts.query, keep_blank_values=True)) | {k: str(v) for k, v in (more or {}).items()}
    arguments, given = _read_arguments(kind, asked)
    host = parts.hostname or ""
    if kind == POSTGRES and "host" in arguments:
        host = arguments.pop("host")  # of a socket: libpq's and Prisma's way
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    return Address(kind, database, host, port, user, password, arguments=arguments, **given)


def file_address(path: Path) -> Address:
    """Return the address of an SQLite file."""
    return Address(SQLITE, str(path.absolute()))


def _read_file(rest: str) -> Address:
    path = unquote(rest.partition("?")[0])
    path = path[3:] if path.startswith("///") else path.removeprefix("//")
    if not path or path == ":memory:":
        raise ValueError("names no file: write sqlite:///FILE, with four slashes for an absolute path")
    return file_address(Path(path).expanduser())


def _read_arguments(kind: str, asked: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the query of an address: what the driver is told, and fields of the address."""
    arguments: dict[str, Any] = {}
    given: dict[str, Any] = {}
    for name, value in asked.items():
        if name in _MOOT:
            continue
        if name in _SECONDS:
            given[_SECONDS[name]] = _seconds(name, value)
        elif kind == POSTGRES and name == "schema":
            given["schema"] = value
        elif kind == POSTGRES and name in _LIBPQ:
            # Prisma's sslcert is the server's own, which libpq calls its root.
            ours = name == "sslcert" and "sslkey" not in asked
            arguments["sslrootcert" if ours else name] = value
        elif kind == MYSQL and name in _PYMYSQL:
            arguments[name] = value
        elif kind == MYSQL and name.replace("-", "").replace("_", "") == "sslmode":
            found = _MYSQL_MODES.get(value.lower())
            if found is None:
                raise ValueError(f"{name}={value[:20]!r}: known are {', '.join(sorted(_MYSQL_MODES))}")
            arguments |= found
        elif name == "sslaccept":
            if value == "strict":
                arguments |= {"sslmode": "verify-full"} if kind == POSTGRES else _MYSQL_MODES["verify-full"]
        else:
            raise ValueError(f"its parameter {name[:40]!r} is not known for {NAMES[kind]}")
    return arguments, given


def _seconds(name: str, value: str) -> float:
    try:
        found = float(value)
    except ValueError:
        found = -1.0
    if not 0 <= found <= 86400:
        raise ValueError(f"{name}={value[:20]!r} is no number of seconds")
    return found or 86400.0  # Prisma's 0: no limit
