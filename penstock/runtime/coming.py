"""A request's body that is still on its way: read when the gate has let the request in, and not before.

Who is refused by the head alone has cost nothing then; what a door had read together with the head is dropped. (A form
that is passed on as it comes is a ``Source``, which has the same words for the door.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime.http import Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.runtime.held import Held, Holder

HIGH = 256 * 1024  # bytes that a door may push before anybody wants them


class Coming:
    """A body that is gathered. The door pushes with ``feed``, ``end`` and ``fail``; it is told to ``pause`` while
    nobody wants what comes, to ``resume`` when somebody does, and when that is (``wanted``).

    ``length``: None when the client sends it chunked. ``received``: bytes so far. ``complete``: all of it has come.
    ``given_up``: it was asked for, and what came was not good."""

    __slots__ = (
        "_chunks", "_closed", "_error", "_grows", "_pause", "_resume", "_waiter", "_wanted", "complete", "given_up",
        "length", "paused", "received",
    )  # fmt: skip

    def __init__(
        self, length: int | None, pause: Callable[[], None], resume: Callable[[], None], wanted: Callable[[], None]
    ) -> None:
        self.length = length
        self.received = 0
        self.complete = self.given_up = self.paused = self._closed = False
        self._chunks: list[bytes] = []
        self._error: Exception | None = None
        self._pause, self._resume = pause, resume
        self._wanted: Callable[[], None] | None = wanted
        self._grows: Callable[[int, int], None] | None = None
        self._waiter: Wake[None] | None = None

    @property
    def failed(self) -> bool:
        return self._error is not None

    # -- the door

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        if self._closed or self._error is not None:
            return
        if self._grows is not None:
            try:
                self._grows(self.received, len(data))
            except GatewayError as error:
                self.fail(error)
                return
        self._chunks.append(data)
        if self._wanted is not None and self.received > HIGH:
            self.paused = True
            self._pause()

    def end(self) -> None:
        """Note that the whole body was pushed. Must be the last that a callback of the loop does."""
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Note that the body will not become complete. The first error counts."""
        if self._error is None and not self.complete:
            self._error = error
            self._chunks.clear()
            if self._waiter is not None:
                self._waiter.set_result(None)

    def close(self) -> None:
        """Drop what came and what still comes: nobody wants it any more."""
        self._closed = True
        self._chunks.clear()
        if self.paused:
            self.paused = False
            self._resume()
        self._pause = self._resume = _nothing  # nobody keeps the door alive
        self._wanted = self._grows = None

    # -- who reads

    async def read(self, holder: Holder, held: Held, limit: int, too_large: Callable[[], GatewayError]) -> bytes:
        """Return the body when all of it has come. Raises ``too_large`` where more comes than ``limit`` and none was
        announced, what ``Held.take`` does, and what ended the client's sending.

        A length that was announced is taken at once: a body that is read at all is read to its end."""
        self.given_up = True
        try:
            if self.length is not None:
                held.take(holder, self.length)
            else:
                self._grows = _growing(holder, held, limit, too_large)
                self._grows(self.received, self.received)
            self._want()
            if not self.complete and self._error is None:
                waiter = self._waiter = Wake()
                try:
                    await waiter
                finally:
                    self._waiter = None
            if self._error is not None:
                raise self._error
            chunks = self._chunks
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        finally:
            self.close()
        self.given_up = False
        return body

    def _want(self) -> None:
        wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted()
        if self.paused:
            self.paused = False
            self._resume()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.put(None)
            waiter.wake()


def _growing(
    holder: Holder, held: Held, limit: int, too_large: Callable[[], GatewayError]
) -> Callable[[int, int], None]:
    """Make what counts a body that nobody announced: it is called with all that has come, and the last of it."""

    def grows(received: int, size: int) -> None:
        if received > limit:
            raise too_large()
        held.take(holder, size)

    return grows


def _nothing() -> None:
    return None
