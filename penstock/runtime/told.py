"""What a client is told of its call's way, where it asks by the header ``x-penstock-route``: who was left out and why,
what each attempt did, and how the time splits.

There is a ``Told`` only in the outlet of a call that asks; for the others no clock is read. It becomes a header of the
answer when that begins; how the rest of a stream went stands in the record, with all of it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.route.choose import PLAIN, reasons
from penstock.runtime.explain import TELLS, model_of
from penstock.runtime.routing import need_of

if TYPE_CHECKING:
    from penstock.core.errors import GatewayError
    from penstock.core.route.plan import Plan
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.http import Timings
    from penstock.runtime.targets import Target

MOST = 20  # candidates of a group in a header
LONGEST = 6000  # bytes of the header
ATTEMPTS = 40  # that are told


def telling(call: Call) -> Told | None:
    """Return what notes a call's way; None for a call whose client does not ask."""
    if call.outlet.told is None and TELLS in call.exchange.headers:
        call.outlet.told = Told()
    return call.outlet.told


class Told:
    """Notes, in the order of a call's life: ``let_in``, ``arrived``, ``planned``, of each attempt ``began``,
    ``answered`` and ``ended`` or ``let_go``; between them ``queued`` and ``waited``. Times are seconds of the loop."""

    def __init__(self) -> None:
        self._auth: float | None = None
        self._body = self._queue = self._read = self._waits = 0.0
        self._mark = 0.0  # when what was noted last was over
        self._pause = 0.0  # of the time since, that nobody worked in
        self._candidates: list[dict[str, Any]] = []
        self._attempts: dict[int, dict[str, Any]] = {}  # by their number
        self._begun: dict[int, float] = {}  # of attempts that run beside another
        self._spent = [0.0, 0.0]  # in upstreams, and in translating

    def let_in(self, call: Call, now: float) -> None:
        """Note that the gate has let the call in; where its body was not there yet, that is known before."""
        if self._auth is None:
            self._auth = now - call.exchange.started - self._queue
            self._mark, self._pause = now, 0.0

    def arrived(self, now: float) -> None:
        """Note that the body has come, which was on its way when the call was let in."""
        self._body, self._mark = now - self._mark, now

    def queued(self, seconds: float) -> None:
        """Note a wait in a line, of the gateway's or of a group's."""
        self._queue += seconds
        self._pause += seconds

    def waited(self, seconds: float) -> None:
        """Note a wait before another attempt."""
        self._waits += seconds
        self._pause += seconds

    def planned(self, call: Call, plan: Plan[Target], now: float) -> None:
        """Note where the call may go."""
        lives, rules = call.means.lives, plan.rules.get(plan.group, PLAIN)
        targets = plan.targets[plan.group][:MOST]
        found = reasons(targets, lambda target: lives[target.live_id].standing, rules, need_of(call, rules), now)
        for target, why in found:
            told = {"deployment": target.label, "id": target.id[:12], **model_of(target, plan.group)}
            self._candidates.append(told | ({"left_out": why} if why else {}))
        self._read, self._mark = now - self._mark, now

    def began(self, attempt: Attempt, now: float) -> None:
        """Note when an attempt begins that may run beside another one."""
        self._begun[attempt.number] = now

    def sends(self, attempt: Attempt) -> bytes:
        """Return the header lines that go upstream with a request of an attempt: none here, see ``traced``."""
        return b""

    def answered(self, attempt: Attempt, timings: Timings) -> None:
        """Note how long an upstream took to be reached, and to begin its answer to one request of an attempt."""
        told = self._of(attempt)
        told["connect"] = round(told.get("connect", 0.0) + timings.connect_ms, 2)
        told["kept"] = timings.reused
        told["first_byte"] = round(timings.first_byte_ms, 2)

    def ended(self, attempt: Attempt, error: GatewayError | None, now: float) -> None:
        """Note how an attempt ended, or that it answers."""
        told = self._of(attempt)
        if error is not None:
            told |= {"error": error.kind, "status": error.status}
        if "upstream" in told:  # it had begun to answer, and broke off
            return
        beside = self._begun.get(attempt.number)
        began, pause = (self._mark, self._pause) if beside is None else (beside, 0.0)
        translating = max(now - began - pause - attempt.upstream, 0.0)
        told |= {"upstream": round(attempt.upstream * 1000, 2), "translate": round(translating * 1000, 2)}
        self._spent[0] += attempt.upstream
        self._spent[1] += translating
        self._mark, self._pause = now, 0.0

    def let_go(self, attempt: Attempt) -> None:
        """Note that another attempt, asked beside this one, answered first."""
        self._of(attempt).update(let_go=True, upstream=round(attempt.upstream * 1000, 2))

    def _of(self, attempt: Attempt) -> dict[str, Any]:
        told = self._attempts.get(attempt.number)
        if told is None:
            told = {"deployment": attempt.target.label, "id": attempt.target.id[:12]}
            told |= model_of(attempt.target, attempt.group)
            if attempt.group != attempt.call.model:
                told["group"] = attempt.group
            if len(self._attempts) < ATTEMPTS:
                self._attempts[attempt.number] = told
        return told

    def _times(self, call: Call, now: float) -> dict[str, float]:
        """Split the time until now. In milliseconds; what there was none of is left out, but for the first and the
        last."""
        upstream, translate = self._spent
        split = {"body": self._body, "queue": self._queue, "read": self._read, "waits": self._waits}
        split |= {"upstream": upstream, "translate": translate}
        told = {"auth": self._auth or 0.0} | {name: seconds for name, seconds in split.items() if seconds}
        attempt = call.attempt
        if attempt is not None and attempt.first_at is not None:
            told["ttft"] = attempt.first_at - call.exchange.started
        told["total"] = now - call.exchange.started
        return {name: round(seconds * 1000, 2) for name, seconds in told.items()}

    def line(self, call: Call, now: float) -> bytes:
        """Render the header line. Called when the answer's head goes out: the attempt that counts is the last."""
        attempt = call.attempt
        if attempt is not None and attempt.first_at is not None:
            self.ended(attempt, None, now)
        attempts, times = [*self._attempts.values()], self._times(call, now)
        text = msgspec.json.encode({"candidates": self._candidates, "attempts": attempts, "ms": times})
        if len(text) > LONGEST:
            text = msgspec.json.encode({"attempts": attempts[-5:], "ms": times})
        safe = bytes(byte if 31 < byte < 127 else 63 for byte in text)
        return b"x-penstock-route: %b\r\n" % safe

    def record(self, call: Call, now: float) -> dict[str, Any] | None:
        """Tell all of it for the record. ``stream``: from the first byte of a streamed answer to its end."""
        times, attempt = self._times(call, now), call.attempt
        if attempt is not None and attempt.first_at is not None and attempt.stream:
            times["stream"] = round((now - attempt.first_at) * 1000, 2)
        return {"attempts": [*self._attempts.values()], "ms": times}
