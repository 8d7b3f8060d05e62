"""A Realtime session: a client's WebSocket and an upstream's, and what passes between them.

One attempt, one record: the session is one model's, and its use is the sum of its responses'. Until the upstream has
accepted, another target can take its place; after that the session is this one's. Messages pass whole, so that the
model's name and the usage can be read; each side is held back while the other does not read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.core.ir import added
from penstock.core.mask import Mask
from penstock.core.ops.realtime import error_event, for_client, for_upstream
from penstock.runtime.bill import so_far
from penstock.runtime.upstream_sockets import open_upstream, refusal

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.exchange import ClientSocket
    from penstock.runtime.http.websocket import WebSocket

NAME = "realtime"
LONGEST = 3600.0  # seconds a session may last: OpenAI's own limit
IDLE = 1800.0  # seconds without a message from either side
PREFERRED = "realtime"
KEY_PREFIX = "openai-insecure-api-key."
_SAFE = ("realtime", "openai-beta.")  # beginnings of subprotocols that hold no secret
_NOT_SENT = frozenset(("model", "deployment", "api-version", "api-key", "key", "api_key"))
_SENT = (b"openai-beta", b"openai-safety-identifier")


async def read_query(call: Call) -> dict[str, Raw]:
    """Read a request for a session as fields: all that it says stands in the query. Azure's clients say
    ``deployment``."""
    asked = dict(parse_qsl(call.exchange.query.decode("latin-1")))
    model = asked.get("model") or asked.get("deployment") or ""
    if not model:
        text = "The model is missing in the URL: open /v1/realtime?model=NAME with one of GET /v1/models."
        raise GatewayError("bad_request", text, param="model")
    return {"model": Raw(msgspec.json.encode(model))}


def offered(call: Call) -> tuple[str, ...]:
    """Return the subprotocols that a client offers, without those that hold a key."""
    names = call.exchange.headers.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")
    return tuple(name.strip() for name in names if name.strip().startswith(_SAFE))


async def run(attempt: Attempt) -> None:
    """Make one try at a target: the handshake, then the whole session. Raises ``GatewayError`` and
    ``TransportError``."""
    from penstock.runtime.http.sockets import SocketRefused

    call, target = attempt.call, attempt.target
    if NAME not in target.provider.sockets:
        text = f"{target.label} has no Realtime WebSocket; models of OpenAI's, Azure's and xAI's may have one."
        raise GatewayError("unsupported", text, param="model", status=426)
    attempt.lane = "pass"
    names = offered(call)
    endpoint = target.endpoint(NAME)
    headers = [(name, call.exchange.headers[name]) for name in _SENT if name in call.exchange.headers]
    try:
        upstream = await open_upstream(attempt, endpoint, _url(attempt, endpoint.url), headers, names)
    except SocketRefused as refused:
        raise refusal(attempt, refused) from None
    try:
        attempt.binary = True  # a status can be told no more, and no event of a stream
        chosen = upstream.subprotocol or (PREFERRED if PREFERRED in names else "".join(names[:1]))
        await Session(attempt, call.outlet.upgrade(call, chosen), upstream).run()
    finally:
        upstream.abort()


def _url(attempt: Attempt, url: str) -> str:
    """Return the address with the model in the query, and what else the client says there."""
    asked = parse_qsl(attempt.call.exchange.query.decode("latin-1"))
    more = [(name, value) for name, value in asked if name.lower() not in _NOT_SENT]
    if "deployment=" not in url:
        more.insert(0, ("model", attempt.target.path_model or attempt.target.model))
    return f"{url}{'&' if '?' in url else '?'}{urlencode(more, quote_via=quote)}" if more else url


class Session:
    """The two sockets of one session. ``busy``: responses that have begun and are not over."""

    def __init__(self, attempt: Attempt, client: ClientSocket, upstream: WebSocket) -> None:
        self.attempt, self.client, self.server = attempt, client, upstream
        known = attempt.call.known.mask
        self._mask = known.also(Mask.of_lines(attempt.signed)) if attempt.signed else known
        self._loop = asyncio.get_running_loop()
        self._heard = self._loop.time()
        self._until = self._heard + LONGEST
        self._ending = False
        self.busy = 0

    async def run(self) -> None:
        """Relay until one side closes; raise "broken_stream" where the upstream did not close as it should."""
        from penstock.runtime.http.websocket import ABNORMAL, FAILED, GOING_AWAY, SocketClosed

        exchange = self.attempt.call.exchange
        exchange.ends_by(self.wind_down)
        tasks = [self._loop.create_task(step()) for step in (self._up, self._down, self._watch)]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done() and (error := task.exception()) is not None and not isinstance(error, SocketClosed):
                    raise error
            if self.client.closed is not None:
                told = self.client.closed
                self.server.close(told.code, told.reason)
                await self.server.ended()
                return
            if (gone := self.server.closed) is None:  # it was ended here, and neither side has answered yet
                await self.server.ended()
                return
            reason = self._mask.text(gone.reason)
            if gone.code != ABNORMAL and gone.code != FAILED:
                self.client.close(gone.code, reason)
                await self.client.ended()
                return
            text = f"The upstream closed the WebSocket with code {gone.code}{': ' + reason if reason else ''}."
            raise GatewayError("broken_stream", text)
        except asyncio.CancelledError:
            self._close_both(GOING_AWAY, "the gateway is shutting down")
            raise
        except GatewayError as error:
            self._tell(error)
            self.client.close(FAILED, "the upstream is gone")
            raise
        finally:
            exchange.ends_by(None)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._close_both(GOING_AWAY, "the session is over")

    async def _up(self) -> None:
        attempt = self.attempt
        asked, model = attempt.call.asked, attempt.target.model
        while True:
            message = await self.client.receive()
            self._heard = self._loop.time()
            if message.text:
                try:
                    message = message._replace(data=for_upstream(message.data, asked, model))
                except GatewayError as error:
                    self._tell(error)
                    continue
            await self.server.send(message)

    async def _down(self) -> None:
        attempt, bill = self.attempt, self.attempt.call.outlet.bill
        asked, model = attempt.call.asked, attempt.target.model
        while True:
            message = await self.server.receive()
            self._heard = self._loop.time()
            if message.text:
                told = for_client(message.data, asked, model)
                data = told.data if not told.kind else self._mask.data(told.data)
                message = message._replace(data=data)
                if told.kind == "response.created":
                    self.busy += 1
                elif told.kind == "response.done":
                    self.busy = max(self.busy - 1, 0)
                    if told.usage is not None:
                        attempt.usage = added(attempt.usage, told.usage)
            await self.client.send(message)
            if bill is not None and (waits := bill.go_on(so_far(attempt))) is not None:
                await waits
            if self._ending and not self.busy:
                self.wind_down()

    async def _watch(self) -> None:
        """End a session that is silent, or older than sessions get."""
        while True:
            now = self._loop.time()
            at = min(self._heard + IDLE, self._until)
            if now >= at:
                self._close_both(1001, "nothing was said for too long" if now < self._until else "sessions end here")
                return
            await asyncio.sleep(at - now)

    def wind_down(self) -> None:
        """End the session behind the responses that have begun."""
        self._ending = True
        if not self.busy:
            self._close_both(1001, "the gateway is shutting down")

    def _close_both(self, code: int, reason: str) -> None:
        self.client.close(code, reason)
        self.server.close(1000)

    def _tell(self, error: GatewayError) -> None:
        from penstock.runtime.http.websocket import Message, SocketClosed

        try:
            self.client.push(Message(error_event(error)))
        except SocketClosed:
            return
