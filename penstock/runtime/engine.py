"""A request's whole life, on one screen: read, plan, try, answer, record."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from penstock.core.dialects.redact import scrub
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.ir import added
from penstock.core.route.pick import simple_shuffle
from penstock.core.route.plan import Outcome, Try, attempts
from penstock.runtime import lanes, outlet
from penstock.runtime.call import Call
from penstock.runtime.drive import drive
from penstock.runtime.http import (
    BodyTruncated,
    ConnectTimeout,
    FirstByteTimeout,
    PoolTimeout,
    ProtocolError,
    StallTimeout,
    TooLarge,
    TotalTimeout,
    TransportError,
)
from penstock.runtime.ops.upload import spent
from penstock.runtime.prices import settle
from penstock.runtime.records import Record
from penstock.stores.memory import MemoryStore

if TYPE_CHECKING:
    from penstock.runtime.http import Pool
    from penstock.runtime.records import Records
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target
    from penstock.stores.base import Store

# Transport errors to kinds; the first class that fits.
_TRANSPORT: tuple[tuple[type[TransportError] | tuple[type[TransportError], ...], str], ...] = (
    ((ConnectTimeout, FirstByteTimeout, StallTimeout, TotalTimeout, PoolTimeout), "timeout"),
    ((ProtocolError, BodyTruncated, TooLarge), "broken_answer"),
    (TransportError, "connect"),
)
# Kinds that the gateway itself finds while it makes an attempt: no upstream said them.
_OURS = frozenset(
    {"bad_request", "unsupported", "no_dialect", "not_configured", "request_timeout", "too_large", "gateway_bug"}
)


class Engine:
    """Drives calls to their ends. Holds no config: each call brings its ``State``."""

    def __init__(self, pool: Pool, records: Records, store: Store | None = None) -> None:
        self.pool = pool
        self.records = records
        self.store: Store = store or MemoryStore()
        self._ended: list[tuple[Call, GatewayError | None, float, float]] = []

    async def handle(self, call: Call, state: State) -> None:
        """Answers the call's exchange, whatever happens, and records it once."""
        error: GatewayError | None = None
        try:
            surface = call.surface
            fields = open_body(call.exchange.body) if surface.read is None else await surface.read(call.exchange)
            if surface.enter is not None:
                surface.enter(call.exchange, fields)
            default = state.default_model if surface.default_model is None else surface.default_model(state)
            call.read_fields(fields, default)
            surface.check(call.fields)
            plan = state.plan(call.model)
            # The only candidate is tried before anything is decided: nothing is to decide while it answers.
            first = await self._try(call, plan.only) if plan.only is not None else None
            if first is None or first.error is not None:
                error = await drive(attempts(plan, _pick, random.random), partial(self._try, call), first)
        except GatewayError as refused:
            error = refused
        except asyncio.CancelledError:
            call.usage = lanes.usage_seen(call) or call.usage
            error = call.exchange.ending
            if error is None:
                self._record(call, GatewayError("client_gone", "The client closed the connection."))
                raise
        if error is not None:
            outlet.refuse(call, error)
        self._record(call, error)

    async def _try(self, call: Call, step: Try[Target]) -> Outcome:
        target = call.target = step.target
        call.tries += 1
        call.group = step.group
        try:
            await call.surface.attempt(self.pool, call, target)
        except GatewayError as error:
            failed = error
            if error.kind == "broken_stream" and call.first_at is None:
                # Nothing of it has reached the client: another target can still answer.
                failed = GatewayError("broken_answer", error.message)
        except TransportError as error:
            failed = translated(error, call.first_at is not None)
        else:
            target.health.succeeded()
            return Outcome()
        if failed.kind not in _OURS:
            failed.provider = failed.provider or target.provider.name
        # The one door that every upstream's words pass on their way to clients, logs and records: vendors repeat keys.
        failed.message = scrub(failed.message)
        if failed.row.fault == "upstream":
            target.health.failed(failed.message, failed.kind, call.clock())
        return Outcome(failed, call.first_at is not None or spent(call, failed))

    def _record(self, call: Call, error: GatewayError | None) -> None:
        """The record is written with those of the other requests that end in this turn of the loop: after the answers
        are out, and by code that is still in the processor's caches."""
        settle(call)
        if not self._ended:
            asyncio.get_running_loop().call_soon(self.flush)
        self._ended.append((call, error, call.clock(), time.time()))

    def flush(self) -> None:
        """Writes the records of the calls that have ended."""
        ended, self._ended = self._ended, []
        for call, error, now, at in ended:
            self.records.put(_record_of(call, error, now, at))


def _record_of(call: Call, error: GatewayError | None, now: float, at: float) -> Record:
    """``now``: the loop's clock when it ended; ``at``: the same in unix time."""
    exchange, target = call.exchange, call.target
    total = now - exchange.started
    return Record(
        at=at,
        call_id=call.call_id,
        request_id=call.request_id.decode("latin-1"),
        key=call.caller.alias,
        client=exchange.client,
        method=exchange.method,
        path=exchange.path,
        model=call.model,
        target=target.label if target else "",
        target_id=target.id if target else "",
        provider=target.provider.name if target else "",
        lane=call.lane,
        status=error.status if error else 200,
        ms=total * 1000,
        overhead_ms=(total - call.upstream) * 1000,
        ttft_ms=None if call.first_at is None else (call.first_at - exchange.started) * 1000,
        tries=call.tries,
        stream=call.stream,
        usage=call.usage if call.spent is None else added(call.usage, call.spent),
        cost=call.cost,
        price_version=call.price_version or "",
        bytes_in=len(exchange.body),
        bytes_out=exchange.bytes_out,
        error=error.kind if error else "",
        message=error.message if error else "",
        fault=error.row.fault if error else "",
        dropped=tuple([loss.path for loss in call.losses]) if call.losses else (),
    )


def _pick(candidates: Sequence[Target]) -> Target:
    return simple_shuffle(candidates, random.random)


def translated(error: TransportError, begun: bool) -> GatewayError:
    """What a client is told of it. ``begun``: a part of the answer is out."""
    kind = next(kind for classes, kind in _TRANSPORT if isinstance(error, classes))
    if begun and kind != "timeout":
        kind = "broken_stream"
    return GatewayError(kind, str(error))
