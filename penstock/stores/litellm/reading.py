"""Reads LiteLLM's database and writes ours. Nothing is changed over there, and what is here already, or was deleted
here, stays as it is: so it can be done again at any time, also after it was interrupted."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import sqlalchemy as sa

from penstock.core.admit.amount import pico
from penstock.core.admit.periods import parse, window
from penstock.core.money import number
from penstock.stores.base import Audited
from penstock.stores.kinds import KINDS, fields_of
from penstock.stores.litellm import days
from penstock.stores.litellm.tables import TABLES, WHO, Known, Made, Table, row_of
from penstock.stores.sql import upsert
from penstock.stores.sql.daily import even_out
from penstock.stores.sql.directory import write
from penstock.stores.sql.entries import named
from penstock.stores.sql.schema import ACCOUNT, DAILY, DAILY_SUMS, GONE, ROWS, TOTALS

if TYPE_CHECKING:
    from penstock.stores.base import Row
    from penstock.stores.sql.database import Database

BATCH = 500
MOST_TOLD = 1000  # sentences about what could not be taken as it is; of the rest their number
_ALIASES = "LiteLLM_ModelTable"
_RENAMED = frozenset({"key_alias", "access_group_name"})  # names by which nothing else refers to a row
_COLUMNS = sa.text(
    "SELECT table_name, column_name FROM information_schema.columns "
    "WHERE table_name LIKE 'LiteLLM_%' AND table_schema = COALESCE(:schema, current_schema())"
)


class NotLiteLLM(Exception):
    """A database has none of LiteLLM's tables."""


class Counts(msgspec.Struct):
    """What became of rows: made here, there already (or deleted here), left out."""

    found: int = 0
    made: int = 0
    there: int = 0


