"""One batch on its way: its lines are checked, asked as its owner, and what became of each is written down at once.

Whatever ends the process, each line has one result in the end: who goes on reads which there are, asks the others, and
writes of those that cannot be asked any more why that is.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from penstock.core.batches import lines
from penstock.core.batches.kept import (
    CANCELLED,
    CANCELLING,
    COMPLETED,
    EXPIRED,
    FAILED,
    FINALIZING,
    RUNNING,
    VALIDATING,
    KeptBatch,
)
from penstock.core.errors import GatewayError
from penstock.server.batches.line import Line, Outcome
from penstock.server.batches.results import Results
from penstock.stores.files_disk import read_lines

if TYPE_CHECKING:
    from penstock.server.batches.room import BatchRoom  # circle: a room runs batches, and a run asks for its means

log = logging.getLogger("penstock")
LEASE = 10.0  # seconds that a batch is somebody's who no longer says so
TICK = 1.0  # seconds between two times that the lease is renewed and progress is kept
GRACE = 300.0  # seconds in which lines that are on their way may end when their batch is cancelled or over


class Run:
    """See the module. ``ending``: why no more lines are asked: a code of ``lines``, "" while they are. ``broken``: the
    batch is no longer this process's."""

    def __init__(self, room: BatchRoom, batch: KeptBatch) -> None:
        self.room, self.batch = room, batch
        self.ending = ""
        self.broken = False
        self.changed = asyncio.Event()  # something is to be looked at
        self._stopped = False
        self._results = Results(room.folder, batch, room.gateway.max_body)
        self._on_way = self._poor = 0  # lines; those for which there is no money while others have it set aside
        self._written = asyncio.Event()  # one more has its result
        self._held_until = time.monotonic() + TICK * 10
        self._trouble: OSError | None = None

    @property
    def over(self) -> bool:
        """Tell whether no more lines are asked."""
        return bool(self.ending) or self.stopped

    @property
    def stopped(self) -> bool:
        """Tell whether this process is to let go of the batch."""
        return self._stopped or self.broken or self._trouble is not None or self.room.gateway.draining

    def stop(self) -> None:
        """Let go of the batch."""
        self._stopped = True
        self.look()

    def look(self) -> None:
        """Look at what has changed."""
        self.changed.set()

    async def drive(self) -> None:
        """Drive the batch as far as it goes. Raises ``OSError``."""
        keeper = asyncio.get_running_loop().create_task(self._keep_lease())
        try:
            if self.batch.status == VALIDATING or (self.batch.status == CANCELLING and not self.batch.total):
                await self._validate()
            if not self.batch.finished:
                await self._go_on()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            self._results.close()

    # Its lease, and what is known of it -------------------------------------------------------------------------------

    async def _keep_lease(self) -> None:
        """Renew the lease, hear of a wish to cancel, and keep the progress, again and again."""
        while True:
            self._look_at_time()
            try:
                async with asyncio.timeout(TICK):  # wait_for loses a cancellation that comes with the event (3.11)
                    await self.changed.wait()
            except TimeoutError:
                pass
            self.changed.clear()
            try:
                now = time.time()
                found = await self.room.store.lease(self.batch.id, self.room.name, now, now + LEASE)
                if found is None:
                    self.broken = True
                    return
                self._held_until = time.monotonic() + LEASE
                self._take(found)
                await self._results.sync()
                if any(getattr(found, name) != count for name, count in self._results.counts().items()):
                    await self._save()
            except OSError as error:
                if time.monotonic() > self._held_until - LEASE / 2:
                    log.error("the batch %s waits, as its lease cannot be renewed: %s", self.batch.id, error)
                    self.broken = True
                    return

    def _take(self, found: KeptBatch) -> None:
        """Take the batch as it is kept now. What was read before a change of ours came back may come behind it."""
        if found.version >= self.batch.version:
            self.batch = found
        if found.status == CANCELLING and not self.ending:
            self.ending = lines.CANCELLED

    def _look_at_time(self) -> None:
        if time.time() >= self.batch.expires_at and not self.ending:
            self.ending = lines.EXPIRED

    async def _save(self, make: Callable[[KeptBatch], dict[str, Any]] = lambda batch: {}) -> None:
        """Keep the counts, and what ``make`` makes of the batch as it is. Raises ``OSError``, also where the batch is
        another's by now."""
        while True:
            after = self.batch.changed(**{**self._results.counts(), **make(self.batch)})
            if await self.room.store.change(after, self.room.name):
                self.batch = after
                return
            now = time.time()
            found = await self.room.store.lease(self.batch.id, self.room.name, now, now + LEASE)
            if found is None:
                self.broken = True
                raise OSError("the batch is run by another process")
            self._take(found)

    # Checking ---------------------------------------------------------------------------------------------------------

    async def _validate(self) -> None:
        batch, room = self.batch, self.room
        checker = lines.Checker((batch.endpoint,), room.most_lines, room.gateway.max_body)

        def check() -> None:
            with room.folder.open(batch.id) as file:
                for number, raw in enumerate(read_lines(file, room.gateway.max_body), 1):
                    checker.check(number, raw)
                    if checker.full or self.stopped:
                        break
            checker.close()

        await asyncio.to_thread(check)
        if self.stopped:
            return
        now = time.time()

        def checked(found: KeptBatch) -> dict[str, Any]:
            total = {"total": checker.total}
            if found.status == CANCELLING:
                return total if not checker.faults else {"status": CANCELLED, "ended_at": now}
            if checker.faults:
                return {"status": FAILED, "ended_at": now, "faults": tuple(checker.faults)}
            return {**total, "status": RUNNING, "begun_at": now}

        await self._save(checked)

    # Asking -----------------------------------------------------------------------------------------------------------

    async def _go_on(self) -> None:
        if self.stopped:
            return
        await self._results.open()
        self._look_at_time()
        self._take(self.batch)
        if self.batch.status == RUNNING:
            await self._ask_all()
        if self.stopped:
            if self._trouble is not None:
                raise self._trouble
            await self._save_quietly()
            return
        if not self.ending and len(self._results) < self.batch.total:
            raise OSError(errno.EIO, "some of its lines have no result, and are asked again")
        await self._save(lambda found: _finalizing(found, time.time()))
        self._look_at_time()
        if self.ending:
            await self._results.write_off(self.ending)
        await self._finish()

    async def _ask_all(self) -> None:
        """Ask the lines that have no result. Waits for those that are on their way, also when no more are asked."""
        on_way: set[asyncio.Task[None]] = set()
        places, loop = self.room.places, asyncio.get_running_loop()
        try:
            async for portion in self._results.portions():
                try:
                    await asyncio.to_thread(self.room.folder.check_room)
                except OSError as error:  # what is asked is paid, and must be written down
                    self._trouble = error
                for asked in portion:
                    if self.over or not await self._found_place():
                        break
                    line = loop.create_task(self._answer(asked))
                    on_way.add(line)
                    line.add_done_callback(on_way.discard)
                    line.add_done_callback(lambda _: places.free())
                if self.over:
                    break
            grace = None
            while on_way:
                await asyncio.wait(on_way, timeout=TICK)
                if self.ending and grace is None:
                    grace = loop.time() + GRACE
                if grace is not None and loop.time() > grace:
                    break
        finally:
            left = list(on_way)
            for line in left:
                line.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _found_place(self) -> bool:
        """Wait for a place; False where no more are wanted by then."""
        if self.room.places.take_now():
            return True
        waits = asyncio.ensure_future(self.room.places.take())
        try:
            while not waits.done():
                await asyncio.wait((waits,), timeout=TICK)
                if self.over:
                    break
        finally:
            if not waits.done():
                waits.cancel()
                await asyncio.gather(waits, return_exceptions=True)
        if not waits.done() or waits.cancelled():
            return False
        if self.over:
            self.room.places.free()
            return False
        return True

    async def _answer(self, asked: lines.Asked) -> None:
        """Ask a line, and write down what became of it."""
        self._on_way += 1
        try:
            outcome = await self._settled(asked)
        except Exception as error:  # boundary: a bug of ours costs one line, which must have a result, too
            log.exception("a line of the batch %s failed through a fault of the gateway", self.batch.id)
            told = GatewayError("gateway_bug", f"The gateway failed on this request ({type(error).__name__}).")
            outcome = Outcome(*self.room.surface_of(self.batch).dialect.render_error(told), "")
        finally:
            self._on_way -= 1
            self._written.set()
        if outcome is not None:
            await self._write(asked.custom_id, outcome)

    async def _settled(self, asked: lines.Asked) -> Outcome | None:
        """Ask a line until what became of it stays. What is set aside for the others that are on their way is mostly
        more than they cost: money is spent once there is none for a line beside which there is no other."""
        while True:
            outcome = await Line(self, asked).answer()
            if outcome is None or not outcome.spent or self.over or self._on_way - self._poor <= 1:
                return outcome
            self._poor += 1
            try:
                self._written.clear()
                async with asyncio.timeout(TICK):
                    await self._written.wait()
            except TimeoutError:
                pass
            finally:
                self._poor -= 1

    async def _write(self, custom_id: str, outcome: Outcome) -> None:
        """Write down what became of a line, as long as the batch is surely this process's."""
        try:
            while not await self._results.write(custom_id, outcome, self._is_held):
                if self.broken:
                    return  # it is another's by now, which asks the line again
                await asyncio.sleep(TICK / 10)  # until the lease is renewed, or lost
        except OSError as error:
            self._trouble = self._trouble or error
            self.look()

    def _is_held(self) -> bool:
        return time.monotonic() < self._held_until

    # The end ----------------------------------------------------------------------------------------------------------

    async def _finish(self) -> None:
        """Keep the files of results, and that the batch is over."""
        now = time.time()
        for file in await self._results.files(now):
            await self.room.store.add_file(file)
        await self._save(lambda found: {"status": self._end_of(found), "ended_at": now})
        await asyncio.to_thread(self.room.folder.delete, self.batch.id)

    def _end_of(self, found: KeptBatch) -> str:
        if found.status == CANCELLING:
            return CANCELLED
        return EXPIRED if self._results.expired else COMPLETED

    async def _save_quietly(self) -> None:
        """Keep the counts of a batch that is let go of, where that can be."""
        if not self.broken:
            try:
                await self._save()
            except OSError as error:
                log.warning("the progress of the batch %s could not be kept: %s", self.batch.id, error)


def _finalizing(found: KeptBatch, now: float) -> dict[str, Any]:
    """Return what changes of a batch of which nothing more is asked; one that is cancelled says so until its end."""
    if found.status == CANCELLING:
        return {}
    return {"status": FINALIZING, "finalizing_at": found.finalizing_at or now}
