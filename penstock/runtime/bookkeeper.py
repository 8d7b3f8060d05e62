"""Carries the journal into the store: in batches, in order, each entry once, and never on anybody's way to an answer.

What a dead process left is carried first. A request of its that never ended is charged at what was set aside for it,
and marked: nobody knows what its vendor billed. A file is removed when all of it is stored.

Totals of before this process are asked of the store exactly as of a position of the journal: what is spent after it is
in the book already, and what is spent before it is in the answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from penstock.core.admit.book import Cell, carry
from penstock.core.mask import NO_SECRETS, Mask
from penstock.stores.base import KeptTexts, SpendStore, Spent
from penstock.stores.batch import Batch, read_batch
from penstock.stores.journal import BEGIN, Journal, JournalFile, left_open, read_all, take_over

T = TypeVar("T")
log = logging.getLogger("penstock")
EVERY = 0.1  # seconds between two batches
EVERY_UNDER_LOAD = 0.5  # the same where many come: a row of a large batch costs a third of one of a small batch
_LOAD = 20  # entries in ``EVERY``
SYNC = 1.0  # seconds of entries that a loss of power may cost
MOST_ENTRIES = 4_000
LONGEST_PAUSE = 30.0
LAST_WORK = 5.0  # seconds that the end of the process waits for what is not stored; the next start finds the rest

Periods = Callable[[str], Sequence[str]]
"""Tells in which windows an account is counted."""

Bury = Callable[[str, Sequence[tuple[str, int, Spent]], Periods], Awaitable[None]]
"""Is told that a process is gone, and of each entry of its journal the file, the end, and what was spent."""


class Ask(NamedTuple):
    """A question for what an account had spent when the journal was at a position, and what the book said then."""

    cell: Cell
    start: float
    spent: int
    at: tuple[str, int]


class Bookkeeper:
    """One process's. ``periods`` is asked on the loop. ``away``: why the store takes nothing, "" while it does.
    ``latest``: no process before this one spent anything behind that time: usually it is past, and it is not where a
    clock was ahead."""

    def __init__(self, store: SpendStore, journal: Journal, folder: Path, periods: Periods) -> None:
        self._store, self._journal, self._folder, self._periods = store, journal, folder, periods
        self._thread = ThreadPoolExecutor(1, "penstock-journal")
        self._dead: list[list[JournalFile]] = []
        self._asks: list[Ask] = []
        self._answered = asyncio.Event()
        self._at = journal.files[0].name, BEGIN  # all before it is stored
        self._synced_at, self._synced = 0.0, ("", 0)  # when, and up to where
        self._stored = 0  # entries
        self._level = time.monotonic()  # when all that there was had been stored
        self._task: asyncio.Task[None] | None = None
        self._anew: Iterable[Cell] | None = None  # what is to be asked once more
        self.away = ""
        self.mask: Callable[[], Mask] = lambda: NO_SECRETS  # of the secrets that no text may have
        self.latest = float("inf")  # until the store says it
        self.bury: Bury | None = None  # is told what dead processes spent, where budgets are shared

    async def start(self) -> None:
        """Take over what dead processes left, and store it if the store is there."""
        self._dead = await self._in_thread(take_over, self._folder)
        with suppress(OSError):
            await self._carry_dead()
            self.latest = await self._store.latest()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Store what is left, as far as that is quick."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(LAST_WORK):
                while await self._step():
                    pass
                if self._at == self._journal.end and not self._journal.open and not self._dead:
                    for file in self._journal.files:
                        await self._in_thread(file.remove)
        for files in self._dead:
            for file in files:
                file.close()
        self._thread.shutdown()

    def lag(self) -> tuple[int, float]:
        """Return how many entries are not in the store yet, and how long the oldest has waited at most."""
        if self._at == self._journal.end:
            self._level = time.monotonic()
        return max(0, self._journal.ended - self._stored), time.monotonic() - self._level

    def ask(self, cell: Cell) -> None:
        """Ask what was spent in a cell's window before this process counted; the cell then knows it."""
        cell.asked = True
        self._asks.append(Ask(cell, cell.start, cell.spent, self._journal.end))

    def ask_anew(self, cells: Iterable[Cell]) -> None:
        """Ask once more, soon, what was spent in the cells that were asked about: it is another amount now."""
        self._anew = cells

    async def answered(self) -> None:
        """Wait until all that was asked is answered."""
        while self._asks:
            self._answered.clear()
            await self._answered.wait()

    async def amounts(self, accounts: Sequence[str], period: str, start: float) -> list[int]:
        """Return what the store knows of a window of accounts, of which this process has counted nothing."""
        return await self._store.amounts(accounts, period, start)

    def left(self) -> list[Spent]:
        """List what dead processes spent that is not stored yet, as far as is known."""
        return [spent for files in self._dead for spent in _entries_of(files)]

    async def _run(self) -> None:
        pause = 0.0
        while True:
            await asyncio.sleep(max(pause, EVERY))
            try:
                before, end, began = self._stored, self._journal.end, time.monotonic()
                # What comes meanwhile is left for the next round: else each batch under load is a small one, and dear.
                while await self._step() and (self._at < end or self._asks):
                    self._found()
                self._found()
                if self._at >= end:  # what came meanwhile is younger than this round
                    self._level = began
                pause = EVERY_UNDER_LOAD if self._stored - before > _LOAD else 0.0
            except OSError as error:
                if not self.away:
                    log.warning("What was spent cannot be stored now, and waits in %s: %s", self._folder, error)
                self.away = str(error)
                pause = min(max(2 * pause, EVERY), LONGEST_PAUSE)
            except Exception:  # boundary: a bug of ours must not end the keeping of books; the journal has it all
                log.exception("The journal could not be carried into the store, through a fault of the gateway")
                pause = LONGEST_PAUSE
            await self._sync()

    async def _sync(self) -> None:
        """Make sure that what was written survives a loss of power, once a second."""
        file = self._journal.files[-1]
        written = file.name, file.size
        if self._synced != written and time.monotonic() - self._synced_at > SYNC:
            self._synced_at = time.monotonic()
            with suppress(OSError):  # a disk that fails shows at the next write
                await self._in_thread(self._journal.sync)
                self._synced = written

    def _found(self) -> None:
        if self.away:
            log.warning("What was spent is stored again")
            self.away = ""

    # Steps. -----------------------------------------------------------------------------------------------------------

    async def _step(self) -> bool:
        """Store a batch, or answer what was asked. False where there is nothing to do."""
        if self._dead:
            await self._carry_dead()
        if self._anew is not None:
            # Here, where no answer is on its way: one that is yet to come is of a later time than the change.
            waiting, cells = {ask.cell for ask in self._asks}, self._anew
            self._anew = None
            for cell in [one for one in cells if one.asked and one not in waiting]:
                self.ask(cell)
        file = self._file()
        if self._asks and self._asks[0].at <= self._at:
            await self._answer()
            return True
        position = self._at[1]
        batch = Batch((), position)
        if file.size > position:
            batch = await self._in_thread(read_batch, file, position, MOST_ENTRIES)
        # Asked behind the read: a question for a position that was read over came before what stands behind it.
        if self._asks and (file.name, batch.end) > self._asks[0].at:
            batch = await self._in_thread(read_batch, file, position, MOST_ENTRIES, self._asks[0].at[1])
        if batch.end == position:
            if file is not self._journal.files[-1] and position >= file.size:
                self._at = self._journal.files[self._journal.files.index(file) + 1].name, BEGIN
                await self._forget_files()
                return True
            return bool(self._asks and self._asks[0].at <= self._at)
        await self._store_batch(batch, file.name)
        self._at = file.name, batch.end
        self._stored += len(batch)
        return True

    def _file(self) -> JournalFile:
        return next(file for file in self._journal.files if file.name == self._at[0])

    async def _answer(self) -> None:
        first = self._asks[0].at
        asks = [ask for ask in self._asks if ask.at == first or ask.at <= self._at]
        told = await self._store.totals([one for ask in asks for one in _windows_of(ask)])
        amounts = {(total.account, total.period, total.start): total.amount for total in told}
        for ask in asks:
            cell = ask.cell
            if cell.start == ask.start:  # the window is still the same
                cell.spent += amounts.get((cell.account, cell.period, ask.start), 0) - ask.spent
                if cell.most is not None:
                    before = [amounts.get((cell.account, cell.period, at), 0) for at in cell.windows_before()]
                    cell.carried = carry(before, cell.most)
            else:
                cell.forget(ask.start)
        del self._asks[: len(asks)]
        self._answered.set()

    async def _forget_files(self) -> None:
        """Remove files that are stored whole, and in which no request is under way."""
        needed = set(self._journal.open.values())
        for file in self._journal.files[:-1]:
            if file.name < self._at[0] and file.name not in needed:
                self._journal.files.remove(file)
                await self._in_thread(file.remove)

    async def _carry_dead(self) -> None:
        while self._dead:
            files = self._dead[0]
            marks = await self._store.marks()
            for file in files:
                position = max(BEGIN, marks.get(file.name, 0))
                while (batch := await self._in_thread(read_batch, file, position, MOST_ENTRIES)).end > position:
                    position = batch.end
                    await self._store_batch(batch, file.name)
            left = await self._in_thread(left_open, files)
            if left:
                await self._store_all(left, {one for entry in left for one in entry.accounts}, {})
                log.warning("%d requests were under way when their process died: %s", len(left), _AS_RESERVED)
            if self.bury is not None:
                try:
                    told = await self._in_thread(_told_of, files, left)
                    await self.bury(files[0].process, told, self._periods)
                except OSError as error:  # then what it was granted stays so, and nobody else spends it
                    log.warning("What the process %s was granted is not free again: %s", files[0].process, error)
            for file in files:
                await self._in_thread(_end, file)
            self._dead.pop(0)

    async def _store_batch(self, batch: Batch, file: str) -> None:
        if batch.texts:  # before their entries: whoever sees these has them
            await self._store.keep_texts(await self._in_thread(_fit_all, batch, self.mask))
        await self._store_all(batch, _accounts_of(batch), {file: batch.end})

    async def _store_all(self, entries: Sequence[Spent], accounts: set[str], mark: dict[str, int]) -> None:
        # By their names, so that two processes which store at once take rows in the same order: no deadlock.
        await self._store.append(entries, {one: self._periods(one) for one in sorted(accounts)}, mark)

    async def _in_thread(self, work: Callable[..., T], *given: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)


