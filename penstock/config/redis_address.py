"""Addresses of Redis and Valkey as people write them: URLs, and lists of nodes of a cluster or of sentinels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

PORT = 6379
SENTINEL_PORT = 26379
# scheme -> TLS. Valkey's clients write their own name; both speak the same protocol.
SCHEMES: Mapping[str, bool] = {"redis": False, "rediss": True, "valkey": False, "valkeys": True}
MOST_NODES = 200

Node = tuple[str, int]


def parse_url(text: str) -> dict[str, Any]:
    """Take a URL such as `rediss://user:password@host:6379/0?ssl_cert_reqs=none` apart, into settings by their names.
    Raises ValueError with what was expected; it never holds the text, which has a password in it."""
    expected = "an address such as redis://:password@host:6379/0 (rediss:// for TLS, unix:///path for a socket)"
    text = text.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    scheme = parts.scheme.lower()
    found: dict[str, Any] = dict(parse_qsl(parts.query))
    if any(char.isspace() or ord(char) < 32 for char in text):
        raise ValueError(expected)
    if scheme == "unix" and parts.path:
        found["unix_socket_path"] = unquote(parts.path)
    elif scheme in SCHEMES and parts.hostname and port != 0:
        found |= {"host": unquote(parts.hostname), "port": port or PORT, "ssl": SCHEMES[scheme]}
        number = parts.path.strip("/")
        if number:
            if not (number.isascii() and number.isdigit()):
                raise ValueError(f"{expected}; what follows the host is the number of a database")
            found["db"] = int(number)
    else:
        raise ValueError(expected)
    if parts.username:
        found["username"] = unquote(parts.username)
    if parts.password:
        found["password"] = unquote(parts.password)
    return found


def parse_nodes(value: object, default_port: int = PORT) -> tuple[Node, ...]:
    """Read a list of nodes, each `{host, port}`, `[host, port]` or `host:port`; text is JSON of such a list, or several
    `host:port` with commas between them. Raises ValueError with what was expected."""
    expected = "a list of nodes, each {host: name, port: 6379}, [name, 6379] or name:6379"
    if isinstance(value, str):
        value = _list_of(value)
    if not isinstance(value, list | tuple) or not 0 < len(value) <= MOST_NODES:
        raise ValueError(expected)
    nodes = tuple(_node(item, default_port) for item in value)
    if None in nodes:
        raise ValueError(expected)
    return tuple(node for node in nodes if node is not None)


def show_node(node: Node) -> str:
    """Write a node as `host:port`."""
    host, port = node
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _list_of(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # [::1]:6379 begins like a list, and is a node
        return [one for one in text.split(",") if one.strip()]


def _node(item: object, default_port: int) -> Node | None:
    if isinstance(item, Mapping):
        host, port = item.get("host"), item.get("port", default_port)
    elif isinstance(item, list | tuple) and len(item) == 2:
        host, port = item
    elif isinstance(item, str):
        name, colon, number = item.strip().rpartition(":")
        bare = not colon or (":" in name and not name.endswith("]"))  # ::1 is a host, [::1]:6379 has a port
        host, port = (item.strip(), default_port) if bare else (name, number)
    else:
        return None
    host = host.strip().strip("[]") if isinstance(host, str) else ""
    if isinstance(port, str) and port.strip().isdigit() and len(port) < 8:
        port = int(port)
    good = isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536
    return (host, int(port)) if host and good and not any(char.isspace() or char in "/@" for char in host) else None