class Import:
    """One run. ``dry``: nothing is written. ``step``: is told of how many rows were read since the last time.
    ``counts``: by kind; ``sums``: sums per day; ``told``: what could not be taken as it is."""

    def __init__(self, source: Database, target: Database, dry: bool, step: Callable[[int], None]) -> None:
        self.counts: dict[str, Counts] = {}
        self.sums = 0
        self.told: list[str] = []
        self.more = 0  # sentences beyond MOST_TOLD
        self._source, self._target, self._dry, self._step = source, target, dry, step
        self._known = Known(self._tell)
        self._taken: Counter[tuple[str, str, Any]] = Counter()  # kind, column and value of what must be one of a kind
        self._periods: dict[str, str] = {}  # of budgets

    def run(self) -> None:
        """Read everything of one moment. Raises ``NotLiteLLM`` and ``OSError``."""
        self._source.read_now(self._read)

    def _tell(self, text: str) -> None:
        if len(self.told) < MOST_TOLD:
            self.told.append(text)
        else:
            self.more += 1

    def _read(self, source: sa.Connection) -> None:
        source.exec_driver_sql("SET TRANSACTION READ ONLY")
        schema = self._source.address.schema
        columns = columns_of(source, schema)
        for table in TABLES:
            counts = self.counts[table.kind] = Counts()
            if table.kind == "team" and _ALIASES in columns:
                for row in batches(source, f"SELECT id, aliases FROM {quoted(_ALIASES, schema)}"):
                    self._known.aliases |= {one["id"]: one["aliases"] for one in row}
            if table.name in columns:
                for batch in batches(source, f"SELECT * FROM {quoted(table.name, schema)}"):
                    self._take(table, batch, counts)
            if table.kind == "member":
                rest = list(self._known.rest())
                for at in range(0, len(rest), BATCH):
                    self._keep(table.kind, rest[at : at + BATCH], counts)
        for sums in days.SUMS:
            if sums.table in columns:
                query = days.query_of(sums, quoted(sums.table, schema), columns[sums.table])
                for found in batches(source, query):
                    self._keep_days([days.row_of(sums, tuple(one.values())) for one in found])
        if not self._dry:
            self._target.write_now(lambda target: even_out(target, ""))

    def _take(self, table: Table, batch: Sequence[Mapping[str, Any]], counts: Counts) -> None:
        if table.kind == "budget":
            self._periods |= {one["budget_id"]: one.get("budget_duration") or "" for one in batch}
        made = [one for fields in batch if (one := row_of(table, fields, self._known)) is not None]
        counts.found += len(batch) - len(made)
        self._keep(table.kind, made, counts)

    def _keep(self, kind: str, made: list[Made], counts: Counts) -> None:
        """Keep the rows of a batch that are new, each with what it has spent, in one transaction."""

        def keep(target: sa.Connection) -> int:
            there = _ids(target, ROWS[kind], ROWS[kind].c.id, [one.row.id for one in made])
            there |= _ids(target, GONE, GONE.c.id, [one.row.id for one in made], GONE.c.kind == kind)
            new = [self._only_one(target, one) for one in made if one.row.id not in there]
            if new and not self._dry:
                now = time.time()
                audits = [_audited(one, now) for one in new]
                write(target, [one.row for one in new], audits)
                self._keep_spent(target, new, now)
            return len(new)

        if not made:
            return
        before, more = len(self.told), self.more
        taken = self._taken.copy()

        def anew(target: sa.Connection) -> int:  # a transaction that met another one is done again
            del self.told[before:]
            self.more, self._taken = more, taken.copy()
            return keep(target)

        count = self._target.read_now(anew) if self._dry else self._target.write_now(anew)
        counts.found += len(made)
        counts.made += count
        counts.there += len(made) - count
        self._step(len(made))

    def _only_one(self, target: sa.Connection, made: Made) -> Made:
        """Return a row whose unique fields nobody else has: LiteLLM lets two keys have one alias, and two users one
        address."""
        row, fields = made.row, fields_of(made.row)
        for name in KINDS[row.kind].unique:
            value = fields.get(name)
            if not value:
                continue
            if self._is_taken(target, row, name, value):
                # Nothing refers to a key by its alias, so it may have another; an address is one or none.
                others = [f"{value[:180]} ({id_})" for id_ in (row.id[:8], row.id[:64])] if name in _RENAMED else []
                fields[name] = next((one for one in others if not self._is_taken(target, row, name, one)), None)
                here = "it has none here" if fields[name] is None else f"it is {fields[name]!r} here"
                self._tell(f"{row.kind} {row.id}: another one has the {name} {value!r}: {here}")
            self._taken[row.kind, name, fields[name]] += 1
        body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
        return made._replace(row=msgspec.structs.replace(row, body=body))

    def _is_taken(self, target: sa.Connection, row: Row, name: str, value: str) -> bool:
        if self._taken[row.kind, name, value]:
            return True
        table = ROWS[row.kind]
        other = sa.select(table.c.id).where(table.c[name] == value, table.c.id != row.id)
        return target.execute(other).first() is not None

    def _keep_spent(self, target: sa.Connection, made: list[Made], now: float) -> None:
        """Keep what rows have spent, so that budgets go on where they were."""
        totals: dict[tuple[str, str, float], int] = {}
        for one in made:
            if not one.account:
                continue
            account = named(one.account, ACCOUNT)
            totals[account, "", 0.0] = _pico(one.ever)
            period = self._period(fields_of(one.row))
            if period:
                over = one.resets is not None and one.resets <= now
                totals[account, period, window(period, now).start] = 0 if over else _pico(one.spent)
        rows = [
            {"account": account, "period": period, "start": start, "amount": amount}
            for (account, period, start), amount in sorted(totals.items())
            if amount or period  # a window of which nothing is kept would begin with the sums of its days
        ]
        upsert.put(target, TOTALS, rows, ("amount",))

    def _period(self, fields: Mapping[str, Any]) -> str:
        """Return the window of a row's budget, "" for none, and for one that cannot be read, which was told of."""
        found = fields.get("budget_duration") or self._periods.get(fields.get("budget_id") or "") or ""
        try:
            parse(str(found) or "1d")
        except ValueError:
            return ""
        return str(found).strip().lower()

    def _keep_days(self, rows: list[Mapping[str, Any]]) -> None:
        rows.sort(key=lambda row: str(row["id"]))
        if not self._dry:
            self._target.write_now(lambda target: upsert.put(target, DAILY, rows, DAILY_SUMS))
        self.sums += len(rows)
        self._step(len(rows))


def columns_of(source: sa.Connection, schema: str) -> dict[str, set[str]]:
    """Return LiteLLM's tables, with the columns that this version of it has. Raises ``NotLiteLLM``."""
    columns: dict[str, set[str]] = {}
    for table, column in source.execute(_COLUMNS, {"schema": schema or None}):
        columns.setdefault(table, set()).add(column)
    if not any(table.name in columns for table in TABLES):
        where = f"the schema {schema!r}" if schema else "it"
        raise NotLiteLLM(f"there are none of LiteLLM's tables in {where}")
    return columns


def quoted(table: str, schema: str) -> str:
    """Write the name of a table of LiteLLM's as SQL has it."""
    names = [*([schema] if schema else []), table]
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def batches(source: sa.Connection, query: str) -> Iterator[Sequence[Mapping[str, Any]]]:
    """Yield the rows of a query, so many at a time that memory does not grow with their number."""
    streamed = source.execution_options(stream_results=True, yield_per=BATCH)
    with streamed.execute(sa.text(query)) as result:
        names = list(result.keys())
        for part in result.partitions(BATCH):
            yield [dict(zip(names, row, strict=True)) for row in part]


def _ids(
    target: sa.Connection, table: sa.Table, column: sa.ColumnElement[str], ids: list[str], *tests: Any
) -> set[str]:
    return set(target.execute(sa.select(column).select_from(table).where(column.in_(ids), *tests)).scalars())


def _audited(made: Made, now: float) -> Audited:
    return Audited(secrets.token_hex(16), now, WHO, "imported", made.row.kind, made.row.id)


def _pico(dollars: float) -> int:
    found = number(dollars)
    return pico(found) if found is not None else 0
