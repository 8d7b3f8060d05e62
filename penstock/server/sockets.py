"""What there is for clients that open a WebSocket: Realtime sessions, and Responses one after the other.

The gate judges who asks before anything is opened, by the same head as any request's. Browsers cannot set headers on a
socket, so theirs stands in a subprotocol (platform.openai.com/docs/guides/realtime-websocket).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.runtime import realtime
from penstock.runtime.chats import CHAT
from penstock.runtime.gate import Rule
from penstock.server import mounts
from penstock.server.gateway import Visit
from penstock.server.paths import tidied
from penstock.server.responses_socket import hold

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

    from penstock.runtime.call import Call
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface
    from penstock.server.gateway import Gateway

_KEYS = (b"authorization", b"x-litellm-api-key", b"api-key", b"x-api-key", b"x-goog-api-key")


def _anything(fields: Mapping[str, Raw]) -> None:
    return None


_REALTIME = CHAT._replace(
    attempt=realtime.run,
    check=_anything,
    read=realtime.read_query,
    forced_by="",
    json=False,
    methods=("GET",),
    no_pages=True,
)
_RESPONSES = Visit(Rule(("GET",), works=True, no_pages=True), hold, recorded=False)
# The paths of Azure's clients, too: of the dated interface, and of the one without a date.
SOCKETS: dict[str, Surface | Visit] = {
    "/v1/realtime": _REALTIME,
    "/realtime": _REALTIME,
    "/openai/realtime": _REALTIME,
    "/openai/v1/realtime": _REALTIME,
    "/v1/responses": _RESPONSES,
    "/responses": _RESPONSES,
    "/openai/v1/responses": _RESPONSES,
}


async def serve(gateway: Gateway, exchange: Exchange) -> None:
    """Answer a request for a WebSocket, and stay with it to its end."""
    try:
        await gateway.serve(exchange, find)
    finally:
        gateway.end(exchange)
        exchange.task = None  # a cancelled one keeps its error, and that the frames that hold the exchange


def find(call: Call, state: State) -> Surface | Visit:
    """Find what a WebSocket is opened for. Raises "upgrade": a client that can falls back to HTTP then."""
    _lift_key(call.exchange)
    path = call.path = tidied(call.path)
    found = SOCKETS.get(path)
    if found is None and (mount := mounts.mount_at(path, call.exchange.query)) is not None:
        mount.turn(call)
        found = SOCKETS.get(call.path)
    if found is None:
        text = "There is no WebSocket at this path; there are /v1/responses and /v1/realtime. Use plain HTTP."
        raise GatewayError("upgrade", text)
    return found


def _lift_key(exchange: Exchange) -> None:
    """Put a key that stands in a subprotocol where the gate looks for one, unless a header has one."""
    headers = exchange.headers
    given = headers.get(b"sec-websocket-protocol")
    if given is None or any(name in headers for name in _KEYS):
        return
    for name in given.split(b","):
        prefix, found, key = name.strip().partition(realtime.KEY_PREFIX.encode())
        if found and not prefix and key:
            exchange.headers = {**headers, b"authorization": b"Bearer " + key}
            return
