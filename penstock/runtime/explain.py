"""Why a request goes where it goes: who may be asked, who is left out and why, what each attempt did, and the time.

``explain`` tells it before a request is made; a ``Told`` is kept by a call whose client asks for it by the header
``x-penstock-route``, and becomes a header of its answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.errors import GatewayError
from penstock.core.route.choose import NOTHING, PLAIN, Need, Rules, reasons
from penstock.runtime.routing import need_of

if TYPE_CHECKING:
    from penstock.core.route.plan import Plan
    from penstock.core.route.standing import Standing
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.live import Lives
    from penstock.runtime.targets import Target

TELLS = b"x-penstock-route"  # the header by which a client asks
MOST = 20  # candidates of a group in a header
LONGEST = 6000  # bytes of the header


def explain(call: Call, plan: Plan[Target], lives: Lives, now: float) -> dict[str, Any]:
    """Tell who would be asked for a call, in which order of groups: names, standings, and why somebody is left out."""
    groups = []
    for name, targets in plan.targets.items():
        rules = plan.rules.get(name, PLAIN)
        need = need_of(call, rules) if name in plan.rules else NOTHING
        told = _group(name, targets, rules, need, lives, now)
        if name in plan.nested:
            told["fallbacks"] = _ways(plan.nested[name])
        groups.append(told)
    fallbacks = _ways(plan.fallbacks) if plan.depth else {}
    return {"model": plan.group, "retries": plan.retries, "groups": groups, "fallbacks": fallbacks}


def _ways(fallbacks: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    return {kind or "any other error": list(names) for kind, names in fallbacks.items()}


def _group(
    name: str, targets: Any, rules: Rules, need: Need, lives: Lives, now: float
) -> dict[str, Any]:
    def standing_of(target: Target) -> Standing:
        return lives[target.live_id].standing

    candidates = []
    for target, why in reasons(targets, standing_of, rules, need, now):
        standing = standing_of(target)
        requests, tokens, _ = standing.used(now)
        told: dict[str, Any] = {
            "deployment": target.label,
            "id": target.id,
            **_model_of(target, name),
            "may_be_asked": not why,
            "in_flight": standing.in_flight,
            "requests_this_minute": requests,
            "tokens_this_minute": tokens,
            "failures_in_a_row": standing.row,
        }
        if why:
            told["left_out"] = why
        for key in ("weight", "rpm", "tpm", "order"):
            if getattr(target, key) is not None:
                told[key] = getattr(target, key)
        latency = standing.latency(now, need.stream, rules.ttl)
        if latency:
            told["latency_s"] = round(latency, 4)
        candidates.append(told)
    return {"group": name, "strategy": rules.strategy, "candidates": candidates}


def _model_of(target: Target, group: str) -> dict[str, str]:
    """Name the model that a deployment is of, where that is not the group's own name: in a routing group, behind an
    alias or a pattern."""
    name = target.deployment.model_name
    return {} if name == group else {"model": name}


class Told:
    """What is told of one call on its way. ``ended``: notes an attempt that failed."""

    def __init__(self, call: Call, plan: Plan[Target], now: float) -> None:
        lives = call.means.lives
        self._began = now
        self._candidates = [
            {
                "deployment": target.label,
                "id": target.id[:12],
                **_model_of(target, plan.group),
                **({"left_out": why} if why else {}),
            }
            for target, why in reasons(
                plan.targets[plan.group][:MOST],
                lambda target: lives[target.live_id].standing,
                plan.rules.get(plan.group, PLAIN),
                need_of(call, plan.rules.get(plan.group, PLAIN)),
                now,
            )
        ]
        self._attempts: list[dict[str, Any]] = []
        self._last = 0  # number of the attempt that was noted last

    def ended(self, attempt: Attempt, error: GatewayError | None) -> None:
        """Note how an attempt ended, or that it answers."""
        told: dict[str, Any] = {"deployment": attempt.target.label, "id": attempt.target.id[:12]}
        told |= _model_of(attempt.target, attempt.group)
        if attempt.group != attempt.call.model:
            told["group"] = attempt.group
        if error is not None:
            told |= {"error": error.kind, "status": error.status}
        told["upstream_ms"] = round(attempt.upstream * 1000, 1)
        self._attempts.append(told)
        self._last = attempt.number

    def line(self, call: Call, now: float) -> bytes:
        """Render the header line. Called when the answer's head goes out: the attempt that counts is the last."""
        attempt, waited = call.attempt, call.upstream
        if attempt is not None:
            waited += attempt.upstream
            if attempt.number != self._last:
                self.ended(attempt, None)
        total = now - call.exchange.started
        times = {
            "before_routing": round((self._began - call.exchange.started) * 1000, 2),
            "upstream_and_waits": round(waited * 1000, 2),
            "gateway": round((total - waited) * 1000, 2),
            "total": round(total * 1000, 2),
        }
        told = {"candidates": self._candidates, "attempts": self._attempts, "ms": times}
        text = msgspec.json.encode(told)
        if len(text) > LONGEST:
            text = msgspec.json.encode({"attempts": self._attempts[-5:], "ms": times})
        safe = bytes(byte if 31 < byte < 127 else 63 for byte in text)
        return b"x-penstock-route: %b\r\n" % safe
