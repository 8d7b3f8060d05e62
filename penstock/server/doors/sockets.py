"""WebSockets at the quick door: a request that asks for one keeps its connection to itself from then on.

It is answered as any other until it is let in: a refusal is plain HTTP. Then the transport gets another protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from websockets.protocol import SERVER
from websockets.protocol import Protocol as Frames
from websockets.utils import accept_key

from penstock.core.errors import GatewayError
from penstock.runtime.http.websocket import _QUIET, FAILED, WebSocket
from penstock.server.doors.coming import hung_up

# circle: what is said here is an exchange of the quick door, which finds out that a socket is asked for
from penstock.server.doors.quick import QuickExchange
from penstock.server.doors.upgrade import handshake_error
from penstock.server.sockets import serve

if TYPE_CHECKING:
    from collections.abc import Callable

    from penstock.runtime.exchange import ClientSocket
    from penstock.runtime.http.websocket import Message
    from penstock.server.doors.quick import QuickProtocol

_SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"


class DoorSocket(WebSocket):
    """A client's end, counted among the door's connections."""

    def __init__(self, proto: QuickProtocol, exchange: SocketExchange) -> None:
        frames = Frames(SERVER, max_size=proto.gateway.max_body, logger=_QUIET)
        super().__init__(proto.loop, frames)
        self._exchange: SocketExchange | None = exchange
        self._connections = cast("set[object]", proto.connections)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._exchange = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Do nothing: the gateway winds its sockets down."""

    def push(self, message: Message) -> None:
        super().push(message)
        if self._exchange is not None:
            self._exchange.bytes_out += len(message.data)


class SocketExchange(QuickExchange):
    """A request for a WebSocket. What comes before its answer waits in the kernel."""

    __slots__ = ("rest", "socket", "winds_down")
    cut_short = True  # the connection is not used again

    def __init__(self, proto: QuickProtocol, head: QuickExchange, rest: bytes) -> None:
        super().__init__(proto)
        self.method, self.path, self.query, self.headers = head.method, head.path, head.query, head.headers
        self.client, self.chunked, self.keep_alive, self.url = head.client, head.chunked, False, head.url
        self.body = b""
        self.rest = rest
        self.socket: DoorSocket | None = None
        self.winds_down: Callable[[], None] | None = None

    def upgrade(self, headers: bytes, subprotocol: str) -> ClientSocket:
        proto = self.proto
        accept = accept_key(self.headers[b"sec-websocket-key"].decode("latin-1")).encode()
        chosen = b"sec-websocket-protocol: %b\r\n" % subprotocol.encode("latin-1") if subprotocol else b""
        transport = proto.transport
        transport.write(b"%bsec-websocket-accept: %b\r\n%b%b\r\n" % (_SWITCHED, accept, chosen, headers))
        self.responded = True
        socket = self.socket = DoorSocket(proto, self)
        proto.connections.discard(proto)
        proto.closing = True
        proto.active = proto.exchange = proto.opening = None
        proto.parser = None  # type: ignore[assignment]
        socket.connection_made(transport)
        transport.set_protocol(socket)
        transport.resume_reading()
        if self.rest:
            socket.data_received(self.rest)
            self.rest = b""
        return socket

    def ends_by(self, winds_down: Callable[[], None] | None) -> None:
        self.winds_down = winds_down

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.proto.opening = None
        self.proto.transport.resume_reading()
        super().whole(status, headers, body)

    def abort(self) -> None:
        if self.socket is None:
            super().abort()
        else:
            self.socket.close(FAILED)

    def check(self, now: float) -> None:
        if self.socket is None and not self.proto.transport.is_closing() and hung_up(self.proto.transport):
            self.proto.transport.abort()


def take_over(proto: QuickProtocol, rest: bytes) -> None:
    """Go on with what a connection is to be upgraded to. ``rest``: bytes behind the request."""
    head, proto.opening = proto.opening, None
    if proto.closing:
        return
    if head is None:  # CONNECT
        proto._refuse(GatewayError("upgrade", "This server does not upgrade connections. Use plain HTTP."))
        return
    error = handshake_error(head.method, head.headers)
    if not head.chunked:
        error = GatewayError("upgrade", "A WebSocket is asked for in HTTP/1.1.")
    if proto.active is not None:
        error = GatewayError("upgrade", "A WebSocket is opened on a connection of its own.")
    if error is not None:
        proto.exchange = head
        proto._refuse(error)
        return
    exchange = SocketExchange(proto, head, rest)
    proto.active = exchange
    proto.deadline = 0.0
    proto.transport.pause_reading()
    gateway = proto.gateway
    exchange.started = gateway.clock()
    gateway.begin(exchange)
    exchange.task = proto.loop.create_task(serve(gateway, exchange))
