"""Where a request goes, and what signs it."""

from __future__ import annotations

from typing import Protocol

import msgspec

from penstock.core.providers.spec import Quirks
from penstock.runtime.http import Origin


class Endpoint(msgspec.Struct, frozen=True):
    """Where one dialect (or operation) of a target is served. ``head``: the request's head up to its length."""

    origin: Origin
    head: bytes
    url: str
    quirks: Quirks
    fallback_headers: tuple[tuple[bytes, bytes], ...] = ()  # for clients that send none of their own
    signer: Signer | None = None

    def __repr__(self) -> str:
        return f"Endpoint({self.origin})"  # the head holds the key, and some addresses do


class Signer(Protocol):
    """Signs requests, or adds a token that had to be fetched.

    ``lines`` gives finished header lines (each ended by CRLF) for one request. Credentials are kept and renewed before
    they expire; nothing is fetched while a request waits except the very first time. Raises ``GatewayError``
    ("not_configured", "connect") that names what is missing.
    """

    async def lines(self, endpoint: Endpoint, method: str, body: bytes) -> bytes: ...
