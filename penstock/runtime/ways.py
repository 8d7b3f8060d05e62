"""The way of a call as the ledger keeps it: which attempts failed, how long upstreams took, what was dropped.

Of a call that one upstream answered at once, only how long that was waited for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.record import Failed

if TYPE_CHECKING:
    from penstock.core.errors import GatewayError
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call

MOST = 20  # attempts that are noted
LONGEST = 300  # characters of an error's text
MOST_DROPPED = 50
_PLAIN = b'{"upstream":%.2f}'
_encode = msgspec.json.Encoder().encode


def note_failed(call: Call, attempt: Attempt, error: GatewayError | None, now: float) -> None:
    """Note an attempt that did not answer. ``error`` None: another one, asked beside it, was faster."""
    if call.failed is None:
        call.failed = []
    if len(call.failed) >= MOST:
        return
    target = attempt.target
    at, ms = (now - call.exchange.started) * 1000, attempt.upstream * 1000
    failed = Failed(target.label, target.id, attempt.group, round(at, 2), round(ms, 2), let_go=error is None)
    if error is not None:
        failed.status, failed.error, failed.message = error.status, error.kind, error.message[:LONGEST]
    call.failed.append(failed)


def way_of(call: Call, attempt: Attempt | None, now: float) -> bytes:
    """Write the way of a call that is over; b"" where nobody was asked."""
    told = call.outlet.told
    if attempt is None and call.failed is None and told is None:
        return b""
    upstream = 0.0 if attempt is None else attempt.upstream * 1000
    if call.failed is None and told is None and attempt is not None and not attempt.losses:
        return _PLAIN % upstream
    way: dict[str, Any] = {"upstream": round(upstream, 2)}
    if call.failed is not None:
        way["failed"] = call.failed
    if attempt is not None and attempt.losses:
        way["dropped"] = [loss.path for loss in attempt.losses[:MOST_DROPPED]]
    if told is not None and (route := told.record(call, now)) is not None:
        way |= route
    return _encode(way)
