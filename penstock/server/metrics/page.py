"""The URLs of metrics, and who may read them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from penstock.core.admit.access import MANAGEMENT
from penstock.core.errors import GatewayError
from penstock.core.exposition import OPEN_TYPE, PLAIN_TYPE, wants_open
from penstock.runtime.gate import PUBLIC, VIEW, Rule
from penstock.runtime.series import MOST_POINTS, SLOTS, STEP
from penstock.server.routes import JSON, Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

_READERS = Rule(("GET", "HEAD"), role=VIEW, no_pages=True, family=MANAGEMENT)
LONGEST = SLOTS * STEP / 60  # minutes


async def metrics(gateway: Gateway, call: Call) -> Page:
    """Tell all metrics in Prometheus's text form, or as OpenMetrics where the Accept header asks for it.

    For who may see all that is managed, for who shows ``general_settings.metrics_token``, and for everybody where
    ``litellm_settings.require_auth_for_metrics_endpoint`` is false."""
    told = gateway.metrics
    if told is None:
        from penstock.server.metrics.telling import Metrics  # not before somebody asks

        told = gateway.metrics = Metrics(gateway)
    settings = told.settings
    waits = gateway.gate.admit_reader(call, _READERS, settings.token, settings.open)
    if waits is not None:
        await waits
    is_open = wants_open(call.exchange.headers.get(b"accept", b"").decode("latin-1"))
    return Page(200, OPEN_TYPE if is_open else PLAIN_TYPE, await told.text(is_open))


def series(gateway: Gateway, call: Call) -> Page:
    """Tell the last minutes as series: requests, errors, tokens and spend per second, latencies, cache hits.

    ``minutes``: how many, 15 by default; ``step``: seconds of a point. The form of the answer is that of
    ``runtime.series.Series.told``."""
    asked = parse_qs(call.exchange.query.decode("latin-1"))
    minutes = _number(asked, "minutes", 15.0, 1.0, LONGEST)
    step = _number(asked, "step", 0.0, STEP, 3600.0)
    if step and minutes * 60 / step > MOST_POINTS:
        text = f"'step' is {step:g} s, which gives more than {MOST_POINTS} points; use a longer one."
        raise GatewayError("bad_request", text, param="step")
    return Page(200, JSON, msgspec.json.encode(gateway.tally.told(minutes, step, time.time())))


def _number(asked: dict[str, list[str]], name: str, default: float, least: float, most: float) -> float:
    """Read a number of a query. Raises "bad_request"."""
    said = asked.get(name, [""])[-1]
    if not said:
        return default
    try:
        value = float(said)
    except ValueError:
        value = -1.0
    if not least <= value <= most:
        text = f"{name!r} is {said[:40]!r}; it must be a number from {least:g} to {most:g}."
        raise GatewayError("bad_request", text, param=name)
    return value


ROUTES = (
    # Not by its role: a token of its own opens it, too, and a scrape is no request that is worth a record.
    Route("/metrics", metrics, role=PUBLIC, answer="text/plain", family=MANAGEMENT),
    Route("/metrics/series", series, role=VIEW, family=MANAGEMENT),
)
