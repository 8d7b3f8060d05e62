"""Sums per day of what was spent: by whom, with which model, at which provider."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from operator import add, attrgetter
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from penstock.stores.base import CORRECTION, Spent
from penstock.stores.sql import upsert
from penstock.stores.sql.directory import is_one_of
from penstock.stores.sql.entries import short, within
from penstock.stores.sql.schema import DAILY, DAILY_NAMES, DAILY_SUMS

DAY = 86400.0
# What decides in which rows an entry is counted, see ``_names``.
_WHOSE = attrgetter(*"key team user organization customer tags target model group provider".split())
_SUMS = attrgetter("cost", "input", "output", "cache_read", "cache_write", "reasoning", "cache_hit", "estimated")
DIMENSIONS = ("key", "team", "user", "organization", "customer", "tag")
ALL = "all"
"""The dimension of all requests together, by model and provider: a day has a few rows of it, however many keys ask."""


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


class Counted(NamedTuple):
    """What requests of one day count, in the order of ``DAILY_SUMS``. ``of``: one of them, the others have the same
    names."""

    day: str
    of: Spent
    sums: Sequence[int]


def sums_of(counted: Iterable[Counted]) -> list[dict[str, Any]]:
    """Return rows of the table, in the order of their ids."""
    rows: dict[tuple[str, ...], Sequence[int]] = {}
    for one in counted:
        for names in _names(one.day, one.of):
            before = rows.get(names)
            rows[names] = one.sums if before is None else list(map(add, before, one.sums))
    made = [
        {"id": _id(names), **dict(zip(("day", *DAILY_NAMES), names, strict=True)),
         **dict(zip(DAILY_SUMS, map(within, sums), strict=True))}
        for names, sums in rows.items()
    ]  # fmt: skip
    return sorted(made, key=lambda row: str(row["id"]))


def count_all(entries: Sequence[Spent], sign: int = 1) -> Iterator[Counted]:
    """Add up entries that are counted in the same rows. ``sign``: -1 for those that another takes the place of."""
    for alike in _alike(entries):
        failed = sum([has_failed(one) for one in alike])
        sums = [len(alike), failed, *map(sum, zip(*map(_SUMS, alike), strict=True))]
        yield Counted(day_of(alike[0].at), alike[0], [sign * count for count in sums])


def has_failed(one: Spent) -> bool:
    """Tell whether a request ended with an error."""
    return bool(one.error) or one.status >= 400


def _alike(entries: Sequence[Spent]) -> Iterable[list[Spent]]:
    """Group entries that are counted in the same rows: most of a batch are."""
    groups: dict[tuple[Any, ...], list[Spent]] = {}
    for one in entries:
        if one.kind == CORRECTION:
            continue
        of = (one.at // DAY, *_WHOSE(one))
        if of in groups:
            groups[of].append(one)
        else:
            groups[of] = [one]
    return groups.values()


def rows_of(days: Sequence[Day]) -> list[dict[str, Any]]:
    """Return the table's rows of days, in the order of their ids."""
    made = []
    for one in days:
        names = tuple(short(getattr(one, name)) for name in ("day", *DAILY_NAMES))
        told = dict(zip(("day", *DAILY_NAMES), names, strict=True))
        made.append({"id": _id(names), **told, **{name: getattr(one, name) for name in DAILY_SUMS}})
    return sorted(made, key=lambda row: str(row["id"]))


def coarsest(dimension: str, where: Mapping[str, object] | None, by: Sequence[str]) -> str:
    """Return the dimension with the fewest rows that has the sums of another one."""
    return ALL if dimension == "key" and {"name", "key"}.isdisjoint((*(where or ()), *by)) else dimension


def of_days(dimension: str, where: Mapping[str, object] | None, since: str, until: str) -> list[sa.ColumnElement[bool]]:
    """Test for the rows of some days, both included; "" is open."""
    tests = [DAILY.c.dimension == dimension]
    tests += [is_one_of(DAILY.c[name], wanted) for name, wanted in (where or {}).items()]
    tests += [DAILY.c.day >= since] if since else []
    tests += [DAILY.c.day <= until] if until else []
    return tests


def even_out(connection: sa.Connection, since: str) -> None:
    """Make the sums of all requests, from a day on, those of the keys. They differ where others than this version have
    written: another gateway's sums, or an older version of Penstock beside this one. One look at both, so that what is
    added meanwhile is in both or in none."""
    names = [DAILY.c[name] for name in ("day", "model", "group", "provider")]
    of_all = DAILY.c.dimension == ALL
    missing = [sa.func.sum(sa.case((of_all, -DAILY.c[one]), else_=DAILY.c[one])) for one in DAILY_SUMS]
    asked = sa.select(*names, *missing).where(DAILY.c.dimension.in_(("key", ALL)), DAILY.c.day >= since)
    found = connection.execute(asked.group_by(*names).having(sa.or_(*(one != 0 for one in missing)))).all()
    days = [
        Day(ALL, day, "", "", model, group, provider, *map(int, sums)) for day, model, group, provider, *sums in found
    ]
    upsert.add(connection, DAILY, rows_of(days), DAILY_SUMS)


def day_of(at: float) -> str:
    """Return the day of a time, in UTC."""
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _names(day: str, one: Spent) -> Iterator[tuple[str, ...]]:
    what = (one.target or one.model, one.group or one.model, one.provider)
    rest = (one.key, *what)
    yield (day, ALL, "", "", *what)
    yield (day, "key", one.key, *rest)
    for dimension in ("team", "user", "organization", "customer"):
        name = getattr(one, dimension)
        if name:
            yield (day, dimension, name, *rest)
    for tag in dict.fromkeys(one.tags):
        yield (day, "tag", tag, *rest)


def _id(names: tuple[str, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode(names)).hexdigest()
