"""The results of a batch as they are written: a line each, in one of two files, and what they add up to.

A line that is written is safe from the death of this process at once. Who goes on opens the same files: what was half
written is cut off, and each line that has a result is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any

from penstock.core.batches import lines
from penstock.core.batches.kept import FILE_DAYS, KeptBatch, KeptFile, Used
from penstock.runtime.ids import mint
from penstock.stores.files_disk import read_lines

if TYPE_CHECKING:
    from penstock.server.batches.line import Outcome
    from penstock.stores.files_disk import FileFolder

log = logging.getLogger("penstock")
PORTION = 64  # lines that are read from the disk at once
MOST_READ = 1024 * 1024  # bytes of them, but for the last


class Results:
    """See the module. ``longest``: bytes of a line of the input file. All but ``open`` wants ``open`` before it."""

    def __init__(self, folder: FileFolder, batch: KeptBatch, longest: int) -> None:
        self._folder, self._batch, self._longest = folder, batch, longest
        self._done: set[bytes] = set()
        self._completed = self._failed = self._cancelled = self._expired = 0
        self._used = Used()
        self._turn = asyncio.Lock()
        self._opened = False

    def __len__(self) -> int:
        """Count the lines that have a result."""
        return len(self._done)

    @property
    def expired(self) -> bool:
        """Tell whether there are lines that were not asked in time."""
        return self._expired > 0

    def counts(self) -> dict[str, Any]:
        """Return what a batch keeps of its results."""
        return {
            "completed": self._completed,
            "failed": self._failed,
            "cancelled": self._cancelled,
            "expired": self._expired,
            "used": self._used,
        }

    async def open(self) -> None:
        """Open the files, and read which results there are. Raises ``OSError``."""
        await finished(self._open)

    def _open(self) -> None:
        batch, folder = self._batch, self._folder
        self._good, self._bad = folder.append_to(batch.output), folder.append_to(batch.errors)
        self._opened = True
        for file in (self._good, self._bad):
            for at, raw in file.lines():
                try:
                    result = lines.read_result(raw)
                except lines.UNREADABLE:  # a loss of power: what is behind it is asked again
                    log.error("results of the batch %s are broken from byte %d on: asked for again", batch.id, at)
                    file.cut(at)
                    break
                known = lines.digest(result.custom_id)
                if known not in self._done:
                    body = b"" if result.response is None else bytes(result.response.body)
                    self._note(known, file is self._good, body, (result.error or {}).get("code", ""))

    def _note(self, known: bytes, good: bool, body: bytes, code: str) -> None:
        """Count a result that is written."""
        self._done.add(known)
        self._completed += good
        self._failed += not good
        self._cancelled += code == lines.CANCELLED
        self._expired += code == lines.EXPIRED
        if good:
            self._used += lines.usage_of(body)

    def close(self) -> None:
        """Close the files. May be called for some that were never opened."""
        if self._opened:
            self._good.close()
            self._bad.close()

    async def sync(self) -> None:
        """Keep what is written even where the power is lost. Raises ``OSError``."""
        if self._opened:
            await finished(self._good.sync)
            await finished(self._bad.sync)

    async def write(self, custom_id: str, outcome: Outcome, may: Callable[[], bool]) -> bool:
        """Write down what became of a line; tell whether it was, for it ``may`` not be by the time that it is its turn.
        Raises ``OSError``."""
        wrote = False

        def write() -> None:
            nonlocal wrote
            if may():
                good, body = outcome.status == 200, outcome.body
                line = lines.write_answer(mint("batch_req_"), custom_id, outcome.status, outcome.request_id, body)
                (self._good if good else self._bad).add(line)
                self._note(lines.digest(custom_id), good, body, "")
                wrote = True

        async with self._turn:
            await finished(write)
        return wrote

    async def write_off(self, code: str) -> None:
        """Write of each line that has no result why it was not asked. Raises ``OSError``."""

        def write() -> None:
            with self._folder.open(self._batch.id) as file:
                for asked in self._left(read_lines(file, self._longest)):
                    self._bad.add(lines.write_unasked(mint("batch_req_"), asked.custom_id, code))
                    self._note(lines.digest(asked.custom_id), False, b"", code)

        async with self._turn:
            await finished(write)

    async def portions(self) -> AsyncIterator[list[lines.Asked]]:
        """Yield the lines of the input file that have no result, a few of them at once. Raises ``OSError``."""
        with await asyncio.to_thread(self._folder.open, self._batch.id) as file:
            found = self._left(read_lines(file, self._longest))
            while portion := await asyncio.to_thread(_take, found):
                yield portion

    def _left(self, raws: Iterator[bytes]) -> Iterator[lines.Asked]:
        for raw in raws:
            if raw.strip():
                asked = lines.read_line(raw)
                if lines.digest(asked.custom_id) not in self._done:
                    yield asked

    async def files(self, now: float) -> list[KeptFile]:
        """Return the files that have results in them, whole and on the disk; delete the others. Raises ``OSError``."""
        await self.sync()
        batch, found = self._batch, []
        for id_, what in ((batch.output, "output"), (batch.errors, "error")):
            size = await asyncio.to_thread(self._folder.size, id_)
            if not size:
                await asyncio.to_thread(self._folder.delete, id_)
                continue
            kept = KeptFile(
                id=id_, owner=batch.owner, created_at=now, filename=f"{batch.id}_{what}.jsonl", purpose="batch_output",
                bytes=size, expires_at=now + FILE_DAYS, team=batch.team,
            )  # fmt: skip
            found.append(kept)
        return found


async def finished(work: Callable[[], None]) -> None:
    """Wait for what is done in a thread, also where whoever waits is cancelled: it is done all the same, and nobody may
    write beside it. Raises what it raises."""
    job, cancelled = asyncio.get_running_loop().run_in_executor(None, work), False
    while not job.done():
        try:
            await asyncio.wait((job,))
        except asyncio.CancelledError:
            cancelled = True
    job.result()
    if cancelled:
        raise asyncio.CancelledError


def _take(found: Iterator[lines.Asked]) -> list[lines.Asked]:
    """Take the next few lines: not many, and not much."""
    taken, size = [], 0
    for asked in found:
        taken.append(asked)
        size += len(asked.body)
        if len(taken) >= PORTION or size >= MOST_READ:
            break
    return taken
