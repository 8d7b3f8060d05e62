"""Requests that offer another protocol (RFC 9110, 7.8): a server that does not want it answers as if nothing were said.

The JDK's HttpClient offers ``h2c`` on every plain connection, and ``curl --http2`` does. httptools takes such a request
for the end of HTTP/1.1 and skips its body, so its head is written anew without the offer and parsed again.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Mapping

from penstock.core.errors import GatewayError

# What stands in Connection for the sake of the offer (RFC 7540, 3.2.1).
_OFFERED = (b"upgrade", b"http2-settings")


def offers_upgrade(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a head, of which ``upgrade`` is one of the names, offers another protocol for this connection."""
    return b"upgrade" in _tokens(headers.get(b"connection", b""))


def wants_websocket(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether the protocol that is offered is WebSocket: its client cannot use any other answer, and must hear
    where there is none (Codex then goes on with plain HTTP)."""
    return b"websocket" in _tokens(headers[b"upgrade"])


def handshake_error(method: str, headers: Mapping[bytes, bytes]) -> GatewayError | None:
    """Tell what is wrong with a request for a WebSocket (RFC 6455, 4.2.1); None where it is good."""
    if method != "GET" or headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers:
        return GatewayError("upgrade", "A WebSocket is asked for with GET and without a body.")
    if headers.get(b"sec-websocket-version", b"").strip() != b"13":
        return GatewayError("upgrade", "The only version of WebSocket here is 13 (Sec-WebSocket-Version).")
    try:
        key = b64decode(headers.get(b"sec-websocket-key", b""), validate=True)
    except ValueError:
        key = b""
    if len(key) != 16:
        return GatewayError("upgrade", "Sec-WebSocket-Key must be 16 bytes in base64.")
    return None


def without_upgrade(method: bytes, url: bytes, version: str, pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write a request's head anew, without what it offers. ``pairs``: its headers, names in lower case."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
    for name, value in pairs:
        if name == b"connection":
            value = b", ".join(token for token in _tokens(value) if token not in _OFFERED)
        if name not in _OFFERED:
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join([*lines, b"", b""])


def joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Make one dict of a head's lines: the values of a name that came twice stand behind each other."""
    headers: dict[bytes, bytes] = {}
    for name, value in pairs:
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def not_http(error: Exception) -> GatewayError:
    """Make the error of bytes that are no HTTP/1.1. A client that speaks HTTP/2 without asking (RFC 9113, 3.3) is told
    so, and not that its request is broken."""
    if "PRI/Upgrade" in str(error):
        text = "HTTP/2 is not served here: this is its preface (prior knowledge). Use HTTP/1.1."
        return GatewayError("bad_request", text, status=505)
    return GatewayError("bad_request", f"This is not valid HTTP/1.1: {error}.")


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip() for token in value.lower().split(b",")]
