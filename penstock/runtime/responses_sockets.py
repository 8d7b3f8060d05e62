"""One response of a client's WebSocket: over the target's own socket where it has one, else over HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects import EDITORS
from penstock.core.dialects.openai_responses.socket import create_message
from penstock.core.dialects.openai_responses.stored import (
    expand_previous,
    input_items,
    keeps,
    output_items,
    previous_id,
)
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.runtime import lanes, stored_responses
from penstock.runtime.http.sockets import SocketRefused
from penstock.runtime.http.websocket import Message, SocketClosed, WebSocket
from penstock.runtime.same import same_request
from penstock.runtime.upstream_sockets import open_upstream, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from penstock.runtime.attempt import Attempt
    from penstock.runtime.exchange import ClientSocket
    from penstock.runtime.held import Held, Holder

NAME = stored_responses.NAME
_FIELDS = msgspec.json.Decoder(dict[str, Raw]).decode
_LAST = (b"response.completed", b"response.incomplete")
_OVER = (*_LAST, b"response.failed", b"error")
_REAL = (401, 402, 429)  # statuses of a server that has the socket and refuses this one


class Turns:
    """What one client's socket remembers. ``last``: id of the response before; ``items``: all that it was made of and
    says, unless there is no room for it (``held``, on the account of ``holder``: the client's exchange). ``server``:
    the socket to ``owner``, which made ``on_upstream`` last."""

    def __init__(self, room: int, held: Held, holder: Holder) -> None:
        self.last = ""
        self.items: list[Raw] = []
        self.server: WebSocket | None = None
        self.owner = ""
        self.on_upstream = ""
        self.lacking: set[str] = set()  # targets that turned out to have no socket
        self._room, self._held, self._holder = room, held, holder
        self._size = 0
        self._asked: list[Raw] = []

    def warms(self, fields: Mapping[str, Raw]) -> bool:
        """Tell whether a request is not to be answered, only kept."""
        return bytes(fields.get("generate", b"")) == b"false"

    def warm(self, fields: Mapping[str, Raw], mint: Callable[[str], str]) -> str:
        """Keep a request for the next one to go on from; return the id by which that names it."""
        self.begin(self.before(fields) or [], fields)
        self._keep(mint("resp_"), self._asked)
        return self.last

    def before(self, fields: Mapping[str, Raw]) -> list[Raw] | None:
        """Return the items that a request goes on from, where they are those of the response before; else None."""
        previous = previous_id(fields)
        return self.items if previous and previous == self.last else None

    def begin(self, before: list[Raw], fields: Mapping[str, Raw]) -> None:
        """Note what the response that begins is made of."""
        self._asked = [*before, *input_items(fields)]

    def see(self, data: bytes) -> None:
        """Look at an event on its way to the client: the last one of a response has all of it."""
        if not any(name in data[:300] for name in _LAST):
            return
        try:
            response = bytes(_FIELDS(data)["response"])
            response_id = msgspec.json.decode(_FIELDS(response)["id"], type=str)
            self._keep(response_id, [*self._asked, *output_items(response)])
        except (KeyError, GatewayError, *BAD_JSON):
            return  # an answer without a name cannot be gone on from

    def _keep(self, response_id: str, items: list[Raw]) -> None:
        size = sum(len(memoryview(item)) for item in items)
        self._held.size -= self._size
        self._holder.held -= self._size
        fits = size <= self._room and self._held.fits(self._holder, size)
        self._size = size if fits else 0
        self.last, self.items = (response_id, items) if fits else ("", [])
        self._asked = []

    def drop(self) -> None:
        """Cut the upstream's socket: what it still sends would be taken for another response's."""
        if self.server is not None:
            self.server.abort()
        self.server, self.owner, self.on_upstream = None, "", ""

    def close(self) -> None:
        """End the upstream's socket with its client's."""
        if self.server is not None:
            self.server.close()
        self.server = None


async def run(attempt: Attempt) -> None:
    """Make one try. Raises ``GatewayError`` or ``TransportError``."""
    exchange = attempt.call.exchange
    turns: Turns = exchange.turns  # type: ignore[attr-defined]
    asked = attempt.fields
    before = turns.before(asked)
    turns.begin(before or [], asked)
    if _may_have_socket(attempt, turns) and await _over_socket(attempt, turns, before):
        return
    if before is not None:
        attempt.send_fields(expand_previous(asked, before))
        attempt.previous = previous_id(asked)
    await stored_responses.run(attempt)


def _may_have_socket(attempt: Attempt, turns: Turns) -> bool:
    target = attempt.target
    known = NAME in target.provider.sockets and target.live_id not in turns.lacking
    known = known and not attempt.goes_on  # which is the lanes' to do
    return known and target.attempt is None and lanes.passes_as_responses(attempt)


async def _over_socket(attempt: Attempt, turns: Turns, before: list[Raw] | None) -> bool:
    """Answer over a socket of the target's; False where it turns out that it has none."""
    asked = attempt.fields
    stored_responses.refuse_state(attempt)
    if not await _connect(attempt, turns):
        turns.lacking.add(attempt.target.live_id)
        return False
    kept = before
    if before is None:
        kept = await stored_responses.go_on(attempt)
    elif turns.on_upstream != turns.last:
        attempt.send_fields(expand_previous(asked, before))
    attempt.lane = "same"
    body = same_request(attempt, attempt.fields, attempt.target.endpoint(NAME).quirks, NAME)
    done = False
    try:
        await _relay(attempt, turns, create_message(body))
        done = True
    finally:
        attempt.usage = attempt.usage_seen()
        if not done:
            turns.drop()
    turns.on_upstream = turns.last
    attempt.call.outlet.finish()
    if keeps(asked):
        await stored_responses.keep(attempt, asked, kept or [])
    return True


async def _connect(attempt: Attempt, turns: Turns) -> bool:
    """Make sure that the socket to the target stands; False where it has none."""
    target = attempt.target
    if turns.server is not None and (turns.owner != target.live_id or turns.server.closed is not None):
        turns.close()
    if turns.server is not None:
        return True
    endpoint = target.endpoint(NAME)
    headers = attempt.call.exchange.headers
    passed = [(name, headers[name]) for name in (b"openai-beta",) if name in headers]
    try:
        turns.server = await open_upstream(attempt, endpoint, endpoint.url, passed, ())
    except SocketRefused as refused:
        if refused.status in _REAL or (refused.status >= 500 and refused.status != 501):
            raise refusal(attempt, refused) from None
        return False
    turns.owner, turns.on_upstream = target.live_id, ""
    return True


async def _relay(attempt: Attempt, turns: Turns, message: bytes) -> None:
    """Send a request over the socket, and its events to the client until the last one."""
    call, upstream = attempt.call, turns.server
    assert upstream is not None
    client: ClientSocket = call.exchange.client_socket  # type: ignore[attr-defined]
    stream = EDITORS[NAME].Stream(call.model_raw, True)
    attempt.translator = stream
    timeouts = attempt.timeouts(True)
    attempt.start()
    try:
        await upstream.send(Message(message))
        while True:
            wait = timeouts.stall if stream.started else timeouts.first_byte
            async with asyncio.timeout(wait):
                data = (await upstream.receive()).data
            kind = _kind(attempt, data, stream.started)
            if out := stream.feed(sse.Event(kind, data)):
                call.outlet.stream(attempt, out, stream.started)
            if kind in _OVER:
                break
            await client.room()
    except TimeoutError:
        raise GatewayError("timeout", f"The upstream said nothing for {wait:g} s.") from None
    except SocketClosed as closed:
        kind_of_error = "broken_stream" if stream.started else "broken_answer"
        raise GatewayError(kind_of_error, f"The upstream closed the WebSocket ({closed}).") from None
    stream.close()


def _kind(attempt: Attempt, data: bytes, started: bool) -> bytes:
    """Return an event's type. Raises what an error with a status of its own says, as over HTTP."""
    try:
        fields = _FIELDS(data)
    except BAD_JSON:
        return b""
    kind = bytes(fields.get("type", b"")).strip(b'"')
    if kind == b"error" and not started:
        status = bytes(fields.get("status", fields.get("status_code", b"")))
        if status.isdigit() and len(status) == 3:
            raise attempt.client.parse_error(int(status), {}, data)
    return kind
