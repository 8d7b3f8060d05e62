"""Responses over a WebSocket, as OpenAI's clients and Codex speak it: one ``response.create`` after the other.

Each is a request of its own, through the gate and the engine: its own model, fallbacks, record and cost. A target that
has the same socket is asked over one, which stays open for the next (``runtime/responses_sockets.py``); any other over
HTTP, in whatever it speaks. What a response was made of is kept on the connection until the next one, so that
``previous_response_id`` works with ``store: false`` and any target. Sources:
https://developers.openai.com/api/docs/guides/websocket-mode, codex-rs/codex-api (its error events).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from penstock.core import sse
from penstock.core.dialects.openai_responses.socket import (
    create_fields,
    error_event,
    http_error_event,
    warm_events,
)
from penstock.core.errors import GatewayError, shed
from penstock.runtime.chats import RESPONSES
from penstock.runtime.exchange import Exchange
from penstock.runtime.http.websocket import FAILED, GOING_AWAY, Message, SocketClosed
from penstock.runtime.ids import mint
from penstock.runtime.responses_sockets import Turns, run

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.exchange import ClientSocket, Source
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface
    from penstock.server.gateway import Gateway

IDLE = 1800.0  # seconds between two responses
_SURFACE = RESPONSES._replace(attempt=run)
_HANDSHAKE = (b"connection", b"upgrade", b"content-length", b"content-type", b"content-encoding", b"expect")


class EventExchange(Exchange):
    """One ``response.create``: what is a stream's event is a message here, and a refusal is an ``error`` event."""

    __slots__ = ("_decoder", "_source", "client_socket", "turns")

    def __init__(self, outer: Exchange, client_socket: ClientSocket, turns: Turns, body: bytes, started: float) -> None:
        headers = {
            name: value
            for name, value in outer.headers.items()
            if name not in _HANDSHAKE and not name.startswith(b"sec-websocket-")
        }
        super().__init__("POST", outer.path, headers, body, client=outer.client, started=started)
        self.client_socket, self.turns = client_socket, turns
        self._decoder = sse.Decoder()

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.responded = True
        self._say(http_error_event(status, headers, body))

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        self.responded = True

    def write(self, data: bytes) -> None:
        for event in self._decoder.feed(data):
            self._say(event.data)

    def finish(self) -> None:
        for event in self._decoder.close():
            self._say(event.data)

    def abort(self) -> None:
        self.client_socket.close(FAILED)

    def feed_from(self, source: Source | None) -> None:
        self.client_socket.feed_from(source)

    def _say(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.turns.see(data)
        try:
            self.client_socket.push(Message(data))
        except SocketClosed:
            return  # the work on it ends as soon as that is seen


async def hold(gateway: Gateway, call: Call) -> None:
    """Answer what a client asks for on its socket, until it leaves."""
    exchange = call.exchange
    client = call.outlet.upgrade(call)
    limit = gateway.state.config.general.values.get("responses_websocket_session_limit_seconds") or 3600.0
    session = _Session(gateway, exchange, client, float(limit))
    exchange.ends_by(session.wind_down)
    try:
        await session.run()
    except SocketClosed as closed:
        shed(closed)
    finally:
        exchange.ends_by(None)
        session.turns.close()
        client.close(GOING_AWAY, "the gateway ends this connection")


class _Session:
    """One socket. ``turns``: what the next response may go on from. ``running``: the response that is under way."""

    def __init__(self, gateway: Gateway, exchange: Exchange, client: ClientSocket, limit: float) -> None:
        self.gateway, self.exchange, self.client = gateway, exchange, client
        self.turns = Turns(gateway.max_body, gateway.held, exchange)
        self.running: EventExchange | None = None
        self._loop = asyncio.get_running_loop()
        self._until = self._loop.time() + limit
        self._ending = False

    async def run(self) -> None:
        """Take one request after the other. Raises ``SocketClosed`` when the client has left."""
        while not self._ending:
            try:
                async with asyncio.timeout(min(IDLE, max(self._until - self._loop.time(), 0.0))):
                    message = await self.client.receive()
            except TimeoutError:
                self._limit_reached()
                return
            try:
                await self._take(message)
            except GatewayError as error:
                shed(error)
                await self.client.send(Message(error_event(error)))
            if self._loop.time() >= self._until:
                self._limit_reached()
                return

    def _limit_reached(self) -> None:
        text = "This WebSocket connection was open, or silent, for as long as one may be. Open another to go on."
        error = GatewayError("request_timeout", text, status=400, upstream_code="websocket_connection_limit_reached")
        self.client.push(Message(error_event(error)))

    async def _take(self, message: Message) -> None:
        fields = create_fields(message.data)
        if fields is None:
            return
        if self.turns.warms(fields):
            for data in warm_events(fields, self.turns.warm(fields, mint), mint):
                await self.client.send(Message(data))
            return
        await self.client.room()
        await self._respond(msgspec.json.encode(fields))

    async def _respond(self, body: bytes) -> None:
        """Run one response to its end; the client's leaving ends it."""
        gateway = self.gateway
        inner = self.running = EventExchange(self.exchange, self.client, self.turns, body, gateway.clock())
        gateway.begin(inner)
        inner.task = task = self._loop.create_task(gateway.serve(inner, _find))
        left = self._loop.create_task(self.client.ended())
        try:
            await asyncio.wait((task, left), return_when=asyncio.FIRST_COMPLETED)
        finally:
            inner.gone = not task.done()
            for each in (task, left):
                if not each.done():
                    each.cancel()
            await asyncio.gather(task, left, return_exceptions=True)
            gateway.end(inner)
            inner.task = self.running = None

    def wind_down(self) -> None:
        """End the connection behind the response that is under way."""
        self._ending = True
        if self.running is None:
            self.client.close(GOING_AWAY, "the gateway is shutting down")


def _find(call: Call, state: State) -> Surface:
    call.path = "/v1/responses"
    return _SURFACE
