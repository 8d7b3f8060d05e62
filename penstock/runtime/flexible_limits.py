"""Limits that do not always hold: those of keys which may exceed them while a model has no trouble, and the shares of a
model's capacity, which hold once much of it is in use. What a limit that does not hold would count is counted all the
same, so that it holds at once when it does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from penstock.core.admit.holders import UNBOUND, Holder, Pace
from penstock.core.admit.priorities import CAPACITY, DEFAULT, SHARE, Priorities, capacity_of, limits_by_priority
from penstock.core.admit.rates import REQUESTS, TOKENS, Limit, Over, Rates
from penstock.core.errors import GatewayError
from penstock.runtime.limit_lines import LimitLines, too_many
from penstock.runtime.outlet import safe

if TYPE_CHECKING:
    from penstock.runtime.targets import Target

Chosen = tuple[Sequence[Limit], LimitLines]


class Shares(NamedTuple):
    """What is reserved of a model. ``capacity``: the limit of all; ``own``: of one priority, which holds once the part
    ``threshold`` of the capacity is in use. ``priority``: its name, "" for none."""

    capacity: Limit
    own: Limit
    threshold: float
    priority: str


class FlexibleLimits:
    """The limits of a key in a model. ``bounds``: those of the key's own pace, the first of the limits, that do not
    hold while the model has no trouble; ``dynamic``: there are some. ``shares``: None where nothing is reserved."""

    def __init__(self, limits: Sequence[Limit], bounds: Sequence[str], shares: Shares | None) -> None:
        self.dynamic = bool(bounds)
        self._limits, self._bounds, self._shares = limits, bounds, shares
        self._chosen: dict[tuple[bool, bool], Chosen] = {}

    def choose(self, rates: Rates, troubled: bool, now: float) -> Chosen:
        """Return the limits that hold now, and their lines. ``troubled``: the model has trouble."""
        shares = self._shares
        full = shares is None or rates.usage(shares.capacity, now) >= shares.threshold
        strict = troubled or not self.dynamic
        found = self._chosen.get((strict, full))
        if found is None:
            limits = list(self._limits)
            if not strict:
                limits[0] = _free(limits[0], self._bounds)
            if shares is not None:
                limits += [shares.capacity, shares.own if full else _free(shares.own, (REQUESTS, TOKENS))]
            found = self._chosen[strict, full] = limits, LimitLines(limits)
        return found

    @property
    def lines(self) -> bytes:
        """Return the header lines that say by which priority a call is counted, as LiteLLM's limiter says it."""
        shares = self._shares
        if shares is None:
            return b""
        return b"x-litellm-priority: %b\r\nx-litellm-rate-limiter-version: v3\r\n" % _shown(shares.priority)

    def error(self, over: Over, tokens: int, rates: Rates, now: float) -> GatewayError | None:
        """Make the refusal of who is over a model's capacity or over a share of it, in LiteLLM's words; None for who is
        over another limit. ``tokens``: that the request may use."""
        kind, shares = over.limit.kind, self._shares
        if shares is None or kind not in (CAPACITY, SHARE):
            return None
        pace, model = shares.capacity.pace, safe(shares.capacity.id[:200]).decode()
        by = f"Priority: {_shown(shares.priority).decode()}, Rate limit type: {over.what}, "
        by += f"Model TPM: {pace.tokens or 'not configured'}, Model RPM: {pace.requests or 'not configured'}, "
        by += f"Remaining: {over.left}"
        if kind == CAPACITY:
            text = f"Model capacity reached for {model}. {by}"
        else:
            text = f"Priority-based rate limit exceeded. Model: {model}, {by}, "
            text += f"Model saturation: {rates.usage(shares.capacity, now):.1%}"
        return GatewayError("over_rate", text + too_many(over, tokens), retry_after=over.wait)


def flexible_limits(limits: Sequence[Limit], holders: Sequence[Holder], shares: Shares | None) -> FlexibleLimits | None:
    """Make the limits of a key in a model that do not always hold; None where all do."""
    dynamic: tuple[str, ...] = ()
    if holders and limits and limits[0].account == f"key:{holders[0].id}":
        pace = limits[0].pace
        there = {REQUESTS: pace.requests, TOKENS: pace.tokens}
        dynamic = tuple(bound for bound in holders[0].dynamic if there[bound] is not None)
    return FlexibleLimits(limits, dynamic, shares) if dynamic or shares is not None else None


def shares_of(priorities: Priorities, group: str, targets: Sequence[Target], priority: str) -> Shares | None:
    """Return what is reserved for a priority of a group's capacity; None where nobody said how much that is."""
    capacity = capacity_of(targets)
    if capacity.requests is None and capacity.tokens is None:
        return None
    return Shares(*limits_by_priority(priorities, group, capacity, priority), priorities.threshold, priority)


def _free(limit: Limit, bounds: Sequence[str]) -> Limit:
    """Return a limit whose bounds keep nobody out."""
    pace = limit.pace
    requests = UNBOUND if REQUESTS in bounds and pace.requests is not None else pace.requests
    tokens = UNBOUND if TOKENS in bounds and pace.tokens is not None else pace.tokens
    return limit._replace(pace=Pace(requests, tokens, pace.parallel, pace.a_day))


def _shown(priority: str) -> bytes:
    return safe(priority[:200]) or DEFAULT.encode()
