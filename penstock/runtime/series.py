"""The last hour in slots of five seconds, in memory: what the overview page draws.

Counted where the metrics are (``runtime/tally``), a few additions a request. A slot is a row of numbers, so several
slots, or those of several processes, are one by addition. Times are kept as counts in buckets that grow by 1.4, so a
quantile is right within 18 %; a slot in which nothing happened takes no memory.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

STEP = 5.0  # seconds of a slot
SLOTS = 720  # an hour
MOST_POINTS = 720
BOUNDS = tuple([1.4**at for at in range(40)])  # milliseconds: 1 to 500,000

REQUESTS, ERRORS, CLIENT_ERRORS, INPUT, OUTPUT, COST, HITS, LOOK_UPS = range(8)
LATENCIES = 8
FIRSTS = LATENCIES + len(BOUNDS) + 1
WIDTH = FIRSTS + len(BOUNDS) + 1
_NOTHING: Mapping[int, array[float]] = {}
# Series -> the number of a slot that it is, per second.
_RATES = {
    "requests_per_second": (REQUESTS,),
    "errors_per_second": (ERRORS,),
    "client_errors_per_second": (CLIENT_ERRORS,),
    "input_tokens_per_second": (INPUT,),
    "output_tokens_per_second": (OUTPUT,),
    "tokens_per_second": (INPUT, OUTPUT),
    "spend_per_second": (COST,),
}
_QUANTILES = {
    "latency_p50_ms": (LATENCIES, 0.5),
    "latency_p95_ms": (LATENCIES, 0.95),
    "ttft_p50_ms": (FIRSTS, 0.5),
    "ttft_p95_ms": (FIRSTS, 0.95),
}

Others = Callable[[], Iterable[Mapping[int, Sequence[float]]]]
"""Returns the slots of other processes, by number."""


class Series:
    """The slots of one process. ``number``: that of the slot under way, unix time divided by ``STEP``; ``now``: its
    numbers, to which whoever counts adds; ``until``: when it ends, after which ``turn`` must be called first."""

    def __init__(self) -> None:
        self.number, self.until = 0, 0.0
        self.now: list[Any] = [0] * WIDTH  # the cost is a decimal
        self.kept: dict[int, array[float]] = {}

    def turn(self, at: float) -> None:
        """Go to the slot that a time is in."""
        self._keep()
        self.number = number = int(at // STEP)
        self.until = (number + 1) * STEP
        before = self.kept.pop(number, None)  # a clock that was set back comes to one that was there
        self.now = [0] * WIDTH if before is None else list(before)
        self.now[COST] = Decimal(self.now[COST])
        # Also those of a time that is still to come: they were of a clock that was ahead.
        for old in [old for old in self.kept if not number - SLOTS < old < number]:
            del self.kept[old]

    def _keep(self) -> None:
        if self.now[REQUESTS]:
            self.kept[self.number] = array("d", self.now)

    def told(
        self, minutes: float = 15.0, step: float = 0.0, now: float = 0.0, others: Others | None = None
    ) -> dict[str, Any]:
        """Tell the last ``minutes`` up to ``now`` (unix time) as series, the oldest point first.

        ``step``: seconds of a point, rounded up to a multiple of five; 0: so that there are at most 180 points. What is
        returned, ready for JSON::

            {"step": 5.0,                      seconds of a point
             "start": 1790000000.0,            unix time at which the first point begins
             "points": 180,                    how many there are; the last one is under way
             "series": {NAME: [...]},          a number for each point, or null where nothing was measured
             "totals": {"requests": 12, "errors": 0, "client_errors": 1, "input_tokens": 340, "output_tokens": 90,
                        "spend": 0.0042, "cache_hits": 3, "cache_lookups": 8}}

        Names: ``requests_per_second``, ``errors_per_second`` (the gateway's or an upstream's fault),
        ``client_errors_per_second``, ``input_tokens_per_second``, ``output_tokens_per_second``, ``tokens_per_second``,
        ``spend_per_second`` (US dollars), ``latency_p50_ms``, ``latency_p95_ms``, ``ttft_p50_ms``, ``ttft_p95_ms`` (of
        answers that went well; null where there was none), ``cache_hit_rate`` (0 to 1; null where nothing was looked
        for in the cache). The point under way counts the seconds that it has had."""
        if now >= self.until or now < self.until - STEP:
            self.turn(now)
        slots = min(SLOTS, max(1, int(-(-minutes * 60 // STEP))))
        width = int(-(-step // STEP)) if step > 0 else -(-slots // 180)
        width = min(max(1, width), slots)
        points = min(MOST_POINTS, -(-slots // width))
        last = self.number // width  # points begin at multiples of their length, and stay where they are
        first = last - points + 1
        sums = _sums([{**self.kept, self.number: self.now}, *(others() if others is not None else ())], first, width)
        rows = [sums.get(at) for at in range(first, last + 1)]
        lengths = [width * STEP] * points
        lengths[-1] = max(1.0, now - last * width * STEP)
        series: dict[str, list[float | None]] = {
            name: [
                0.0 if row is None else _short(sum(row[at] for at in of) / seconds)
                for row, seconds in zip(rows, lengths, strict=True)
            ]
            for name, of in _RATES.items()
        }
        for name, (begin, share) in _QUANTILES.items():
            end = begin + len(BOUNDS) + 1
            series[name] = [None if row is None else quantile(row[begin:end], share) for row in rows]
        series["cache_hit_rate"] = [
            None if row is None or not row[LOOK_UPS] else _short(row[HITS] / row[LOOK_UPS]) for row in rows
        ]
        return {
            "step": width * STEP,
            "start": first * width * STEP,
            "points": points,
            "series": series,
            "totals": _totals([row for row in rows if row is not None]),
        }


def _sums(sources: Iterable[Mapping[int, Sequence[Any]]], first: int, width: int) -> dict[int, list[float]]:
    """Add up the slots of all sources by point."""
    found: dict[int, list[float]] = {}
    for slots in sources:
        for number, row in slots.items():
            at = number // width
            if at < first or not row[REQUESTS]:
                continue
            known = found.get(at)
            if known is None:
                found[at] = [float(value) for value in row]
            else:
                found[at] = [a + float(b) for a, b in zip(known, row, strict=True)]
    return found


def _totals(rows: Sequence[Sequence[float]]) -> dict[str, float]:
    whole = [sum(row[at] for row in rows) for at in range(LATENCIES)]
    counted = {
        "requests": REQUESTS,
        "errors": ERRORS,
        "client_errors": CLIENT_ERRORS,
        "input_tokens": INPUT,
        "output_tokens": OUTPUT,
        "cache_hits": HITS,
        "cache_lookups": LOOK_UPS,
    }
    return {**{name: int(whole[at]) for name, at in counted.items()}, "spend": round(whole[COST], 12)}


def quantile(counts: Sequence[float], share: float) -> float | None:
    """Return a quantile of times in milliseconds, of which each bucket of ``BOUNDS`` counts some; None for none."""
    wanted = sum(counts) * share
    if not wanted:
        return None
    seen = 0.0
    for at, count in enumerate(counts):
        if count and seen + count >= wanted:
            low = BOUNDS[at - 1] if at else 0.0
            high = BOUNDS[at] if at < len(BOUNDS) else BOUNDS[-1]
            return _short(low + (high - low) * (wanted - seen) / count)
        seen += count
    return BOUNDS[-1]


def bucket(ms: float) -> int:
    """Return the bucket that a time is counted in."""
    return bisect_left(BOUNDS, ms)


def _short(value: float) -> float:
    """Return a number with six digits: a page shows fewer."""
    return float(f"{value:.6g}")
