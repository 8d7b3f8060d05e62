"""Limits hold in any window of time there is, against a list of all that ever came, and forget nothing and nobody."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.admit.holders import Holder, Pace
from penstock.core.admit.rates import (
    DAY,
    DAY_PARTS,
    MINUTE,
    PARALLEL,
    PARTS,
    REQUESTS,
    TOKENS,
    Limit,
    Over,
    Rates,
    Taken,
    Window,
    limits_of,
)

LENGTHS = [(MINUTE, PARTS), (DAY, DAY_PARTS)]
GAPS = st.lists(st.floats(0, 40) | st.floats(0, 0.5) | st.sampled_from([1.0, 59.0, 59.999999, 60.0, 61.0]), max_size=80)
BEGINS = st.floats(0, 1e6)


def limit(name: str = "key:k", **pace: int) -> Limit:
    return Limit(name, "api_key", name, Pace(**pace))


@given(BEGINS, GAPS, st.integers(1, 6))
def test_no_stretch_of_a_minute_has_more_requests_than_the_limit(begin, gaps, most) -> None:
    rates, now, let_in = Rates(), begin, []
    one = [limit(requests=most)]
    for gap in gaps:
        now += gap
        if isinstance(rates.take(one, 0, now), Taken):
            let_in.append(now)
    for at in let_in:
        assert sum(1 for other in let_in if at <= other < at + MINUTE) <= most


@given(BEGINS, GAPS, st.integers(1, 6))
def test_room_comes_back_after_a_minute_and_a_slice_at_the_latest(begin, gaps, most) -> None:
    rates, now, let_in = Rates(), begin, []
    one = [limit(requests=most)]
    for gap in gaps:
        now += gap
        found = rates.take(one, 0, now)
        if isinstance(found, Taken):
            let_in.append(now)
        else:  # a list of all that came says so, too, give or take a slice
            assert sum(1 for at in let_in if at > now - MINUTE - MINUTE / PARTS - 1e-6) >= most
            assert 0 < found.wait <= MINUTE + MINUTE / PARTS + 1e-6


@given(BEGINS, GAPS, st.integers(1, 6))
def test_whoever_waits_as_long_as_told_is_let_in(begin, gaps, most) -> None:
    rates, now = Rates(), begin
    one = [limit(requests=most)]
    for gap in gaps:
        now += gap
        found = rates.take(one, 0, now)
        if isinstance(found, Over):
            now += found.wait + 1e-6
            assert isinstance(rates.take(one, 0, now), Taken)


@given(BEGINS, st.lists(st.tuples(st.floats(0, 30), st.integers(0, 50), st.integers(0, 90)), max_size=40))
def test_tokens_go_over_a_limit_by_what_was_estimated_too_low_and_no_more(begin, steps) -> None:
    rates, now, most = Rates(), begin, 100
    one, taken_at, let_in = [limit(tokens=most)], [], []
    for gap, estimate, used in steps:
        now += gap
        found = rates.take(one, estimate, now)
        if isinstance(found, Taken):
            taken_at.append((now, estimate))
            rates.settle(found, used, now)
            let_in.append((now, used, max(0, used - estimate)))
    for at, _, _ in let_in:
        within = [(used, low) for other, used, low in let_in if at <= other < at + MINUTE]
        assert sum(used for used, _ in within) <= most + sum(low for _, low in within)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 5), st.sampled_from(["take", "settle", "cancel"]), st.integers(0, 9), st.integers(0, 30)
        ),
        max_size=60,
    )
)
def test_all_limits_are_taken_or_none(steps) -> None:
    """However it goes, what each account counts is what a plain list says."""
    rates, now = Rates(), 1000.0
    limits = [limit("a", requests=4, parallel=3), limit("b", requests=9), limit("c", parallel=5, tokens=80)]
    under_way: list[tuple[Taken, float, int]] = []
    requests: list[float] = []
    tokens: list[tuple[float, int]] = []
    for gap, step, which, amount in steps:
        now += gap
        if step == "take":
            before = len(under_way)
            found = rates.take(limits, amount, now)
            fits = before < 3 and sum(int(at) >= int(now) - PARTS for at in requests) < 4
            counted = sum(held for at, held in tokens if int(at) >= int(now) - PARTS)
            fits = fits and counted + max(1, amount) <= 80
            assert isinstance(found, Taken) == fits
            if isinstance(found, Taken):
                under_way.append((found, now, amount))
                requests.append(now)
                tokens.append((now, amount))
        elif under_way:
            taken, at, held = under_way.pop(which % len(under_way))
            tokens.remove((at, held))
            if step == "settle":
                rates.settle(taken, amount, now)
                tokens.append((at, min(held, amount)))
                tokens.append((now, max(0, amount - held)))
            else:
                rates.cancel(taken, now)
                requests.remove(at)


def test_settling_twice_counts_once() -> None:
    rates, one = Rates(), [limit(parallel=1, tokens=10)]
    first = rates.take(one, 5, 0.0)
    assert isinstance(first, Taken)
    rates.settle(first, 5, 1.0)
    second = rates.take(one, 1, 1.0)
    assert isinstance(second, Taken)
    rates.settle(first, 9, 1.0)
    rates.cancel(first, 1.0)
    found = rates.take(one, 1, 1.0)
    assert isinstance(found, Over) and found.what == PARALLEL


def test_nothing_may_be_none_at_all() -> None:
    for pace, what in [({"parallel": 0}, PARALLEL), ({"requests": 0}, REQUESTS), ({"tokens": 0}, TOKENS)]:
        found = Rates().take([limit(**pace)], 0, 5.0)
        assert isinstance(found, Over) and found.what == what and found.most == 0


def test_of_several_limits_the_longest_wait_is_told() -> None:
    rates = Rates()
    rates.take([limit("a", requests=1)], 0, 0.0)
    rates.take([limit("b", requests=1)], 0, 30.0)
    found = rates.take([limit("a", requests=1), limit("b", requests=1)], 0, 40.0)
    assert isinstance(found, Over) and found.limit.account == "b" and found.wait == 51.0


def test_a_day_is_a_day() -> None:
    rates, one = Rates(), [limit(a_day=100)]
    assert isinstance(rates.take(one, 100, 0.0), Taken)
    assert isinstance(rates.take(one, 1, DAY - 1), Over)
    assert isinstance(rates.take(one, 1, DAY + DAY / DAY_PARTS), Taken)


@settings(max_examples=max(20, settings.default.max_examples // 5))
@given(st.integers(1, 8), st.integers(0, 40))
def test_the_parts_of_processes_come_to_no_more_than_the_limit(processes, most) -> None:
    let_in = 0
    for _ in range(processes):
        rates = Rates(processes=processes)
        let_in += sum(isinstance(rates.take([limit(requests=most)], 0, 1.0), Taken) for _ in range(50))
    assert let_in <= max(most, processes if most else 0)


def test_meters_of_those_who_are_gone_go() -> None:
    rates = Rates()
    for number in range(60_000):
        taken = rates.take([limit(f"customer:{number}", requests=5)], 0, number / 10)
        assert isinstance(taken, Taken)
        rates.settle(taken, 0, number / 10)
        assert len(rates._meters) <= 10_001
    assert "customer:59999" in rates._meters


def test_others_count_too() -> None:
    class Common:
        connected = True

        def __init__(self) -> None:
            self.told: list[tuple[str, int, int]] = []

        def count(self, name: str, requests: int, tokens: int) -> None:
            self.told.append((name, requests, tokens))

        def others(self, name: str) -> tuple[int, int]:
            return 3, 70

    common = Common()
    rates, one = Rates(common, processes=4), [limit(requests=4, tokens=100)]
    taken = rates.take(one, 20, 0.0)
    assert isinstance(taken, Taken)
    rates.settle(taken, 10, 0.0)
    assert common.told == [("key:k", 1, 0), ("key:k", 0, 10)]
    found = rates.take(one, 5, 0.0)
    assert isinstance(found, Over) and found.what == REQUESTS


@given(st.lists(st.tuples(st.floats(0, 50), st.integers(0, 9)), max_size=40), st.sampled_from(LENGTHS))
def test_a_window_is_the_sum_of_what_is_young_enough(steps, length) -> None:
    window, now, came = Window(*length), 5.0, []
    size = length[0] / length[1]
    for gap, amount in steps:
        now += gap * size
        window.turn(now)
        window.add(1, amount, now)
        came.append((now // size, amount))
        young = [held for at, held in came if at >= now // size - length[1]]
        assert (window.requests, window.tokens) == (len(young), sum(young))


def test_whose_limits_count() -> None:
    holders = [
        Holder("key", "k", pace=Pace(requests=1), by_model={"m": Pace(tokens=5)}),
        Holder("team", "t"),
        Holder("member", "t/u", pace=Pace(parallel=2)),
        Holder("customer", "c", pace=Pace(requests=3)),
    ]
    found = [(one.account, one.kind, one.id) for one in limits_of(holders, "m")]
    assert found == [
        ("key:k", "api_key", "k"),
        ("key:k/model:m", "model_per_key", "k:m"),
        ("member:t/u", "team_member", "t:u"),
        ("customer:c", "end_user", "c"),
    ]
    assert [one.account for one in limits_of(holders, "other")] == ["key:k", "member:t/u", "customer:c"]
