"""The way out of one call: the answer's head lines, and a stream that begins with its first byte and not before."""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.price import plain
from penstock.runtime.prices import part_lines, settle

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.endpoint import Endpoint

_BREAKS = re.compile(rb"[\r\n\0]")
_JSON = b"content-type: application/json\r\n"
_STREAM = b"content-type: %b\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n%b"


def safe(text: str) -> bytes:
    """A header value out of client or config text: control characters and non-ASCII become "?"."""
    return (
        text.encode("ascii", "replace")
        if text.isprintable()
        else bytes(c if 31 < c < 127 else 63 for c in text.encode())
    )


_safe_name = lru_cache(1024)(safe)  # group names; never a client's own ids, which may be long and are all different


@lru_cache(1024)
def _plain_routing(group: str, lane: str) -> bytes:
    """What nearly every answer says: the group asked for, at the first try."""
    shown = b"x-penstock-lane: %b\r\n" % lane.encode() if lane else b""
    return b"x-litellm-model-group: %b\r\nx-litellm-attempted-retries: 0\r\n%b" % (_safe_name(group), shown)


def lines(call: Call) -> bytes:
    """The header lines that every answer of a call carries."""
    now = call.clock()
    target = call.target
    overhead = (now - call.exchange.started - call.upstream) * 1000
    return b"%bx-litellm-call-id: %b\r\nx-request-id: %b\r\nx-penstock-overhead-ms: %.3f\r\n%b" % (
        target.answer_lines if target is not None else b"",
        call.call_id.encode(),
        call.request_id,
        overhead,
        _routing(call),
    )


def _routing(call: Call) -> bytes:
    if call.tries == 1 and call.group == call.model and not call.losses and not call.notes:
        return _plain_routing(call.group, call.lane)
    text = b""
    if call.group:
        text = b"x-litellm-model-group: %b\r\nx-litellm-attempted-retries: %d\r\n" % (
            _safe_name(call.group),
            max(call.tries - 1, 0),
        )
        if call.group != call.model:
            text += b"x-litellm-attempted-fallbacks: 1\r\n"
    if call.lane:
        text += b"x-penstock-lane: %b\r\n" % call.lane.encode()
    if call.losses:
        text += b"x-penstock-dropped: %b\r\n" % safe(",".join(dict.fromkeys(loss.path for loss in call.losses)))[:4096]
    return text + call.notes


def passed_on(call: Call, endpoint: Endpoint) -> bytes:
    """Header lines of the client's that the upstream must see (same-dialect lane), and the dialect's defaults."""
    headers = call.exchange.headers
    passed = {}
    if call.lane == "same":
        passed = {name: _one_line(headers[name]) for name in call.surface.forward_names if name in headers}
    for name, value in endpoint.fallback_headers:
        passed.setdefault(name, value)
    return b"".join(b"%b: %b\r\n" % pair for pair in passed.items())


def _one_line(value: bytes) -> bytes:
    """A header value as it came. Doors refuse CR, LF and NUL in one; a server under the ASGI door may not."""
    return value if not _BREAKS.search(value) else _BREAKS.sub(b" ", value)


def send_whole(call: Call, body: bytes, content_type: bytes = b"") -> None:
    """A whole answer, with its cost where that is known; ``call.usage`` is set by now."""
    call.tail = body
    head = (b"content-type: %b\r\n" % content_type if content_type else _JSON) + lines(call)
    cost = settle(call)
    if cost is not None:
        head += b"x-litellm-response-cost: %b\r\n" % plain(cost).encode()
        if call.target is not None and call.target.price.terms is not None:
            head += part_lines(call)
    call.exchange.whole(200, head, body)


def begin_stream(call: Call, content_type: bytes = b"") -> None:
    """Status and headers of a streamed answer."""
    call.exchange.start(200, _STREAM % (content_type or call.surface.stream_type, lines(call)))


def keep_alive(call: Call, now: float, interval: float) -> None:
    """A comment or ping that clients ignore, when the stream has been silent for ``interval`` seconds.

    Proxies and impatient clients cut silent connections while a model thinks. Before the answer began this starts it:
    from then on an error comes in band. Another target may still answer, for nothing of an answer was sent."""
    exchange = call.exchange
    if exchange.bytes_out != call.seen_bytes:
        call.seen_bytes = exchange.bytes_out
        call.silent_since = now
    elif interval > 0 and now - call.silent_since >= interval and not call.over:
        if not exchange.responded:
            begin_stream(call)
        exchange.write(call.encoder().ping())
        call.seen_bytes = exchange.bytes_out
        call.silent_since = now


def refuse(call: Call, error: GatewayError) -> None:
    """The call ends in an error: as a status while nothing was sent, else as the stream's last event.

    After an error in band the connection is closed: the answer is over, and it did not succeed."""
    exchange = call.exchange
    dialect = call.surface.dialect
    call.over = True
    if exchange.responded and call.binary:  # an error would be heard as noise: the client must see a broken answer
        exchange.abort()
        return
    if exchange.responded:
        exchange.write(call.fail(error))
        exchange.finish(close=True)
        return
    status, body = dialect.render_error(error)
    head = _JSON + lines(call)
    if error.retry_after is not None:
        head += b"retry-after: %d\r\n" % max(1, math.ceil(error.retry_after))
    exchange.whole(status, head, body)
