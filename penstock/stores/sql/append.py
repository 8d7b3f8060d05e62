"""Entries that are kept, each once, whatever is known of them, with the sums that follow from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

import msgspec
import sqlalchemy as sa

from penstock.stores.base import Spent
from penstock.stores.sql import upsert
from penstock.stores.sql.daily import count_all, sums_of
from penstock.stores.sql.entries import FIELDS, fit_all, rows_of, spent_of
from penstock.stores.sql.schema import DAILY, DAILY_SUMS, MARKS, SPEND
from penstock.stores.sql.totals import Charged, Key, add_totals, chunks, move_shares


def append(
    connection: sa.Connection,
    entries: Sequence[Spent],
    periods: Mapping[str, Sequence[str]],
    mark: Mapping[str, int],
    corrects: bool = False,
) -> Mapping[Key, int]:
    """Keep entries, and add them up; return what was added to which totals. All statements go over their rows in one
    order, so that processes that do this at the same time wait for each other instead of locking each other out."""
    new, old = _told_apart(connection, entries, corrects)
    sums: Mapping[Key, int] = {}
    if new:
        sums = add_totals(connection, [*_charged(new, 1), *_charged(old, -1)], periods, not corrects)
        for chunk in chunks([one.call_id for one in old]):
            connection.execute(sa.delete(SPEND).where(SPEND.c.call_id.in_(chunk)))
        _insert(connection, rows_of(sorted(new, key=attrgetter("call_id"))))
        upsert.add(connection, DAILY, sums_of([*count_all(new), *count_all(old, -1)]), DAILY_SUMS)
    if mark:
        told = [{"journal": journal, "position": position} for journal, position in sorted(mark.items())]
        upsert.put(connection, MARKS, told, ("position",))
    return sums


def reprice(connection: sa.Connection, pairs: Sequence[tuple[Spent, Spent]]) -> int:
    """Keep the second of each pair in the place of the first, see ``SqlSpendStore.reprice``."""
    known = _known(connection, sorted(old.call_id for old, _ in pairs))
    same = [new for old, new in pairs if known.get(old.call_id) == old]
    move_shares(connection, append(connection, same, {}, {}, corrects=True))
    return len(same)


def _insert(connection: sa.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.execute(sa.insert(SPEND), [dict(zip(FIELDS, row, strict=True)) for row in rows])


def _told_apart(connection: sa.Connection, entries: Sequence[Spent], corrects: bool) -> tuple[list[Spent], list[Spent]]:
    """Return the entries that are new, and those that they take the place of: pending ones, and all that are
    corrected."""
    given: dict[str, Spent] = {}
    for one in fit_all(entries):
        before = given.get(one.call_id)
        if before is None or (before.pending and not one.pending):
            given[one.call_id] = one
    known = _known(connection, sorted(given))
    replaced = {id_: one for id_, one in known.items() if corrects or (one.pending and not given[id_].pending)}
    return [one for id_, one in given.items() if id_ not in known or id_ in replaced], list(replaced.values())


def _known(connection: sa.Connection, ids: list[str]) -> dict[str, Spent]:
    """Return the entries of those ids that there are."""
    known: dict[str, Spent] = {}
    for test in _are_of(connection, ids):
        found = connection.execute(sa.select(*(SPEND.c[name] for name in FIELDS)).where(test))
        known |= {one.call_id: one for one in map(spent_of, found)}
    return known


def _are_of(connection: sa.Connection, ids: list[str]) -> Iterable[sa.ColumnElement[bool]]:
    """Yield tests that together find the rows of those ids. SQLite takes all of them as one value."""
    if connection.dialect.name == "sqlite":
        listed = sa.func.json_each(msgspec.json.encode(ids).decode()).table_valued("value")
        yield SPEND.c.call_id.in_(sa.select(listed.c.value))
        return
    for chunk in chunks(ids):
        yield SPEND.c.call_id.in_(chunk)


def _charged(entries: Iterable[Spent], sign: int) -> Iterable[Charged]:
    """Group entries that are charged to the same accounts: most of a batch are."""
    times: dict[tuple[str, ...], list[float]] = {}
    costs: dict[tuple[str, ...], list[int]] = {}
    for one in entries:
        times.setdefault(one.accounts, []).append(one.at)
        costs.setdefault(one.accounts, []).append(sign * one.cost)
    return [Charged(accounts, times[accounts], costs[accounts]) for accounts in times]
