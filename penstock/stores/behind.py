"""Small values in a store that takes its time: here at once, over there soon after."""

from __future__ import annotations

import asyncio
import errno
import logging
import time
from collections.abc import Callable

from penstock.stores.base import Store
from penstock.stores.memory import MemoryStore

log = logging.getLogger("penstock")
NEAR_BYTES = 64 * 1024 * 1024
MOST_WAITING = 64 * 1024 * 1024  # bytes that wait for a store that is away; what comes then is refused
LONGEST_PAUSE = 30.0
LAST_WORK = 5.0  # seconds that an end waits for what is still on its way


class Behind:
    """A ``stores.base.Store`` before another one: who puts never waits for that. What this process put lately is read
    here, the rest over there. A process that is killed loses what was on its way, usually some milliseconds' worth.
    ``clock``: seconds, monotonic."""

    def __init__(self, far: Store, clock: Callable[[], float] = time.monotonic, near_bytes: int = NEAR_BYTES) -> None:
        self._far = far
        self._clock = clock
        self._near = MemoryStore(near_bytes, clock)
        self._waiting: dict[str, tuple[bytes, float | None]] = {}  # with the time at which each is over
        self._size = 0
        self._one = asyncio.Lock()  # what is deleted over there must not be put there by what was before
        self._task: asyncio.Task[None] | None = None

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        if self._size + len(value) > MOST_WAITING:
            raise OSError(errno.ENOBUFS, "too much waits for the store")
        self._forget(key)
        self._waiting[key] = value, None if ttl is None else self._clock() + ttl
        self._size += len(value)
        await self._near.put(key, value, ttl)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._carry())

    async def get(self, key: str) -> bytes | None:
        waiting = self._waiting.get(key)
        if waiting is not None:
            return waiting[0] if waiting[1] is None or self._clock() < waiting[1] else None
        found = await self._near.get(key)
        return found if found is not None else await self._far.get(key)

    async def delete(self, key: str) -> bool:
        there = await self.get(key) is not None
        self._forget(key)
        await self._near.delete(key)
        async with self._one:
            return await self._far.delete(key) or there

    async def close(self) -> None:
        """Carry over what is left, as far as that is quick."""
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=LAST_WORK)
            task.cancel()
        if self._waiting:
            log.error("%d kept values could not be stored in time, and are lost", len(self._waiting))
        self._waiting, self._size = {}, 0
        await self._near.close()
        await self._far.close()

    def _forget(self, key: str) -> None:
        before = self._waiting.pop(key, None)
        if before is not None:
            self._size -= len(before[0])

    async def _carry(self) -> None:
        """Put over there what waits, until nothing does."""
        pause = 0.0
        while self._waiting:
            try:
                async with self._one:
                    await self._carry_one()
                pause = 0.0
            except OSError as error:
                if not pause:
                    log.warning("Kept values wait in memory, as they cannot be stored now: %s", error.strerror or error)
                pause = min(max(0.25, 2 * pause), LONGEST_PAUSE)
                await asyncio.sleep(pause)

    async def _carry_one(self) -> None:
        key = next(iter(self._waiting), None)
        if key is None:
            return
        entry = self._waiting[key]
        left = None if entry[1] is None else entry[1] - self._clock()
        if left is None or left > 0:
            await self._far.put(key, entry[0], left)
        else:  # what it was to take the place of must not come back
            await self._far.delete(key)
        if self._waiting.get(key) is entry:  # else another value came meanwhile
            self._forget(key)
