"""Rows that are added to what is there, or put in its place: each database says it in words of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa


def add(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Insert rows; where one is there, add the ``columns`` of ours to its own."""
    _upsert(connection, table, rows, columns, True)


def put(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Insert rows; where one is there, replace its ``columns``."""
    _upsert(connection, table, rows, columns, False)


def _upsert(
    connection: sa.Connection,
    table: sa.Table,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    adds: bool,
) -> None:
    if rows:
        statement = _statement(connection.dialect.name, table, tuple(columns), adds)
        connection.execute(statement, [dict(row) for row in rows])


@cache
def _statement(dialect: str, table: sa.Table, columns: tuple[str, ...], adds: bool) -> sa.Insert:
    """Return the statement, which is made once: making it takes longer than adding a row with it."""
    # Of each database's words, those are imported that are wanted.
    if dialect == "mysql":
        from sqlalchemy.dialects.mysql import insert as insert_mysql

        ours = insert_mysql(table)
        return ours.on_duplicate_key_update(
            {name: table.c[name] + ours.inserted[name] if adds else ours.inserted[name] for name in columns}
        )
    theirs: Any
    if dialect == "postgresql":
        from sqlalchemy.dialects.postgresql import insert as insert_postgresql

        theirs = insert_postgresql(table)
    else:
        from sqlalchemy.dialects.sqlite import insert as insert_sqlite

        theirs = insert_sqlite(table)
    made: sa.Insert = theirs.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={name: table.c[name] + theirs.excluded[name] if adds else theirs.excluded[name] for name in columns},
    )
    return made
