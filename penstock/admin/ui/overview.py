"""The first page: what runs, what it costs, and what needs attention. What lives on it the page asks for anew."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import query_of
from penstock.admin.ui.inner import ask
from penstock.admin.ui.rows import page
from penstock.admin.ui.view import render
from penstock.core.errors import GatewayError
from penstock.runtime.gate import PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
SPANS = (5, 15, 60)  # minutes
MOST_CELLS = 240  # deployments that are drawn one by one
EVERY = {5: 2, 15: 5, 60: 5}  # seconds between two looks
# Title, unit, and the series of each chart: name, series of the metrics, factor.
_CHARTS: Sequence[tuple[str, str, str, tuple[tuple[str, str, float], ...]]] = (
    ("requests", "Requests per second", "",
     (("requests", "requests_per_second", 1), ("errors", "errors_per_second", 1),
      ("refused", "client_errors_per_second", 1))),
    ("latency", "Time to the whole answer", "s",
     (("half of them", "latency_p50_ms", 1e-3), ("95 %", "latency_p95_ms", 1e-3))),
    ("ttft", "Time to the first token", "s",
     (("half of them", "ttft_p50_ms", 1e-3), ("95 %", "ttft_p95_ms", 1e-3))),
    ("tokens", "Tokens per second", "",
     (("input", "input_tokens_per_second", 1), ("output", "output_tokens_per_second", 1))),
    ("spend", "Dollars per hour", "$", (("spend", "spend_per_second", 3600),)),
    ("cache", "Answered from the cache", "%", (("of those looked for", "cache_hit_rate", 1),)),
)  # fmt: skip


async def show(gateway: Any, call: Call) -> Page:
    """Show what runs and what needs attention."""
    given: Fields = await _live(gateway, call) if call.caller.views else {}
    models = gateway.names_for(call)
    top = await ask(gateway, call, "GET", "/gateway/top")
    base = (call.exchange.headers.get(b"host") or b"localhost:4000").decode("latin-1")
    return render(
        gateway, call, "overview.html", models=models, top=top.said if top.good else None, host=base,
        new=not given or not given["totals"].get("requests"), **given,
    )  # fmt: skip


async def live(gateway: Any, call: Call) -> Page:
    """Show the part of it that lives."""
    if not call.caller.views:
        raise GatewayError("forbidden", "Who sees everything sees how the gateway does.")
    return render(gateway, call, "overview_live.html", **await _live(gateway, call))


async def _live(gateway: Any, call: Call) -> Fields:
    span = query_of(call).get("minutes", "15")
    minutes = int(span) if span.isdecimal() and int(span) in SPANS else SPANS[1]
    series = (await ask(gateway, call, "GET", "/metrics/series", minutes=minutes)).said
    status = (await ask(gateway, call, "GET", "/gateway/status")).said
    deployments = status["deployments"]
    shown = deployments
    if len(deployments) > MOST_CELLS:  # those that are well are told by their count
        shown = [one for one in deployments if one["state"] not in ("ok", "idle")][:MOST_CELLS]
    return {
        "minutes": minutes,
        "spans": SPANS,
        "every": EVERY[minutes],
        "totals": series["totals"],
        "latest": {name: _latest(values) for name, values in series["series"].items()},
        "charts": [_chart(series, *one) for one in _CHARTS],
        "status": status,
        "cells": shown,
        "hidden": len(deployments) - len(shown),
    }


def _latest(values: Sequence[float | None]) -> float | None:
    """Return the last number of a series that is one."""
    return next((value for value in reversed(values) if value is not None), None)


def _chart(series: Fields, id_: str, title: str, unit: str, rows: Sequence[tuple[str, str, float]]) -> Fields:
    times = [series["start"] + at * series["step"] for at in range(series["points"])]
    drawn = [
        {"name": name, "values": [None if v is None else v * factor for v in series["series"][of]]}
        for name, of, factor in rows
    ]
    return {"id": id_, "title": title, "unit": unit, "data": {"times": times, "series": drawn}}


ROUTES = (page("", show), page("/overview/live", live, PAGE_VIEW))
