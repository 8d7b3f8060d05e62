"""Prices that depend on the hour: `off_peak_pricing` of the price map (DeepSeek and those who host it).

Hours are UTC, "16:30-00:30", start included, end not; a window may pass midnight, and one that ends where it starts is
the whole day. Weekdays are numbers from 1 (Monday) and belong to the calendar of `weekday_timezone`, UTC by default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from penstock.core.money import Rates, number

if TYPE_CHECKING:
    from decimal import Decimal

_DAY = 1440  # minutes
# Zones without daylight saving that price maps name; a rule in any other zone is read in UTC.
_OFFSET = {"Asia/Shanghai": 480, "Asia/Singapore": 480, "Asia/Tokyo": 540}
_NAMES = {"mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "sun": 7}
_FIELDS = {
    "fresh": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}


class OffPeak:
    """When the prices are lower, and what they are then."""

    __slots__ = ("_entry", "_rules", "_shift")

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self._entry = entry
        self._shift = _OFFSET.get(str(entry.get("weekday_timezone") or ""), 0)
        self._rules = tuple(_rules(entry))

    @classmethod
    def read(cls, entry: object) -> OffPeak | None:
        """Read the rule of an entry; None where there is no usable one."""
        if not isinstance(entry, Mapping):
            return None
        made = cls(entry)
        return made if made._rules else None

    def holds(self, at: float) -> bool:
        """Tell whether unix time ``at`` is off-peak."""
        minutes = int(at // 60)
        clock = minutes % _DAY
        weekday = ((minutes + self._shift) // _DAY + 3) % 7 + 1  # 1 January 1970 was a Thursday
        for days, start, end in self._rules:
            if weekday in days and (start <= clock < end if start < end else clock >= start or clock < end):
                return True
        return False

    def over(self, rates: Rates) -> Rates:
        """Lay the off-peak rates over ``rates``; what the block leaves out stays. A rate that followed another follows
        it still."""
        found: dict[str, Decimal] = {}
        for name, field in _FIELDS.items():
            price = number(self._entry.get(field))
            if price is not None:
                found[name] = price
        for name, follows in (
            ("cache_read", "fresh"),
            ("cache_write", "fresh"),
            ("cache_write_1h", "cache_write"),
            ("audio_in", "fresh"),
            ("audio_out", "output"),
            ("reasoning", "output"),
        ):
            if name not in found and follows in found and getattr(rates, name) == getattr(rates, follows):
                found[name] = found[follows]
        own = number(self._entry.get("output_cost_per_reasoning_token"))
        if own is not None:
            found["reasoning"] = own
        return replace(rates, **found)


def _rules(entry: Mapping[str, Any]) -> Iterator[tuple[frozenset[int], int, int]]:
    """Yield (weekdays, start, end) in minutes of the UTC day."""
    every = frozenset(range(1, 8))
    for window in _texts(entry.get("hours_utc")):
        yield from _window(every, window)
    rules = entry.get("windows")
    for rule in rules if isinstance(rules, list) else ():
        if isinstance(rule, Mapping):
            days = every if rule.get("weekdays") is None else frozenset(_days(rule["weekdays"]))
            for window in _texts(rule.get("hours_utc")):
                yield from _window(days, window)


def _window(days: frozenset[int], text: str) -> Iterator[tuple[frozenset[int], int, int]]:
    start, dash, end = text.partition("-")
    times = [_minute(start), _minute(end)]
    if dash and times[0] is not None and times[1] is not None:
        yield days, times[0], times[1]


def _minute(text: str) -> int | None:
    hour, colon, minute = text.strip().partition(":")
    if not (colon and hour.isdigit() and minute.isdigit()) or int(hour) > 23 or int(minute) > 59:
        return None
    return int(hour) * 60 + int(minute)


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []


def _days(value: object) -> Iterator[int]:
    for day in value if isinstance(value, list) else ():
        if isinstance(day, int) and 1 <= day <= 7:
            yield day
        elif isinstance(day, str) and day.strip().lower()[:3] in _NAMES:
            yield _NAMES[day.strip().lower()[:3]]
