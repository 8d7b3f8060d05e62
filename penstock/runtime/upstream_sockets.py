"""WebSockets to targets: one way to open them, with the target's own address, key, proxy and timeouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.runtime.http import in_task

if TYPE_CHECKING:
    from penstock.core.errors import GatewayError
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.http.sockets import SocketRefused
    from penstock.runtime.http.websocket import WebSocket

_OURS = frozenset((b"host", b"content-type", b"content-length", b"connection", b"upgrade", b"accept-encoding"))


async def open_upstream(
    attempt: Attempt, endpoint: Endpoint, url: str, headers: list[tuple[bytes, bytes]], subprotocols: tuple[str, ...]
) -> WebSocket:
    """Open a socket to the attempt's target. ``headers``: of the client's, for the target. Keeps the watch. Raises
    ``TransportError``, and ``SocketRefused`` for an answer that is no socket."""
    from penstock.runtime.http.sockets import Wanted

    await in_task()
    call, target = attempt.call, attempt.target
    means = call.means
    lines = endpoint.head.partition(b"\r\n")[2] + b"x-request-id: %b\r\n" % call.request_id
    if endpoint.signer is not None:
        attempt.signed = await endpoint.signer.lines(endpoint, "GET", b"")
        lines += attempt.signed
    pairs = [line.split(b": ", 1) for line in lines.split(b"\r\n") if line]
    own = [(name, value) for name, value in pairs if name.lower() not in _OURS]
    names = {name.lower() for name, _ in own}
    sent = own + [pair for pair in headers if pair[0] not in names]
    if means.trace is not None:
        means.trace.asks(attempt, endpoint, b"")
    attempt.start()
    try:
        return await means.pool.open_socket(url, sent, Wanted(attempt.timeouts(False), target.tls, subprotocols))
    finally:
        attempt.stop()


def refusal(attempt: Attempt, refused: SocketRefused) -> GatewayError:
    """Make the error of a handshake that the target answered with a status of its own."""
    return attempt.client.parse_error(refused.status, refused.headers, refused.body)
