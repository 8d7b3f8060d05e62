"""Rows that are added to what is there, or put in its place: each database says it in words of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql, sqlite


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
    if dialect == "mysql":
        ours = mysql.insert(table)
        return ours.on_duplicate_key_update(
            {name: table.c[name] + ours.inserted[name] if adds else ours.inserted[name] for name in columns}
        )
    theirs: Any = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    made: sa.Insert = theirs.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={name: table.c[name] + theirs.excluded[name] if adds else theirs.excluded[name] for name in columns},
    )
    return made
