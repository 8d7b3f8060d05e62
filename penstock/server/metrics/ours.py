"""Penstock's own metrics of requests: their names, labels and meanings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import itemgetter

from penstock.runtime import tally
from penstock.runtime.tally import Labels
from penstock.server.metrics.counted import Happened, Sum, Table, Times, Value


def _key(labels: Labels) -> str:
    """Name a key: by its alias, else by the beginning of its id."""
    return labels.alias or labels.key[:12]


_WHERE: Mapping[str, Value] = {
    "model": lambda labels: labels.model,
    "target": lambda labels: labels.target,
    "provider": lambda labels: labels.provider,
}
_WHO: Mapping[str, Value] = {"key": _key, "team": lambda labels: labels.team, **_WHERE}
_HOW: Mapping[str, Value] = {
    **_WHO,
    "route": lambda labels: labels.route,
    "status": lambda labels: str(labels.status),
    "error": lambda labels: labels.error,
}
TABLES = (
    Table(_HOW, (Sum("penstock_requests", "Requests that are over.", (tally.REQUESTS,), zero=True),)),
    Table(
        _WHO,
        (
            Sum(
                "penstock_tokens",
                "Tokens by type; cached, cache_write are parts of input, reasoning of output.",
                (tally.INPUT, tally.OUTPUT, tally.CACHED, tally.WRITTEN, tally.REASONING),
                "type",
                ("input", "output", "cached", "cache_write", "reasoning"),
            ),
            Sum("penstock_spend_usd", "What requests cost, in US dollars.", (tally.COST,), zero=True),
            Sum("penstock_unpriced_requests", "Requests whose price is not known.", (tally.UNPRICED,)),
        ),
    ),
    Table(
        _WHERE,
        (
            Times("penstock_request_duration_seconds", "From a request's last byte to its answer's.", tally.TOTAL),
            Times("penstock_time_to_first_token_seconds", "Until a stream's first event.", tally.FIRST),
            Times("penstock_upstream_duration_seconds", "Part of a request spent on upstreams.", tally.UPSTREAM),
            Times("penstock_output_token_seconds", "Upstream time per output token.", tally.PER_TOKEN),
            Sum("penstock_streams", "Requests that were answered with a stream.", (tally.STREAMS,)),
            Sum("penstock_retries", "Tries after the first.", (tally.RETRIES,)),
            Sum("penstock_dropped_fields", "Fields that an upstream cannot be told.", (tally.DROPPED,)),
            Sum(
                "penstock_cache_requests",
                "Requests that looked for a kept answer.",
                (tally.HITS, tally.SHARED, tally.MISSES),
                "result",
                ("hit", "shared", "miss"),
            ),
            Sum("penstock_cache_saved_tokens", "Tokens of answers that were kept here.", (tally.SAVED,)),
        ),
    ),
    Table(
        {"route": lambda labels: labels.route},
        (
            Times("penstock_overhead_seconds", "The gateway's own part of a request.", tally.OVERHEAD),
            Sum("penstock_request_bytes", "Bytes of request bodies.", (tally.BYTES_IN,)),
            Sum("penstock_response_bytes", "Bytes of answers.", (tally.BYTES_OUT,)),
        ),
    ),
)
_UPSTREAM: Mapping[str, Callable[[tuple[str, ...]], str]] = {
    "deployment": itemgetter(0),
    "target": itemgetter(1),
    "provider": itemgetter(2),
}
EVENTS = (
    Happened(
        "penstock_upstream_failures",
        "Tries that failed by an upstream's fault.",
        tally.FAILED,
        {**_UPSTREAM, "model": itemgetter(6), "error": itemgetter(4), "status": itemgetter(5)},
    ),
    Happened(
        "penstock_cooldowns",
        "Times that a deployment began to rest.",
        tally.COOLED,
        {**_UPSTREAM, "status": itemgetter(4)},
    ),
    Happened(
        "penstock_fallbacks",
        "Requests that went on to another model.",
        tally.FALLBACK,
        {"model": itemgetter(0), "to": itemgetter(1), "result": itemgetter(2)},
    ),
    Happened(
        "penstock_page_requests",
        "Requests for pages and management.",
        tally.PAGE,
        {"method": itemgetter(0), "status": itemgetter(1)},
    ),
    Happened(
        "penstock_sink_records",
        "What became of records for sinks.",
        tally.SINK,
        {"sink": itemgetter(0), "result": itemgetter(1)},
    ),
    Happened("penstock_folded_label_sets", "Sightings of labels that were counted as other.", tally.FOLDED, {}),
    Happened("process_cpu_seconds", "CPU time of the gateway's processes.", tally.CPU, {}),
)
