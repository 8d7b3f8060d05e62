"""Requests that begin with their head, while their body is still on its way.

The gateway hears of them as soon as the head is complete: who may not enter, or asks for what is not there, is answered
at once, and nothing of the body is kept. Until the gateway asks for the body, none of it is read beyond what came with
the head. What is left of a body behind an early answer is no request: it is thrown away, within limits of bytes and
time, so that a client that sends first and reads then gets to see its answer (RFC 9112, 9.6).
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING

from penstock.runtime.coming import Coming
from penstock.server.doors import bodies

# circle: what is said here is an exchange of the quick door, which finds out that a body is still coming
from penstock.server.doors.quick import QuickExchange

if TYPE_CHECKING:
    from penstock.runtime.http.source import Source
    from penstock.server.doors.quick import QuickProtocol

_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0) if hasattr(select, "poll") else 0


class ComingExchange(QuickExchange):
    """An exchange whose body is still on its way. Who is sending much looks at the answer late."""

    __slots__ = ("_asked", "_began", "_paused_at", "touched")
    coming: Coming | Source
    linger = 10.0

    def __init__(self, proto: QuickProtocol, head: QuickExchange) -> None:
        super().__init__(proto)
        self.method, self.path, self.query, self.headers = head.method, head.path, head.query, head.headers
        self.client, self.chunked, self.keep_alive, self.url = head.client, head.chunked, head.keep_alive, head.url
        # Nobody who waits for "100 Continue" is told to send before the gateway wants to read.
        self._asked = not (self.chunked and bodies.expects_word(self.headers))
        self.coming = self.expected(bodies.length_of(self.headers))
        self.body = b""
        self._began = self.touched = self._paused_at = 0.0

    def expected(self, length: int | None) -> Coming | Source:
        """Make what the body is pushed into."""
        return Coming(length, self._pause, self._resume, self._ask)

    @property
    def cut_short(self) -> bool:  # type: ignore[override]
        return not self.coming.complete

    def begin(self) -> None:
        self._began = self.touched = self.proto.loop.time()
        super().begin()

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self._stop_reading()
        super().whole(status, headers, body)

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        if self.cut_short:
            self.keep_alive = False
        super().start(status, headers, framing)

    def finish(self) -> None:
        self._stop_reading()
        super().finish()

    def drop(self) -> None:
        self.coming.close()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self.touched = self.proto.loop.time()
        self.coming.feed(data)

    def check(self, now: float) -> None:
        """End a request whose client left unnoticed, or is slow on purpose."""
        source = self.coming
        transport = self.proto.transport
        if source.complete or self.proto.closing:
            return
        if source.paused:
            # Nobody reads from the connection now, so nobody would be told that it ended. (A client that closes without
            # a reset is seen when its bytes are read: the end stands behind them.)
            if not transport.is_closing() and hung_up(transport):
                transport.abort()
        elif self.proto.active is not self:
            return  # it waits for its turn, and its client for ours
        elif now - self.touched > bodies.BODY_STALL:
            source.fail(bodies.stalled())
        elif (error := bodies.too_slow(source.received, now - self._began, self.upload is not None)) is not None:
            source.fail(error)

    def _stop_reading(self) -> None:
        """Read no more. The connection goes on only where little is left of the body, and sure to come."""
        source = self.coming
        if not source.complete and not bodies.swallows(source, self._asked):
            self.keep_alive = False
        source.close()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            if not (self.coming.received or self.responded or self.proto.transport.is_closing()):
                self.proto.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.touched = self.proto.loop.time()

    def _pause(self) -> None:
        if not self.proto.transport.is_closing():
            self._paused_at = self._paused_at or self.proto.loop.time()
            self.proto.transport.pause_reading()

    def _resume(self) -> None:
        if not self.proto.transport.is_closing():
            now = self.touched = self.proto.loop.time()
            self._began += now - self._paused_at  # that was not the client's doing
            self._paused_at = 0.0
            self.proto.transport.resume_reading()


def receive(proto: QuickProtocol, head: QuickExchange) -> None:
    """Begin a request whose body has come in part, or not at all: with its head, now or when it is its turn."""
    exchange = ComingExchange(proto, head)
    for data in head.chunks:
        exchange.feed(data)
    head.chunks.clear()
    proto.exchange = None
    take_in(proto, exchange)


def take_in(proto: QuickProtocol, exchange: ComingExchange) -> None:
    """Let an exchange begin, behind those that came before it."""
    proto.coming = exchange
    if proto.active is None:
        exchange.begin()
    else:
        proto.queue.append(exchange)


def hung_up(transport: asyncio.Transport) -> bool:
    """Tell whether the client of a connection that nobody reads from has closed it; False where that cannot be seen."""
    if not _GONE:
        return False
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), _GONE)
    return bool(poll.poll(0))
