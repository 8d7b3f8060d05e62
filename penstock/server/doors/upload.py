"""Large forms at the doors: a request that is served while its body comes.

Which requests these are is decided by their heads alone. Everything else about them (who may call, what the form says,
where it goes) is the gateway's, as for every request; and until it asks for the body, none of it is read.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, cast

from penstock.core.errors import GatewayError
from penstock.runtime.http.source import Source
from penstock.runtime.ops.upload import Upload

# circle: an upload is an exchange of the quick door, which finds out that a request is one
from penstock.server.doors.quick import BODY_STALL, BODY_TIME, QuickExchange

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange
    from penstock.server.doors.quick import QuickProtocol
    from penstock.server.gateway import Gateway

SLOWEST = 16 * 1024  # bytes per second that a client must send after ``BODY_TIME``, on the average of the whole
_GONE = select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0) if hasattr(select, "poll") else 0


def is_upload(gateway: Gateway, method: str, path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether the request is a form that may be passed on while it comes. A compressed one is read whole."""
    if method != "POST" or b"content-encoding" in headers:
        return False
    if not headers.get(b"content-type", b"").lstrip()[:19].lower() == b"multipart/form-data":
        return False
    return gateway.site.upload_at(path)


def upload_of(
    gateway: Gateway, headers: Mapping[bytes, bytes], pause: Callable[[], None], resume: Callable[[], None]
) -> Upload:
    """Make the upload of a request. Raises "too_large" for one whose head says so."""
    told = headers.get(b"content-length")
    length = int(told[:20]) if told is not None and told.isdigit() else None
    if length is not None and length > gateway.max_upload:
        raise gateway.upload_too_large()
    return Upload(Source(pause, resume), length)


async def serve(gateway: Gateway, exchange: Exchange) -> None:
    """Serve the exchange as ``Gateway.serve`` does, and give back whatever was held of its body."""
    try:
        await gateway.serve(exchange)
    finally:
        if exchange.upload is not None:
            exchange.upload.close()


async def feed(
    receive: Callable[[], Awaitable[MutableMapping[str, Any]]], source: Source, room: asyncio.Event, gateway: Gateway
) -> None:
    """Push what an ASGI server receives, from when it is wanted and while there is ``room``; returns when the client
    has left. The server itself holds the client back while nobody asks it for more."""
    while True:
        await room.wait()
        try:
            async with asyncio.timeout(None if source.complete or source.failed else BODY_STALL):
                message = await receive()
        except TimeoutError:
            source.fail(_stalled())
            continue
        if message["type"] == "http.disconnect":
            return
        if not source.complete:
            if data := message.get("body", b""):
                source.feed(data)
            if source.received > gateway.max_upload:
                source.fail(gateway.upload_too_large())
            elif not message.get("more_body", False):
                source.end()


class UploadExchange(QuickExchange):
    """An exchange that begins with its request's head. The connection is closed behind an answer that came before the
    body was complete: what is left of the body is no request."""

    __slots__ = ("_asked", "_began", "_paused_at", "touched", "upload")
    upload: Upload

    def __init__(self, proto: QuickProtocol, head: QuickExchange) -> None:
        super().__init__(proto)
        for name in ("method", "path", "query", "headers", "client", "chunked", "keep_alive", "url"):
            setattr(self, name, getattr(head, name))
        # Nobody who waits for "100 Continue" is told to send before the gateway wants to read.
        self._asked = not (self.chunked and self.headers.get(b"expect", b"").lower() == b"100-continue")
        self.upload = upload_of(proto.gateway, self.headers, self._pause, self._resume)
        self.upload.source.wanted = self._ask
        self.body = cast(bytes, self.upload)
        self._began = self.touched = proto.loop.time()
        self._paused_at = 0.0

    # A client that is sending much looks at the answer late.
    linger = 10.0

    @property
    def cut_short(self) -> bool:  # type: ignore[override]
        return not self.upload.source.complete

    def begin(self) -> None:
        proto = self.proto
        proto.active = self
        proto.deadline = 0.0
        self.started = proto.gateway.clock()
        self._began = self.touched = proto.loop.time()
        proto.gateway.begin(self)
        self.task = proto.loop.create_task(serve(proto.gateway, self))

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self._stop_reading()
        super().whole(status, headers, body)

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        if self.cut_short:
            self.keep_alive = False
        super().start(status, headers, framing)

    def finish(self, close: bool = False) -> None:
        self._stop_reading()
        super().finish(close)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self.touched = self.proto.loop.time()
        source = self.upload.source
        source.feed(data)
        if source.received > self.proto.gateway.max_upload:
            source.fail(self.proto.gateway.upload_too_large())

    def check(self, now: float) -> None:
        """End an upload whose client left unnoticed, or is slow on purpose."""
        source = self.upload.source
        transport = self.proto.transport
        if source.complete or self.proto.closing:
            return
        if source.paused:
            # Nobody reads from the connection now, so nobody would be told that it ended. (A client that closes without
            # a reset is seen when its bytes are read: the end stands behind them.)
            if _GONE and not transport.is_closing() and _hung_up(transport):
                transport.abort()
        elif now - self.touched > BODY_STALL:
            source.fail(_stalled())
        elif now - self._began > BODY_TIME + source.received / SLOWEST:
            text = f"The request's body came too slowly: {source.received} bytes in {now - self._began:.0f} s."
            source.fail(GatewayError("request_timeout", text))

    def _stop_reading(self) -> None:
        if self.cut_short:
            self.keep_alive = False
            self.upload.source.close()

    def _ask(self) -> None:
        if not self._asked:
            self._asked = True
            if not self.responded and not self.proto.transport.is_closing():
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


def receive(proto: QuickProtocol, head: QuickExchange) -> GatewayError | None:
    """Begin an upload, for a request whose body is large, or of unknown length. Return the error of one that is too
    large for what it is."""
    if is_upload(proto.gateway, head.method, head.path, head.headers):
        try:
            exchange = UploadExchange(proto, head)
        except GatewayError as error:
            return error
        head.headers.pop(b"expect", None)
        proto.exchange, proto.uploading = None, exchange
        if proto.active is None:
            exchange.begin()
        else:
            proto.queue.append(exchange)
        return None
    length = head.headers.get(b"content-length")
    if length is not None and int(length) > proto.gateway.max_body:
        return proto.gateway.body_too_large()
    return None


def _stalled() -> GatewayError:
    return GatewayError("request_timeout", f"No byte of the request's body came for {BODY_STALL:g} s.")


def _hung_up(transport: asyncio.Transport) -> bool:
    poll = select.poll()
    poll.register(transport.get_extra_info("socket").fileno(), _GONE)
    return bool(poll.poll(0))
