"""Windows of budgets: computed from the time, at boundaries of the calendar."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.admit.periods import later, parse, text_of, time_of, window

DURATIONS = st.builds(
    lambda count, unit: f"{count}{unit}", st.integers(1, 60), st.sampled_from(["s", "m", "h", "d", "w", "mo", "y"])
)
TIMES = st.floats(0, 4_000_000_000, allow_nan=False)


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("duration", "now", "start", "end"),
    [
        ("1d", "2026-11-30T14:05:09", "2026-11-30", "2026-12-01"),
        ("7d", "2026-12-01T00:00:00", "2026-11-30", "2026-12-07"),
        ("1w", "2026-12-06T23:59:59", "2026-11-30", "2026-12-07"),
        ("30d", "2026-11-30T23:59:59", "2026-11-01", "2026-12-01"),
        ("1mo", "2026-12-01T00:00:00", "2026-12-01", "2027-01-01"),
        ("3mo", "2026-11-30T00:00:00", "2026-10-01", "2027-01-01"),
        ("1y", "2026-11-30T00:00:00", "2026-01-01", "2027-01-01"),
        ("30s", "2026-11-30T14:05:45", "2026-11-30T14:05:30", "2026-11-30T14:06:00"),
        ("1h", "2026-11-30T14:05:45", "2026-11-30T14:00:00", "2026-11-30T15:00:00"),
    ],
)
def test_a_window_begins_at_a_boundary_of_the_calendar(duration, now, start, end):
    assert window(duration, at(now)) == (at(start), at(end))


def test_no_duration_is_all_of_time():
    assert window("", 1.0) == (0.0, math.inf)


@given(DURATIONS, TIMES)
def test_windows_hold_their_time_and_follow_one_another(duration, now):
    found = window(duration, now)
    assert found.start <= now < found.end
    assert window(duration, found.start) == found
    assert window(duration, found.end).start == found.end


@given(DURATIONS, TIMES)
def test_later_is_later(duration, now):
    assert later(duration, now) > now


def test_a_month_later_takes_the_last_day_where_there_is_none_of_that_number():
    assert later("1mo", at("2027-01-31T12:00:00")) == at("2027-02-28T12:00:00")
    assert later("1y", at("2028-02-29T00:00:00")) == at("2029-02-28T00:00:00")


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "0d", "1.5h", "1 d", "1dd", "9999999s", "101y", "x" * 100])
def test_what_is_no_duration_says_what_would_be_one(text):
    with pytest.raises(ValueError, match=r"30d|longer than 100 years"):
        parse(text)


@given(st.integers(0, 4_000_000_000))
def test_times_are_read_as_they_are_written(second):
    assert time_of(text_of(float(second))) == second
