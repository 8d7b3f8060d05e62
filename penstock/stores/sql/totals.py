"""What accounts have spent in windows of time, kept beside the entries that it is the sum of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from penstock.core.admit.periods import window
from penstock.stores.sql import upsert
from penstock.stores.sql.entries import named, short, within
from penstock.stores.sql.schema import ACCOUNT, SHARES, SPEND, TOTALS

CHUNK = 500  # values of one statement
_OWN = ("key", "team", "user", "organization", "customer")  # kinds of accounts that have a column
_MODEL = "/model:"  # between an account and the model whose share of it is counted


class Charged(NamedTuple):
    """What is charged to some accounts: when, and how many picodollars each time."""

    accounts: tuple[str, ...]
    times: Sequence[float]
    costs: Sequence[int]


Key = tuple[str, str, float]  # of a total: account, period, start


def add_totals(
    connection: sa.Connection, charged: Iterable[Charged], periods: Mapping[str, Sequence[str]], begins: bool = True
) -> dict[Key, int]:
    """Add what was spent to the windows of accounts: those that are told, and those that the database has. Return what
    was added to each. ``begins``: windows may begin here; else those that are not there are worked out from the rows by
    whoever asks for them."""
    groups = list(charged)
    known = known_totals(connection, {account for group in groups for account in group.accounts})
    counted: dict[str, set[str]] = {}
    for account, period, _ in known:
        counted.setdefault(account, set()).add(period)
    sums: dict[Key, int] = {}
    for accounts, times, costs in groups:
        for account in set(accounts):
            for period in {"", *periods.get(account, ()), *counted.get(named(account, ACCOUNT), ())}:
                for start, cost in _by_window(period, times, costs):
                    at = (account, period, start)
                    sums[at] = sums.get(at, 0) + cost
    rows, begun = [], []
    for (account, period, start), amount in sums.items():
        name = named(account, ACCOUNT)
        if (name, period, start) not in known:
            if not begins:
                continue
            amount += summed(connection, account, period, start)
            if period:
                begun.append((name, period, start))
        rows.append({"account": name, "period": period, "start": start, "amount": within(amount)})
    rows.sort(key=lambda row: (row["account"], row["period"], row["start"]))
    upsert.add(connection, TOTALS, rows, ("amount",))
    _forget_totals(connection, begun)
    return sums


def move_shares(connection: sa.Connection, sums: Mapping[Key, int]) -> None:
    """Add to what was spent of caps before processes shared them: the row without a process, see ``pot``."""
    for (account, period, start), amount in sorted(sums.items()):
        of = SHARES.c.account == named(account, ACCOUNT), SHARES.c.period == period, SHARES.c.start == start
        if amount:
            moved = sa.update(SHARES).where(*of, SHARES.c.process == "")
            connection.execute(moved.values(granted=SHARES.c.granted + amount))


def _by_window(period: str, times: Sequence[float], costs: Sequence[int]) -> Iterable[tuple[float, int]]:
    """Yield windows and what was spent in each."""
    first, last = window(period, min(times)), window(period, max(times))
    if first.start == last.start:  # all but those of a batch that a window ends in
        yield first.start, sum(costs)
        return
    for at, cost in zip(times, costs, strict=True):
        yield window(period, at).start, cost


def _forget_totals(connection: sa.Connection, begun: Sequence[Key]) -> None:
    """Delete windows that are over for long: where a window begins, all before the last one."""
    same = TOTALS.c.account == sa.bindparam("of"), TOTALS.c.period == sa.bindparam("in")
    over = (*same, TOTALS.c.start < sa.bindparam("to"))
    told = [
        {"of": account, "in": period, "to": window(period, start - 1).start} for account, period, start in sorted(begun)
    ]
    if told:
        connection.execute(sa.delete(TOTALS).where(*over), told)


def known_totals(connection: sa.Connection, accounts: Iterable[str]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for chunk in chunks(sorted({named(account, ACCOUNT) for account in accounts})):
        asked = sa.select(TOTALS.c.account, TOTALS.c.period, TOTALS.c.start, TOTALS.c.amount)
        rows = connection.execute(asked.where(TOTALS.c.account.in_(chunk)))
        found |= {(account, period, start): int(amount) for account, period, start, amount in rows}
    return found


def summed(connection: sa.Connection, account: str, period: str, start: float) -> int:
    """Add up an account's rows since the start of a window, where there is a column of its kind."""
    tests = _is_of(account) if period else []  # of all time it is kept since the account's first request
    if not tests:
        return 0
    end = window(period, start).end
    asked = sa.select(sa.func.sum(SPEND.c.cost)).where(*tests, SPEND.c.at >= start, SPEND.c.at < end)
    return int(connection.execute(asked).scalar() or 0)


def _is_of(account: str) -> list[sa.ColumnElement[bool]]:
    whose, _, model = account.partition(_MODEL)
    kind, _, id_ = whose.partition(":")
    tests = []
    if kind in _OWN:
        tests = [SPEND.c[kind] == short(id_)]
    elif kind == "member":
        team, _, user = id_.partition("/")
        tests = [SPEND.c.team == short(team), SPEND.c.user == short(user)]
    if tests and model:
        tests.append(sa.or_(SPEND.c.model == short(model), SPEND.c.group == short(model)))
    return tests


def chunks(values: list[str]) -> Iterable[list[str]]:
    """Yield values by so many as one statement takes."""
    return (values[at : at + CHUNK] for at in range(0, len(values), CHUNK))
