"""What was spent, in tables: every request once, with the sums that follow from it, in one transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from penstock.stores.base import KeptTexts, Spent, SpentPage, Total
from penstock.stores.batch import Batch
from penstock.stores.sql import daily, upsert
from penstock.stores.sql.address import SQLITE
from penstock.stores.sql.append import append, reprice
from penstock.stores.sql.batches import Careful, append_new
from penstock.stores.sql.daily import Day, coarsest, day_of, even_out, of_days
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import is_one_of
from penstock.stores.sql.entries import FIELDS, named, spent_of, text_rows_of
from penstock.stores.sql.schema import ACCOUNT, DAILY, DAILY_SUMS, MARKS, SPEND, TEXTS, TOTALS
from penstock.stores.sql.totals import MODEL, amounts_in, chunks

MOST_COUNTED = 100_000
"""Rows up to which a page tells how many there are in all: counting millions would take longer than reading a page."""
DAY_SECONDS = 86400
EACH = frozenset(("day", "name", "key", "model", "group", "provider"))  # what makes a sum per day one of a kind
_TOKENS = SPEND.c.input + SPEND.c.output
_FAILED = sa.or_(SPEND.c.error != "", SPEND.c.status >= 400)


class Session(NamedTuple):
    """The requests of a session. ``began``, ``ended``: unix time of its first and last one; ``cost``: picodollars."""

    id: str
    began: float
    ended: float
    requests: int
    cost: int
    input: int
    output: int
    failed: int
    models: tuple[str, ...]


class SqlSpendStore:
    """A ``stores.base.SpendStore``. Each entry stands in a row of its own, which says what the sums are made of.

    A window of an account whose total is asked for the first time, or which a new budget brings, begins with what the
    rows say: so a budget that is set today counts what was spent since its window began."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def append(
        self, entries: Sequence[Spent], periods: Mapping[str, Sequence[str]], mark: Mapping[str, int]
    ) -> None:
        if isinstance(entries, Batch) and self._database.address.kind == SQLITE:
            batch = entries
            try:
                await self._database.write(lambda connection: append_new(connection, batch, periods, mark))
                return
            except Careful:
                pass
        await self._database.write(lambda connection: append(connection, entries, periods, mark))

    async def keep_texts(self, texts: Sequence[KeptTexts]) -> None:
        rows = text_rows_of(texts)
        await self._database.write(lambda connection: upsert.put(connection, TEXTS, rows, ("request", "response")))

    async def reprice(self, pairs: Sequence[tuple[Spent, Spent]]) -> int:
        """Keep the second of each pair in the place of the first, which costs something else: in the row, in the sums
        of its day, in the totals of its accounts, and in what processes share of a cap. Return how many there were: one
        that is not as the first any more stays, as somebody else was faster."""
        return await self._database.write(lambda connection: reprice(connection, pairs))

    async def put_sums(self, days: Sequence[Day] = (), totals: Sequence[Total] = ()) -> None:
        """Put sums in the place of those that are there: what another gateway counted, and what somebody sets to
        nothing. No entries stand behind them."""
        rows = [
            {"account": named(one.account, ACCOUNT), "period": one.period, "start": one.start, "amount": one.amount}
            for one in sorted(totals)
        ]

        def put(connection: sa.Connection) -> None:
            upsert.put(connection, TOTALS, rows, ("amount",))
            upsert.put(connection, DAILY, daily.rows_of(days), DAILY_SUMS)
            if days:
                even_out(connection, min(one.day for one in days))

        await self._database.write(put)

    async def totals(self, asked: Sequence[tuple[str, str, float]]) -> list[Total]:
        windows: dict[tuple[str, float], list[str]] = {}
        for account, period, start in asked:
            windows.setdefault((period, start), []).append(account)

        def read(connection: sa.Connection) -> dict[tuple[str, float], dict[str, int]]:
            return {
                (period, start): dict(zip(accounts, amounts_in(connection, accounts, period, start), strict=True))
                for (period, start), accounts in windows.items()
            }

        found = await self._database.read(read, steady=True)
        return [Total(*key, found[key[1:]][key[0]]) for key in asked]

    async def amounts(self, accounts: Sequence[str], period: str, start: float) -> list[int]:
        return await self._database.read(lambda c: amounts_in(c, accounts, period, start), steady=True)

    async def marks(self) -> Mapping[str, int]:
        def read(connection: sa.Connection) -> Mapping[str, int]:
            return dict(connection.execute(sa.select(MARKS.c.journal, MARKS.c.position)).all())

        return await self._database.read(read)

    async def latest(self) -> float:
        def read(connection: sa.Connection) -> float:
            return float(connection.execute(sa.select(sa.func.max(SPEND.c.at))).scalar() or 0.0)

        return await self._database.read(read)

    async def rows(
        self,
        where: Mapping[str, object] | None = None,
        since: float | None = None,
        until: float | None = None,
        order: str = "at",
        descending: bool = True,
        offset: int = 0,
        limit: int = 100,
        costs: tuple[int | None, int | None] = (None, None),
        failed: bool | None = None,
        model: str = "",
        text: str = "",
        tag: str = "",
        after: tuple[float, str] | None = None,
    ) -> SpentPage:
        """List requests whose fields are equal to those of ``where`` (a tuple: to one of them), and that ended at
        ``since`` or later and before ``until``. ``costs``: at least and at most so many picodollars. ``failed``: with
        an error, or without. ``model``: by whichever of its names; ``text``: stands in the error's message; ``tag``: is
        one of theirs. ``after``: behind the request that ended then, with that call id, where they go by time.
        ``order``: a field, or "tokens"."""
        tests = _tests(where, since, until)
        tests += [] if costs[0] is None else [SPEND.c.cost >= costs[0]]
        tests += [] if costs[1] is None else [SPEND.c.cost <= costs[1]]
        tests += [] if failed is None else [_FAILED if failed else sa.not_(_FAILED)]
        tests += [sa.or_(*(SPEND.c[name] == model for name in ("model", "group", "target")))] if model else []
        tests += [SPEND.c.message.icontains(text, autoescape=True)] if text else []
        tests += [SPEND.c.tags.contains(msgspec.json.encode(tag).decode(), autoescape=True)] if tag else []
        if after is not None:
            at, call_id = after  # in words that every database looks up in an index
            tests += [SPEND.c.at <= at, sa.or_(SPEND.c.at < at, SPEND.c.call_id < call_id)]
        column = _TOKENS if order == "tokens" else SPEND.c[order]
        places = [one.desc() if descending else one for one in (column, SPEND.c.call_id)]

        def read(connection: sa.Connection) -> SpentPage:
            asked = sa.select(*(SPEND.c[name] for name in FIELDS)).where(*tests).order_by(*places)
            rows = _all_of(asked.offset(offset or None).limit(limit), connection)
            some = sa.select(SPEND.c.call_id).where(*tests).limit(MOST_COUNTED).subquery()
            return SpentPage(rows, connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())

        return await self._database.report(read)

    async def sessions(
        self, where: Mapping[str, object], since: float | None, until: float | None, offset: int, limit: int
    ) -> list[Session]:
        """Sum up requests by their session, the one that was heard of last first."""
        tests = [*_tests(where, since, until), SPEND.c.session != ""]
        last = sa.func.max(SPEND.c.at)
        sums = [sa.func.count(), *(sa.func.sum(SPEND.c[name]) for name in ("cost", "input", "output"))]
        failed = sa.func.sum(sa.case((_FAILED, 1), else_=0))
        columns = (SPEND.c.session, sa.func.min(SPEND.c.began), last, *sums, failed)
        asked = sa.select(*columns).where(*tests).group_by(SPEND.c.session)
        asked = asked.order_by(last.desc(), SPEND.c.session).offset(offset or None).limit(limit)

        def read(connection: sa.Connection) -> list[Session]:
            rows = connection.execute(asked).all()
            names: dict[str, set[str]] = {}
            of_these = SPEND.c.session.in_([row[0] for row in rows])
            for session, model in connection.execute(
                sa.select(SPEND.c.session, SPEND.c.model).where(*tests, of_these).distinct()
            ):
                names.setdefault(session, set()).add(model)
            return [
                Session(
                    id_, began, ended, int(requests), int(cost), int(given), int(made), int(bad),
                    tuple(sorted(names.get(id_, ()))),
                )  # fmt: skip
                for id_, began, ended, requests, cost, given, made, bad in rows
            ]

        return await self._database.report(read)

    async def count(self, where: Mapping[str, object], since: float | None, until: float | None, most: int) -> int:
        """Count requests, at most so many: quick where an index has what ``where`` names."""
        return await self._count(sa.select(SPEND.c.call_id).where(*_tests(where, since, until)).limit(most))

    async def scan(
        self,
        where: Mapping[str, object] | None = None,
        since: float = 0.0,
        until: float | None = None,
        size: int = 1000,
    ) -> AsyncIterator[tuple[Spent, ...]]:
        """Go over all requests of a stretch of time, the oldest first, so many at a time: however many there are."""
        tests = _tests(where, since, until)
        asked = sa.select(*(SPEND.c[name] for name in FIELDS)).where(*tests)
        asked = asked.order_by(SPEND.c.at, SPEND.c.call_id).limit(size)
        after: list[sa.ColumnElement[bool]] = []
        while True:
            found = await self._database.read(partial(_all_of, asked.where(*after)))
            if found:
                yield found
            if len(found) < size:
                return
            at, call_id = found[-1].at, found[-1].call_id
            # In words that every database looks up in an index.
            after = [SPEND.c.at >= at, sa.or_(SPEND.c.at > at, SPEND.c.call_id > call_id)]

    async def get(self, call_id: str) -> Spent | None:
        """Return one request; None where it is not known."""
        page = await self.rows({"call_id": call_id}, limit=1)
        return page.rows[0] if page.rows else None

    async def texts(self, ids: Sequence[str]) -> Mapping[str, tuple[bytes, bytes]]:
        """Return what requests of those call ids asked and were answered, JSON, of those of which it is kept."""

        def read(connection: sa.Connection) -> dict[str, tuple[bytes, bytes]]:
            found = {}
            for chunk in chunks(list(ids)):
                asked = sa.select(TEXTS.c.call_id, TEXTS.c.request, TEXTS.c.response)
                for call_id, request, response in connection.execute(asked.where(TEXTS.c.call_id.in_(chunk))):
                    found[call_id] = request.encode(), response.encode()
            return found

        return await self._database.report(read)

    async def daily(
        self,
        dimension: str,
        where: Mapping[str, object] | None = None,
        since: str = "",
        until: str = "",
        by: Sequence[str] = ("day", "name"),
        order: str = "",
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> list[Day]:
        """Sum up days from ``since`` to ``until`` (both included, as ``2026-11-30``; "" is open). ``dimension``: whose
        they are: "key" has every request once, the others ("team", "user", "organization", "customer", "tag") those
        that have one. ``by``: what gets a row of its own, of day, name, key, model, group and provider; the rest is
        summed up, and "" in the answer. ``order``: a sum or one of ``by``; else in the order of ``by``."""
        tests = of_days(coarsest(dimension, where, by), where, since, until)
        columns = [DAILY.c[name] for name in by]
        whole = EACH <= set(by)  # then a row is a sum already: a page of millions is read, and nothing is added up
        sums: dict[str, Any] = {
            name: DAILY.c[name] if whole else sa.func.sum(DAILY.c[name]).label(f"sum_{name}") for name in DAILY_SUMS
        }
        asked = sa.select(*columns, *sums.values()).where(*tests)
        asked = asked if whole else asked.group_by(*columns)
        first: list[Any] = [] if not order else [sums[order]] if order in sums else [DAILY.c[order]]
        if descending:
            first = [one.desc() for one in first or columns]
        places = [*first, *columns]
        asked = asked.order_by(*places).offset(offset or None)
        asked = asked.limit((1 << 62) if limit is None and offset else limit)

        def read(connection: sa.Connection) -> list[Day]:
            return [
                Day(dimension, **dict(zip((*by, *DAILY_SUMS), map(_plain, row), strict=True)))
                for row in connection.execute(asked)
            ]

        return await self._database.report(read)

    async def dearest(self, kind: str, most: int) -> dict[str, int]:
        """Return what those of a kind who spent most have spent in all, by id, the dearest first."""
        begin = f"{kind}:"
        tests = TOTALS.c.period == "", TOTALS.c.account >= begin, TOTALS.c.account < f"{kind};"
        whole = sa.not_(TOTALS.c.account.contains(MODEL))  # and no share of a model
        asked = sa.select(TOTALS.c.account, TOTALS.c.amount).where(*tests, whole)
        asked = asked.order_by(TOTALS.c.amount.desc(), TOTALS.c.account).limit(most)

        def read(connection: sa.Connection) -> dict[str, int]:
            return {account[len(begin) :]: int(amount) for account, amount in connection.execute(asked)}

        return await self._database.report(read)

    async def count_by_day(
        self, where: Mapping[str, object], since: float, until: float, by: Sequence[str] = ()
    ) -> dict[tuple[str, ...], int]:
        """Count requests of each day, by other fields, too: each day by the index of times."""
        tests = [is_one_of(SPEND.c[name], wanted) for name, wanted in where.items()]
        columns = [SPEND.c[name] for name in by]

        def read(connection: sa.Connection) -> dict[tuple[str, ...], int]:
            found: dict[tuple[str, ...], int] = {}
            at = since
            while at < until:
                within = SPEND.c.at >= at, SPEND.c.at < at + DAY_SECONDS
                asked = sa.select(sa.func.count(), *columns).where(*tests, *within).group_by(*columns)
                for count, *names in connection.execute(asked):
                    if count:
                        found[(day_of(at), *names)] = count
                at += DAY_SECONDS
            return found

        return await self._database.report(read)

    async def count_days(
        self,
        dimension: str,
        where: Mapping[str, object] | None = None,
        since: str = "",
        until: str = "",
        by: Sequence[str] = ("day", "name", "key", "model", "group", "provider"),
    ) -> int:
        """Count the rows that ``daily`` would return: at most ``MOST_COUNTED``."""
        tests = of_days(coarsest(dimension, where, by), where, since, until)
        some = sa.select(*(DAILY.c[name] for name in by)).where(*tests)
        some = some if EACH <= set(by) else some.distinct()
        return await self._count(some.limit(MOST_COUNTED))

    async def count_sums(self, dimension: str, where: Mapping[str, object], since: str, until: str, most: int) -> int:
        """Count the rows that ``daily`` would add up, at most so many: by their index, as far as it has them."""
        quick = {name: wanted for name, wanted in where.items() if name == "name"}
        return await self._count(sa.select(DAILY.c.day).where(*of_days(dimension, quick, since, until)).limit(most))

    async def names(self, dimension: str, most: int) -> list[str]:
        """List whose sums there are, in order: each is found by the index from the one before it, however many sums it
        has."""
        of_it = DAILY.c.dimension == dimension
        found = sa.select(sa.func.min(DAILY.c.name).label("name")).where(of_it).cte("found", recursive=True)
        next_one = sa.select(sa.func.min(DAILY.c.name)).where(of_it, DAILY.c.name > found.c.name).scalar_subquery()
        every = found.union_all(sa.select(next_one).where(found.c.name.is_not(None)))
        asked = sa.select(every.c.name).where(every.c.name.is_not(None)).limit(most)
        return await self._database.report(lambda connection: list(connection.execute(asked).scalars()))

    async def _count(self, some: sa.Select[Any]) -> int:
        counted = sa.select(sa.func.count()).select_from(some.subquery())
        return await self._database.report(lambda connection: int(connection.execute(counted).scalar_one()))

    async def forget(self, before: float, most: int = 1000, since: float = 0.0, failed: bool = False) -> int:
        """Delete the oldest rows that ended before a time, at most so many: a step of a clean-up. The sums stay. Return
        how many there were. ``failed``: only those that failed and cost nothing."""
        tests = [SPEND.c.at < before, SPEND.c.at >= since]
        tests += [_FAILED, SPEND.c.cost == 0] if failed else []

        def delete(connection: sa.Connection) -> int:
            asked = sa.select(SPEND.c.call_id).where(*tests).order_by(SPEND.c.at).limit(most)
            ids = list(connection.execute(asked).scalars())
            for chunk in chunks(ids):
                connection.execute(sa.delete(SPEND).where(SPEND.c.call_id.in_(chunk)))
                connection.execute(sa.delete(TEXTS).where(TEXTS.c.call_id.in_(chunk)))
            return len(ids)

        return await self._database.write(delete)


def _all_of(asked: sa.Select[Any], connection: sa.Connection) -> tuple[Spent, ...]:
    return tuple(map(spent_of, connection.execute(asked)))


def _tests(
    where: Mapping[str, object] | None, since: float | None, until: float | None
) -> list[sa.ColumnElement[bool]]:
    tests = [is_one_of(SPEND.c[name], wanted) for name, wanted in (where or {}).items()]
    tests += [] if since is None else [SPEND.c.at >= since]
    return tests + ([] if until is None else [SPEND.c.at < until])


def _plain(value: Any) -> Any:
    return value if isinstance(value, str) else int(value or 0)
