"""Rendering and checking of request heads. Callers render once per deployment and cache the bytes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from penstock.runtime.http.origin import Origin

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TARGET = re.compile(rb"[!-~\x80-\xff]+")
_BAD_VALUE = re.compile(rb"[\r\n\0]")
_OURS = frozenset((b"content-length", b"transfer-encoding"))


def render_header(name: bytes, value: bytes) -> bytes:
    """Render one header line, CRLF-ended. A ValueError names the header and never shows its value (it may be a key).

    CR, LF and NUL in a value would let it end the head and start a second request (request splitting).
    """
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"header name {name!r} is not a token (letters, digits and !#$%&'*+-.^_`|~)")
    if _BAD_VALUE.search(value):
        raise ValueError(f"the value of header {name.decode('ascii')!r} contains CR, LF or NUL")
    return b"%b: %b\r\n" % (name, value)


def render_head(method: bytes, target: bytes, origin: Origin, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Render request line and headers for `Pool.send`: without content-length and without the final empty line.

    ``host`` and ``accept-encoding: identity`` are added unless given. ValueError for a bad method, target or header,
    and for content-length and transfer-encoding: `Pool.send` writes those from the body it is given.
    """
    if not _TOKEN.fullmatch(method):
        raise ValueError(f"method {method!r} is not a token")
    if not _TARGET.fullmatch(target):
        raise ValueError("the request target is empty or contains spaces or control characters; percent-encode them")
    lines: list[bytes] = []
    seen: set[bytes] = set()
    for name, value in headers:
        line = render_header(name, value)
        lowered = name.lower()
        if lowered in _OURS:
            raise ValueError(f"header {lowered.decode('ascii')!r} is set from the body, leave it out")
        seen.add(lowered)
        lines.append(line)
    start = b"%b %b HTTP/1.1\r\n" % (method, target)
    if b"host" not in seen:
        start += b"host: %b\r\n" % origin.host_header
    if b"accept-encoding" not in seen:
        start += b"accept-encoding: identity\r\n"
    return start + b"".join(lines)


def absolute_form(head: bytes, origin: Origin) -> bytes:
    """Return the same head with the absolute target that an http proxy needs (RFC 9112, 3.2.2)."""
    method, _, rest = head.partition(b" ")
    return b"%b http://%b%b" % (method, origin.host_header, rest)
