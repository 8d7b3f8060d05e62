"""Sums per day of what was spent: by whom, with which model, at which provider."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from penstock.stores.base import CORRECTION, Spent
from penstock.stores.sql.entries import short
from penstock.stores.sql.schema import DAILY_NAMES, DAILY_SUMS

DIMENSIONS = ("key", "team", "user", "organization", "customer", "tag")


class Day(msgspec.Struct, frozen=True):
    """Sums of a day, or of several. ``cost``: picodollars; ``failed``: requests that ended with an error;
    ``estimated``: those whose usage was counted here."""

    dimension: str
    day: str = ""
    name: str = ""
    key: str = ""
    model: str = ""
    group: str = ""
    provider: str = ""
    requests: int = 0
    failed: int = 0
    cost: int = 0
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0
    cache_hits: int = 0
    estimated: int = 0


def sums_of(new: Sequence[Spent], old: Sequence[Spent]) -> list[dict[str, Any]]:
    """Add up entries, and take away those that they take the place of. Return rows in the order of their ids."""
    rows: dict[tuple[str, ...], dict[str, int]] = {}
    for one, sign in (*((one, 1) for one in new), *((one, -1) for one in old)):
        if one.kind == CORRECTION:
            continue
        counts = _counts(one)
        for names in _names(one):
            sums = rows.setdefault(names, dict.fromkeys(DAILY_SUMS, 0))
            for name, count in counts.items():
                sums[name] += sign * count
    made = [{"id": _id(names), **dict(zip(("day", *DAILY_NAMES), names, strict=True)), **rows[names]} for names in rows]
    return sorted(made, key=lambda row: str(row["id"]))


def rows_of(days: Sequence[Day]) -> list[dict[str, Any]]:
    """Return the table's rows of days, in the order of their ids."""
    made = []
    for one in days:
        names = tuple(short(getattr(one, name)) for name in ("day", *DAILY_NAMES))
        told = dict(zip(("day", *DAILY_NAMES), names, strict=True))
        made.append({"id": _id(names), **told, **{name: getattr(one, name) for name in DAILY_SUMS}})
    return sorted(made, key=lambda row: str(row["id"]))


def day_of(at: float) -> str:
    """Return the day of a time, in UTC."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _names(one: Spent) -> Iterator[tuple[str, ...]]:
    day = day_of(one.at)
    rest = (one.key, one.target or one.model, one.group or one.model, one.provider)
    yield (day, "key", one.key, *rest)
    for dimension in ("team", "user", "organization", "customer"):
        name = getattr(one, dimension)
        if name:
            yield (day, dimension, name, *rest)
    for tag in dict.fromkeys(one.tags):
        yield (day, "tag", tag, *rest)


def _counts(one: Spent) -> dict[str, int]:
    return {
        "requests": 1,
        "failed": int(bool(one.error) or one.status >= 400),
        "cost": one.cost,
        "input": one.input,
        "output": one.output,
        "cache_read": one.cache_read,
        "cache_write": one.cache_write,
        "reasoning": one.reasoning,
        "cache_hits": int(one.cache_hit),
        "estimated": int(one.estimated),
    }


def _id(names: tuple[str, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(names)).hexdigest()
