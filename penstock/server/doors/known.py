"""Requests whose head was read before.

A client's library sends the same head with every request of a connection: method, path, credential, a dozen lines about
itself. Only the length of the body differs. Such a head is parsed once, by the strict parser; a later request that has
the very same bytes around its content-length has the same meaning, and one comparison tells so.

Gain: 29,800 of 335,000 instructions a request, 9 % (`make instructions`). Law: what the door hears is the same with and
without this (tests/server/test_known.py). Off: PENSTOCK_KNOWN_HEADS=0 in the environment.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, NamedTuple

from penstock.runtime.wishes import ROUTING_HEADERS

if TYPE_CHECKING:
    from penstock.server.doors.quick import QuickExchange  # circle: the door asks what it remembers of its requests

LONGEST = 8 * 1024  # bytes of a head that is kept
# Heads remembered in a row without use: beyond that this client's heads all differ.
LESSONS = 0 if os.environ.get("PENSTOCK_KNOWN_HEADS") == "0" else 4
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)
_DIGITS = 10


class KnownHead(NamedTuple):
    """A request's head that was parsed before. ``before`` and ``after``: its bytes around the digits of its
    content-length."""

    before: bytes
    after: bytes
    url: bytes
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    hushed: bool  # see ``Exchange``

    def body(self, data: bytes) -> bytes | None:
        """Return the body, when ``data`` is one whole request with this head and nothing behind it; else None."""
        if not data.startswith(self.before):
            return None
        start = len(self.before)
        end = data.find(self.after, start, start + _DIGITS + len(self.after))
        digits = data[start:end]
        if end < 0 or not digits.isdigit():
            return None
        body = data[end + len(self.after) :]
        return body if len(body) == int(digits) else None


def remember(data: bytes, exchange: QuickExchange) -> KnownHead | None:
    """Remember the head of ``data``, one whole request that the parser has taken as ``exchange``; None where it is not
    of the usual kind (POST with a content-length, HTTP/1.1, the connection kept, nothing expected)."""
    end = data.find(b"\r\n\r\n", 0, LONGEST)
    if end < 0 or exchange.error is not None or exchange.method != "POST":
        return None
    if not (exchange.chunked and exchange.keep_alive) or b"expect" in exchange.headers:
        return None
    found = _LENGTH.search(data, 0, end + 2)
    if found is None or b"transfer-encoding" in exchange.headers or len(data) != end + 4 + int(found[1]):
        return None
    if not exchange.headers.get(b"content-length", b"").isdigit():  # two of them come joined
        return None
    return KnownHead(
        data[: found.start(1)], data[found.end(1) : end + 4], exchange.url, exchange.path, exchange.query,
        exchange.headers, ROUTING_HEADERS.isdisjoint(exchange.headers),
    )  # fmt: skip
