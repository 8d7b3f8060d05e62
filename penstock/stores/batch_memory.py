"""Files and batches of one process, which forgets them with it: for tests, and where there is no database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from penstock.core.batches.kept import KeptBatch, KeptFile, Page, Total


class MemoryBatchStore:
    """A ``batch_base.BatchStore`` in memory."""

    lasts = False

    def __init__(self) -> None:
        self._files: dict[str, KeptFile] = {}
        self._batches: dict[str, KeptBatch] = {}
        self._leases: dict[str, tuple[str, float]] = {}

    async def add_file(self, file: KeptFile) -> None:
        self._files[file.id] = file

    async def file(self, id: str) -> KeptFile | None:
        return self._files.get(id)

    async def files(
        self, owner: str | None, purpose: str = "", after: str = "", limit: int = 100, descending: bool = True
    ) -> Page:
        fits = [one for one in self._files.values() if owner in (None, one.owner) and purpose in ("", one.purpose)]
        return _page(fits, self._files.get(after), limit, descending)

    async def files_over(self, now: float, limit: int = 100) -> list[KeptFile]:
        return [one for one in self._files.values() if 0 < one.expires_at <= now][:limit]

    async def taken_by(self, owner: str, team: str) -> tuple[Total, Total]:
        kept = [one for one in self._files.values() if not one.provider]
        return _taken(one for one in kept if owner and one.owner == owner), _taken(
            one for one in kept if team and one.team == team
        )

    async def remove_file(self, id: str) -> bool:
        return self._files.pop(id, None) is not None

    async def add_batch(self, batch: KeptBatch) -> None:
        self._batches[batch.id] = batch

    async def batch(self, id: str) -> KeptBatch | None:
        return self._batches.get(id)

    async def batches(
        self, owner: str | None, form: str, after: str = "", limit: int = 20, descending: bool = True
    ) -> Page:
        fits = [one for one in self._batches.values() if owner in (None, one.owner) and one.form == form]
        return _page(fits, self._batches.get(after), limit, descending)

    async def change(self, batch: KeptBatch, runner: str | None = None) -> bool:
        before = self._batches.get(batch.id)
        if before is None or before.version != batch.version - 1:
            return False
        if runner is not None and self._leases.get(batch.id, ("", 0.0))[0] != runner:
            return False
        self._batches[batch.id] = batch
        return True

    async def remove_batch(self, id: str) -> bool:
        self._leases.pop(id, None)
        return self._batches.pop(id, None) is not None

    async def waiting(self, now: float, limit: int = 20) -> list[KeptBatch]:
        found = [one for one in self._batches.values() if not one.finished and not one.provider]
        free = [one for one in found if self._leases.get(one.id, ("", 0.0))[1] <= now]
        return sorted(free, key=_order)[:limit]

    async def lease(self, id: str, runner: str, now: float, until: float) -> KeptBatch | None:
        who, end = self._leases.get(id, ("", 0.0))
        if id not in self._batches or (who != runner and end > now):
            return None
        self._leases[id] = (runner, until)
        return self._batches[id]

    async def release(self, id: str, runner: str) -> None:
        if self._leases.get(id, ("", 0.0))[0] == runner:
            del self._leases[id]


def _taken(files: Iterable[KeptFile]) -> Total:
    sizes = [one.bytes for one in files]
    return Total(len(sizes), sum(sizes))


def _order(row: Any) -> tuple[float, str]:
    return row.created_at, row.id


def _page(rows: Iterable[Any], after: Any, limit: int, descending: bool) -> Page:
    found = sorted(rows, key=_order, reverse=descending)
    if after is not None:
        found = [row for row in found if (_order(row) < _order(after) if descending else _order(row) > _order(after))]
    return Page(tuple(found[:limit]), len(found) > limit)
