"""The portable door: plain ASGI 3, for any server. No framework, no middleware; the same exchanges as the quick door.

``scope["type"] == "websocket"`` is served by ``asgi_sockets``; ``lifespan`` is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from penstock.runtime.coming import Coming
from penstock.runtime.exchange import Exchange, Source
from penstock.runtime.http.source import Source as BodySource
from penstock.runtime.ops.upload import Upload
from penstock.server.doors import bodies
from penstock.server.doors.upload import is_upload, serve

if TYPE_CHECKING:
    from penstock.server.gateway import Gateway

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
HIGH_WATER = 64 * 1024  # bytes of answer that wait for the server before the upstream is held back
_BODILESS = ("GET", "HEAD", "OPTIONS", "TRACE")  # have a body only where the head says so


class AsgiExchange(Exchange):
    """Gathers what is written; ``pump`` sends it on. ``room``: the server may be asked for more of the body. What is
    left of a body behind the answer is the server's, which throws it away (uvicorn, without keeping it)."""

    __slots__ = (
        "_out", "_ready", "_size", "_source", "done", "raw", "room", "upload",
    )  # fmt: skip

    def __init__(self) -> None:
        self.responded = self.hushed = False
        self.gone = False
        self.task = None
        self.ending = None
        self.call = None
        self.body = b""
        self.coming: Coming | BodySource | None = None
        self.upload: Upload | None = None
        self.bytes_out = self.held = 0
        self.done = False
        self.raw: bytes | None = None
        self.room = asyncio.Event()
        self._out: list[MutableMapping[str, Any]] = []
        self._ready = asyncio.Event()
        self._size = 0
        self._source: Source | None = None

    def expect(self, gateway: Gateway) -> None:
        """Make ready for the body, which the server is asked for when the gateway wants it, and not before."""
        length, room = bodies.length_of(self.headers), self.room
        if is_upload(gateway, self.method, self.path, self.headers):
            source = self.coming = BodySource(room.clear, room.set, length=length)
            source.wanted = room.set
            self.upload = Upload(source, length)
        else:
            self.coming = Coming(length, room.clear, room.set, room.set)

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.start(status, headers + b"content-length: %d\r\n" % len(body))
        if self.method != "HEAD":
            self.write(body)
        self.finish()

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        self.responded = True
        headers += framing or b""
        pairs = [line.split(b": ", 1) for line in headers.split(b"\r\n") if line]
        self._put({"type": "http.response.start", "status": status, "headers": [(n, v) for n, v in pairs]})

    def write(self, data: bytes) -> None:
        if data and not self.done:  # a keep-alive may come while the last bytes wait for a slow client
            self.bytes_out += len(data)
            self._size += len(data)
            self._put({"type": "http.response.body", "body": data, "more_body": True})
            if self._size > HIGH_WATER and self._source is not None:
                self._source.pause()

    def finish(self) -> None:
        self.done = True
        self._put({"type": "http.response.body", "body": b"", "more_body": False})

    def abort(self) -> None:
        # ASGI cannot cut a connection; leaving the answer unfinished makes the server do so.
        self.done = True
        self._ready.set()

    def feed_from(self, source: Source | None) -> None:
        self._source = source

    def raw_path(self) -> bytes:
        return self.raw or super().raw_path()

    def _put(self, message: MutableMapping[str, Any]) -> None:
        self._out.append(message)
        self._ready.set()

    async def pump(self, send: Send) -> None:
        """Send until the answer is finished."""
        while True:
            await self._ready.wait()
            self._ready.clear()
            out, self._out, self._size = self._out, [], 0
            if self._source is not None:
                self._source.resume()
            for message in out:
                await send(message)
            if self.done and not self._out:
                return


class AsgiDoor:
    """The ASGI application. ``on_start`` and ``on_stop`` run with the server's lifespan."""

    def __init__(
        self,
        gateway: Gateway,
        on_start: Callable[[], Awaitable[None]] | None = None,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.gateway = gateway
        self._on_start = on_start
        self._on_stop = on_stop

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            from penstock.server.doors.asgi_sockets import serve_socket  # most processes never open one

            await serve_socket(self.gateway, scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                if self._on_start is not None:
                    await self._on_start()
                await send({"type": "lifespan.startup.complete"})
            else:
                if self._on_stop is not None:
                    await self._on_stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = AsgiExchange()
        exchange.method = scope["method"]
        exchange.path = scope["path"]
        exchange.raw = scope.get("raw_path")
        exchange.query = scope.get("query_string", b"")
        client = scope.get("client")
        exchange.client = client[0] if client else ""
        headers: dict[bytes, bytes] = {}
        for name, value in scope["headers"]:
            headers[name] = headers[name] + b", " + value if name in headers else value
        exchange.headers = headers
        gateway = self.gateway
        framed = b"content-length" in headers or b"transfer-encoding" in headers
        if headers.get(b"content-length") != b"0" and (framed or exchange.method not in _BODILESS):
            exchange.expect(gateway)
        exchange.started = gateway.clock()
        gateway.begin(exchange)
        coming = _feed(receive, exchange, gateway) if exchange.coming is not None else _left(receive)
        work = exchange.task = asyncio.ensure_future(serve(gateway, exchange))
        watch = asyncio.ensure_future(coming)
        pump = asyncio.ensure_future(exchange.pump(send))
        try:
            await asyncio.wait((watch, pump), return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A pump that raised met a client that left (ASGI 2.4): the upstream must not go on for nobody.
            answered = pump.done() and not pump.cancelled() and pump.exception() is None
            exchange.gone = not answered
            for task in (work, watch, pump):
                if not task.done() and not (task is work and answered):
                    task.cancel()
            gateway.end(exchange)
            if exchange.coming is not None:
                exchange.coming.close()
            exchange.task = None  # a cancelled one keeps its error, and that the frames that hold the exchange
            await asyncio.gather(work, watch, pump, return_exceptions=True)


async def _feed(receive: Receive, exchange: AsgiExchange, gateway: Gateway) -> None:
    """Push what an ASGI server receives, from when it is wanted and while there is room for it; returns when the client
    has left. The server itself holds the client back while nobody asks it for more."""
    source, room, upload = exchange.coming, exchange.room, exchange.upload is not None
    assert source is not None
    spent = 0.0
    while True:
        await room.wait()
        began = gateway.clock()
        over = source.complete or source.failed or exchange.done
        try:
            async with asyncio.timeout(None if over else bodies.BODY_STALL):
                message = await receive()
        except TimeoutError:
            source.fail(bodies.stalled())
            continue
        spent += gateway.clock() - began
        if message["type"] == "http.disconnect":
            return
        if source.complete:
            continue
        if data := message.get("body", b""):
            source.feed(data)
        if upload and source.received > gateway.max_upload:
            source.fail(gateway.upload_too_large())
        elif not message.get("more_body", False):
            source.end()
        elif (error := bodies.too_slow(source.received, spent, upload)) is not None:
            source.fail(error)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
