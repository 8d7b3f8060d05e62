"""Opening a WebSocket to an upstream: the connection, then the handshake."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, cast

from websockets.client import ClientProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from penstock.runtime.http.connect import Dial
from penstock.runtime.http.connection import INF
from penstock.runtime.http.errors import Disconnected, FirstByteTimeout, ProtocolError, ProxyError
from penstock.runtime.http.origin import Origin
from penstock.runtime.http.websocket import _QUIET, MAX_MESSAGE, WebSocket

if TYPE_CHECKING:
    from penstock.runtime.http.names import Names
    from penstock.runtime.http.options import Timeouts, Tls
    from penstock.runtime.http.proxies import Proxies
    from penstock.runtime.http.tls import Contexts


class Wanted(NamedTuple):
    """How a socket is opened. ``subprotocols``: those that the upstream may choose from."""

    timeouts: Timeouts
    tls: Tls | None = None
    subprotocols: tuple[str, ...] = ()
    max_message: int = MAX_MESSAGE


class SocketRefused(Exception):
    """The server answered the handshake with a status of its own, and not with a socket."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"the handshake was answered with status {status}")
        self.status, self.headers, self.body = status, headers, body


async def open_socket(
    url: str,
    headers: list[tuple[bytes, bytes]],
    wanted: Wanted,
    proxies: Proxies,
    tls: Tls,
    contexts: Contexts,
    names: Names,
) -> WebSocket:
    """Open a socket; see ``Pool.open_socket``."""
    origin = Origin.parse(url)
    proxy = proxies.for_origin(origin)
    if proxy is not None and origin.scheme == "http":
        message = f"a plain WebSocket cannot pass the proxy {proxy.host}:{proxy.port}; use https or NO_PROXY"
        raise ProxyError(message, phase="proxy", origin=origin)
    frames = ClientProtocol(
        parse_uri("ws" + url.removeprefix("http")),
        subprotocols=[Subprotocol(name) for name in wanted.subprotocols] or None,
        max_size=wanted.max_message,
        logger=_QUIET,
    )
    socket = WebSocket(asyncio.get_running_loop(), frames, origin)
    timeouts = wanted.timeouts
    total = INF if timeouts.total is None else monotonic() + timeouts.total
    await Dial(socket, proxy, wanted.tls or tls, contexts, names).run(timeouts.connect, total)
    try:
        socket.shake_hands(headers)
        try:
            async with asyncio.timeout(timeouts.first_byte):
                await socket.opened()
        except TimeoutError:
            text = f"no answer to the WebSocket handshake within {timeouts.first_byte:g} s"
            raise FirstByteTimeout(text, phase="first_byte", sent=True, origin=origin) from None
        if socket.failed:
            raise _refused(socket, origin)
    except BaseException:
        socket.abort()
        raise
    return socket


def _refused(socket: WebSocket, origin: Origin) -> Exception:
    answer = socket.answer
    if answer is None:
        if socket.closed is not None and socket.closed.code == 1006:
            return Disconnected("the upstream closed the connection", phase="first_byte", sent=True, origin=origin)
        return ProtocolError("no valid answer to the WebSocket handshake", phase="first_byte", sent=True, origin=origin)
    if answer.status_code == 101:
        return ProtocolError("a 101 that is no WebSocket's", phase="first_byte", sent=True, origin=origin)
    told = {name.lower(): value for name, value in answer.headers.raw_items()}
    return SocketRefused(answer.status_code, told, bytes(cast(bytes, answer.body or b"")))
