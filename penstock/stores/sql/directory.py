"""What is managed, in tables: a ``stores.base.Directory`` over a database that other processes change, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from penstock.stores.base import Audited, Changes, Found, Gone, Outdated, Row, Taken
from penstock.stores.kinds import KINDS, columns_of, fields_of
from penstock.stores.sql.database import Database
from penstock.stores.sql.listening import CHANNEL
from penstock.stores.sql.schema import AUDIT, GONE, REVISION, ROWS

_FIELDS = ("id", "body", "version", "created_at", "created_by", "updated_at", "updated_by")
_AUDITED = ("id", "at", "who", "action", "kind", "row", "before", "after")


class SqlDirectory:
    """A ``stores.base.Directory``. Writers wait for each other: each takes the row of the revision first, so a revision
    that is seen has all that came before it."""

    lasts = True
    shared = True

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        return await self._database.read(_revision)

    async def since(self, revision: int) -> Changes:
        return await self._database.read(lambda c: changes(c, revision), steady=True)

    async def get(self, kind: str, id: str) -> Row | None:
        table = ROWS[kind]

        def read(connection: sa.Connection) -> Row | None:
            found = connection.execute(_select(table).where(table.c.id == id)).first()
            return None if found is None else _row(kind, found)

        return await self._database.read(read)

    async def find(
        self,
        kind: str,
        where: Mapping[str, object] | None = None,
        like: Mapping[str, str] | None = None,
        order: str = "created_at",
        descending: bool = False,
        offset: int = 0,
        limit: int | None = None,
    ) -> Found:
        table = ROWS[kind]
        tests = [is_one_of(table.c[name], wanted) for name, wanted in (where or {}).items()]

        def read(connection: sa.Connection) -> Found:
            found = [*tests, *(_contains(connection, table.c[name], text) for name, text in (like or {}).items())]
            column = table.c[order]
            places = (column.is_not(None), column, table.c.id)  # nothing stands before everything
            asked = _select(table).where(*found).order_by(*(one.desc() if descending else one for one in places))
            rows = connection.execute(asked.offset(offset or None).limit(_limit(limit, offset)))
            count = sa.select(sa.func.count()).select_from(table).where(*found)
            return Found(tuple(_row(kind, row) for row in rows), connection.execute(count).scalar_one())

        return await self._database.read(read, steady=True)

    async def write(self, changes: Sequence[Row | Gone], audits: Sequence[Audited] = ()) -> int:
        return await self._database.write(lambda c: write(c, changes, audits))

    async def audits(
        self, where: Mapping[str, object] | None = None, offset: int = 0, limit: int = 100
    ) -> tuple[tuple[Audited, ...], int]:
        tests = [is_one_of(AUDIT.c[name], wanted) for name, wanted in (where or {}).items()]

        def read(connection: sa.Connection) -> tuple[tuple[Audited, ...], int]:
            asked = sa.select(*(AUDIT.c[name] for name in _AUDITED)).where(*tests)
            asked = asked.order_by(AUDIT.c.revision.desc(), AUDIT.c.number.desc()).offset(offset or None).limit(limit)
            count = sa.select(sa.func.count()).select_from(AUDIT).where(*tests)
            found = tuple(_audited(row) for row in connection.execute(asked))
            return found, connection.execute(count).scalar_one()

        return await self._database.read(read, steady=True)

    async def close(self) -> None:
        self._database.close()


def changes(connection: sa.Connection, revision: int) -> Changes:
    """Read what changed after a revision. Of 0, what is gone, too: who asks may have it from elsewhere."""
    last = _revision(connection)
    rows: list[Row] = []
    if last != revision:
        for kind, table in ROWS.items():
            asked = _select(table).where(table.c.revision > revision).order_by(table.c.created_at, table.c.id)
            rows.extend(_row(kind, row) for row in connection.execute(asked))
    asked = sa.select(GONE.c.kind, GONE.c.id, GONE.c.version).where(GONE.c.revision > revision)
    return Changes(last, tuple(rows), tuple(Gone(*row) for row in connection.execute(asked)))


def write(connection: sa.Connection, changes: Sequence[Row | Gone], audits: Sequence[Audited]) -> int:
    """Carry out changes, all or none: what this raises rolls them back. Return the revision."""
    connection.execute(sa.update(REVISION).values(value=REVISION.c.value + 1))
    revision = _revision(connection)
    for change in changes:
        if isinstance(change, Gone):
            _delete(connection, change, revision)
        else:
            _put(connection, change, revision)
    if audits:
        told = [
            {name: getattr(one, name) for name in _AUDITED}
            | {"before": one.before.decode(), "after": one.after.decode(), "revision": revision, "number": number}
            for number, one in enumerate(audits)
        ]
        connection.execute(sa.insert(AUDIT), told)
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_notify(CHANNEL, "")))  # it is told when this is committed
    return revision


def is_one_of(column: sa.Column[Any], wanted: object) -> sa.ColumnElement[bool]:
    """Test a column for a value, or for one of a tuple of values; None is that there is none."""
    values = wanted if isinstance(wanted, tuple) else (wanted,)
    test = column.in_([value for value in values if value is not None])
    return sa.or_(test, column.is_(None)) if None in values else test


def _contains(connection: sa.Connection, column: sa.Column[Any], text: str) -> sa.ColumnElement[bool]:
    # The order of bytes, in which PostgreSQL keeps it, knows no small letters but ASCII's.
    read = sa.collate(column, "default") if connection.dialect.name == "postgresql" else column
    return sa.func.lower(sa.func.coalesce(read, "")).contains(text.lower(), autoescape=True)


def _limit(limit: int | None, offset: int) -> int | None:
    # MySQL and SQLite skip rows only where a limit is told as well.
    return (1 << 62) if limit is None and offset else limit


def _revision(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(REVISION.c.value)).scalar_one())


def _select(table: sa.Table) -> sa.Select[Any]:
    return sa.select(*(table.c[name] for name in _FIELDS))


def _row(kind: str, found: Any) -> Row:
    id_, body, *rest = found
    return Row(kind, id_, body.encode(), *rest)


def _audited(found: Any) -> Audited:
    id_, at, who, action, kind, row, before, after = found
    return Audited(id_, at, who, action, kind, row, before.encode(), after.encode())


def _delete(connection: sa.Connection, gone: Gone, revision: int) -> None:
    table = ROWS[gone.kind]
    done = connection.execute(sa.delete(table).where(table.c.id == gone.id, table.c.version == gone.version))
    if done.rowcount != 1:
        raise Outdated(f"{gone.kind} {gone.id}")
    connection.execute(sa.delete(GONE).where(GONE.c.kind == gone.kind, GONE.c.id == gone.id))
    connection.execute(sa.insert(GONE).values(kind=gone.kind, id=gone.id, version=gone.version, revision=revision))


def _put(connection: sa.Connection, row: Row, revision: int) -> None:
    table = ROWS[row.kind]
    columns = {name: value for name, value in columns_of(row.kind, fields_of(row)).items() if name != "id"}
    there = connection.execute(sa.select(table.c.version).where(table.c.id == row.id)).scalar()
    if (there or 0) != row.version - 1:
        raise Outdated(f"{row.kind} {row.id}")
    for name in KINDS[row.kind].unique:
        if columns[name] is not None:
            other = sa.select(table.c.id).where(table.c[name] == columns[name], table.c.id != row.id)
            if connection.execute(other).first() is not None:
                raise Taken(row.kind, name)
    values = {
        "version": row.version,
        "revision": revision,
        "body": row.body.decode(),
        **columns,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }
    if there is None:
        connection.execute(sa.delete(GONE).where(GONE.c.kind == row.kind, GONE.c.id == row.id))
        connection.execute(sa.insert(table).values(id=row.id, **values))
    else:
        connection.execute(sa.update(table).where(table.c.id == row.id).values(**values))
