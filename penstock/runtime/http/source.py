"""Bytes that one side pushes and the other takes: a request body on its way through, with backpressure both ways.

The pusher (a protocol's callback) is told to pause while more than ``high`` bytes wait, and to go on when the taker has
come down to a quarter of that. The taker waits for bytes. Knows nothing of either side. To send what is taken, give
`Pool.send` an async iterable over `take`; while the upstream does not read, it is not asked for more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from penstock.runtime.http.driven import Wake

HIGH = 256 * 1024  # bytes that wait before the pusher is told to pause


class Source:
    """One stream of bytes. ``pause`` and ``resume`` may be called again and again: both must be idempotent.

    length: of the whole, None where it is not known. received: bytes pushed so far. complete: the pusher has ended it.
    paused: the pusher is told to wait. wanted: called when the taker asks for the first time; a pusher may have waited
    for that. given_up: set by who will not take it."""

    __slots__ = ("_chunks", "_closed", "_error", "_high", "_pause", "_resume", "_size", "_waiter", "complete",
                 "given_up", "length", "paused", "received", "wanted")  # fmt: skip

    def __init__(
        self, pause: Callable[[], None], resume: Callable[[], None], high: int = HIGH, length: int | None = None
    ) -> None:
        self._pause = pause
        self._resume = resume
        self._high = high
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._error: Exception | None = None
        self._waiter: Wake[None] | None = None
        self._closed = False
        self.length = length
        self.given_up = False
        self.received = 0
        self.complete = False
        self.paused = False
        self.wanted: Callable[[], None] | None = None

    def __len__(self) -> int:
        """Count the bytes received so far."""
        return self.received

    @property
    def failed(self) -> bool:
        return self._error is not None

    # -- the side that pushes

    def feed(self, data: bytes) -> None:
        self.received += len(data)
        if self._closed or self._error is not None:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > self._high:
            self.paused = True
            self._pause()
        self._wake()

    def end(self) -> None:
        """Note that the whole body was pushed."""
        self.complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        """Note that the body will not become complete: the taker gets ``error``, and nothing more that was pushed. The
        first counts."""
        if self._error is None and not self.complete:
            self._error = error
            self._drop()
            self._wake()

    # -- the side that takes

    async def take(self) -> bytes:
        """Wait for the next bytes; b"" at the end. Raises what `fail` was given. One taker at a time; a cancelled one
        loses nothing."""
        if self.wanted is not None:
            wanted, self.wanted = self.wanted, None
            wanted()
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self.complete or self._closed:
                return b""
            waiter = self._waiter = Wake()
            try:
                await waiter
            finally:
                self._waiter = None
        data = self._chunks.popleft()
        self._size -= len(data)
        if self.paused and self._size <= self._high // 4:
            self._go_on()
        return data

    def close(self) -> None:
        """Drop what waits and what still comes: nobody takes any more."""
        self._closed = True
        self._drop()
        self._wake()
        self._pause = self._resume = _nothing  # nobody keeps the pusher alive
        self.wanted = None

    # -- own

    def _drop(self) -> None:
        self._chunks.clear()
        self._size = 0
        if self.paused:
            self._go_on()

    def _go_on(self) -> None:
        self.paused = False
        self._resume()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def _nothing() -> None:
    return None
