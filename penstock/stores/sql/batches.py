"""Entries of a journal for SQLite, group by group: what nearly all batches are, of which nothing is known yet.

SQLite is in this process and shares its processor, so this is all that a request costs there. What the entries of a
group have in common is given to the driver once for many rows; what each has for itself goes there as the journal's
decoder made it. Nothing is looked for first: an entry that is there already fails the whole batch, which is then added
with care (``append``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from penstock.stores.base import CORRECTION, Spent
from penstock.stores.batch import OWN, SHARED, Batch, Group, shared_of
from penstock.stores.kinds import LONGEST
from penstock.stores.sql import upsert
from penstock.stores.sql.daily import DAY, Counted, count_all, day_of, has_failed, sums_of
from penstock.stores.sql.entries import LONG, fit_all, most_of
from penstock.stores.sql.schema import DAILY, DAILY_SUMS, MARKS, SPEND
from penstock.stores.sql.totals import Charged, add_totals

AT_ONCE = (250, 50, 10, 3, 1)  # rows of one statement
_WIDTH = len(OWN)
_BYTES = frozenset({"usage", "metadata", "way"})  # texts in the table
_TEXTS = ("call_id", "message", "request_id", "client", "session")
_COUNTS = ("cost", "input", "output", "cache_read", "cache_write", "reasoning", "tries")
_SUMMED = ("cost", "input", "output", "cache_read", "cache_write", "reasoning")
_TUPLES = tuple(SHARED.index(name) for name in ("tags", "accounts"))


class Careful(Exception):
    """Some entries are there already, or do not fit as they are: add them one by one."""


def append_new(
    connection: sa.Connection, batch: Batch, periods: Mapping[str, Sequence[str]], mark: Mapping[str, int]
) -> None:
    """Keep entries that are new, and add them up. Raises ``Careful``, where nothing may be kept of what was done."""
    groups = batch.groups
    if groups:
        _check(groups)
        fit = fit_all([one.of for one in groups])
        charged = [Charged(one.of.accounts, one.column("at"), one.column("cost")) for one in groups]
        add_totals(connection, charged, periods)
        try:
            _insert(connection, groups, fit)
        except IntegrityError:
            raise Careful from None
        upsert.add(connection, DAILY, sums_of(chain.from_iterable(map(_counted, groups, fit))), DAILY_SUMS)
    told = [{"journal": journal, "position": position} for journal, position in sorted(mark.items())]
    upsert.put(connection, MARKS, told, ("position",))


def _check(groups: Sequence[Group]) -> None:
    """Check that what entries have for themselves fits its columns: one look at each column of all. Raises
    ``Careful``."""
    values = groups[0].values if len(groups) == 1 else list(chain.from_iterable([one.values for one in groups]))
    for name in _TEXTS:
        texts = values[OWN.index(name) :: _WIDTH]
        if max(map(len, texts)) > LONG.get(name, LONGEST) or "\0" in "".join(texts):
            raise Careful
    for name in _BYTES:
        data = b"\n".join(values[OWN.index(name) :: _WIDTH])
        if b"\0" in data or not (data.isascii() or _is_utf8(data)):
            raise Careful
    for name in _COUNTS:
        counts = values[OWN.index(name) :: _WIDTH]
        if max(counts) > (most := most_of(name)) or min(counts) < -most:
            raise Careful


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _insert(connection: sa.Connection, groups: Sequence[Group], fit: Sequence[Spent]) -> None:
    most = _most_values(connection)
    sizes = [rows for rows in AT_ONCE if rows * _WIDTH + len(SHARED) <= most]
    given: dict[int, list[tuple[Any, ...]]] = {rows: [] for rows in sizes}
    for group, of in zip(groups, fit, strict=True):
        shared = list(shared_of(of))
        for number in _TUPLES:
            shared[number] = msgspec.json.encode(shared[number]).decode()
        values, at = group.values, 0
        for rows in sizes:
            width = rows * _WIDTH
            while len(values) - at >= width:
                given[rows].append((*shared, *values[at : at + width]))
                at += width
    for rows, told in given.items():
        if told:
            connection.exec_driver_sql(_statement(rows), told)


@cache
def _statement(rows: int) -> str:
    """Return the statement that inserts so many rows of a group: what they share stands in front, once. It ends at
    the first row that is there already; so SQLite need not be able to take back those before it."""
    names = ", ".join(f'"{name}"' for name in (*SHARED, *OWN))
    own = ", ".join("CAST(? AS TEXT)" if name in _BYTES else "?" for name in OWN)
    first = ", ".join("?" * len(SHARED))
    again = ", ".join(f"?{number}" for number in range(1, len(SHARED) + 1))
    values = ", ".join(f"({again if row else first}, {own})" for row in range(rows))
    return f"INSERT OR FAIL INTO {SPEND.name} ({names}) VALUES {values}"


def _most_values(connection: sa.Connection) -> int:
    """Return how many values a statement may have: before SQLite 3.32 it was 999."""
    driver: Any = connection.connection.driver_connection
    return int(driver.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER))


def _counted(group: Group, of: Spent) -> Iterable[Counted]:
    """Count a group by its days; ``of`` has its names as they fit."""
    times, size = group.column("at"), group.size
    if of.kind == CORRECTION:
        return ()
    if min(times) // DAY != max(times) // DAY:
        return count_all(fit_all(list(group.entries())))
    sums = [sum(group.column(name)) for name in _SUMMED]
    return [
        Counted(day_of(times[0]), of, [size, size * has_failed(of), *sums, size * of.cache_hit, size * of.estimated])
    ]
