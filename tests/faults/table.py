"""The result of `make faults` as one table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tests.faults.judge import Verdict

HEAD = (
    "fault", "cooldowns", "requests", "clients saw", "upstream calls", "tried again", "tokens charged", "tokens served",
    "cooled", "added p99 whole, ms", "added p99 streamed, ms", "verdict",
)  # fmt: skip


class Row(NamedTuple):
    """One fault in one mode. ``base``: the verdict on the healthy group, which was asked at the same time."""

    fault: str
    mode: str
    verdict: Verdict
    base: Verdict | None = None


def p99(ms: Sequence[float]) -> float:
    """The time within which 99 of 100 came."""
    ordered = sorted(ms)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0


def _added(row: Row, stream: bool) -> str:
    own = row.verdict.ms[stream]
    if row.base is None or not own:
        return f"({p99(own):.0f})" if own else "-"
    return f"{p99(own) - p99(row.base.ms[stream]):+.0f}"


def _cooled(verdict: Verdict) -> str:
    by_name: dict[str, list[float]] = {}
    for rest in verdict.rests:
        by_name.setdefault(rest.name, []).append(rest.seconds)
    return "; ".join(
        f"{name} {' + '.join(f'{n} x {seconds:g} s' for seconds, n in sorted(Counter(seen).items()))}"
        for name, seen in sorted(by_name.items())
    )


def line(row: Row) -> str:
    """One row, as markdown."""
    verdict = row.verdict
    seen = ", ".join(f"{n} x {what}" for what, n in verdict.seen.most_common())
    cells = [
        row.fault, row.mode, verdict.requests, seen, verdict.calls, verdict.again, verdict.charged, verdict.due,
        _cooled(verdict) or "-", _added(row, False), _added(row, True),
        "ok" if not verdict.problems else "; ".join(f"{n} x {what}" for what, n in verdict.problems.items()),
    ]  # fmt: skip
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"


def render(rows: Sequence[Row], date: str, about: Mapping[str, object]) -> str:
    """The whole page."""
    total = sum(row.verdict.requests + (row.base.requests if row.base is not None else 0) for row in rows)
    failed = sum(bool(row.verdict.problems) for row in rows)
    lines = [
        f"# Faults, {date}",
        "",
        f"{total:,} requests in {len(rows)} runs; {'all as they must be' if not failed else f'{failed} runs FAILED'}. "
        + "; ".join(f"{name} {value}" for name, value in about.items())
        + f"; {os.cpu_count()} cores, gateway, three upstreams and client all on them.",
        "",
        "Tokens served are those of whole answers; what failed tries had said before is charged on top. The p99 is "
        "compared with that of a healthy group, asked at the same time; in brackets: as it is.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "| --- | --- | ---: | --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | --- |",
        *map(line, rows),
    ]
    return "\n".join(lines) + "\n"
