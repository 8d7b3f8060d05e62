"""Small values with an end, in a table: a ``stores.base.Store`` that lasts, and that all processes share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import sqlalchemy as sa

from penstock.stores.sql import upsert
from penstock.stores.sql.database import Database
from penstock.stores.sql.schema import KEPT

SWEEP = 60.0  # seconds between two clean-ups
MOST = 500  # values that one clean-up deletes: a small step, which holds nobody up


class SqlStore:
    """A ``stores.base.Store``. What is over goes with what is put: a little of it, once a minute. ``clock``: seconds
    since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._swept = 0.0

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        now = self._clock()
        row = {"id": _id(key), "value": value, "until": None if ttl is None else now + ttl}
        sweeps = now > self._swept + SWEEP

        def write(connection: sa.Connection) -> None:
            upsert.put(connection, KEPT, [row], ("value", "until"))
            if sweeps:
                over = sa.select(KEPT.c.id).where(KEPT.c.until <= now).order_by(KEPT.c.until).limit(MOST)
                ids = list(connection.execute(over).scalars())
                connection.execute(sa.delete(KEPT).where(KEPT.c.id.in_(ids)))

        await self._database.write(write)
        if sweeps:
            self._swept = now

    async def get(self, key: str) -> bytes | None:
        asked = sa.select(KEPT.c.value).where(KEPT.c.id == _id(key), self._holds())
        found: bytes | None = await self._database.read(lambda connection: connection.execute(asked).scalar())
        return found

    async def delete(self, key: str) -> bool:
        holds, id_ = self._holds(), _id(key)

        def delete(connection: sa.Connection) -> bool:
            there = connection.execute(sa.select(KEPT.c.id).where(KEPT.c.id == id_, holds)).first() is not None
            connection.execute(sa.delete(KEPT).where(KEPT.c.id == id_))
            return there

        return await self._database.write(delete)

    async def close(self) -> None:
        """Do nothing: the database is its owner's."""

    def _holds(self) -> sa.ColumnElement[bool]:
        return sa.or_(KEPT.c.until.is_(None), KEPT.c.until > self._clock())


def _id(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
