"""A call's part in a trace: when each of its attempts began and ended and how, and the headers by which its upstreams
go on with it. Made only where a sink wants spans, see ``Observer.begin``; the spans themselves are made later, by the
sink."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.core.tracecontext import Sampler, context_of, lines_of
from penstock.runtime.explain import TELLS
from penstock.runtime.told import ATTEMPTS, Told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.core.errors import GatewayError
    from penstock.core.route.plan import Plan
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.http import Timings
    from penstock.runtime.targets import Target

EVENTS = 64  # of a call that are noted


class Tracing(NamedTuple):
    """How calls are traced. ``passes_on``: upstreams get ``traceparent`` and ``tracestate``."""

    sampler: Sampler
    passes_on: bool = True


class Traced(Told):
    """Notes a call's way for its spans, and, where its client asks for it, what ``Told`` notes. Times are seconds of
    the loop until ``trace`` turns them into unix time. Holds nothing of the call."""

    def __init__(self, call: Call, tracing: Tracing) -> None:
        super().__init__()
        before = call.outlet.told
        if before is not None:  # it was asked for, and what the gate noted stays
            vars(self).update(vars(before))
        self._asked = TELLS in call.exchange.headers
        self._passes_on = tracing.passes_on
        self._clock = call.means.clock
        self._mark = self._mark or call.exchange.started
        ids = os.urandom(24)
        self.context = context_of(call.exchange.headers, tracing.sampler, ids[:16])
        self.span_id = ids[16:]
        self._spans: dict[int, dict[str, Any]] = {}  # by the attempts' numbers
        self._events: list[tuple[str, float, dict[str, Any]]] = []
        self._end = 0.0

    def sends(self, attempt: Attempt) -> bytes:
        """Note that an attempt sends a request; return the header lines that go with it."""
        span = self._span(attempt)
        if span is None or not self._passes_on:
            return b""
        return lines_of(self.context, span["span_id"])

    def planned(self, call: Call, plan: Plan[Target], now: float) -> None:
        """Note where the call may go, for a client that asks."""
        if self._asked:
            super().planned(call, plan, now)

    def began(self, attempt: Attempt, now: float) -> None:
        """Note when an attempt begins that may run beside another one."""
        super().began(attempt, now)
        self._span(attempt)

    def queued(self, seconds: float) -> None:
        """Note a wait in a line."""
        super().queued(seconds)
        self._event("queued", {"penstock.waited_seconds": round(seconds, 4)})

    def waited(self, seconds: float) -> None:
        """Note a wait before another attempt."""
        super().waited(seconds)
        self._event("waited before another attempt", {"penstock.waited_seconds": round(seconds, 4)})

    def answered(self, attempt: Attempt, timings: Timings) -> None:
        """Note when an upstream began its answer."""
        super().answered(attempt, timings)
        span = self._span(attempt)
        if span is not None:
            span["first_byte"] = self._clock()

    def ended(self, attempt: Attempt, error: GatewayError | None, now: float) -> None:
        """Note how an attempt ended, or that it answers."""
        super().ended(attempt, error, now)
        span = self._span(attempt)
        if span is None:
            return
        span["lane"] = attempt.lane
        if error is None:
            span["won"] = True
            return
        span |= {"end": now, "error": error.kind, "message": error.message, "won": False}
        if "first_byte" in span:  # there was an answer, and so a status that is not ours
            span["status"] = error.status

    def let_go(self, attempt: Attempt) -> None:
        """Note that another attempt, asked beside this one, answered first."""
        super().let_go(attempt)
        span = self._span(attempt)
        if span is not None:
            span |= {"end": self._clock(), "let_go": True, "won": False}

    def line(self, call: Call, now: float) -> bytes:
        """Render the header line of a client that asks; else only note the answer."""
        if self._asked:
            return super().line(call, now)
        attempt = call.attempt
        if attempt is not None and attempt.first_at is not None:
            self.ended(attempt, None, now)
        return b""

    def record(self, call: Call, now: float) -> dict[str, Any] | None:
        """Note the end of the call, and tell of it for its record where its client asked."""
        self._end = now
        attempt = call.attempt
        if attempt is not None and attempt.number in self._spans:
            self._spans[attempt.number].setdefault("won", True)
        return super().record(call, now) if self._asked else None

    def trace(self, at: float) -> dict[str, Any]:
        """Tell all of it, once the call is over. ``at``: the end of the call in unix time."""
        shift = at - self._end
        attempts = []
        for span in self._spans.values():
            told = {name: value for name, value in span.items() if name not in ("start", "end", "first_byte")}
            told |= {"start": span["start"] + shift, "end": span.get("end", self._end) + shift}
            if "first_byte" in span:
                told["first_byte"] = span["first_byte"] + shift
            attempts.append(told)
        events = [(name, moment + shift, attributes) for name, moment, attributes in self._events]
        return begun(self.context, self.span_id) | {"attempts": attempts, "events": events}

    def _event(self, name: str, attributes: dict[str, Any]) -> None:
        if len(self._events) < EVENTS:
            self._events.append((name, self._clock(), attributes))

    def _span(self, attempt: Attempt) -> dict[str, Any] | None:
        """Return what is noted of an attempt, which begins now if there is nothing; None when that were too many."""
        span = self._spans.get(attempt.number)
        if span is None and len(self._spans) < ATTEMPTS:
            target = attempt.target
            span = self._spans[attempt.number] = {
                "span_id": os.urandom(8),
                "number": attempt.number,
                "start": attempt.since or self._clock(),
                "provider": attempt.provider,
                "model": target.model,
                "deployment": target.id,
                "group": attempt.group,
                "origin": target.origin,
            }
        return span


def traced_headers(headers: Mapping[bytes, bytes], tracing: Tracing) -> tuple[bool, dict[str, Any]]:
    """Make the trace of a call that ended before it was traced; tell whether it is kept."""
    ids = os.urandom(24)
    context = context_of(headers, tracing.sampler, ids[:16])
    return context.sampled, begun(context, ids[16:]) | {"attempts": [], "events": []}


def begun(context: Any, span_id: bytes) -> dict[str, Any]:
    """Tell where a call stands in its trace."""
    state = context.state.decode("latin-1")
    return {"trace_id": context.trace_id, "span_id": span_id, "parent_id": context.parent, "state": state}
