"""A place for each of so many requests at one time, and a bounded line before it: by priority, then by arrival.

Nobody waits longer than ``patience``; beyond ``most`` in the line nobody waits at all. Used for the whole gateway (the
gate) and for the deployments of a group that are all full.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable
from itertools import count

PATIENCE = 30.0  # seconds in the line
MOST = 1000  # requests in it


class Line:
    """Those who wait. ``most``: of them at one time; ``patience``: seconds. ``waiting``: how many there are now."""

    def __init__(self, most: int = MOST, patience: float = PATIENCE) -> None:
        self.most, self.patience = most, patience
        self.waiting = 0
        self._heap: list[tuple[int, int, asyncio.Future[bool]]] = []
        self._numbers = count()

    def number(self) -> int:
        """Return the number of who comes now: it is kept by who has to wait again."""
        return next(self._numbers)

    async def wait(self, priority: int, number: int, seconds: float, back: Callable[[], object]) -> bool:
        """Wait for one's turn; False when the line is too long, or the turn does not come within so many seconds.
        ``back``: takes a turn that had come to somebody who left at that moment."""
        if self.waiting >= self.most or seconds <= 0:
            return False
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        heapq.heappush(self._heap, (priority, number, future))
        self.waiting += 1
        timer = loop.call_later(seconds, _give_up, future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.result():
                back()
            raise
        finally:
            timer.cancel()
            self.waiting -= 1
            if len(self._heap) > 2 * self.waiting + 16:  # who gave up is still in there
                self._heap = [entry for entry in self._heap if not entry[2].done()]
                heapq.heapify(self._heap)

    def next(self) -> bool:
        """Give the next in the line its turn; False when nobody waits."""
        while self._heap:
            future = heapq.heappop(self._heap)[2]
            if not future.done():
                future.set_result(True)
                return True
        return False


def _give_up(future: asyncio.Future[bool]) -> None:
    if not future.done():
        future.set_result(False)


class Places:
    """So many requests at one time. ``enter`` before one, ``leave`` behind it."""

    def __init__(self, places: int, line: Line) -> None:
        self.places, self.line = places, line
        self.taken = 0

    def enter(self, priority: int) -> Awaitable[bool] | None:
        """Take a place; None where there is one at once. What is returned else says, when it is awaited, whether there
        was one."""
        if self.taken < self.places:
            self.taken += 1
            return None
        line = self.line
        return line.wait(priority, line.number(), line.patience, self.leave)

    def leave(self) -> None:
        """Give the place to the next in the line, if anybody waits."""
        if self.taken > self.places or not self.line.next():
            self.taken -= 1