def _windows_of(ask: Ask) -> list[tuple[str, str, float]]:
    """List the windows whose totals answer a question: those out of which something is carried, too."""
    cell = ask.cell
    starts = [ask.start] if cell.most is None or cell.start != ask.start else [ask.start, *cell.windows_before()]
    return [(cell.account, cell.period, start) for start in starts]


_AS_RESERVED = "each is charged what was set aside for it, and marked as pending"


def _fit_all(batch: Batch, mask: Callable[[], Mask]) -> list[KeptTexts]:
    from penstock.runtime.texts import fit_texts  # few configs ask for it

    known = mask()
    return [fit_texts(one, known) for one in batch.texts]


def _accounts_of(batch: Batch) -> set[str]:
    return {account for group in batch.groups for account in group.of.accounts}


def _entries_of(files: Sequence[JournalFile]) -> list[Spent]:
    return [spent for _, _, spent in _ended(files)] + left_open(files)


def _told_of(files: Sequence[JournalFile], left: Sequence[Spent]) -> list[tuple[str, int, Spent]]:
    """List what a process spent, in order, and then what it had under way."""
    return _ended(files) + [(_BEHIND, 0, spent) for spent in left]


def _ended(files: Sequence[JournalFile]) -> list[tuple[str, int, Spent]]:
    found = (entry for file in files for entry in read_all(file, pending=False))
    return [(entry.file, entry.end, entry.spent) for entry in found if entry.spent is not None]


_BEHIND = "~"  # behind every name of a file


def _end(file: JournalFile) -> None:
    """Remove a file whose process is gone; keep one that cannot be read to its end for somebody to look at."""
    last = max((entry.end for entry in read_all(file)), default=0)
    if last < file.size and file.size > BEGIN:
        kept = file.path.with_suffix(".damaged")
        file.path.rename(kept)
        file.close()
        log.error("The journal %s cannot be read behind byte %d: what is left of it is kept", kept, last)
    else:
        file.remove()
