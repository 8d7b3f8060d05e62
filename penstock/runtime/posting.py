"""Sends what sinks have to say, and guards to ask, over the pool that upstreams are asked through."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.config.addresses import is_metadata
from penstock.guards.base import Reply as GuardReply
from penstock.guards.base import Unreachable
from penstock.runtime.http import Origin, Timeouts, TooLarge, TransportError, render_head
from penstock.sinks.base import Refused, Reply, Unavailable

if TYPE_CHECKING:
    from penstock.guards.base import Post as GuardPost
    from penstock.runtime.http import Pool
    from penstock.sinks.base import Post

_PATIENCE = Timeouts(connect=5.0, first_byte=20.0, stall=10.0, total=25.0, pool=10.0)
_MOST = 1024 * 1024  # bytes of an answer


def poster(pool: Pool) -> Post:
    """Make what posts over a pool. Redirections are not followed: a credential goes along."""

    async def post(url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        parts = urlsplit(url)
        if is_metadata(parts.hostname or ""):
            raise Refused("the address leads to a cloud's metadata service")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            origin = Origin.parse(url)
            lines = [(name.encode(), value.encode()) for name, value in headers.items()]
            head = render_head(b"POST", path.encode(), origin, [*lines, (b"user-agent", b"penstock")])
        except ValueError as error:
            raise Refused(str(error)) from None
        try:
            response = await pool.send(origin, head, body, _PATIENCE)
            try:
                data = await response.read(_MOST)
            except TooLarge:
                data = b""
            finally:
                response.close()
        except TransportError as error:
            raise Unavailable(str(error)) from None
        wait = response.header(b"retry-after") or b""
        return Reply(response.status, data, float(wait) if wait.isdigit() else None)

    return post


def guard_poster(pool: Pool) -> GuardPost:
    """Make what guards ask services by, over the same pool."""

    async def ask(url: str, headers: Mapping[str, str], body: bytes, patience: float) -> GuardReply:
        parts = urlsplit(url)
        if is_metadata(parts.hostname or ""):
            raise Unreachable("its address leads to a cloud's metadata service")
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            origin = Origin.parse(url)
            lines = [(name.encode(), value.encode()) for name, value in headers.items()]
            head = render_head(b"POST", path.encode(), origin, [*lines, (b"user-agent", b"penstock")])
        except ValueError as error:
            raise Unreachable(f"its address cannot be asked: {error}") from None
        times = Timeouts(connect=5.0, first_byte=patience, stall=patience, total=patience, pool=5.0)
        try:
            response = await pool.send(origin, head, body, times)
            try:
                return GuardReply(response.status, await response.read(_MOST))
            finally:
                response.close()
        except TransportError as error:
            raise Unreachable(f"its service does not answer: {error}") from None

    return ask
