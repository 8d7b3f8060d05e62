"""The last hour in slots: sums, quantiles, what is kept, and several processes as one."""

from __future__ import annotations

import random
from array import array
from decimal import Decimal

import pytest

from penstock.runtime import series
from penstock.runtime.series import SLOTS, STEP, WIDTH, Series, quantile

NOW = 1_790_000_003.0


def note(to: Series, at: float, times: int = 1, ms: float = 10.0, cost: str = "0") -> None:
    if at >= to.until:
        to.turn(at)
    to.now[series.REQUESTS] += times
    to.now[series.COST] += Decimal(cost) * times
    to.now[series.LATENCIES + series.bucket(ms)] += times


def test_each_point_has_what_happened_in_it_and_the_last_one_is_under_way():
    counted = Series()
    for slot in range(12):
        note(counted, NOW - 3 - 55 + slot * STEP, times=slot + 1, cost="0.001")
    told = counted.told(minutes=1, step=5, now=NOW)
    assert told["step"] == 5 and told["points"] == 12 and told["start"] == NOW - 3 - 55
    rates = told["series"]["requests_per_second"]
    assert rates[:11] == [round((slot + 1) / 5, 6) for slot in range(11)]
    assert rates[11] == 12 / 3, "the point under way counts the three seconds that it has had"
    assert told["totals"]["requests"] == sum(range(1, 13)) and told["totals"]["spend"] == 0.078
    assert all(len(values) == 12 for values in told["series"].values())


def test_what_is_asked_in_longer_points_is_the_same_sum():
    counted = Series()
    for slot in range(SLOTS):
        note(counted, NOW - (SLOTS - 1 - slot) * STEP, times=2)
    fine, coarse = counted.told(60, 5, NOW), counted.told(60, 60, NOW)
    assert (fine["points"], coarse["points"]) == (720, 60)
    assert fine["totals"]["requests"] == 1440 and coarse["totals"]["requests"] >= 1440 - 24
    assert coarse["start"] % 60 == 0, "points stay where they are while time goes on"
    assert max(coarse["series"]["requests_per_second"]) == pytest.approx(0.4, rel=0.1)


def test_no_more_than_an_hour_is_kept_and_nothing_for_slots_without_requests():
    counted = Series()
    for slot in range(3 * SLOTS):
        at = NOW + slot * STEP
        note(counted, at) if slot % 2 else counted.turn(at)
    assert len(counted.kept) <= SLOTS // 2
    assert counted.told(60, 5, NOW + 3 * SLOTS * STEP)["totals"]["requests"] <= SLOTS // 2


def test_a_clock_that_is_set_back_loses_nothing_of_the_time_it_comes_to():
    counted = Series()
    note(counted, NOW)
    note(counted, NOW + STEP)
    counted.turn(NOW)
    note(counted, NOW)
    assert counted.told(1, 5, NOW)["totals"]["requests"] == 2
    counted.turn(NOW - 86_400)
    assert counted.told(60, 5, NOW - 86_400)["totals"]["requests"] == 0


def test_points_without_answers_have_no_latency():
    told = Series().told(5, 5, NOW)
    assert set(told["series"]["latency_p50_ms"]) == {None} and set(told["series"]["cache_hit_rate"]) == {None}
    assert set(told["series"]["requests_per_second"]) == {0.0}


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_quantile_is_near_the_true_one(share: float):
    dice = random.Random(7)
    times = sorted(dice.lognormvariate(6, 0.8) for _ in range(5000))
    counts = [0] * (len(series.BOUNDS) + 1)
    for ms in times:
        counts[series.bucket(ms)] += 1
    found = quantile(counts, share)
    assert found == pytest.approx(times[int(len(times) * share)], rel=0.18)


def test_times_beyond_the_last_bound_are_told_as_that():
    counts = [0] * (len(series.BOUNDS) + 1)
    counts[-1] = 3
    assert quantile(counts, 0.5) == pytest.approx(series.BOUNDS[-1], rel=1e-5)
    assert quantile([0] * len(counts), 0.5) is None


def test_slots_of_other_processes_are_added():
    mine = Series()
    note(mine, NOW, times=3, ms=100)
    other = array("d", bytes(8 * WIDTH))
    other[series.REQUESTS], other[series.LATENCIES + series.bucket(5000)] = 7, 7
    told = mine.told(1, 5, NOW, lambda: [{mine.number: other}])
    assert told["totals"]["requests"] == 10
    assert told["series"]["latency_p50_ms"][-1] == pytest.approx(5000, rel=0.4)
    assert mine.told(1, 5, NOW)["totals"]["requests"] == 3, "what others have is not kept here"
