"""Why a request goes where it goes, told before it is made: who may be asked, and who is left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.core.route.choose import NOTHING, PLAIN, Need, Rules, reasons
from penstock.runtime.routing import need_of

if TYPE_CHECKING:
    from penstock.core.route.plan import Plan
    from penstock.core.route.standing import Standing
    from penstock.runtime.call import Call
    from penstock.runtime.live import Lives
    from penstock.runtime.targets import Target

TELLS = b"x-penstock-route"  # the header by which a client asks to be told of its own, see ``told``


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


def _group(name: str, targets: Any, rules: Rules, need: Need, lives: Lives, now: float) -> dict[str, Any]:
    def standing_of(target: Target) -> Standing:
        return lives[target.live_id].standing

    candidates = []
    for target, why in reasons(targets, standing_of, rules, need, now):
        standing = standing_of(target)
        requests, tokens, _ = standing.used(now)
        told: dict[str, Any] = {
            "deployment": target.label,
            "id": target.id,
            **model_of(target, name),
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
        for quota in target.quotas:
            told[quota.key] = quota.most
            told[f"{quota.key}_used"] = lives.quotas.used(target.live_id, quota)
        latency = standing.latency(now, need.stream, rules.ttl)
        if latency:
            told["latency_s"] = round(latency, 4)
        candidates.append(told)
    return {"group": name, "strategy": rules.strategy, "candidates": candidates}


def model_of(target: Target, group: str) -> dict[str, str]:
    """Name the model that a deployment is of, where that is not the group's own name: in a routing group, behind an
    alias or a pattern."""
    name = target.deployment.model_name
    return {} if name == group else {"model": name}
