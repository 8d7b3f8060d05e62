"""WebSockets of the mock: OpenAI's Realtime, and Responses one after the other.

Shapes: platform.openai.com/docs/api-reference/realtime-server-events and the guide to the WebSocket mode of Responses.
A message whose type begins with `mock.` tells the mock what to do: `mock.close` (`code`, `reason`), `mock.drop` (no
closing handshake), `mock.flood` (`count`, `size`: so many large messages), `mock.echo` (the message comes back)."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

import msgspec
from websockets.frames import CLOSE, CONT, TEXT, Frame
from websockets.protocol import OPEN, SERVER, Protocol
from websockets.utils import accept_key

from penstock.mock import openai_responses
from penstock.mock.openai_common import error_object
from penstock.mock.reply import Refused, encode

if TYPE_CHECKING:
    from penstock.mock.script import Step
    from penstock.mock.server import Mock, Received  # circle: a connection tells the server that made it what came

MAX_MESSAGE = 64 * 1024 * 1024


def wanted(received: Received) -> str:
    """Tell which socket a request asks for: "realtime", "responses", or "" for none, or none that is right."""
    if received.method != "GET" or (received.header("upgrade") or "").lower() != "websocket":
        return ""
    try:
        key = base64.b64decode(received.header("sec-websocket-key") or "", validate=True)
    except binascii.Error:
        key = b""
    name = received.path.rstrip("/").rpartition("/")[2]
    return name if len(key) == 16 and name in ("realtime", "responses") else ""


def accepted(received: Received) -> bytes:
    """Render the answer to a good handshake. The first subprotocol that is offered and holds no key is taken."""
    lines = ["HTTP/1.1 101 Switching Protocols", "upgrade: websocket", "connection: Upgrade"]
    lines.append("sec-websocket-accept: " + accept_key(received.header("sec-websocket-key") or ""))
    offered = [name.strip() for name in (received.header("sec-websocket-protocol") or "").split(",")]
    chosen = next((name for name in offered if name and "key" not in name), "")
    if chosen:
        lines.append(f"sec-websocket-protocol: {chosen}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class MockSocket(asyncio.Protocol):
    """One socket, from its 101 on. What it is sent stands in `received.messages`; `received.closed` is the client's
    code."""

    def __init__(self, mock: Mock, received: Received, step: Step, kind: str, transport: asyncio.Transport) -> None:
        self.mock, self.received, self.step, self.transport = mock, received, step, transport
        logger = logging.getLogger("penstock.mock")
        self.frames = Protocol(SERVER, max_size=MAX_MESSAGE, logger=logger)
        self.parts = bytearray()
        self.text = True
        self.number = 0
        self.talk: Callable[[dict[str, Any]], Iterator[Any]]
        if kind == "realtime":
            session = _Realtime(self)
            self.talk = session.events
            self.say(session.opened())
        else:
            self.talk = _Responses(self).events

    def data_received(self, data: bytes) -> None:
        self.frames.receive_data(data)
        for event in self.frames.events_received():
            frame = cast(Frame, event)
            if frame.opcode is CLOSE:
                told = self.frames.close_rcvd
                self.received.closed = told.code if told is not None else 1005
            elif frame.opcode <= 2:
                if frame.opcode is not CONT:
                    self.text = frame.opcode is TEXT
                self.parts += frame.data
                if frame.fin:
                    whole, self.parts = bytes(self.parts), bytearray()
                    self.take(whole)
        self.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.received.closed_early = self.received.closed is None
        self.received.complete = True
        self.mock.sockets.discard(self)

    def flush(self) -> None:
        for data in self.frames.data_to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()

    def say(self, event: Any) -> None:
        if self.frames.state is OPEN:
            self.frames.send_text(event if isinstance(event, bytes) else encode(event))
            self.received.sent_events += 1
            self.flush()

    def take(self, whole: bytes) -> None:
        self.number += 1
        if not self.text:  # what is no text comes back as it is
            self.frames.send_binary(whole)
            return
        try:
            message = msgspec.json.decode(whole)
        except msgspec.DecodeError:
            self.say({"type": "error", "error": {"type": "invalid_request_error", "message": "This is not JSON."}})
            return
        self.received.messages.append(message)
        kind = str(message.get("type"))
        if kind == "mock.close":
            self.frames.send_close(message.get("code", 1000), message.get("reason", ""))
        elif kind == "mock.drop":
            self.transport.abort()
        elif kind == "mock.flood":
            for _ in range(message["count"]):
                self.say({"type": "mock.flood", "pad": "x" * message["size"]})
        elif kind == "mock.echo":
            self.say(whole)
        else:
            for event in self.talk(dict(message)):
                self.say(event)


class _Realtime:
    """A Realtime session without a voice: it answers in text, and hears audio as nothing but its length."""

    def __init__(self, socket: MockSocket) -> None:
        self.socket = socket
        query = parse_qs(socket.received.query)
        self.model = (query.get("model") or query.get("deployment") or ["?"])[0]
        self.session: dict[str, Any] = {
            "type": "realtime", "object": "realtime.session", "id": "sess_mock", "model": self.model,
            "output_modalities": ["text"],
        }  # fmt: skip

    def opened(self) -> dict[str, Any]:
        return {"type": "session.created", "event_id": "event_0", "session": self.session}

    def events(self, message: dict[str, Any]) -> Iterator[Any]:
        kind = message.get("type")
        if kind == "session.update":
            named = message["session"].get("model", self.model)
            if named != self.model:
                yield _error(f"The session's model is {self.model!r} and cannot become {named!r}.")
                return
            self.session |= message["session"]
            yield {"type": "session.updated", "event_id": "event_1", "session": self.session}
        elif kind == "conversation.item.create":
            item = {"id": f"item_{self.socket.number}", "object": "realtime.item", **message["item"]}
            yield {"type": "conversation.item.added", "previous_item_id": None, "item": item}
        elif kind == "input_audio_buffer.append":
            return
        elif kind == "input_audio_buffer.commit":
            yield {"type": "input_audio_buffer.committed", "item_id": f"item_{self.socket.number}"}
        elif kind == "response.create":
            yield from self._respond()
        else:
            yield _error(f"Unknown event type {kind!r}. (mock)")

    def _respond(self) -> Iterator[Any]:
        step = self.socket.step
        text = step.text if step.text is not None else "Hello from the mock."
        told: dict[str, Any] = {"object": "realtime.response", "id": f"resp_{self.socket.number}", "output": []}
        yield {"type": "response.created", "response": {**told, "status": "in_progress", "usage": None}}
        if step.error is not None:
            said = step.error if isinstance(step.error, str) else step.error.get("message", "")
            yield _error(said)
            failed = {"type": "failed", "error": {"type": "server_error", "message": said}}
            yield {"type": "response.done", "response": {**told, "status": "failed", "status_details": failed}}
            return
        for word in text.split(" "):
            yield {"type": "response.output_text.delta", "response_id": told["id"], "delta": word + " "}
        part = {"type": "output_text", "text": text}
        item = {"id": "item_a", "object": "realtime.item", "type": "message", "role": "assistant", "content": [part]}
        usage = {
            "total_tokens": 30, "input_tokens": 20, "output_tokens": 10,
            "input_token_details": {
                "text_tokens": 12, "audio_tokens": 8, "cached_tokens": 5,
                "cached_tokens_details": {"text_tokens": 3, "audio_tokens": 2},
            },
            "output_token_details": {"text_tokens": 6, "audio_tokens": 4},
        }  # fmt: skip
        yield {"type": "response.done", "response": {**told, "status": "completed", "output": [item], "usage": usage}}


class _Responses:
    """Responses on one socket. It knows the response before by its id, stored or not."""

    def __init__(self, socket: MockSocket) -> None:
        self.socket = socket
        self.last = ""
        self.items: list[Any] = []

    def events(self, message: dict[str, Any]) -> Iterator[Any]:
        try:
            if message.pop("type", None) != "response.create":
                raise Refused(400, "The type must be response.create.", "invalid_request_error")
            for name in ("stream", "background"):
                if name in message:
                    raise Refused(400, f"'{name}' is not for this transport.", "invalid_request_error")
            yield from self._respond(message)
        except Refused as refused:
            yield {"type": "error", "status": refused.status, "error": error_object(refused)}

    def _respond(self, body: dict[str, Any]) -> Iterator[Any]:
        given = body.get("input") or []
        given = [{"role": "user", "content": given}] if isinstance(given, str) else list(given)
        previous = body.get("previous_response_id")
        if previous and previous == self.last:
            del body["previous_response_id"]
            body["input"] = given = [*self.items, *given]
        elif previous and previous not in self.socket.mock.memory.responses:
            raise Refused(400, f"Previous response with id '{previous}' not found.", "invalid_request_error",
                          "previous_response_not_found", "previous_response_id")  # fmt: skip
        exchange = self.socket.mock.exchange(self.socket.received, self.socket.step)
        exchange.number = exchange.number * 1000 + self.socket.number
        exchange.raw = encode({**body, "stream": True})
        reply = openai_responses.reply(exchange)
        for frame in reply.frames or ():
            if frame.data.get("type") == "response.completed":
                response = frame.data["response"]
                self.last, self.items = response["id"], [*given, *response["output"]]
            yield frame.data


def _error(message: str) -> dict[str, Any]:
    return {
        "type": "error",
        "event_id": "event_e",
        "error": {"type": "invalid_request_error", "code": None, "message": message, "param": None},
    }
