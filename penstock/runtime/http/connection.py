"""One connection to one origin: the protocol that writes a request and hands on the answer.

    RESERVED --begin()--> BUSY --message complete--> IDLE (in the pool) or RESERVED (handed to the next waiter)
        any state --abort(), connection lost--> CLOSED

Clock: the hot path never makes a timer. It sets ``deadline`` and ``touched``, which the pool's ticker compares.
"""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import AsyncIterable
from time import monotonic
from typing import TYPE_CHECKING, cast

from httptools import HttpParserError, HttpParserUpgrade

from penstock.runtime.http.driven import Batch, Wake
from penstock.runtime.http.errors import (
    BodyTruncated,
    Disconnected,
    FirstByteTimeout,
    Phase,
    StallTimeout,
    TotalTimeout,
    TransportError,
)
from penstock.runtime.http.incoming import Incoming
from penstock.runtime.http.response import Response
from penstock.runtime.http.sending import Sender, last_words, unread

if TYPE_CHECKING:
    from penstock.runtime.http.options import Limits, Timeouts
    from penstock.runtime.http.slot import Slot  # circle: a slot holds its connections, which go back to it

RESERVED, IDLE, BUSY, CLOSED = range(4)
INF = float("inf")
# Bodies up to this go out in one write with their head.
SMALL = 64 * 1024
# An idle connection older than this is looked at before it is used: servers close after 2 to 75 s of silence.
STALE_AFTER = 1.0


class Coming(Wake[Response]):
    """The response to one request, until its headers are complete. Given up when its waiter is cancelled: the upstream
    must notice at once."""

    __slots__ = ("_conn",)

    def __init__(self, conn: Connection) -> None:
        self._done = self._cancelled = False
        self.driver = self._callback = None
        self._conn = conn

    def left(self) -> None:
        self._conn.give_up(self)


