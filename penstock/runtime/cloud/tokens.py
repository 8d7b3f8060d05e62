"""Access tokens that are fetched, kept, and renewed before they end: what the clouds' signers have in common.

``Tokens`` is a ``Signer``. Requests find a token that is ready; one waits only when there is none, that is the first
time and after a time without traffic that was longer than a token's life.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.runtime.endpoint import Endpoint

log = logging.getLogger("penstock")
SHARE = 0.8  # of its life that a token is used before another one is fetched behind it
LATE = 10.0  # seconds before its end at which a token is no longer used; a quarter of its life where that is shorter
AGAIN = 30.0  # seconds after a renewal failed while the old token is still good
HOLD = 5.0  # seconds during which requests are told of a failure without asking the token endpoint again


class Token(NamedTuple):
    """``lines``: finished header lines, each ended by CRLF. ``ends_at``: seconds since 1970."""

    lines: bytes
    ends_at: float


class Tokens:
    """The header lines of one account. ``fetch`` gets a new token, and raises ``GatewayError`` ("connect",
    "not_configured"); only one call of it is under way at any time. ``clock``: seconds since 1970."""

    def __init__(self, fetch: Callable[[], Awaitable[Token]], clock: Callable[[], float] = time.time) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lines = b""
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._failed: GatewayError | None = None
        self._hold_until = 0.0
        self._task: asyncio.Task[None] | None = None

    def lines(self, endpoint: Endpoint, method: str, body: bytes) -> Coroutine[Any, Any, bytes]:
        """Return the header lines of a good token, as ``endpoint.Signer`` asks."""
        return self.current()

    async def current(self) -> bytes:
        """Return the header lines of a good token; renew it ahead of its end."""
        now = self._clock()
        if now < self._renew_at:
            return self._lines
        if now < self._ends_at:
            self._start()
            return self._lines
        if self._failed is not None and now < self._hold_until:
            raise GatewayError(self._failed.kind, self._failed.message)
        await asyncio.shield(self._start())  # whoever waits may leave; the others still want the token
        return self._lines

    def _start(self) -> asyncio.Task[None]:
        """Return the renewal that is under way, else start one."""
        loop = asyncio.get_running_loop()
        task = self._task
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._task = loop.create_task(self._renew())
            task.add_done_callback(_told)
        return task

    async def _renew(self) -> None:
        try:
            token = await self._fetch()
        except GatewayError as error:
            now = self._clock()
            self._failed, self._hold_until = error, now + HOLD
            self._renew_at = min(now + AGAIN, self._ends_at)
            raise
        now = self._clock()
        life = max(token.ends_at - now, 0.0)
        self._failed = None
        self._lines = token.lines
        self._ends_at = token.ends_at - min(LATE, life / 4)
        self._renew_at = now + life * SHARE


class Fixed:
    """A ``Signer`` whose lines never change: a token that was given."""

    def __init__(self, lines: bytes) -> None:
        self._lines = lines

    async def lines(self, endpoint: Endpoint, method: str, body: bytes) -> bytes:
        """Return the header lines of the one token, as ``endpoint.Signer`` asks."""
        return self._lines


def shared(parts: tuple[str, ...], make: Callable[[], Tokens]) -> Tokens:
    """Return the one ``Tokens`` of an account, whichever deployments use it. ``parts``: what the account is made of,
    secrets too; only their hash is kept."""
    key = hashlib.sha256(b"".join(b"%d:%b," % (len(raw), raw) for raw in (p.encode() for p in parts))).hexdigest()
    found = _SHARED.get(key)
    if found is None:
        found = _SHARED[key] = make()
    return found


_SHARED: dict[str, Tokens] = {}


def _told(task: asyncio.Task[None]) -> None:
    """Log a renewal that failed, once, however many requests wait for it, or none."""
    if not task.cancelled() and task.exception() is not None:
        log.warning("%s", task.exception())
