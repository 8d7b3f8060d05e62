"""How an answer comes from the SDK's loop to whoever reads it, in whichever thread or loop that is."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.runtime.exchange import CollectedExchange

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.runtime.exchange import Source

HIGH = 256 * 1024  # unread bytes from which the upstream is held back


class Channel:
    """Bytes from the loop to one reader. `take` gives what is there: b"" for nothing yet, None behind the end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._wake: Callable[[], None] | None = None
        self._source: Source | None = None
        self._held = False

    # On the loop. -----------------------------------------------------------------------------------------------------

    def put(self, data: bytes) -> None:
        """Add bytes; the source is held back while too many are unread."""
        with self._lock:
            self._parts.append(data)
            self._size += len(data)
            wake, self._wake = self._wake, None
            if self._size > HIGH and not self._held and self._source is not None:
                self._held = True
                self._source.pause()
        if wake is not None:
            wake()

    def end(self) -> None:
        """Note that nothing more comes."""
        with self._lock:
            self._ended = True
            wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def feed_from(self, source: Source | None) -> None:
        """Note whom to hold back; None when it is over."""
        with self._lock:
            self._source, self._held = source, False

    def _go_on(self) -> None:
        with self._lock:
            source = self._source if self._held else None
            self._held = False
        if source is not None:
            source.resume()

    # The reader's side. -----------------------------------------------------------------------------------------------

    def take(self) -> bytes | None:
        """Return what is there; b"" for nothing yet, None behind the end."""
        with self._lock:
            if not self._parts:
                return None if self._ended else b""
            data = b"".join(self._parts)
            self._parts.clear()
            self._size = 0
            held = self._held
        if held:
            self._loop.call_soon_threadsafe(self._go_on)
        return data

    def wait(self) -> None:
        """Wait for something to take, in a thread."""
        came = threading.Event()
        if self._ask(came.set):
            came.wait()

    async def await_more(self) -> None:
        """Wait for something to take, in a loop."""
        loop = asyncio.get_running_loop()
        came = asyncio.Event()
        if self._ask(lambda: loop.call_soon_threadsafe(came.set)):
            await came.wait()

    def _ask(self, wake: Callable[[], object]) -> bool:
        if self._pid != os.getpid():
            raise RuntimeError("this stream was begun before a fork: only the parent can read it")
        with self._lock:
            if self._parts or self._ended:
                return False
            self._wake = lambda: None if wake() is None else None
        return True


class CaughtExchange(CollectedExchange):
    """A request of this process. Its answer is collected, or passed on by a channel where it is read while it comes.
    ``head_came``: the head of the answer is here. ``record``: what happened, once it is over; ``hears`` is told it."""

    __slots__ = ("channel", "head_came", "hears", "record")
    flushes = True

    def __init__(self, path: str, headers: dict[bytes, bytes], body: bytes, channel: Channel | None = None) -> None:
        loop = asyncio.get_running_loop()
        super().__init__("POST", path, headers, body, started=loop.time())
        self.channel = channel
        self.head_came: asyncio.Future[None] | None = None if channel is None else loop.create_future()
        self.record: Record | None = None
        self.hears: Callable[[Record], object] | None = None

    @property
    def streams(self) -> bool:
        """Tell whether the answer is a stream of events."""
        return b"text/event-stream" in self.head

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        if self.channel is not None or self.answer:
            super().whole(status, headers, body)
            return
        self.responded = self.finished = True
        self.status, self.head, self.answer = status, headers, body
        self.bytes_out += len(body)

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        super().start(status, headers, framing)
        if self.head_came is not None and not self.head_came.done():
            self.head_came.set_result(None)

    def write(self, data: bytes) -> None:
        if self.channel is None or not self.streams:
            super().write(data)
            return
        self.bytes_out += len(data)
        self.channel.put(data)

    def feed_from(self, source: Source | None) -> None:
        if self.channel is not None:
            self.channel.feed_from(source)
