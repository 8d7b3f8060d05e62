"""WebSockets at the ASGI door. The server under it has the frames; here are the messages, and room for them.

A refusal is an answer of its own where the server can give one (``websocket.http.response``), else a 403 without words.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from penstock.runtime.exchange import Exchange
from penstock.runtime.http.websocket import (
    ABNORMAL,
    COST,
    FAILED,
    GOING_AWAY,
    GOODBYE,
    HIGH,
    LONGEST_REASON,
    NORMAL,
    NOTHING_TOLD,
    STALL,
    Message,
    SocketClosed,
)
from penstock.server.sockets import serve

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from penstock.runtime.exchange import Source
    from penstock.server.doors.asgi import Receive, Scope, Send  # circle: the door hands its sockets over to this
    from penstock.server.gateway import Gateway

_DENIAL = "websocket.http.response"


class AsgiSocket:
    """The client's end, see ``ClientSocket``. Two tasks serve it: what the server receives, and what it sends."""

    def __init__(self, largest: int) -> None:
        self.closed: SocketClosed | None = None
        self.exchange: Exchange | None = None  # of which the bytes are, until it is over
        self._largest = largest
        self._in: deque[Message] = deque()
        self._in_size = self._out_size = 0
        self._out: list[MutableMapping[str, Any]] = []
        self._closing = False
        self._fed: Source | None = None
        self._moved: set[asyncio.Future[None]] = set()

    # The client's messages. -------------------------------------------------------------------------------------------

    async def read(self, receive: Receive) -> None:
        """Take what comes, while there is room for it, until the client is gone."""
        while self.closed is None:
            while self._in_size > HIGH and self.closed is None:
                await self._wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                code = message.get("code") or NOTHING_TOLD
                self.end(SocketClosed(code, message.get("reason") or ""))
                return
            text = message.get("text")
            data = text.encode() if text is not None else message.get("bytes") or b""
            if len(data) > self._largest:
                self.close(1009, "the message is too large")
                self.end(SocketClosed(1009, "the message is too large"))
                return
            self._in.append(Message(data, text is not None))
            self._in_size += len(data) + COST
            self._wake()

    async def receive(self) -> Message:
        while not self._in:
            if self.closed is not None:
                raise SocketClosed(self.closed.code, self.closed.reason)
            await self._wait()
        message = self._in.popleft()
        self._in_size -= len(message.data) + COST
        self._wake()
        return message

    # Ours. ------------------------------------------------------------------------------------------------------------

    def put(self, message: MutableMapping[str, Any], size: int = 0) -> None:
        """Queue something for the server to send, behind what it was given before."""
        self._out.append(message)
        self._out_size += size
        if self._out_size > HIGH and self._fed is not None:
            self._fed.pause()
        self._wake()

    async def write(self, send: Send) -> None:
        """Send what there is, until the client is gone or was told to go."""
        while True:
            while not self._out:
                if self._closing or self.closed is not None:
                    return
                await self._wait()
            out, self._out, self._out_size = self._out, [], 0
            for message in out:
                async with asyncio.timeout(STALL):
                    await send(message)
            if self._fed is not None and not self._out:
                self._fed.resume()
            self._wake()

    def push(self, message: Message) -> None:
        if self.closed is not None or self._closing:
            raise SocketClosed(ABNORMAL) if self.closed is None else SocketClosed(self.closed.code, self.closed.reason)
        if self.exchange is not None:
            self.exchange.bytes_out += len(message.data)
        held = {"text": message.data.decode("utf-8", "replace")} if message.text else {"bytes": message.data}
        self.put({"type": "websocket.send", **held}, len(message.data) + COST)

    async def room(self) -> None:
        while self._out_size > HIGH and self.closed is None:
            await self._wait()

    async def send(self, message: Message) -> None:
        await self.room()
        self.push(message)

    def feed_from(self, fed: Source | None) -> None:
        self._fed = fed
        if fed is not None and self._out_size > HIGH:
            fed.pause()

    # The end. ---------------------------------------------------------------------------------------------------------

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        if self._closing or self.closed is not None:
            return
        if code in (ABNORMAL, NOTHING_TOLD) or not 1000 <= code < 5000:
            code = GOING_AWAY if code == ABNORMAL else NORMAL
        self._closing = True
        text = reason.encode()[:LONGEST_REASON].decode("utf-8", "ignore")
        self.put({"type": "websocket.close", "code": code, "reason": text})

    def end(self, closed: SocketClosed) -> None:
        """Note that nothing more comes."""
        if self.closed is None:
            self.closed = closed
        self._wake()

    async def ended(self) -> None:
        while self.closed is None:
            await self._wait()

    def _wake(self) -> None:
        for waiter in self._moved:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._moved.add(waiter)
        try:
            await waiter
        finally:
            self._moved.discard(waiter)


class AsgiSocketExchange(Exchange):
    """A request for a WebSocket, as a server under us brings it."""

    __slots__ = ("_denies", "_socket", "winds_down")

    def __init__(self, scope: Scope, socket: AsgiSocket, started: float) -> None:
        headers: dict[bytes, bytes] = {}
        for name, value in scope.get("headers", ()):
            headers[name] = headers[name] + b", " + value if name in headers else value
        client = scope.get("client")
        super().__init__(
            "GET",
            scope.get("path", ""),
            headers,
            query=scope.get("query_string", b""),
            client=client[0] if client else "",
            started=started,
        )
        self._socket = socket
        self._denies = _DENIAL in (scope.get("extensions") or {})
        self.winds_down: Callable[[], None] | None = None

    def upgrade(self, headers: bytes, subprotocol: str) -> AsgiSocket:
        self.responded = True
        self._socket.exchange = self
        accept = {"type": "websocket.accept", "subprotocol": subprotocol or None, "headers": _pairs(headers)}
        self._socket.put(accept)
        return self._socket

    def ends_by(self, winds_down: Callable[[], None] | None) -> None:
        self.winds_down = winds_down

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.responded = True
        if self._denies:
            lines = _pairs(headers + b"content-length: %d\r\n" % len(body))
            self._socket.put({"type": f"{_DENIAL}.start", "status": status, "headers": lines})
            self._socket.put({"type": f"{_DENIAL}.body", "body": body, "more_body": False})
            self._socket.end(SocketClosed(NORMAL))
        else:
            self._socket.close(1008, "refused")
            self._socket.end(SocketClosed(NORMAL))

    def abort(self) -> None:
        self._socket.close(FAILED)


async def serve_socket(gateway: Gateway, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one WebSocket of an ASGI server's."""
    await receive()  # websocket.connect
    socket = AsgiSocket(gateway.max_body)
    exchange = AsgiSocketExchange(scope, socket, gateway.clock())
    gateway.begin(exchange)
    read = asyncio.ensure_future(socket.read(receive))
    write = asyncio.ensure_future(socket.write(send))
    work = exchange.task = asyncio.ensure_future(serve(gateway, exchange))
    try:
        await asyncio.wait((work, write), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():  # the client is gone, or does not read
            socket.end(SocketClosed(ABNORMAL))
            await asyncio.wait((work,), timeout=GOODBYE)
        socket.close()
        await asyncio.wait((write,), timeout=GOODBYE)
    finally:
        for task in (read, write, work):
            task.cancel()
        await asyncio.gather(read, write, work, return_exceptions=True)
        exchange.task = socket.exchange = None


def _pairs(lines: bytes) -> list[tuple[bytes, bytes]]:
    pairs = [line.split(b": ", 1) for line in lines.split(b"\r\n") if line]
    return [(name, value) for name, value in pairs]
