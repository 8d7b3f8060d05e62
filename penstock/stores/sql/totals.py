"""What accounts have spent in windows of time, kept beside the entries that it is the sum of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from penstock.core.admit.book import GLOBAL
from penstock.core.admit.periods import window
from penstock.stores.sql import upsert
from penstock.stores.sql.daily import ALL, DAY, DIMENSIONS, day_of, of_days
from penstock.stores.sql.entries import named, short, within
from penstock.stores.sql.schema import ACCOUNT, DAILY, SHARES, SPEND, TOTALS

CHUNK = 500  # values of one statement
WINDOWS = 4
"""Windows of an account and a period whose totals are kept: the latest ones, and the one in which something is spent. A
clock that was ahead for a while began some that are still to come, and takes none from the one it comes back to."""
_OWN = ("key", "team", "user", "organization", "customer")  # kinds of accounts that have a column
MODEL = "/model:"  # between an account and the model whose share of it is counted


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
    _forget_totals(connection, begun, known)
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


def _forget_totals(connection: sa.Connection, begun: Sequence[Key], known: Iterable[Key]) -> None:
    """Delete windows that are over for long: where one begins, all but the latest ``WINDOWS``."""
    starts: dict[tuple[str, str], set[float]] = {(account, period): set() for account, period, _ in begun}
    for account, period, start in (*known, *begun):
        if (account, period) in starts:
            starts[account, period].add(start)
    made = set(begun)
    over = [
        {"of": account, "in": period, "at": start}
        for (account, period), found in sorted(starts.items())
        for start in sorted(found)[:-WINDOWS]
        if (account, period, start) not in made
    ]
    if over:
        columns = TOTALS.c.account, TOTALS.c.period, TOTALS.c.start
        tests = [column == sa.bindparam(name) for column, name in zip(columns, ("of", "in", "at"), strict=True)]
        connection.execute(sa.delete(TOTALS).where(*tests), over)


def known_totals(connection: sa.Connection, accounts: Iterable[str]) -> dict[Key, int]:
    found: dict[Key, int] = {}
    for chunk in chunks(sorted({named(account, ACCOUNT) for account in accounts})):
        asked = sa.select(TOTALS.c.account, TOTALS.c.period, TOTALS.c.start, TOTALS.c.amount)
        rows = connection.execute(asked.where(TOTALS.c.account.in_(chunk))).all()
        found.update({(account, period, start): int(amount) for account, period, start, amount in rows})
    return found


def amounts_in(connection: sa.Connection, accounts: Sequence[str], period: str, start: float) -> list[int]:
    """Return what accounts have spent in one window."""
    found = _kept_in(connection, accounts, period, start)
    missing = [account for account, amount in zip(accounts, found, strict=True) if amount is None]
    # Of all time it is kept since the account's first request.
    made = summed_all(connection, ((account, period, start) for account in missing)) if period and missing else {}
    return [
        made.get((account, period, start), 0) if amount is None else amount
        for account, amount in zip(accounts, found, strict=True)
    ]


def _kept_in(connection: sa.Connection, accounts: Sequence[str], period: str, start: float) -> list[int | None]:
    """Return what is kept for accounts in one window. Where many are asked for, most of what stands between two of them
    is asked for, too: a stretch of the table is read in a fifth of the time that its rows take one by one."""
    names = [
        account if len(account) <= ACCOUNT and account.isascii() and "\0" not in account else named(account, ACCOUNT)
        for account in accounts
    ]
    asked = sa.select(TOTALS.c.account, TOTALS.c.amount).where(TOTALS.c.period == period, TOTALS.c.start == start)
    stretch = asked.where(TOTALS.c.account.between(sa.bindparam("first"), sa.bindparam("last"))).limit(2 * CHUNK)
    found: dict[str, int] = {}
    many = len(names) > CHUNK
    for chunk in chunks(sorted(names)):
        rows = connection.execute(stretch, {"first": chunk[0], "last": chunk[-1]}).all() if many else []
        if not many or len(rows) == 2 * CHUNK:
            rows = connection.execute(asked.where(TOTALS.c.account.in_(chunk))).all()
        found.update(rows)  # type: ignore[arg-type]  # rows of two
    return list(map(found.get, names))


def summed(connection: sa.Connection, account: str, period: str, start: float) -> int:
    """Add up what an account had spent since the start of a window, where its total is not kept: of whole days by their
    sums, of which there are few however many requests there were, else by its rows."""
    if not period:
        return 0  # of all time it is kept since the account's first request
    end = window(period, start).end
    whose = _sums_of_days(account) if not (start % DAY or end % DAY) else None
    if whose is not None:
        dimension, where = whose
        days = of_days(dimension, where, day_of(start), day_of(end - 1))
        return int(connection.execute(sa.select(sa.func.sum(DAILY.c.cost)).where(*days)).scalar() or 0)
    tests = _is_of(account)
    if not tests:
        return 0
    asked = sa.select(sa.func.sum(SPEND.c.cost)).where(*tests, SPEND.c.at >= start, SPEND.c.at < end)
    return int(connection.execute(asked).scalar() or 0)


def summed_all(connection: sa.Connection, asked: Iterable[Key]) -> dict[Key, int]:
    """Add up what many accounts had spent, see ``summed``: those of one kind and window with a few statements."""
    found: dict[Key, int] = {}
    alike: dict[tuple[str, str, float], dict[str, Key]] = {}
    for key in asked:
        account, period, start = key
        whose = _sums_of_days(account) if period and not (start % DAY or window(period, start).end % DAY) else None
        if whose is None or not whose[1]:
            found[key] = summed(connection, *key)
        else:
            alike.setdefault((whose[0], period, start), {})[str(whose[1]["name"])] = key
    for (dimension, period, start), keys in alike.items():
        since, until = day_of(start), day_of(window(period, start).end - 1)
        found |= dict.fromkeys(keys.values(), 0)
        for chunk in chunks(list(keys)):
            days = of_days(dimension, {"name": tuple(chunk)}, since, until)
            sums = sa.select(DAILY.c.name, sa.func.sum(DAILY.c.cost)).where(*days).group_by(DAILY.c.name)
            found |= {keys[name]: int(cost or 0) for name, cost in connection.execute(sums)}
    return found


def _sums_of_days(account: str) -> tuple[str, dict[str, object]] | None:
    """Return which sums per day are an account's; None where they are not kept."""
    kind, _, id_ = account.partition(":")
    if account == GLOBAL:
        return ALL, {}
    return None if MODEL in account or kind not in DIMENSIONS else (kind, {"name": short(id_)})


def _is_of(account: str) -> list[sa.ColumnElement[bool]]:
    whose, _, model = account.partition(MODEL)
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
