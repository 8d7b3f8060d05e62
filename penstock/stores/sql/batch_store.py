"""Files and batches in a database: a ``batch_base.BatchStore`` that lasts, and that all processes share."""

from __future__ import annotations

from typing import Any

import msgspec
import sqlalchemy as sa

from penstock.core.batches.kept import UNFINISHED, KeptBatch, KeptFile, Page, Total
from penstock.stores.sql.database import Database
from penstock.stores.sql.schema import BATCHES, FILES

_encode = msgspec.json.Encoder().encode
_file = msgspec.json.Decoder(KeptFile).decode
_batch = msgspec.json.Decoder(KeptBatch).decode


class SqlBatchStore:
    """A ``batch_base.BatchStore``. What lists and look-ups go by stands in columns, and all of a row in its body."""

    lasts = True

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_file(self, file: KeptFile) -> None:
        row = {
            "id": file.id,
            "owner": file.owner,
            "created": file.created_at,
            "purpose": file.purpose,
            "expires": file.expires_at or None,
            "team": file.team or None,
            "bytes": None if file.provider else file.bytes,
            "body": _encode(file).decode(),
        }

        def put(connection: sa.Connection) -> None:
            connection.execute(sa.delete(FILES).where(FILES.c.id == file.id))
            connection.execute(sa.insert(FILES).values(row))

        await self._database.write(put)

    async def file(self, id: str) -> KeptFile | None:
        found = await self._body(FILES, id)
        return None if found is None else _file(found)

    async def files(
        self, owner: str | None, purpose: str = "", after: str = "", limit: int = 100, descending: bool = True
    ) -> Page:
        where = [] if owner is None else [FILES.c.owner == owner]
        where += [FILES.c.purpose == purpose] if purpose else []
        bodies, more = await self._list(FILES, where, after, limit, descending)
        return Page(tuple(map(_file, bodies)), more)

    async def files_over(self, now: float, limit: int = 100) -> list[KeptFile]:
        asked = sa.select(FILES.c.body).where(FILES.c.expires <= now).order_by(FILES.c.expires).limit(limit)
        found = await self._database.read(lambda c: list(c.execute(asked).scalars()))
        return [_file(body) for body in found]

    async def taken_by(self, owner: str, team: str) -> tuple[Total, Total]:
        def read(connection: sa.Connection) -> tuple[Total, Total]:
            size = FILES.c.bytes  # NULL where a provider has the file: neither counted nor added up
            found = []
            for column, name in ((FILES.c.owner, owner), (FILES.c.team, team)):
                asked = sa.select(sa.func.count(size), sa.func.sum(size)).where(column == name)
                count, total = connection.execute(asked).one() if name else (0, 0)
                found.append(Total(int(count), int(total or 0)))
            return found[0], found[1]

        return await self._database.read(read)

    async def remove_file(self, id: str) -> bool:
        return await self._remove(FILES, id)

    async def add_batch(self, batch: KeptBatch) -> None:
        row = {"id": batch.id, "owner": batch.owner, "form": batch.form, "created": batch.created_at}
        row |= {"runner": "", "until": 0.0, **_changing(batch)}
        await self._database.write(lambda c: c.execute(sa.insert(BATCHES).values(row)) and None)

    async def batch(self, id: str) -> KeptBatch | None:
        found = await self._body(BATCHES, id)
        return None if found is None else _batch(found)

    async def batches(
        self, owner: str | None, form: str, after: str = "", limit: int = 20, descending: bool = True
    ) -> Page:
        where = [BATCHES.c.form == form] + ([] if owner is None else [BATCHES.c.owner == owner])
        bodies, more = await self._list(BATCHES, where, after, limit, descending)
        return Page(tuple(map(_batch, bodies)), more)

    async def change(self, batch: KeptBatch, runner: str | None = None) -> bool:
        at = [BATCHES.c.id == batch.id, BATCHES.c.version == batch.version - 1]
        at += [] if runner is None else [BATCHES.c.runner == runner]
        put = sa.update(BATCHES).where(*at).values(_changing(batch))
        return await self._database.write(lambda c: c.execute(put).rowcount == 1)

    async def remove_batch(self, id: str) -> bool:
        return await self._remove(BATCHES, id)

    async def waiting(self, now: float, limit: int = 20) -> list[KeptBatch]:
        free = sa.select(BATCHES.c.body).where(BATCHES.c.status.in_(UNFINISHED), BATCHES.c.until <= now)
        asked = free.order_by(BATCHES.c.created, BATCHES.c.id).limit(limit)
        found = await self._database.read(lambda c: list(c.execute(asked).scalars()))
        return [one for one in map(_batch, found) if not one.provider]

    async def lease(self, id: str, runner: str, now: float, until: float) -> KeptBatch | None:
        mine = sa.or_(BATCHES.c.runner == runner, BATCHES.c.until <= now)
        take = sa.update(BATCHES).where(BATCHES.c.id == id, mine).values(runner=runner, until=until)
        look = sa.select(BATCHES.c.body).where(BATCHES.c.id == id, BATCHES.c.runner == runner)

        def write(connection: sa.Connection) -> str | None:
            connection.execute(take)
            found: str | None = connection.execute(look).scalar()
            return found

        found = await self._database.write(write)
        return None if found is None else _batch(found)

    async def release(self, id: str, runner: str) -> None:
        at = (BATCHES.c.id == id, BATCHES.c.runner == runner)
        put = sa.update(BATCHES).where(*at).values(runner="", until=0.0)
        await self._database.write(lambda c: c.execute(put) and None)

    async def _body(self, table: sa.Table, id: str) -> str | None:
        asked = sa.select(table.c.body).where(table.c.id == id)
        found: str | None = await self._database.read(lambda c: c.execute(asked).scalar())
        return found

    async def _remove(self, table: sa.Table, id: str) -> bool:
        gone = sa.delete(table).where(table.c.id == id)
        return await self._database.write(lambda c: c.execute(gone).rowcount == 1)

    async def _list(
        self, table: sa.Table, where: list[Any], after: str, limit: int, descending: bool
    ) -> tuple[list[str], bool]:
        """Return the bodies of a part of a list, and whether there are more."""
        created, id_ = table.c.created, table.c.id

        def read(connection: sa.Connection) -> list[str]:
            conditions = list(where)
            if after:
                at = connection.execute(sa.select(created).where(id_ == after)).scalar()
                if at is not None:
                    beyond = created < at if descending else created > at
                    behind = id_ < after if descending else id_ > after
                    conditions.append(sa.or_(beyond, sa.and_(created == at, behind)))
            order = (created.desc(), id_.desc()) if descending else (created, id_)
            asked = sa.select(table.c.body).where(*conditions).order_by(*order).limit(limit + 1)
            return list(connection.execute(asked).scalars())

        found = await self._database.read(read)
        return found[:limit], len(found) > limit


def _changing(batch: KeptBatch) -> dict[str, Any]:
    return {"status": batch.status, "version": batch.version, "body": _encode(batch).decode()}
