"""How the deployments of a group stand: who is tried first, and what each try tells of its deployment."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import msgspec

from penstock.core.admit.tokens import most_output
from penstock.core.count import estimate
from penstock.core.errors import GatewayError
from penstock.core.route.choose import Rules, choose_simply
from penstock.core.route.pick import COUNTS, LATENCY
from penstock.core.route.quotas import Asks
from penstock.core.route.standing import CREDENTIAL, TIMED_OUT

if TYPE_CHECKING:
    from penstock.core.route.plan import Plan, Try
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.live import Lives
    from penstock.runtime.targets import Target

log = logging.getLogger("penstock")


def first_choice(call: Call, plan: Plan[Target]) -> Target | None:
    """Pick who is tried first, where that is simple; None where more is to be looked at."""
    group = plan.group
    rules = plan.rules.get(group)
    if rules is None or not rules.simple:
        return None
    means, targets = call.means, plan.targets[group]
    return choose_simply(targets, means.lives.standings(targets), rules, call.stream, random.random, means.clock())


def late_after(plan: Plan[Target], lives: Lives, step: Try[Target]) -> float | None:
    """Return the seconds after which another deployment is asked beside this one; None for never."""
    rules = plan.rules.get(step.group)
    if rules is None or rules.hedge is None or len(plan.targets[step.group]) < 2 or step.goes_on:
        return None
    return rules.hedge if rules.hedge > 0 else lives[step.target.live_id].standing.usual()


def asks_of(call: Call) -> Asks:
    """Estimate what a request takes of its deployment's quotas."""
    return Asks(1, estimate(call.fields, 0).input, most_output(call.fields))


def used_by(attempt: Attempt) -> Asks:
    """Return what a try has taken of its deployment's quotas."""
    input_ = output = 0
    for usage in (attempt.usage, attempt.spent):
        if usage is not None:
            input_, output = input_ + usage.input, output + usage.output
    return Asks(1, input_, output)


def praise(attempt: Attempt, rules: Rules, now: float) -> None:
    """Note a good answer, its tokens and the time it took: what was held against its deployment is over."""
    standing = attempt.live.standing
    if standing.row or standing.rests_until:
        standing.succeeded(now)
    usage, strategy = attempt.usage, rules.strategy
    if strategy == LATENCY:
        if attempt.stream:
            standing.began_in(now, attempt.upstream)
        else:
            standing.answered_in(now, attempt.upstream, usage.output if usage is not None else 1)
    if not rules.simple or strategy in COUNTS:
        standing.use(now, usage.total if usage is not None else 0)
        if rules.hedge is not None:
            standing.recent.append(attempt.upstream)


def blame(attempt: Attempt, rules: Rules, error: GatewayError, now: float, alone: bool) -> bool:
    """Hold an upstream's fault against its deployment, and say so when it rests for that. Return whether it does."""
    standing = attempt.live.standing
    if rules.learns and error.kind == "timeout":
        standing.answered_in(now, TIMED_OUT, 1)
        standing.began_in(now, TIMED_OUT)
    rests = rules.rests
    own = attempt.target.cooldown
    if own is not None and rests.seconds:
        rests = msgspec.structs.replace(rests, seconds=own)
    rests = rests.with_own(*attempt.target.allowed_fails)
    seconds = standing.fail(error.kind, error.row.litellm, error.retry_after, now, rests, alone)
    if seconds:
        why = "its key is refused" if error.kind in CREDENTIAL else error.row.litellm
        target = attempt.target
        log.warning("%s (%s) rests for %.3g s: %s (%s)", target.label, target.id[:12], seconds, why, error.status)
    return seconds > 0
