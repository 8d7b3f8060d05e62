"""How values are written on pages: money, counts, times, sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

_SIZES = ("B", "kB", "MB", "GB", "TB")


def money(value: Any) -> str:
    """Write dollars: two digits behind the point, more of what is small; a dash for nothing known."""
    if value is None or value == "":
        return "–"
    number = float(value)
    if number == 0:
        return "$0"
    if number < 0:
        return f"-{money(-number)}"
    if abs(number) >= 1000:
        return f"${number:,.0f}"
    if abs(number) >= 1:
        return f"${number:,.2f}"
    if abs(number) >= 0.01 and abs(number - round(number, 2)) < 1e-9:
        return f"${number:.2f}"
    text = f"{number:.8f}".rstrip("0")
    digits = f"{number:.2g}" if abs(number) >= 1e-8 else f"{number:.1e}"
    rounded = f"{float(digits):.12f}".rstrip("0")
    short = rounded if text == "0." else min(text, rounded, key=len)
    return f"${short}0" if len(short) == 3 else f"${short}"  # $0.80


def count(value: Any) -> str:
    """Write a whole number so that it is read at a glance: 950, 12.3k, 4.6M."""
    if value is None or value == "":
        return "–"
    number = float(value)
    for limit, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= limit:
            scaled = number / {"G": 1e9, "M": 1e6, "k": 1e3}[letter]
            return f"{scaled:.1f}".rstrip("0").rstrip(".") + letter
    return f"{number:,.0f}"


def seconds(value: Any) -> str:
    """Write how long something took."""
    if value is None or value == "":
        return "–"
    number = float(value)
    if number < 0.9995e-3:
        return f"{number * 1e6:.0f} µs"
    if number < 1:
        return f"{number * 1e3:.0f} ms"
    if number < 60:
        return f"{number:.1f} s"
    if number < 3600:
        return f"{number / 60:.0f} min"
    return f"{number / 3600:.1f} h" if number < 172_800 else f"{number / 86400:.0f} days"


def size(value: Any) -> str:
    """Write a number of bytes."""
    number = float(value or 0)
    for unit in _SIZES:
        if number < 1000 or unit == _SIZES[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return ""


def percent(value: Any) -> str:
    """Write a share of one."""
    return "–" if value is None or value == "" else f"{float(value) * 100:.1f} %".replace(".0 %", " %")


def when(value: Any) -> str:
    """Write a time (unix seconds, or ISO text) as UTC, to the second; pages show it in the reader's own zone."""
    stamp = _stamp(value)
    return "–" if stamp is None else datetime.fromtimestamp(stamp, UTC).strftime("%Y-%m-%d %H:%M:%S")


def iso(value: Any) -> str:
    """Write a time for the ``datetime`` of a ``time`` element."""
    stamp = _stamp(value)
    return "" if stamp is None else datetime.fromtimestamp(stamp, UTC).isoformat().replace("+00:00", "Z")


def ago(value: Any) -> str:
    """Write how long ago, or in how long, a time is."""
    stamp = _stamp(value)
    if stamp is None:
        return "–"
    apart = time.time() - stamp
    return "now" if abs(apart) < 1 else f"{seconds(apart)} ago" if apart > 0 else f"in {seconds(-apart)}"


def day_time(value: Any) -> float:
    """Return when a day, as ``2026-11-30``, begins: unix seconds, for a chart."""
    return datetime.fromisoformat(str(value)).replace(tzinfo=UTC).timestamp()


def _stamp(value: Any) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, datetime):
        return value.timestamp()
    text = str(value).replace("Z", "+00:00")
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def first_token(row: Mapping[str, Any]) -> float | None:
    """Return the seconds to the first token of a logged request."""
    begin, first = _stamp(row.get("startTime")), _stamp(row.get("completionStartTime"))
    return None if begin is None or first is None else max(0.0, first - begin)


FILTERS: dict[str, Callable[[Any], Any]] = {
    "money": money,
    "count": count,
    "seconds": seconds,
    "size": size,
    "percent": percent,
    "when": when,
    "iso": iso,
    "ago": ago,
    "day_time": day_time,
    "first_token": first_token,
}
