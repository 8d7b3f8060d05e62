"""Caps that several processes share, in a table: see ``stores.base.Pot``.

The row of a cap with no process is locked by whoever asks about it, so steps about one cap come one after the other;
all take such locks in the same order.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from penstock.stores.base import Answered, Got, Want
from penstock.stores.sql import upsert
from penstock.stores.sql.database import Database
from penstock.stores.sql.entries import named
from penstock.stores.sql.schema import ACCOUNT, SHARES

_KEEP = 86_400.0  # seconds that a window is kept behind its end: late entries of dead processes
_NEVER = 1e300  # a time behind all others, which every database can keep
_CHUNK = 200
_Name = tuple[str, str, float]


class SqlPot:
    """A ``stores.base.Pot`` in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, process: str, mark: str, questions: Sequence[Sequence[Want]]) -> list[Answered]:
        return await self._database.write(lambda connection: _take(connection, process, mark, questions))

    async def marks_of(self, process: str) -> Mapping[_Name, str]:
        def read(connection: sa.Connection) -> Mapping[_Name, str]:
            asked = sa.select(SHARES.c.account, SHARES.c.period, SHARES.c.start, SHARES.c.mark)
            rows = connection.execute(asked.where(SHARES.c.process == process))
            return {(account, period, start): mark for account, period, start, mark in rows}

        return await self._database.read(read)

    async def bury(self, process: str, paid: Mapping[_Name, int]) -> None:
        def write(connection: sa.Connection) -> None:
            rows = connection.execute(sa.select(SHARES).where(SHARES.c.process == process)).mappings().all()
            if not rows:
                return
            put = []
            for row in sorted(map(dict, rows), key=_name_of):
                spent = row["spent"] + paid.get(_name_of(row), 0)
                put.append({**row, "granted": spent, "spent": spent})
            upsert.put(connection, SHARES, put, ("granted", "spent"))
            connection.execute(sa.delete(SHARES).where(SHARES.c.until < time.time() - _KEEP))

        await self._database.write(write)


def _name_of(row: Mapping[str, Any]) -> _Name:
    return row["account"], row["period"], row["start"]


def _take(connection: sa.Connection, process: str, mark: str, questions: Sequence[Sequence[Want]]) -> list[Answered]:
    wants: dict[_Name, Want] = {}
    for want in (want for question in questions for want in question):
        wants.setdefault(_of(want), want)
    ordered = sorted(wants)
    whose = [
        dict(zip(("account", "period", "start"), name, strict=True), until=_until(wants[name])) for name in ordered
    ]
    # Of the row without a process nothing is changed where it is there, but it is locked until the end of this.
    first = [
        {**row, "process": "", "granted": wants[name].base, "spent": 0, "mark": ""}
        for name, row in zip(ordered, whose, strict=True)
    ]
    upsert.put(connection, SHARES, first, ("mark",))
    own: dict[_Name, dict[str, Any]] = {
        name: {**row, "process": process, "granted": wants[name].granted, "spent": wants[name].spent, "mark": mark}
        for name, row in zip(ordered, whose, strict=True)
    }
    used, count = _used(connection, ordered, process)
    for name in ordered:
        used[name] += wants[name].granted
    answers = []
    for question in questions:
        names = [_of(want) for want in question]
        fits = all(used[name] + want.need <= want.cap for name, want in zip(names, question, strict=True))
        for name, want in zip(names, question, strict=True) if fits else ():
            more = max(0, min(want.more, (want.cap - used[name] - want.need) // 4))
            own[name]["granted"] += want.need + more
            used[name] += want.need + more
        answers.append(Answered(fits, [Got(own[name]["granted"], used[name], count[name] + 1) for name in names]))
    upsert.put(connection, SHARES, list(own.values()), ("granted", "spent", "mark", "until"))
    return answers


def _used(connection: sa.Connection, names: Sequence[_Name], process: str) -> tuple[dict[_Name, int], dict[_Name, int]]:
    """Add up what others were granted, and count them."""
    used, count = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    accounts = sorted({account for account, _, _ in names})
    for at in range(0, len(accounts), _CHUNK):
        asked = sa.select(SHARES.c.account, SHARES.c.period, SHARES.c.start, SHARES.c.process, SHARES.c.granted)
        asked = asked.where(SHARES.c.account.in_(accounts[at : at + _CHUNK]), SHARES.c.process != process)
        for account, period, start, other, granted in connection.execute(asked):
            name = account, period, start
            if name in used:
                used[name] += int(granted)
                count[name] += other != ""
    return used, count


def _of(want: Want) -> _Name:
    return named(want.account, ACCOUNT), want.period, want.start


def _until(want: Want) -> float:
    return _NEVER if math.isinf(want.until) else want.until
