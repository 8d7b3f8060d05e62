"""A directory of one process that forgets with it: for tests, and where nothing is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from penstock.stores.base import Audited, Changes, Found, Gone, Outdated, Row, Taken
from penstock.stores.kinds import KINDS, columns_of, fields_of


class MemoryDirectory:
    """A ``stores.base.Directory`` in memory."""

    lasts = False
    shared = False

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], Row] = {}
        self._columns: dict[tuple[str, str], dict[str, Any]] = {}
        self._changed: dict[tuple[str, str], tuple[int, Gone | None]] = {}
        self._audits: list[Audited] = []
        self._revision = 0

    async def revision(self) -> int:
        return self._revision

    async def since(self, revision: int) -> Changes:
        later = [(name, gone) for name, (at, gone) in self._changed.items() if at > revision]
        rows = tuple(self._rows[name] for name, gone in later if gone is None)
        return Changes(self._revision, rows, tuple(gone for _, gone in later if gone is not None))

    async def get(self, kind: str, id: str) -> Row | None:
        return self._rows.get((kind, id))

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
        found = [
            row
            for (of, id_), row in self._rows.items()
            if of == kind and _fits(self._columns[of, id_], where or {}, like or {})
        ]

        def place(row: Row) -> tuple[bool, Any, str]:
            value = getattr(row, order, None) if order in _TIMES else self._columns[kind, row.id].get(order)
            return value is not None, value if value is not None else 0, row.id

        found.sort(key=place, reverse=descending)
        return Found(tuple(found[offset : None if limit is None else offset + limit]), len(found))

    async def write(self, changes: Sequence[Row | Gone], audits: Sequence[Audited] = ()) -> int:
        rows, columns = dict(self._rows), dict(self._columns)
        for change in changes:
            name = (change.kind, change.id)
            there = rows.get(name)
            if isinstance(change, Gone):
                if there is None or there.version != change.version:
                    raise Outdated(f"{change.kind} {change.id}")
                del rows[name], columns[name]
                continue
            if (0 if there is None else there.version) != change.version - 1:
                raise Outdated(f"{change.kind} {change.id}")
            told = columns_of(change.kind, fields_of(change))
            for column in KINDS[change.kind].unique:
                if told[column] is not None and any(
                    of == change.kind and id_ != change.id and others[column] == told[column]
                    for (of, id_), others in columns.items()
                ):
                    raise Taken(change.kind, column)
            rows[name], columns[name] = change, told
        self._rows, self._columns = rows, columns
        self._revision += 1
        for change in changes:
            gone = change if isinstance(change, Gone) else None
            self._changed[change.kind, change.id] = (self._revision, gone)
        self._audits.extend(audits)
        return self._revision

    async def audits(
        self, where: Mapping[str, object] | None = None, offset: int = 0, limit: int = 100
    ) -> tuple[tuple[Audited, ...], int]:
        found = [
            one
            for one in reversed(self._audits)
            if all(getattr(one, name) == value for name, value in (where or {}).items())
        ]
        return tuple(found[offset : offset + limit]), len(found)

    async def close(self) -> None:
        return


_TIMES = ("created_at", "updated_at")


def _fits(columns: Mapping[str, Any], where: Mapping[str, object], like: Mapping[str, str]) -> bool:
    for name, wanted in where.items():
        if columns[name] not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            return False
    return all(text.lower() in str(columns[name] or "").lower() for name, text in like.items())
