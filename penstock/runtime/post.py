"""The one way in which a body reaches a target: endpoint, signature, request id, timeouts, the watch, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError, shed
from penstock.core.forwarding import forwarded
from penstock.runtime.answer import MAX_ANSWER, MAX_ERROR
from penstock.runtime.http import Disconnected, TransportError, in_task

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.http import Response
    from penstock.runtime.http.options import Timeouts


Reader = Callable[[int, Mapping[str, str], bytes], GatewayError]
"""Reads a refusal: status, headers (lower-case names), body; a dialect's ``parse_error``."""


async def post(
    attempt: Attempt,
    endpoint: Endpoint,
    body: bytes | AsyncIterable[bytes],
    reads: Reader,
    *,
    extra: bytes = b"",
    timeouts: Timeouts | None = None,
) -> Response:
    """Send a body to the attempt's target and return its good answer, unread: the caller closes it. A refusal is raised
    as ``reads`` says, what goes wrong on the way as ``TransportError``. ``extra``: more header lines. Starts the
    watch; whoever reads the answer stops it."""
    call, target = attempt.call, attempt.target
    lines = b"x-request-id: %b\r\n%b" % (call.request_id, extra)
    if endpoint.fallback_headers or target.stays or (call.surface is not None and call.surface.forward_names):
        lines += forwarded_headers(attempt, endpoint)
    if endpoint.signer is not None:
        await in_task()  # whatever it uses to fetch a token may want one
        signed = await endpoint.signer.lines(endpoint, "POST", body if isinstance(body, bytes) else b"")
        attempt.signed = signed
        lines += signed
    means = call.means
    if not attempt.since:  # ``attempt.start()``, where every request passes
        attempt.since = means.clock()
    if call.outlet.told is not None:
        lines += call.outlet.told.sends(attempt)
    timeouts = timeouts or attempt.timeouts(False)
    if means.trace is not None:
        means.trace.asks(attempt, endpoint, body)
    if isinstance(body, bytes):
        try:
            answer = await means.pool.ask(endpoint.origin, endpoint.head, body, timeouts, lines, target.tls)
        except Disconnected as error:
            if error.sent:
                raise
            shed(error)
            answer = await means.pool.send(endpoint.origin, endpoint.head, body, timeouts, lines, target.tls)
    else:
        answer = await means.pool.send(endpoint.origin, endpoint.head, body, timeouts, lines, target.tls)
    if call.outlet.told is not None:
        call.outlet.told.answered(attempt, answer.timings)
    if 200 <= answer.status < 300:
        return answer
    try:
        raise await refusal(answer, reads)
    finally:
        answer.close()


async def refusal(answer: Response, reads: Reader) -> GatewayError:
    """Read a non-2xx answer as an error. A body that breaks off is an error without a message, not another error."""
    try:
        body = await answer.read(MAX_ERROR)
    except TransportError as error:
        shed(error)
        body = b""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    return reads(answer.status, headers, body)


async def ask(
    attempt: Attempt, endpoint: Endpoint, body: bytes, reads: Reader, *, extra: bytes = b"", limit: int = MAX_ANSWER
) -> bytes:
    """Send a body and return the whole answer. Stops the watch."""
    answer = await post(attempt, endpoint, body, reads, extra=extra)
    try:
        return await answer.read(limit, attempt.call.room)
    finally:
        attempt.stop()
        answer.close()


def forwarded_headers(attempt: Attempt, endpoint: Endpoint) -> bytes:
    """Render the header lines that go upstream with a request: those of the client's that the config lets go on, those
    that the upstream must see (same-dialect lane), and the dialect's defaults."""
    call, stays = attempt.call, attempt.target.stays
    headers = call.exchange.headers
    passed = {}
    if stays is not None:
        passed = {name: _one_line(value) for name, value in forwarded(headers, stays, endpoint.head).items()}
    if attempt.lane == "same" and call.surface is not None:
        passed |= {name: _one_line(headers[name]) for name in call.surface.forward_names if name in headers}
    for name, value in endpoint.fallback_headers:
        passed.setdefault(name, value)
    return b"".join(b"%b: %b\r\n" % pair for pair in passed.items())


_BREAKS = (b"\r", b"\n", b"\0")


def _one_line(value: bytes) -> bytes:
    """Replace the line breaks in a header value by spaces. Doors refuse CR, LF and NUL in one; a server under the ASGI
    door may not."""
    for end in _BREAKS:
        value = value.replace(end, b" ")
    return value
