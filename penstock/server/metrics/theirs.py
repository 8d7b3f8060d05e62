"""The metrics that LiteLLM's dashboards ask for: its names and labels, of what is counted here.

Labels that a client fills in as it likes (its address, its program, its own end users) are left out; a label that is
not there is the same as an empty one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from penstock.core.errors import TABLE
from penstock.core.exposition import COUNTER, Family, pairs
from penstock.runtime import tally
from penstock.runtime.tally import Event, Labels
from penstock.server.metrics.counted import Counted, Happened, Sum, Table, Times, Value, Wanted, counter

Alias = Callable[[str], str]
"""Returns the name of a team."""


def _bare(target: str) -> str:
    """Return a model's name without its provider's."""
    return target.partition("/")[2] or target


def _class(kind: str) -> str:
    row = TABLE.get(kind)
    return kind if row is None else row.litellm


def _ok(labels: Labels) -> bool:
    return not labels.error and labels.status < 400


def _failed(labels: Labels) -> bool:
    return not _ok(labels)


def _readers(alias: Alias) -> dict[str, Value]:
    """Return how each label of LiteLLM's is read."""
    return {
        "hashed_api_key": lambda labels: labels.key,
        "api_key_alias": lambda labels: labels.alias,
        "team": lambda labels: labels.team,
        "team_alias": lambda labels: alias(labels.team) if labels.team else "",
        "user": lambda labels: labels.user,
        "requested_model": lambda labels: labels.model,
        "model_group": lambda labels: labels.model,
        "model": lambda labels: _bare(labels.target),
        "litellm_model_name": lambda labels: _bare(labels.target),
        "model_id": lambda labels: labels.target_id,
        "api_base": lambda labels: labels.base,
        "api_provider": lambda labels: labels.provider,
        "status_code": lambda labels: str(labels.status),
        "exception_status": lambda labels: str(labels.status),
        "exception_class": lambda labels: _class(labels.error),
        "route": lambda labels: labels.route,
    }


def tables(alias: Alias) -> tuple[Table, ...]:
    """Return what is told of requests."""
    read = _readers(alias)

    def by(names: str) -> dict[str, Value]:
        return {name: read[name] for name in names.split()}

    who = "hashed_api_key api_key_alias team team_alias"
    return (
        Table(
            by(f"model {who} requested_model user model_id"),
            (
                Sum("litellm_input_tokens_metric", "Input tokens.", (tally.INPUT,), zero=True),
                Sum("litellm_output_tokens_metric", "Output tokens.", (tally.OUTPUT,), zero=True),
                Sum("litellm_total_tokens_metric", "Input and output tokens.", (tally.INPUT, tally.OUTPUT), zero=True),
                Times("litellm_request_total_latency_metric", "Seconds of a request.", tally.TOTAL),
                Times("litellm_llm_api_latency_metric", "Seconds of a request spent on upstreams.", tally.UPSTREAM),
                Times("litellm_llm_api_time_to_first_token_metric", "Seconds to the first event.", tally.FIRST),
            ),
        ),
        Table(
            by(f"{who} model user model_id"),
            (
                Sum("litellm_requests_metric", "Requests that went well.", (tally.REQUESTS,), zero=True),
                Sum("litellm_spend_metric", "US dollars.", (tally.COST,), zero=True),
                Sum("litellm_cache_hits_metric", "Answers that were kept.", (tally.HITS, tally.SHARED)),
                Sum("litellm_cache_misses_metric", "Answers that were looked for in vain.", (tally.MISSES,)),
                Sum("litellm_cached_tokens_metric", "Tokens of kept answers.", (tally.SAVED,)),
            ),
            _ok,
        ),
        Table(
            by(f"{who} requested_model user status_code route model_id"),
            (Sum("litellm_proxy_total_requests_metric", "Requests.", (tally.REQUESTS,), zero=True),),
        ),
        Table(
            by(f"{who} requested_model user exception_status exception_class route model_id"),
            (Sum("litellm_proxy_failed_requests_metric", "Requests that failed.", (tally.REQUESTS,)),),
            _failed,
        ),
        Table(
            by(f"{who} model user model_id"),
            (Sum("litellm_llm_api_failed_requests_metric", "Requests that an upstream failed.", (tally.REQUESTS,)),),
            lambda labels: _failed(labels) and bool(labels.target_id),
        ),
        Table(
            by("model_group api_provider api_base litellm_model_name hashed_api_key api_key_alias model_id"),
            (Times("litellm_overhead_latency_metric", "Seconds of the gateway's own.", tally.OVERHEAD),),
        ),
        Table(
            by(f"litellm_model_name model_id api_base api_provider {who}"),
            (Times("litellm_deployment_latency_per_output_token", "Seconds per token.", tally.PER_TOKEN),),
        ),
    )


