"""The one place where a record is made of a call."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from penstock.core.errors import TABLE, GatewayError, kind_of_status
from penstock.core.ir import Usage, added
from penstock.core.record import Record
from penstock.runtime.attempt import Attempt
from penstock.runtime.keeping import MISS

if TYPE_CHECKING:
    from penstock.runtime.call import Call


def record_of(call: Call, error: GatewayError | None, now: float, at: float) -> Record:
    """Make the record of a call. ``now``: the loop's clock when it ended; ``at``: the same in unix time.

    An upstream's own error that was passed through is one with its status; its words are between it and the client."""
    exchange, attempt = call.exchange, call.attempt
    total = now - exchange.started
    told = call.outlet.status
    kind = error.kind if error is not None else kind_of_status(told, "") if told >= 400 else ""
    record = Record(
        at=at,
        call_id=call.call_id,
        request_id=call.request_id.decode("latin-1"),
        key=call.caller.alias,
        client=exchange.client,
        method=exchange.method,
        path=exchange.path,
        model=call.model,
        status=error.status if error is not None else told,
        ms=total * 1000,
        overhead_ms=(total - call.upstream) * 1000,
        tries=call.tries,
        stream=call.stream,
        bytes_in=len(exchange.body) if exchange.upload is None else exchange.bytes_in,
        bytes_out=exchange.bytes_out,
        error=kind,
        message=error.message if error is not None else "",
        fault=TABLE[kind].fault if kind else "",
    )
    if attempt is not None:
        _tried(record, call, attempt)
    elif call.caching is not None and call.caching.how is not MISS:
        record.cache_hit, record.cost, record.usage = True, Decimal(0), call.caching.usage
    if call.outlet.guarding is not None:
        record.guards = tuple(call.outlet.guarding.ran)
    if call.failed is not None:
        record.failed = tuple(call.failed)
    if call.outlet.told is not None:
        record.route = call.outlet.told.record(call, now)
    return record


def _tried(record: Record, call: Call, attempt: Attempt) -> None:
    """Add what the attempt that counts tells to the record."""
    if type(attempt) is Attempt:
        target = attempt.target
        record.target, record.target_id, record.provider = target.label, target.id, target.provider.name
    elif (named := attempt.named) is not None:
        record.model, record.target, record.provider, record.target_id = named
    record.lane = attempt.lane
    record.overhead_ms -= attempt.upstream * 1000
    first_at = attempt.first_at
    if attempt.so_far is not None:
        first_at, record.continued = attempt.so_far.first_at, attempt.so_far.joins
    if first_at is not None:
        record.ttft_ms = (first_at - call.exchange.started) * 1000
    record.tries += attempt.repairs
    record.stream = attempt.stream
    record.usage = attempt.usage if attempt.spent is None and call.spent is None else _usage(call, attempt)
    record.cost = attempt.cost if call.spent_cost is None else _cost(call.spent_cost, attempt)
    record.price_version = attempt.price_version or ""
    if attempt.losses:
        record.dropped = tuple([loss.path for loss in attempt.losses])


def _usage(call: Call, attempt: Attempt) -> Usage | None:
    """Sum all that was used for the call: by this attempt, by its earlier requests, by the attempts before it."""
    usage = attempt.usage
    for more in (attempt.spent, call.spent):
        if more is not None:
            usage = added(usage, more)
    return usage


def _cost(spent: Decimal, attempt: Attempt) -> Decimal:
    return spent if attempt.cost is None else attempt.cost + spent
