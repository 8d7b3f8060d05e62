"""The way to a server that keeps answers: plain HTTP with the gateway's own transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime.http import Origin, Timeouts, Tls, TransportError, render_head

if TYPE_CHECKING:
    from penstock.runtime.means import Means

TIMES = Timeouts(connect=1.0, first_byte=5.0, stall=5.0, total=10.0, pool=2.0)
MOST = 64 * 1024 * 1024  # bytes of an answer


class Line:
    """The way to one address. Raises ``OSError`` for whatever goes wrong on it. ``what``: what people call it."""

    def __init__(self, means: Means, base: str, tls: Tls | None = None, what: str = "the bucket") -> None:
        try:
            self.origin = Origin.parse(base)
        except ValueError as error:
            raise GatewayError("not_configured", f"The address of {what} is no URL: {error}.") from None
        self.base = str(self.origin)
        self._pool = means.pool
        self._tls = tls

    async def ask(self, method: str, target: str, body: bytes | None, lines: bytes) -> tuple[int, bytes]:
        """Return the status and the body of an answer."""
        head = render_head(method.encode(), target.encode(), self.origin, [])
        try:
            answer = await self._pool.send(self.origin, head, body, TIMES, extra=lines, tls=self._tls)
            try:
                return answer.status, await answer.read(MOST)
            finally:
                answer.close()
        except TransportError as error:
            raise OSError(f"{self.base}: {error}") from None


def refused(where: str, status: int) -> OSError:
    """Make the error of an answer that is none; its number is the status."""
    error = OSError(f"{where} answers {status}")
    error.errno = status
    return error