_Read = Callable[[tuple[str, ...]], str]
_DEPLOYMENT: Mapping[str, _Read] = {
    "litellm_model_name": lambda labels: _bare(labels[1]),
    "model_id": itemgetter(0),
    "api_base": itemgetter(3),
    "api_provider": itemgetter(2),
}


def events(alias: Alias) -> tuple[Happened, ...]:
    """Return what is told of tries."""
    failed: dict[str, _Read] = {
        "requested_model": itemgetter(6),
        **_DEPLOYMENT,
        "exception_status": itemgetter(5),
        "exception_class": lambda labels: _class(labels[4]),
        "hashed_api_key": itemgetter(7),
        "api_key_alias": itemgetter(8),
        "team": itemgetter(9),
        "team_alias": lambda labels: alias(labels[9]) if labels[9] else "",
    }
    fell: dict[str, _Read] = {
        "requested_model": itemgetter(0),
        "fallback_model": itemgetter(1),
        "hashed_api_key": itemgetter(4),
        "api_key_alias": itemgetter(5),
        "team": itemgetter(6),
        "team_alias": lambda labels: alias(labels[6]) if labels[6] else "",
        "exception_status": lambda labels: "" if labels[2] == "ok" else labels[3],
        "exception_class": lambda labels: "" if labels[2] == "ok" else _class(labels[2]),
    }
    cooled: dict[str, _Read] = {**_DEPLOYMENT, "exception_status": itemgetter(4)}
    return (
        Happened("litellm_deployment_failure_responses", "Tries that an upstream failed.", tally.FAILED, failed),
        Happened("litellm_deployment_cooled_down", "Times that a deployment began to rest.", tally.COOLED, cooled),
        Happened(
            "litellm_deployment_successful_fallbacks", "Requests that another model answered.", tally.FALLBACK, fell,
            lambda labels: labels[2] == "ok",
        ),
        Happened(
            "litellm_deployment_failed_fallbacks", "Requests that no other model answered.", tally.FALLBACK, fell,
            lambda labels: labels[2] != "ok",
        ),
    )  # fmt: skip


_TRIED = (
    "requested_model litellm_model_name model_id api_base api_provider hashed_api_key api_key_alias team team_alias"
).split()


_ALL = {name: itemgetter(at) for at, name in enumerate(_TRIED)}


def tried(alias: Alias, counted: Counted, wanted: Wanted, is_open: bool) -> Iterator[str]:
    """Yield how often each deployment was asked, and how often it answered well: the answers are requests, the rest
    events."""
    for metric, text, also_failed in (
        ("litellm_deployment_total_requests", "Tries.", True),
        ("litellm_deployment_success_responses", "Tries that went well.", False),
    ):
        if not wanted.tells(metric):
            continue
        names = tuple(wanted.keeps(metric, _TRIED))
        number = hash((-1, names))
        values = [_ALL[name] for name in names]
        sums: dict[str, Any] = {}
        for at, cell in enumerate(counted.cells):
            labels = cell.labels
            if isinstance(labels, Labels) and labels.target_id and _ok(labels):
                known = cell.texts.get(number)
                if known is None:
                    team = alias(labels.team) if labels.team else ""
                    row = (
                        *(labels.model, _bare(labels.target), labels.target_id, labels.base, labels.provider),
                        *(labels.key, labels.alias, labels.team, team),
                    )
                    known = cell.texts[number] = pairs(names, [value(row) for value in values])
                sums[known] = sums.get(known, 0) + cell.values[tally.REQUESTS]
            if not at % 100:
                yield ""
        for cell in counted.events if also_failed else ():
            event = cell.labels
            if isinstance(event, Event) and event.name == tally.FAILED:
                id_, target, provider, base, _, _, model, key, of_key, of_team = event.labels
                team = alias(of_team) if of_team else ""
                tried_at = (model, _bare(target), id_, base, provider, key, of_key, of_team, team)
                known = pairs(names, [value(tried_at) for value in values])
                sums[known] = sums.get(known, 0) + cell.values[0]
        yield from counter(Family(metric, COUNTER, text), sums, is_open)
