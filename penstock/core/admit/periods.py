"""Durations as LiteLLM writes them, and the windows of time in which a budget holds.

A duration is a number and a unit: ``30s``, ``15m``, ``2h``, ``30d``, ``1w``, ``1mo``, ``1y``. A window of one begins at
a boundary of the calendar in UTC, as LiteLLM's resets do: a day at midnight, a week on Monday, a month (and ``30d``,
which its users mean by it) on the 1st, a year on January 1st. Nothing is reset: a window is computed from the time.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_FORM = re.compile(r"([1-9][0-9]{0,5})(s|m|h|d|w|mo|y)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_MONDAY = 4 * 86400  # seconds from 1970-01-01, a Thursday, to the first Monday
LONGEST_YEARS = 100
FORMS = "a number and a unit of s, m, h, d, w, mo, y, such as '30d'"


class Window(NamedTuple):
    """A stretch of time: from ``start`` until just before ``end``, in seconds since 1970."""

    start: float
    end: float


EVER = Window(0.0, float("inf"))


@lru_cache(1024)
def parse(text: str) -> tuple[int, str]:
    """Read a duration as a count and a unit. Raises ``ValueError`` with the forms that would do."""
    found = _FORM.fullmatch(text.strip().lower()) if len(text) <= 20 else None
    if found is None:
        raise ValueError(f"{text[:40]!r} is no duration: write {FORMS}")
    count, unit = int(found[1]), found[2]
    years = count if unit == "y" else count / 12 if unit == "mo" else count * _SECONDS[unit] / 31_536_000
    if years > LONGEST_YEARS:
        raise ValueError(f"{text[:40]!r} is longer than {LONGEST_YEARS} years")
    return count, unit


def later(duration: str, at: float) -> float:
    """Return the time a duration after ``at``: calendar months and years keep the day, or take the month's last."""
    count, unit = parse(duration)
    if unit in _SECONDS:
        return at + count * _SECONDS[unit]
    return _add_months(at, count if unit == "mo" else 12 * count)


@lru_cache(4096)
def _window(duration: str, second: int) -> Window:
    count, unit = parse(duration)
    if unit == "d" and count == 30:
        count, unit = 1, "mo"
    elif unit == "d" and count == 7:
        count, unit = 1, "w"
    if unit in ("mo", "y"):
        return _of_months(count if unit == "mo" else 12 * count, second)
    length = count * _SECONDS[unit]
    origin = _MONDAY if unit == "w" else 0
    start = second - (second - origin) % length
    return Window(float(start), float(start + length))


def window(duration: str, at: float) -> Window:
    """Return the window of a budget that holds at a time; ``duration`` "": all of time."""
    return _window(duration, int(at)) if duration else EVER


def _of_months(count: int, second: int) -> Window:
    day = datetime.fromtimestamp(second, UTC)
    months = (day.year - 1970) * 12 + day.month - 1
    first = months - months % count
    return Window(_month(first), _month(first + count))


def _month(months: int) -> float:
    return datetime(1970 + months // 12, months % 12 + 1, 1, tzinfo=UTC).timestamp()


def _add_months(at: float, count: int) -> float:
    day = datetime.fromtimestamp(at, UTC)
    months = (day.year - 1970) * 12 + day.month - 1 + count
    year, month = 1970 + months // 12, months % 12 + 1
    last = calendar.monthrange(year, month)[1]
    return day.replace(year=year, month=month, day=min(day.day, last)).timestamp()


def text_of(at: float) -> str:
    """Render a time as LiteLLM's answers do: ``2026-11-30T14:05:00.123000+00:00``."""
    return (datetime.fromtimestamp(0, UTC) + timedelta(seconds=at)).isoformat()


def time_of(text: str) -> float:
    """Read a time as answers write it, and as people do: ISO 8601, UTC where no zone is said. Raises ``ValueError``."""
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(f"{text[:40]!r} is no time: write it as 2026-12-31T00:00:00Z") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
