"""Quotas of deployments, of every kind: what is let in fits, what is used is counted in its window, and nothing stays
held by who is gone."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.route.choose import Need, Rules, left_out
from penstock.core.route.quotas import DAY, KINDS, MINUTE, Asks, Span, read_quotas, seconds_of
from penstock.core.route.standing import Standing
from penstock.runtime.quotas import Quotas, Reserved
from penstock.stores.memory import MemoryBoard
from penstock.stores.shared import Shared

BEGIN = 1_793_491_190.0  # ten seconds before a day in UTC ends
ASKS = st.builds(Asks, st.just(1), st.integers(0, 40), st.integers(0, 40))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), ASKS),
        st.tuples(st.just("go"), st.integers(0, 9), st.integers(0, 40), st.integers(0, 40)),
        st.tuples(st.just("wait"), st.sampled_from((0.5, 9.0, 61.0, 3600.0, 86_400.0))),
    ),
    max_size=60,
)
CLOCKS = st.sampled_from(["00:00", "07:30", "23:59:59", "00:00-08:00", "6:00 +05:30"])


class Clock:
    now = BEGIN

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("key", KINDS)
@given(STEPS, st.integers(1, 100), CLOCKS)
def test_what_is_let_in_fits_into_its_window(key, steps, most, clock):
    wall = Clock()
    quotas, (quota,) = Quotas(wall), read_quotas({key: most, "daily_reset_time": clock})
    what, seconds, _ = KINDS[key]
    begins = seconds_of(clock) if seconds == DAY else 0
    used: dict[int, int] = {}
    open_: list[Reserved] = []
    for step in steps:
        window = int((wall.now - begins) // seconds)
        under_way = sum(getattr(held.asks, what) for held in open_)
        if what == "requests":
            under_way = len(open_)
        assert quotas.used("d", quota) == used.get(window, 0) + under_way
        assert quotas.used("other", quota) == 0
        if step[0] == "come":
            asks = step[1]
            over = quotas.over("d", (quota,), asks)
            room = used.get(window, 0) + under_way + max(1, getattr(asks, what)) <= most
            assert (over is None) == room
            if over is None:
                open_.append(quotas.take("d", (quota,), asks))
            else:
                assert over.used == used.get(window, 0) + under_way
                assert (
                    0 < over.seconds <= seconds
                    and int((wall.now + over.seconds + 0.001 - begins) // seconds) == window + 1
                )
        elif step[0] == "go" and open_:
            held = open_.pop(step[1] % len(open_))
            took = Asks(1, min(step[2], held.asks.input), min(step[3], held.asks.output))
            quotas.settle(held, took)
            used[window] = used.get(window, 0) + getattr(took, what)
            assert used[window] <= most, "no estimate was too low, so no window has more than its quota"
        elif step[0] == "wait":
            wall.now += step[1]
    for held in open_:
        quotas.settle(held, Asks(1))
    assert quotas._held == {}


@given(st.dictionaries(st.sampled_from(sorted(KINDS)), st.integers(1, 60)), ASKS, ASKS)
def test_of_several_quotas_each_is_kept(params, before, asks):
    quotas, read = Quotas(Clock()), read_quotas(params)
    assert [quota.key for quota in read] == [key for key in KINDS if key in params]
    quotas.settle(quotas.take("d", read, before), before)
    expected = [
        key
        for key in KINDS
        if key in params
        if getattr(before, KINDS[key][0]) + max(1, getattr(asks, KINDS[key][0])) > params[key]
    ]
    over = quotas.over("d", read, asks)
    assert (None if over is None else over.quota.key) == (expected[0] if expected else None)


class Made:
    """A deployment as the choice sees it."""

    live_id, vendor, purse, rpm, tpm, most, blocked, window = "d", "", "", None, None, None, False, None
    lacks: frozenset[str] = frozenset()

    def __init__(self, quotas) -> None:
        self.quotas = quotas


@pytest.mark.parametrize("key", KINDS)
@pytest.mark.parametrize("strict", [True, False])
def test_a_deployment_without_room_is_left_out_where_limits_are_kept(key, strict):
    made, standing, quotas = Made(read_quotas({key: 10})), Standing(), Quotas(Clock())
    standing.quotas = quotas
    need, rules = Need(tokens=2, output=2), Rules(strict=strict, measured=True)
    assert left_out(made, standing, rules, need, 0.0) is None
    held = [quotas.take("d", made.quotas, Asks(1, 2, 2)) for _ in range(10)]
    found = left_out(made, standing, rules, need, 0.0)
    if not strict:
        assert found is None
        return
    assert found is not None and KINDS[key][2] in found.why and found.seconds > 0
    for one in held:
        quotas.settle(one, Asks(1))
    assert (left_out(made, standing, rules, need, 0.0) is None) == (key != "rpd"), "asked is asked, whatever came of it"


@given(st.lists(st.tuples(st.integers(0, 2), ASKS), max_size=12), st.sampled_from(sorted(KINDS)))
def test_processes_that_share_a_board_know_what_all_have_used(steps, key):
    wall, board = Clock(), MemoryBoard()
    (quota,) = read_quotas({key: 1000, "daily_reset_time": "03:00"})

    async def run() -> None:
        each = []
        for _ in range(3):
            view, quotas = Shared(board, wall=wall), Quotas(wall)
            view.quotas = quotas
            each.append((view, quotas))
        for number, asks in steps:
            quotas = each[number][1]
            quotas.settle(quotas.take("d", (quota,), asks), asks)
        for _, quotas in each:
            assert quotas.used("d", quota) <= 1000
        for view, _ in each * 2:
            await view._exchange()
        total = sum(getattr(asks, KINDS[key][0]) for _, asks in steps)
        assert {quotas.used("d", quota) for _, quotas in each} == {total}
        wall.now += KINDS[key][1]
        assert {quotas.used("d", quota) for _, quotas in each} == {0}

    asyncio.run(run())


@given(st.integers(0, DAY - 1), st.floats(BEGIN, BEGIN + 400 * DAY))
def test_a_day_begins_when_it_is_said_to(begins, at):
    span = Span(DAY, begins)
    assert 0 < span.left(at) <= DAY
    start = at + span.left(at) - DAY
    assert abs((start - begins) % DAY) < 0.01 or abs((start - begins) % DAY - DAY) < 0.01
    assert span.number(start + 1) == span.number(at) or at - start < 1


def test_a_time_of_day_is_read_or_named():
    assert [seconds_of(text) for text in ("00:00", "7:05", "07:05:09", "23:00Z", "00:00-08:00", "01:00+05:30")] == [
        0, 25_500, 25_509, 82_800, 28_800, 70_200,
    ]  # fmt: skip
    for text in ("", "24:00", "midnight", "7", "07:60", "0:0", "00:00 Europe/Berlin", "00:00+99", "1" * 100):
        with pytest.raises(ValueError, match="write a time of day such as 00:00"):
            seconds_of(text)
    assert {span for span, _ in itertools.groupby(quota.span for quota in read_quotas({"itpm": 1, "otpm": 2}))} == {
        Span(MINUTE)
    }
