"""LiteLLM's sums per day as ours. They stand in rows of their own, so that reading them again replaces them, and never
what this gateway has summed up itself."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from penstock.core.admit.amount import pico
from penstock.stores.sql.entries import named
from penstock.stores.sql.schema import DAILY_NAMES, DAILY_SUMS


class Sums(NamedTuple):
    """Sums of LiteLLM's. ``dimension``: whose they are here; ``column``: what names them there."""

    table: str
    dimension: str
    column: str


SUMS = (
    Sums("LiteLLM_DailyUserSpend", "key", "api_key"),
    Sums("LiteLLM_DailyUserSpend", "user", "user_id"),
    Sums("LiteLLM_DailyTeamSpend", "team", "team_id"),
    Sums("LiteLLM_DailyTagSpend", "tag", "tag"),
    Sums("LiteLLM_DailyOrganizationSpend", "organization", "organization_id"),
    Sums("LiteLLM_DailyEndUserSpend", "customer", "end_user_id"),
)
_OURS = {
    "api_requests": "requests",
    "failed_requests": "failed",
    "spend": "cost",
    "prompt_tokens": "input",
    "completion_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_write",
}
_FROM = "litellm"


def query_of(sums: Sums, table: str, columns: Collection[str]) -> str:
    """Return the query that adds LiteLLM's rows up as ours are: it has one for each URL that was called. ``table``: as
    it is written there; ``columns``: those that this version of it has."""
    names = [
        "date",
        f"COALESCE({sums.column}, '')",
        "api_key",
        "COALESCE(model, '')",
        "COALESCE(NULLIF(model_group, ''), model, '')",
        "COALESCE(custom_llm_provider, '')",
    ]
    added = [f"SUM(CAST({name} AS numeric))" if name in columns else "0" for name in _OURS]
    some = "" if sums.dimension == "key" else f" WHERE COALESCE({sums.column}, '') <> ''"
    told = ", ".join(f"{one} AS c{at}" for at, one in enumerate([*names, *added]))
    return f"SELECT {told} FROM {table}{some} GROUP BY 1, 2, 3, 4, 5, 6"


def row_of(sums: Sums, found: Sequence[Any]) -> Mapping[str, Any]:
    """Return our row of what the query found."""
    day, *names = (named(str(value)) for value in found[:6])
    told = (day[:10], sums.dimension, *names)
    id_ = hashlib.sha256(msgspec.json.encode((_FROM, *told))).hexdigest()
    row: dict[str, Any] = {"id": id_, **dict(zip(("day", *DAILY_NAMES), told, strict=True))}
    row |= dict.fromkeys(DAILY_SUMS, 0)
    for name, value in zip(_OURS.values(), found[6:], strict=True):
        row[name] = pico(Decimal(value or 0)) if name == "cost" else int(value or 0)
    return row
