"""One answer: status and headers at once, the body by `read`, `pump` or ``async for``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.runtime.http.driven import Wake
from penstock.runtime.http.errors import LocalLimit, TooLarge, TransportError
from penstock.runtime.http.options import Timings

if TYPE_CHECKING:
    from penstock.runtime.http.connection import Connection  # circle: a connection makes the responses it feeds
    from penstock.runtime.http.decode import Decoder
    from penstock.runtime.http.origin import Origin

Feed = Callable[[bytes], None]
Room = Callable[[int], bool]
UNCOUNTED = 16 * 1024  # bytes: an answer that says that it is no longer is not worth the asking for room
_UNREAD = "the response was closed before its body was read"


class Response:
    """What `Pool.send` returns. Its owner must call `close` (or read the body to its end); one reader at a time.

    status: int. headers: names in lower case, in the order received, duplicates kept; without content-encoding and
    content-length when the body is decompressed here. While nobody reads, up to ``read_high_water`` bytes are held,
    then the upstream waits.
    """

    __slots__ = (
        "_chunks", "_conn", "_connect_ms", "_decoder", "_ended", "_error", "_feed", "_first_byte_ms", "_held", "_limit",
        "_origin", "_paused", "_reading", "_reused", "_room", "_size", "_waiter", "headers", "status",
    )  # fmt: skip

    def __init__(self, conn: Connection, status: int, headers: list[tuple[bytes, bytes]], first_byte_ms: float) -> None:
        self.status = status
        self.headers = headers
        self._conn: Connection | None = conn  # None once the connection is no longer ours
        self._origin = conn.origin
        self._chunks: list[bytes] = []
        self._size = 0
        self._limit = conn.limits.read_high_water  # while read() runs: its limit
        self._ended = False  # the body came to its clean end
        self._error: BaseException | None = None
        self._feed: Feed | None = None
        self._waiter: Wake[None] | None = None
        self._paused = False  # by the owner
        self._held = False  # by us, the buffer is full
        self._reading = False
        self._decoder: Decoder | None = None
        self._first_byte_ms = first_byte_ms
        self._connect_ms = 0.0 if conn.used else conn.connect_ms
        self._reused = conn.used

    def __repr__(self) -> str:
        return f"<Response {self.status} from {self._origin}>"

    @property
    def timings(self) -> Timings:
        return Timings(self._connect_ms, self._first_byte_ms, self._reused)

    @property
    def complete(self) -> bool:
        """Tell whether the whole body is here: ``read`` will not wait."""
        return self._ended

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of header ``name`` (any case), None when absent."""
        name = name.lower()
        for key, value in self.headers:
            if key == name:
                return value
        return None

    async def read(self, limit: int, room: Room | None = None) -> bytes:
        """Return the rest of the body as a whole. TooLarge beyond ``limit`` bytes, any TransportError when it breaks.
        ``room`` is asked for the bytes that are to be gathered; LocalLimit where it says no.

        Does not suspend when the body has already arrived. Ends a `pause`.
        """
        if not self._ended and self._error is None and self._size <= limit:
            announced = self.header(b"content-length")
            size = self._size if announced is None else int(announced)
            if size > limit:
                self.close()
                raise too_large(limit, self._origin)
            if announced is not None and size <= UNCOUNTED:
                room = None
            elif room is not None and not room(size):
                self.close()
                raise no_room(self._origin)
            self._limit = limit
            self._room = room if announced is None else None  # else there is room for all of it
            self._reading = True
            self._hold(False)
            self.resume()
            try:
                await self._wait()
            finally:
                self._room = None  # which may hold whoever holds us
        if self._size > limit:
            self.close()
            raise too_large(limit, self._origin)
        if self._error is not None:
            raise self._error
        return self._take()

    def whole(self, limit: int) -> bytes | None:
        """Return what ``read`` would, where all of it has come already; else None."""
        return self._take() if self._ended and self._size <= limit else None

    async def pump(self, feed: Feed) -> None:
        """Call ``feed(data)`` for every batch of the body, synchronously as it arrives; return at the clean end.

        What arrived before is fed first, as one batch. Raises TransportError when the body breaks (after feeding what
        came before the break), or what ``feed`` raised; the connection is aborted then.
        """
        self._hold(False)
        if self._size:
            try:
                feed(self._take())
            except BaseException:
                self.close()
                raise
        if not self._ended and self._error is None:
            self._feed = feed
            try:
                await self._wait()
            finally:
                self._feed = None
        if self._error is not None:
            raise self._error

    def __aiter__(self) -> Response:
        return self

    async def __anext__(self) -> bytes:
        """Return the next batch of the body, with back-pressure: the upstream waits while more than the high water is
        unread."""
        while not self._size:
            if self._error is not None:
                raise self._error
            if self._ended:
                raise StopAsyncIteration
            await self._wait()
        chunk = self._take()
        self._hold(False)
        return chunk

    def pause(self) -> None:
        """Stop reading from the upstream's socket, for a client that is slower. Nothing times out but the total."""
        self._paused = True
        if self._conn is not None:
            self._conn.set_reading(False)

    def resume(self) -> None:
        self._paused = False
        if self._conn is not None and not self._held:
            self._conn.set_reading(True)

    def close(self) -> None:
        """Give the body up: unless it was complete, the connection is aborted at once. Idempotent."""
        conn = self._conn
        if conn is not None:
            self._conn = None
            self.fail(TransportError(_UNREAD, phase="body", sent=True, origin=self._origin))
            conn.abort()
        self._chunks.clear()
        self._size = 0

    # -- called by the connection

    @property
    def idle_reader(self) -> bool:
        """Tell whether the upstream's silence is our own doing."""
        return self._paused or self._held

    def keep(self, chunk: bytes) -> None:
        """Store a batch that no pump takes; TooLarge beyond the limit of a `read`, LocalLimit without room for it."""
        if self._reading and self._room is not None and not self._room(len(chunk)):
            raise no_room(self._origin)
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > self._limit:
            if self._reading:
                raise too_large(self._limit, self._origin)
            self._hold(True)
        if self._waiter is not None and not self._reading:
            self.wake()

    def finish(self) -> None:
        self._ended = True
        self._conn = None
        if self._waiter is not None:
            self.wake()

    def fail(self, error: BaseException) -> None:
        if self._error is None and not self._ended:
            self._error = error
        self._conn = None
        if self._waiter is not None:
            self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- own

    def _hold(self, full: bool) -> None:
        if full is not self._held:
            self._held = full
            if self._conn is not None and not self._paused:
                self._conn.set_reading(not full)

    def _take(self) -> bytes:
        chunks = self._chunks
        data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._size = 0
        return data

    async def _wait(self) -> None:
        """Wait until the connection has something to say. Errors are left in ``_error``, so only a cancel raises
        here."""
        if self._waiter is not None:
            raise RuntimeError("the body of this response is already being read by another task")
        conn = self._conn
        if conn is None:
            return
        self._waiter = Wake()
        try:
            await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None


def too_large(limit: int, origin: Origin) -> TooLarge:
    return TooLarge(f"the response body is larger than {limit} bytes", phase="body", sent=True, origin=origin)


def no_room(origin: Origin) -> LocalLimit:
    text = "there is no room for the answer: the gateway holds as many bytes as it may (general_settings.max_held_mb)"
    return LocalLimit(text, phase="body", sent=True, origin=origin)
