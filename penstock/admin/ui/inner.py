"""What a page asks: the management URLs and the models, inside this process, as whoever is signed in.

Nothing here decides what somebody may do: the routes that are asked do, with the caller of the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import msgspec

from penstock.core.errors import GatewayError
from penstock.runtime.exchange import CollectedExchange, Exchange
from penstock.runtime.route import JSON

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.exchange import Source

_NEVER_ON = (b"cookie", b"authorization", b"x-page-token", b"content-length", b"transfer-encoding", b"accept-encoding")
_OF_BROWSER = (b"origin", b"referer", b"hx-")


class Told(msgspec.Struct, frozen=True):
    """What a URL answered. ``said``: its JSON; of what is none, its text."""

    status: int
    said: Any

    @property
    def good(self) -> bool:
        return self.status < 400

    @property
    def error(self) -> str:
        """Return what went wrong, as a sentence; "" where nothing did."""
        if self.good:
            return ""
        if isinstance(self.said, dict):
            error = self.said.get("error", self.said.get("detail", self.said))
            return str(error.get("message", error) if isinstance(error, dict) else error)
        return str(self.said)


async def ask(gateway: Any, call: Call, method: str, path: str, body: Any = None, **query: Any) -> Told:
    """Ask a URL of the gateway's own as the caller of a page. ``body``: sent as JSON; ``query``: what is None or "" is
    left out, of a list each value is sent."""
    pairs = [(name, one) for name, value in query.items() if value not in (None, "")
             for one in (value if isinstance(value, list | tuple) else (value,))]  # fmt: skip
    data = b"" if body is None else msgspec.json.encode(body)
    headers = {b"content-type": JSON, **_kept(call)} if data else _kept(call)
    inner = CollectedExchange(
        method, path, headers, data, query=urlencode(pairs).encode(), client=call.exchange.client,
        started=gateway.clock(),
    )  # fmt: skip
    inner.task = call.exchange.task
    await gateway.serve_as(inner, call.caller)
    try:
        said = msgspec.json.decode(inner.answer) if inner.answer else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = inner.answer.decode("utf-8", "replace")
    return Told(inner.status, said)


async def need(gateway: Any, call: Call, method: str, path: str, body: Any = None, **query: Any) -> Any:
    """Ask a URL that a page cannot do without; return what it said. Raises what it refused with, as an error that the
    page shows."""
    told = await ask(gateway, call, method, path, body, **query)
    if not told.good:
        kind = {403: "forbidden", 404: "no_object", 503: "no_database"}.get(told.status, "bad_request")
        raise GatewayError(kind, told.error, status=told.status)
    return told.said


def _kept(call: Call) -> dict[bytes, bytes]:
    agent = call.exchange.headers.get(b"user-agent")
    return {b"user-agent": agent} if agent else {}


class PassingExchange(Exchange):
    """An exchange whose answer goes out on another one: what a page's script asks for, piece by piece."""

    __slots__ = ("outer",)

    def __init__(self, outer: Exchange, path: str, started: float) -> None:
        kept = {
            name: value
            for name, value in outer.headers.items()
            if name not in _NEVER_ON and not name.startswith(_OF_BROWSER)
        }
        super().__init__(outer.method, path, kept, outer.body, query=outer.query, client=outer.client, started=started)
        self.outer = outer
        self.task = outer.task

    def whole(self, status: int, headers: bytes, body: bytes) -> None:
        self.responded = True
        self.bytes_out += len(body)
        self.outer.whole(status, headers, body)

    def start(self, status: int, headers: bytes, framing: bytes | None = None) -> None:
        self.responded = True
        self.outer.start(status, headers, framing)

    def write(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self.outer.write(data)

    def finish(self) -> None:
        self.outer.finish()

    def abort(self) -> None:
        self.outer.abort()

    def feed_from(self, source: Source | None) -> None:
        self.outer.feed_from(source)


class Forwarded:
    """An answer of a URL that a page's script asked for: the URL itself answers."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway

    async def send(self, call: Call) -> None:
        """Send what the URL answers that stands in the path."""
        inner = PassingExchange(call.exchange, "/" + call.params["path"], self._gateway.clock())
        await self._gateway.serve_as(inner, call.caller)
