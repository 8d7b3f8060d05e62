"""The one loop that ships: a queue per sink, bounded in records and bytes, written in batches, tried again, counted.

Nobody ever waits for it. What does not fit is not taken, what a service refuses is let go, what it could not take for
too long is let go, too: all of it is counted, said in the log and told by ``GET /health``.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from penstock.sinks.base import Refused, Unavailable

if TYPE_CHECKING:
    from penstock.sinks.base import Payload, Sink

log = logging.getLogger("penstock")
AT_ONCE = 0.0
_SAY_AGAIN = 60.0  # seconds between two lines that say the same of a sink


class Bounds(NamedTuple):
    """What a queue may hold and how long things take: ``batch`` and ``batch_bytes`` are of one write, ``linger`` how
    long the first of a batch waits for others, ``patience`` how long a write may take, ``pause`` the first and
    ``longest`` the longest wait before it is tried again, ``give_up`` how long one batch is tried, ``farewell`` how
    long the end of the process waits."""

    records: int = 10_000
    size: int = 32 * 1024 * 1024
    batch: int = 256
    batch_bytes: int = 2 * 1024 * 1024
    linger: float = 0.5
    patience: float = 30.0
    pause: float = 0.5
    longest: float = 30.0
    give_up: float = 600.0
    farewell: float = 5.0


class Room(Struct):
    """Bytes that all queues together may hold."""

    limit: int = 128 * 1024 * 1024
    held: int = 0


class Counts(Struct):
    """What became of records. ``dropped``: there was no room; ``refused``: by the service; ``lost``: it could not take
    them for too long, or until the end."""

    written: int = 0
    dropped: int = 0
    refused: int = 0
    lost: int = 0

    @property
    def unsent(self) -> int:
        return self.dropped + self.refused + self.lost


class Shipper:
    """One sink's queue, on one event loop. A task runs only while something waits. ``trouble``: why the last write
    failed, "" after a good one."""

    def __init__(self, name: str, sink: Sink, bounds: Bounds = Bounds(), room: Room | None = None) -> None:  # noqa: B008
        self.name = name
        self.sink = sink
        self.counts = Counts()
        self.trouble = ""
        self._bounds = bounds
        # The operator's own code is not begun a second time while the first still runs.
        self._patience: float | None = getattr(sink, "patience", bounds.patience)
        self._room = room or Room()
        self._queue: deque[tuple[Payload, int]] = deque()
        self._size = 0
        self._taken = 0  # records of the batch that is being written
        self._task: asyncio.Task[None] | None = None
        self._full = asyncio.Event()
        self._ending = False
        self._said: dict[str, tuple[float, int]] = {}

    def __repr__(self) -> str:
        return f"Shipper({self.name}, {self.waiting} wait)"

    @property
    def waiting(self) -> int:
        """Count the records that are not written yet."""
        return len(self._queue) + self._taken

    @property
    def idle(self) -> bool:
        return self._task is None

    def put(self, payload: Payload, size: int) -> None:
        """Take a record of ``size`` bytes, or count it as dropped. Never waits."""
        bounds, room = self._bounds, self._room
        if (
            len(self._queue) >= bounds.records
            or self._size + size > bounds.size
            or room.held + size > room.limit
            or self._ending
        ):
            self.counts.dropped += 1
            self._say("full", "%s: the queue is full, and %d records were not sent", self.counts.dropped)
            return
        self._queue.append((payload, size))
        self._size += size
        room.held += size
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
        elif len(self._queue) >= bounds.batch:
            self._full.set()

    async def flush(self, within: float) -> bool:
        """Wait until what was put is written, but no longer; tell whether it is."""
        task = self._task
        self._full.set()
        if task is not None:
            await asyncio.wait((task,), timeout=within)
        return self._task is None

    async def stop(self, within: float | None = None) -> None:
        """Write what waits, but no longer than that; count the rest as lost, and close the sink."""
        self._ending = True
        await self.flush(self._bounds.farewell if within is None else within)
        task = self._task
        if task is not None:
            task.cancel()
            await asyncio.wait((task,))
        if left := self.waiting:
            self.counts.lost += left
            log.error("%s: %d records were not sent before the end%s", self.name, left, self._because())
        self._room.held -= self._size
        self._queue.clear()
        self._size = self._taken = 0
        await self.sink.close()

    def told(self) -> dict[str, object]:
        """Tell how it stands."""
        counts = self.counts
        found: dict[str, object] = {"waiting": self.waiting, "written": counts.written}
        found |= {name: value for name in ("dropped", "refused", "lost") if (value := getattr(counts, name))}
        return found | ({"trouble": self.trouble} if self.trouble else {})

    # The loop. --------------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while self._queue:
                if len(self._queue) < self._bounds.batch and not self._ending:
                    await self._linger()
                self._full.clear()
                await self._ship(self._take())
        finally:
            self._task = None

    async def _linger(self) -> None:
        try:
            async with asyncio.timeout(self._bounds.linger):
                await self._full.wait()
        except TimeoutError:
            return

    def _take(self) -> list[tuple[Payload, int]]:
        """Take the next batch off the queue. Its bytes count until it is over."""
        taken: list[tuple[Payload, int]] = []
        size = 0
        while self._queue and len(taken) < self._bounds.batch:
            if taken and size + self._queue[0][1] > self._bounds.batch_bytes:
                break
            taken.append(self._queue.popleft())
            size += taken[-1][1]
        self._taken = len(taken)
        return taken

    async def _ship(self, taken: list[tuple[Payload, int]]) -> None:
        """Write a batch, as often as it takes."""
        pause, until = self._bounds.pause, time.monotonic() + self._bounds.give_up
        batch = [payload for payload, _ in taken]
        while batch:
            before = len(batch)
            batch, wait = await self._try(batch)
            self._taken = len(batch)
            if not batch or wait == AT_ONCE:
                continue
            if time.monotonic() >= until:
                self.counts.lost += len(batch)
                self._say("lost", "%s: %d records were given up", self.counts.lost, self._because())
                break
            if len(batch) < before:
                pause = self._bounds.pause
            # Spread, so that many gateways do not come back all at once.
            await asyncio.sleep(max(wait or 0.0, pause * random.uniform(0.5, 1.0)))
            pause = min(pause * 2, self._bounds.longest)
        self._taken = 0
        size = sum(size for _, size in taken)
        self._size -= size
        self._room.held -= size

    async def _try(self, batch: Sequence[Payload]) -> tuple[list[Payload], float | None]:
        """Write a batch once. Return what is left of it, and how long the service wants to be left alone."""
        try:
            async with asyncio.timeout(self._patience):
                refused = await self.sink.write(batch)
        except Refused as error:
            self.counts.written += error.written
            rest = batch[error.written :]
            gone = len(rest) if error.count is None else error.count
            self.counts.refused += gone
            self._say("refused", "%s: %d records were refused", self.counts.refused, f": {error}")
            return list(rest[gone:]), AT_ONCE
        except (Unavailable, TimeoutError) as error:
            written = getattr(error, "written", 0)
            self.counts.written += written
            text = str(error) or f"no answer within {self._bounds.patience:g} s"
            if not self.trouble:
                log.warning("%s: records wait to be sent: %s", self.name, text)
            self.trouble = text
            wait = getattr(error, "wait", None)
            return list(batch[written:]), None if wait is None else min(wait, self._bounds.longest)
        except Exception as error:  # boundary: a sink may be anybody's code
            self.counts.lost += len(batch)
            self.trouble = f"{type(error).__name__}: {error}"[:200]
            if self._say("bug", "%s: %d records were lost", self.counts.lost):
                log.error("%s failed", self.name, exc_info=error)
            return [], None
        self.counts.written += len(batch) - refused
        self.counts.refused += refused
        if refused:
            self._say("refused", "%s: %d records were refused", self.counts.refused)
        if self.trouble:
            log.warning("%s: records are sent again", self.name)
        self.trouble = ""
        return [], None

    def _because(self) -> str:
        return f": {self.trouble}" if self.trouble else ""

    def _say(self, what: str, text: str, count: int, more: str = "") -> bool:
        """Say what was not sent: the first time, and then once a minute with the new count."""
        now = time.monotonic()
        said, before = self._said.get(what, (0.0, 0))
        if before and now < said + _SAY_AGAIN:
            return False
        self._said[what] = (now, count)
        log.error(text + "%s", self.name, count, more)
        return True