class Connection(Incoming, asyncio.Protocol):
    """See the module. Owned by its `Slot`; ``waiter``, ``resp`` and ``sender`` belong to the exchange in progress.

    waiter: the future of the response, until its headers are complete. resp: the response, from then to its end. size:
    bytes of the body that went out in one write with its head.
    """

    __slots__ = (
        "began", "connect_ms", "deadline", "idle_since", "loop", "reading", "resp", "sender", "size", "slot", "state",
        "timeouts", "total_deadline", "touched", "transport", "used", "waiter", "woken", "write", "write_paused",
    )  # fmt: skip

    def __init__(self, batch: Batch, slot: Slot, limits: Limits) -> None:
        super().__init__(limits, slot.origin)
        self.loop = batch.loop
        self.write = batch.write
        self.slot = slot
        self.transport = cast(asyncio.Transport, None)  # until connection_made
        self.state = RESERVED
        self.waiter: Coming | None = None
        self.woken: Coming | None = None  # has its response, and goes on when this batch of bytes is done with
        self.resp: Response | None = None
        self.sender: Sender | None = None
        self.deadline = self.total_deadline = INF
        self.touched = False
        self.write_paused = False
        self.reading = True
        self.used = False  # a response came whole
        self.connect_ms = 0.0
        self.idle_since = 0.0

    # -- an exchange

    def begin(
        self, head: bytes, body: bytes | AsyncIterable[bytes] | None, timeouts: Timeouts, total_deadline: float
    ) -> Coming:
        """Write the request (``head`` is everything before the body) and return the future of its response."""
        self.state = BUSY
        self.timeouts = timeouts
        self.total_deadline = total_deadline
        self.expect(head[0] == 72 and head.startswith(b"HEAD "))
        self.began = monotonic()
        first_byte = timeouts.first_byte
        self.deadline = INF if first_byte is None else self.began + first_byte
        waiter = self.waiter = Coming(self)
        if body is None:
            self.size = 0
            self.transport.write(head)
        elif isinstance(body, bytes) and (size := len(body)) < SMALL:
            self.size = size
            self.write(self.transport, head + body)
        else:
            stall = timeouts.stall
            self.deadline = INF if stall is None else self.began + stall
            self.size = sys.maxsize
            sender = self.sender = Sender(self)
            self.transport.write(head)
            if isinstance(body, bytes):
                sender.send_bytes(body)
            else:
                sender.send_chunks(body)
        return waiter

    def all_written(self) -> None:
        """Wait for the first byte from now on: the sender is through."""
        self.sender = None
        if self.resp is None:
            self.began = monotonic()
            first_byte = self.timeouts.first_byte
            self.deadline = INF if first_byte is None else self.began + first_byte

    def give_up(self, waiter: Coming) -> None:
        """Nobody waits for ``waiter`` any more. Only if the connection is still in that exchange: it may already serve
        the next one."""
        if self.waiter is waiter:
            self.abort()
        elif (resp := waiter.came()) is not None:
            resp.close()

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.slot.connections.add(self)
        if self.state == CLOSED:  # given up while the handshake was ending
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.state != BUSY:
            # Nothing was asked: a late 408, or someone splitting responses. Neither may answer the next request.
            self.abort()
            return
        self.touched = True
        self._received(data)
        woken = self.woken
        if woken is not None:
            self.woken = None
            woken.wake()

    def _received(self, data: bytes) -> None:
        error: TransportError | None = None
        try:
            self.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as exc:
            error = self.parse_error(exc)
        resp = self.resp
        parts = self.parts
        if resp is None:
            resp = self._head(data, error)
            if resp is None:
                return
        elif self.chunked and error is None:
            error = self.count_overhead(len(data), sum(map(len, parts)), len(parts))
        if parts:
            chunk = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            feed = resp._feed
            if feed is None or resp._decoder is not None:
                self._deliver(resp, chunk)
            else:
                try:
                    feed(chunk)
                except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001  # boundary: pump() raises it
                    self.fail(exc)
            if self.state != BUSY:
                return
        if error is not None:
            self.fail(error)
        elif self.complete:
            self._finish(resp)

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc)
        self.slot.lost(self)
        self.discard_parser()

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.sender is not None:
            self.sender.pause()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.sender is not None:
            self.sender.resume()

    # -- the answer

    def _head(self, data: bytes, error: TransportError | None) -> Response | None:
        """Make the response when the headers are complete, or fail the exchange; after a batch without one yet."""
        status = self.status
        if not status or len(data) > self.limits.max_status_line or self._head_bytes:
            error = self.count_head(data) or (None if status else error)
            if error is not None:
                self.status = 0
                self.fail(error)
                return None
            if not status:
                return None
        waiter = self.waiter
        if waiter is None or (waiter.cancelled() and not self.complete):
            self.abort()
            return None
        self.waiter = None
        now = monotonic()
        first_byte_ms = (now - self.began) * 1000.0
        resp = self.resp = Response(self, status, self.headers, first_byte_ms)
        if self.coding and not self._decode(resp, waiter):
            return None
        stall = self.timeouts.stall
        self.deadline = INF if stall is None else now + stall
        if not waiter.done():
            waiter.put(resp)
            self.woken = waiter
        return resp

    def _decode(self, resp: Response, waiter: Coming) -> bool:
        """Make ready for a compressed body; False when the exchange ended over that."""
        from penstock.runtime.http.decode import Decoder, codings

        if codings(self.coding):
            hidden = (b"content-encoding", b"content-length")
            resp.headers = [item for item in resp.headers if item[0] not in hidden]
            if not self.is_head and resp.status not in (204, 304):
                try:
                    resp._decoder = Decoder(self.coding, self.limits, self.origin)
                except TransportError as exc:
                    if not waiter.done():
                        waiter.set_exception(exc)
                    self.abort()
                    return False
        return True

    def _deliver(self, resp: Response, chunk: bytes) -> None:
        if self.is_head:
            self.broken = self.protocol_error("a body after a HEAD response")
            return
        try:
            if resp._decoder is not None:
                chunk = resp._decoder.feed(chunk)
                if not chunk:
                    return
            if resp._feed is not None:
                resp._feed(chunk)
            else:
                resp.keep(chunk)
        except (Exception, asyncio.CancelledError) as exc:  # noqa: BLE001  # boundary: pump() raises it
            self.fail(exc)

    def _finish(self, resp: Response) -> None:
        """Go back to the pool, or close if anything is in doubt: the body came to its clean end."""
        if resp._decoder is not None:
            try:
                resp._decoder.finish()
            except TransportError as exc:
                self.fail(exc)
                return
        self.resp = None
        resp.finish()
        if (
            not self.keep_alive
            or self.until_eof
            or self.broken is not None
            or self.sender is not None
            or self.write_paused
        ):
            self.abort()
            return
        if not self.reading:
            self.set_reading(True)
        self.used = True
        self.state = RESERVED
        if self.chunked and not self.slot.lasting:
            self.slot.rest(self)
        else:
            self.slot.release(self)

    def _ended(self, exc: Exception | None) -> None:
        """End what runs: the peer closed (``exc`` None) or reset the connection."""
        if self.state == BUSY and self.sender is not None and self.resp is None:
            last = last_words(self.transport)
            if last:
                self.data_received(last)
        if self.state != BUSY:
            if self.state == IDLE:
                self.slot.hang_up(self)
            self.abort()
            return
        how = "closed" if exc is None else f"lost ({exc})"
        if self.resp is None:
            error = self._error(Disconnected, f"the connection was {how} before the response headers")
            error.sent = exc is not None or not self._closed_before()
        elif self.until_eof and exc is None:
            self._finish(self.resp)
            return
        else:
            error = self._error(BodyTruncated, f"the connection was {how} before the end of the response body")
        error.__cause__ = exc
        self.fail(error)

    def _closed_before(self) -> bool:
        """Tell whether the peer had closed a used connection before the head of our request had come there."""
        if not self.used or self.sender is not None or self._head_bytes:
            return False
        return unread(self.transport, self.size)

    def fail(self, error: BaseException) -> None:
        """End the exchange with ``error``, and the connection."""
        waiter, resp = self.waiter, self.resp
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
        if resp is not None:
            resp.fail(error)
        self.abort()

    def abort(self) -> None:
        """Close the socket now, unsent data is dropped. Idempotent."""
        if self.state == CLOSED:
            return
        self.state = CLOSED
        sender = self.sender
        self.resp = self.waiter = self.sender = None
        self.slot.forget(self)
        if self.transport is not None:
            self.transport.abort()
        if sender is not None:
            sender.cancel()

    def shut(self) -> None:
        """Close an idle connection politely (TLS says goodbye)."""
        if self.state != CLOSED:
            self.state = CLOSED
            self.slot.forget(self)
            self.transport.close()

    # -- reading and the clock

    def set_reading(self, on: bool) -> None:
        if on is self.reading or self.state == CLOSED or self.transport.is_closing():
            return
        self.reading = on
        if on:
            self.touched = True
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def looks_dead(self, now: float) -> bool:
        """Tell whether the peer closed, or wrote, while the connection was idle, or is about to close by its own word.
        Asks the kernel only when it is stale."""
        if self.state == CLOSED or self.transport.is_closing():
            return True
        if self.idle_since:
            idle = now - self.idle_since
            if idle >= self.idle_hint:
                return True
            if idle > STALE_AFTER and hasattr(select, "poll"):
                poll = select.poll()
                poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
                return bool(poll.poll(0))
        return False

    def tick(self, now: float, idle_expiry: float) -> bool:
        """Look at the clock, for the pool's ticker. True while an exchange is in progress."""
        if self.state == BUSY:
            if now >= self.total_deadline:
                self.fail(self._error(TotalTimeout, "the total timeout has passed"))
            elif self.resp is not None:
                self._tick_stall(now, self.touched or self.resp.idle_reader, "no byte of the response body")
                self.touched = False
            elif self.sender is not None:
                self._tick_stall(now, self.sender.progressed(), "no byte of the request body taken")
            elif now >= self.deadline:
                message = f"no response headers within {self.timeouts.first_byte:g} s"
                self.fail(self._error(FirstByteTimeout, message))
            return True
        if self.state == IDLE:
            if not self.idle_since:
                self.idle_since = now
            elif now - self.idle_since >= min(idle_expiry, self.idle_hint):
                self.shut()
        return False

    def _tick_stall(self, now: float, progress: bool, what: str) -> None:
        stall = self.timeouts.stall
        if stall is None:
            return
        if progress:
            self.deadline = now + stall
        elif now >= self.deadline:
            self.fail(self._error(StallTimeout, f"{what} for {stall:g} s"))

    def _error(self, kind: type[TransportError], message: str) -> TransportError:
        phase: Phase = "body" if self.resp is not None else "write" if self.sender is not None else "first_byte"
        return kind(message, phase=phase, sent=True, origin=self.origin)
