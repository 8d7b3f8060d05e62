"""A store and a board in this process's memory: gone with the process.

The store is bounded in bytes: the least recently written go first."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence

from penstock.core.route.spent import Known, Told
from penstock.stores.base import HOLD, KEEP_WINDOWS, NEWS, WINDOW, Figure, Mark, slack_of

MAX_BYTES = 256 * 1024 * 1024


class MemoryStore:
    """A ``stores.base.Store`` in memory. ``clock``: seconds, monotonic."""

    def __init__(self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._max = max_bytes
        self._clock = clock
        self._size = 0
        self._values: dict[str, tuple[bytes, float | None]] = {}  # oldest first

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._drop(key)
        self._values[key] = (value, None if ttl is None else self._clock() + ttl)
        self._size += len(key) + len(value)
        while self._size > self._max and len(self._values) > 1:
            self._drop(next(iter(self._values)))

    async def get(self, key: str) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        value, until = found
        if until is not None and self._clock() >= until:
            self._drop(key)
            return None
        return value

    async def delete(self, key: str) -> bool:
        there = await self.get(key) is not None
        self._drop(key)
        return there

    async def close(self) -> None:
        self._values.clear()
        self._size = 0

    def _drop(self, key: str) -> None:
        found = self._values.pop(key, None)
        if found is not None:
            self._size -= len(key) + len(found[0])


class MemoryBoard:
    """A ``stores.base.Board`` for several gateways in one process. ``clock``: seconds, monotonic."""

    where = "memory"

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._marks: dict[tuple[str, str], tuple[str, float]] = {}
        self._listeners: set[asyncio.Queue[Mark]] = set()
        # By length, by number, by name, by process.
        self._windows: dict[float, dict[int, dict[str, dict[str, int]]]] = {}
        self._budgets: dict[tuple[str, int], tuple[int, dict[str, int]]] = {}  # by name and period: begin, amounts
        self._figures: dict[tuple[str, bool], tuple[float, float]] = {}  # value, when it was seen

    async def tell(self, marks: Sequence[Mark]) -> None:
        now = self._clock()
        for mark in marks:
            at, until = (mark.kind, mark.key), now + mark.seconds
            if until > self._marks.get(at, ("", 0.0))[1] + NEWS:
                self._marks[at] = (mark.value, until)
                for listener in self._listeners:
                    listener.put_nowait(mark)

    async def marks(self) -> list[Mark]:
        now = self._clock()
        self._marks = {at: held for at, held in self._marks.items() if held[1] > now}
        return [Mark(*at, value, until - now) for at, (value, until) in self._marks.items()]

    async def changes(self) -> AsyncGenerator[Mark | None, None]:
        listener: asyncio.Queue[Mark] = asyncio.Queue()
        self._listeners.add(listener)
        try:
            yield None
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)

    async def count(
        self, window: int, process: str, counts: Sequence[tuple[str, int]], seconds: float = WINDOW
    ) -> list[int]:
        windows = self._windows.setdefault(seconds, {})
        for over in [at for at in windows if at + KEEP_WINDOWS <= window]:
            del windows[over]
        names = windows.setdefault(window, {})
        totals = []
        for name, own in counts:
            by_process = names.setdefault(name, {})
            by_process[process] = max(own, by_process.get(process, 0))
            totals.append(sum(by_process.values()))
        return totals

    async def spend(self, told: Told) -> Known | None:
        now, key, slack = int(self._clock() * 1000), (told.name, told.period), slack_of(told.period)
        began, by = self._budgets.get(key, (0, {}))
        if by and began + told.period <= now:
            del self._budgets[key]
            began, by = 0, {}
        at = told.at or now - told.age
        earlier = not by or at < began - (0 if told.at else slack)
        joins = bool(told.by) and (not earlier or at + told.period > now + slack)
        if joins:
            began = at if earlier else began
            by.update((name, max(amount, by.get(name, 0))) for name, amount in told.by.items())
            self._budgets[key] = (began, by)
        if not by:
            return None
        mine = by.get(told.own, 0) if joins or not told.by else 0
        return Known(began, now - began, sum(by.values()), mine, dict(by) if told.whole else None)

    async def compare(self, figures: Sequence[Figure], age: float) -> list[Figure]:
        now = self._clock()
        for figure in figures:
            at, seen = (figure.key, figure.stream), now - figure.age
            if seen > self._figures.get(at, (0.0, -HOLD))[1]:
                self._figures[at] = (figure.value, seen)
        self._figures = {at: held for at, held in self._figures.items() if held[1] > now - HOLD}
        return [Figure(*at, value, now - seen) for at, (value, seen) in self._figures.items() if seen > now - age]

    async def close(self) -> None:
        """Do nothing: the other gateways go on."""
