"""The result: one table, and one verdict per target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Medians = Mapping[str, Mapping[str, float]]

# shape, what, measure, digits
ROWS: tuple[tuple[str, str, str, int], ...] = (
    ("R1", "p50 at 1 connection, ms", "r1_p50_ms", 3),
    ("R1", "p99 at 1 connection, ms", "r1_p99_ms", 3),
    ("R1", "**added p50**, ms", "r1_added_p50_ms", 3),
    ("R1", "**added p99**, ms", "r1_added_p99_ms", 3),
    ("R2", "**requests/s**, 64 connections", "r2_per_s", 0),
    ("R2", "CPU per request, us", "r2_cpu_us", 1),
    ("R2", "own core used", "r2_own_core", 2),
    ("R2", "p99, ms", "r2_p99_ms", 2),
    ("R2", "non-2xx and socket errors", "r2_bad", 0),
    ("R3", "**streams/s** of 64 chunks, 64 at once", "r3_streams_per_s", 1),
    ("R3", "**CPU per chunk**, flat out, us", "r3_cpu_us_chunk", 2),
    ("R3", "CPU per chunk, one each 10 ms, us", "r3_cpu_us_chunk_paced", 2),
    ("R3", "TTFT p50, 8 at once, ms", "r3_ttft_p50_ms", 2),
    ("R3", "**TTFT added p50**, ms", "r3_ttft_added_p50_ms", 2),
    ("R3", "TTFT added p99, ms", "r3_ttft_added_p99_ms", 2),
    ("R3", "streams seen", "r3_streams", 0),
    ("R3", "streams cut off or wrong", "r3_wrong", 0),
    ("R7", "requests/s, 1 KB bodies", "r7_1k_per_s", 0),
    ("R7", "requests/s, 10 KB bodies", "r7_10k_per_s", 0),
    ("R7", "requests/s, 100 KB bodies", "r7_100k_per_s", 0),
    ("R8", "everything on: **requests/s**, 64 connections", "r8_per_s", 0),
    ("R8", "share of R2 without it", "r8_share", 2),
    ("R8", "CPU per request, us", "r8_cpu_us", 1),
    ("R8", "CPU per request until all is stored, us", "r8_stored_cpu_us", 1),
    ("R8", "times the CPU per request without it", "r8_times_cpu", 2),
    ("R8", "p99, ms", "r8_p99_ms", 2),
    ("R8", "non-2xx and socket errors", "r8_bad", 0),
    ("R8", "exec to first 200, s", "r8_first_200_s", 3),
    ("R8", "RSS idle, MB", "r8_rss_mb", 1),
    ("R9", "one of three upstreams killed: requests/s", "r9_per_s", 0),
    ("R9", "requests", "r9_sent", 0),
    ("R9", "**errors that clients saw**", "r9_errors", 0),
    ("R9", "p99 before, ms", "r9_p99_ms", 2),
    ("R9", "**added p99** during the failure, ms", "r9_added_p99_ms", 2),
    ("R2X", "Messages to Chat, **requests/s**", "r2x_per_s", 0),
    ("R2X", "CPU per request, us", "r2x_cpu_us", 1),
    ("R2X", "differences in meaning", "r2x_wrong", 0),
    ("R6", "Messages to Chat with tools, **streams/s**", "r6_streams_per_s", 1),
    ("R6", "CPU per upstream chunk, us", "r6_cpu_us_chunk", 2),
    ("R6", "streams compared", "r6_compared", 0),
    ("R6", "differences in meaning", "r6_wrong", 0),
    ("R11", "import, s", "r11_import_s", 3),
    ("R11", "exec to first 200, s", "r11_first_200_s", 3),
    ("R11", "RSS idle, MB", "r11_rss_idle_mb", 1),
    ("R11", "RSS after the first second of load, MB", "r11_rss_warm_mb", 1),
    ("R11", "RSS at the end, MB", "r11_rss_after_mb", 1),
    ("R11", "requests until then", "r11_requests", 0),
)


@dataclass(frozen=True, slots=True)
class Target:
    """`measure(medians)` is a figure or, where an arm is missing, a KeyError; it is compared with `wanted`."""

    text: str
    measure: Callable[[Medians], float]
    wanted: float
    at_most: bool = False
    unit: str = ""


def _ratio(key: str, arm: str, over: str) -> Callable[[Medians], float]:
    def measure(medians: Medians) -> float:
        value, base = medians[arm][key], medians[over][key]
        if base <= 0:  # on a busy machine an added latency can come out below zero; no ratio follows from that
            raise ZeroDivisionError(f"{over} {key} is {base}")
        return value / base

    return measure


def _own(key: str) -> Callable[[Medians], float]:
    return lambda m: m["penstock"][key]


def _over_litellm(medians: Medians) -> float:
    return medians["penstock"]["r8_per_s"] / medians["litellm"]["r2_per_s"]


def _growth(medians: Medians) -> float:
    own = medians["penstock"]
    return own["r11_rss_after_mb"] / own["r11_rss_warm_mb"] * 100 - 100


TARGETS: tuple[Target, ...] = (
    Target("R2 mock upstream and wrk on one core, requests/s", lambda m: m["direct"]["r2_per_s"], 30_000),
    Target("R2 penstock/litellm requests/s", _ratio("r2_per_s", "penstock", "litellm"), 100, unit="x"),
    Target("R2 penstock/portkey requests/s", _ratio("r2_per_s", "penstock", "portkey"), 12, unit="x"),
    Target("R2 penstock/nginx requests/s", _ratio("r2_per_s", "penstock", "nginx"), 0.3, unit="x"),
    Target("R2 penstock/nginx requests per CPU second", _ratio("r2_cpu_us", "nginx", "penstock"), 0.3, unit="x"),
    Target("R1 penstock/nginx added p50", _ratio("r1_added_p50_ms", "penstock", "nginx"), 2, True, "x"),
    Target("R1 penstock/nginx added p99", _ratio("r1_added_p99_ms", "penstock", "nginx"), 3, True, "x"),
    Target("R3 penstock/litellm streams/s", _ratio("r3_streams_per_s", "penstock", "litellm"), 40, unit="x"),
    Target("R3 CPU per relayed chunk, flat out", _own("r3_cpu_us_chunk"), 15, True, " us"),
    Target("R3 TTFT added to direct, p50", _own("r3_ttft_added_p50_ms"), 1, True, " ms"),
    Target("R3 streams cut off or wrong", _own("r3_wrong"), 0, True),
    Target("R2X penstock/litellm requests/s", _ratio("r2x_per_s", "penstock", "litellm"), 60, unit="x"),
    Target("R6 differences in meaning", _own("r6_wrong"), 0, True),
    Target("R8 everything on/off, requests/s", _own("r8_share"), 0.6, unit="x"),
    Target("R8 penstock with everything/litellm R2, requests/s", _over_litellm, 80, unit="x"),
    Target("R8 non-2xx and socket errors", _own("r8_bad"), 0, True),
    Target("R8 exec to first 200", _own("r8_first_200_s"), 0.6, True, " s"),
    Target("R8 RSS idle", _own("r8_rss_mb"), 80, True, " MB"),
    Target("R9 errors that clients saw", _own("r9_errors"), 0, True),
    Target("R11 import", _own("r11_import_s"), 0.15, True, " s"),
    Target("R11 exec to first 200", _own("r11_first_200_s"), 0.6, True, " s"),
    Target("R11 RSS idle", _own("r11_rss_idle_mb"), 60, True, " MB"),
    Target("R11 RSS growth under load", _growth, 5, True, " %"),
)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _figure(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}"


def render(medians: Medians, arms: Sequence[str], shapes: Sequence[str], missing: Mapping[str, str]) -> str:
    """The markdown table. A cell without a figure says `-` (the shape has none for the arm) or `not run`."""
    lines = ["| shape | measure | " + " | ".join(arms) + " |", "| --- | --- |" + " ---: |" * len(arms)]
    for shape, label, key, digits in ROWS:
        if shape not in shapes:
            continue
        cells = []
        for arm in arms:
            if key in medians.get(arm, {}):
                cells.append(_figure(medians[arm][key], digits))
            else:
                cells.append("not run" if arm in missing or f"{arm} {shape}" in missing else "-")
        lines.append(f"| {shape} | {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdicts(medians: Medians, shapes: Sequence[str]) -> list[str]:
    """One line per target of the shapes that were asked for: `ok`, `MISSED` or `not measured`."""
    out = []
    for target in TARGETS:
        if target.text.split(" ")[0] not in shapes:
            continue
        sign = "<=" if target.at_most else ">="
        wanted = f"wanted {sign} {target.wanted:,g}{target.unit}"
        try:
            value = target.measure(medians)
        except (KeyError, ZeroDivisionError):
            out.append(f"{target.text}: not measured, {wanted}")
            continue
        ok = value <= target.wanted if target.at_most else value >= target.wanted
        out.append(f"{target.text}: {_short(value)}{target.unit}, {wanted}: {'ok' if ok else 'MISSED'}")
    return out
