"""Shares by priority: together within the capacity, and whoever has one gets it, against a list of all that ever came."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.admit.holders import Pace
from penstock.core.admit.priorities import Priorities, Reserved, limits_by_priority, weigh
from penstock.core.admit.rates import MINUTE, PARTS, Limit, Over, Rates, Taken
from penstock.runtime.flexible_limits import FlexibleLimits, Shares

SHARES = st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.29, 0.5, 0.9, 1.0])
RESERVED = st.one_of(
    SHARES.map(Reserved),
    st.integers(0, 500).map(lambda value: Reserved(float(value), "rpm")),
    st.integers(0, 50_000).map(lambda value: Reserved(float(value), "tpm")),
)
NAMES = ["prod", "dev", "batch", "x/model:m"]
CAPACITIES = st.one_of(
    st.builds(Pace, st.integers(1, 400), st.none() | st.integers(1, 10**6)),
    st.builds(Pace, st.none(), st.integers(1, 10**6)),
)
PRIORITIES = st.builds(
    Priorities,
    reserved=st.dictionaries(st.sampled_from(NAMES), RESERVED, max_size=4),
    default=SHARES,
    threshold=SHARES,
)


@given(PRIORITIES, CAPACITIES)
def test_all_shares_together_are_within_the_capacity(priorities: Priorities, capacity: Pace) -> None:
    parts = weigh(priorities, capacity)
    assert all(0 <= part <= 1 + 1e-9 for part in parts.values()) and sum(parts.values()) <= 1 + 1e-9
    shares = {pool: limits_by_priority(priorities, "m", capacity, pool)[1] for pool in parts}
    assert len({one.account for one in shares.values()}) == len(parts), "each has an account of its own"
    for most, of in ((capacity.requests, "requests"), (capacity.tokens, "tokens")):
        bounds = [getattr(one.pace, of) for one in shares.values()]
        assert bounds == [None] * len(parts) if most is None else sum(bounds) <= most


@given(PRIORITIES, CAPACITIES, st.sampled_from(NAMES))
def test_a_share_is_what_was_said_where_not_more_is_said_than_there_is(priorities, capacity, name) -> None:
    reserved = priorities.reserved.get(name)
    told = weigh(priorities, capacity)
    if reserved is None or name not in told:
        return
    most = {"rpm": capacity.requests, "tpm": capacity.tokens, "percent": 1}[reserved.of]
    wanted = reserved.value / most
    assert told[name] <= wanted + 1e-9
    rest = sum(part for other, part in told.items() if other not in (name, ""))
    assert abs(told[name] - wanted) < 1e-9 or abs(told[name] + rest - 1) < 1e-6, "cut only where all is given away"


STEPS = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 1.0, 20.0, 61.0]), st.sampled_from([*NAMES[:3], ""]), st.integers(1, 12)),
    max_size=50,
)


@given(PRIORITIES, st.integers(1, 60), STEPS)
def test_no_minute_has_more_than_the_capacity_and_whoever_has_a_share_gets_it(priorities, most, steps) -> None:
    capacity, rates, now = Pace(requests=most), Rates(), 1000.0
    flexible = {}
    for pool in (*NAMES[:3], ""):
        whole, own = limits_by_priority(priorities, "m", capacity, pool)
        flexible[pool] = FlexibleLimits([], (), Shares(whole, own, priorities.threshold, pool))
    shares = {pool: limits_by_priority(priorities, "m", capacity, pool)[1] for pool in flexible}
    accounts = {pool: share.account for pool, share in shares.items()}
    bounds = {share.account: share.pace.requests for share in shares.values()}
    came: list[tuple[float, str]] = []
    for gap, pool, count in steps:
        now += gap
        for _ in range(count):
            limits, _ = flexible[pool].choose(rates, False, now)
            found = rates.take(limits, 0, now)
            # What counts now: slices that are not all of a minute old.
            begin = (now // (MINUTE / PARTS) - PARTS) * (MINUTE / PARTS)
            used = Counter(account for at, account in came if at >= begin)
            own, total = used[accounts[pool]], sum(used.values())
            if isinstance(found, Taken):
                came.append((now, accounts[pool]))
                assert total < most
                continue
            assert isinstance(found, Over)
            lent = sum(max(0, used[account] - bound) for account, bound in bounds.items())
            assert total == most or own >= bounds[accounts[pool]], "who is within his share waits for the capacity only"
            if own < bounds[accounts[pool]]:
                assert bounds[accounts[pool]] - own <= lent, "what he lacks was lent, below the threshold"
                assert priorities.threshold > 0
            assert lent <= max(0.0, priorities.threshold * most + 1), "and no more than that is ever lent"
    for at, _ in came:
        assert sum(1 for other, _ in came if at <= other < at + MINUTE) <= most


@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from([0.0, 0.5, 30.0, 61.0]), st.booleans()), max_size=60))
def test_a_dynamic_pace_holds_while_there_is_trouble_and_counts_all_the_time(most, steps) -> None:
    limit = Limit("key:k", "api_key", "k", Pace(requests=most, parallel=1000))
    flexible, rates, now = FlexibleLimits([limit], ("requests",), None), Rates(), 1000.0
    came: list[float] = []
    for gap, troubled in steps:
        now += gap
        limits, lines = flexible.choose(rates, troubled, now)
        found = rates.take(limits, 0, now)
        begin = (now // (MINUTE / PARTS) - PARTS) * (MINUTE / PARTS)
        counted = sum(1 for at in came if at >= begin)
        assert isinstance(found, Taken) is (not troubled or counted < most)
        told = lines.fill([rates.left(one, now) for one in limits], True)
        assert (b"x-ratelimit-api_key-limit-requests" in told) is troubled
        assert b"x-ratelimit-api_key-limit-max_parallel_requests: 1000" in told
        if isinstance(found, Taken):
            came.append(now)
