"""Writing a request body that does not fit into one write: large bytes in slices, or an iterable as chunks."""

from __future__ import annotations

import array
import asyncio
import socket
import sys
from collections.abc import AsyncIterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.runtime.http.connection import Connection  # circle: a connection makes what sends its body

# Bodies over BIG go out in slices, so that a slow upstream shows as a pause between slices (a TLS transport reports
# none within one write) and plain asyncio does not copy the whole body into its buffer.
BIG = 256 * 1024
SLICE = 128 * 1024


class Sender:
    """The rest of one request. ``done`` once all of it is handed to the transport and the transport has room again."""

    __slots__ = ("_conn", "_drained", "_paused", "_rest", "_seen", "_task", "_transport", "_written", "done")

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._transport = conn.transport
        self._rest: memoryview | None = None
        self._task: asyncio.Task[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._written = 0
        self._seen = 0
        self.done = False

    def send_bytes(self, body: bytes) -> None:
        self._rest = memoryview(body)
        self._push()

    def send_chunks(self, body: AsyncIterable[bytes]) -> None:
        self._task = self._conn.loop.create_task(self._chunks(body))

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        if self._task is None:
            self._push()
        elif self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def cancel(self) -> None:
        self._rest = None
        self.done = True
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def progressed(self) -> bool:
        """Tell whether the peer took anything since the last call, or if it is the caller's iterable that we wait
        for."""
        if self._task is not None and not self._paused:
            return True
        taken = self._written - self._transport.get_write_buffer_size()
        moved = taken != self._seen
        self._seen = taken
        return moved

    def _push(self) -> None:
        rest = self._rest
        while rest is not None and not self._paused:
            step = rest if len(rest) <= BIG else rest[:SLICE]
            self._rest = rest[len(step) :] if len(step) < len(rest) else None
            self._written += len(step)
            self._transport.write(step)  # may call pause(), resume() or, under uvloop, connection_lost()
            rest = self._rest
        if rest is None and not self._paused and not self.done:
            self.done = True
            self._conn.all_written()

    async def _chunks(self, body: AsyncIterable[bytes]) -> None:
        """Write a chunked body, as a task. An error of ``body`` ends the exchange with that same error."""
        size: int | None = getattr(body, "size", None)
        sized = size is not None
        try:
            async for piece in body:
                if piece:
                    self._written += len(piece)
                    if size is not None and self._written > size:  # the surplus would be read as another request
                        raise ValueError(f"the request body is over the {size} bytes that it announced")
                    self._transport.write(piece if sized else b"%x\r\n%b\r\n" % (len(piece), piece))
                    await self._drain()
            if size is not None and self._written < size:
                raise ValueError(f"the request body has {self._written} bytes and announced {size}")
            if not sized:
                self._transport.write(b"0\r\n\r\n")
            await self._drain()
            self._task = None
            self.done = True
            self._conn.all_written()
        except asyncio.CancelledError:
            if not self.done:
                raise
        except Exception as exc:  # noqa: BLE001  # boundary: the caller's iterable may raise anything
            self._task = None
            if not self.done:
                self._conn.fail(exc)

    async def _drain(self) -> None:
        while self._paused and not self.done:
            self._drained = self._conn.loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None


def last_words(transport: asyncio.Transport) -> bytes:
    """Return what the peer said before it closed on our sending, b"" when that cannot be had.

    Whoever refuses a request in the middle of its body often answers and closes at once, which is a reset; a write that
    meets the reset ends the transport before it has read the answer. The kernel still holds it. (Not under TLS: there
    it is encrypted.)"""
    sock = transport.get_extra_info("socket")
    if sock is None or transport.get_extra_info("sslcontext") is not None:
        return b""
    data = b""
    try:
        beside = socket.socket(fileno=sock.fileno())
    except OSError:
        return b""
    try:
        while len(data) < SLICE and (more := beside.recv(SLICE)):
            data += more
    except OSError:
        pass
    finally:
        beside.detach()  # it is the transport's to close
    return data


def unread(transport: asyncio.Transport, size: int) -> bool:
    """Tell whether the peer closed before it had the head of our request, of which ``size`` bytes are the body; to be
    asked when its close has come, and False where that cannot be known.

    A FIN acknowledges all that its sender's kernel had received by then. Where it leaves more than the body
    unacknowledged, the peer had said its last word before there was a request: what comes then it can only throw away
    (RFC 9112, 9.6). What was acknowledged may have been read; after a reset, and under TLS, it cannot be told."""
    sock = transport.get_extra_info("socket")
    if sys.platform != "linux" or sock is None or transport.get_extra_info("sslcontext") is not None:
        return False
    import fcntl
    from termios import TIOCOUTQ

    left = array.array("i", (0,))
    try:
        fcntl.ioctl(sock.fileno(), TIOCOUTQ, left)  # bytes written and not acknowledged
    except OSError:
        return False
    return left[0] + transport.get_write_buffer_size() > size
