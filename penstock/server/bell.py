"""Wakes tasks that look at something now and then, because there is something to see now."""

from __future__ import annotations

import asyncio


class Bell:
    """Whoever waits is woken by each ``ring``; ``rung`` says how many there were, so that none is missed by who was
    busy."""

    def __init__(self) -> None:
        self.rung = 0
        self._event = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait. On the loop."""
        self.rung += 1
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def wait(self, known: int, seconds: float) -> int:
        """Wait until it has been rung more than ``known`` times, and no longer than so many seconds. Return how often
        it has been."""
        if self.rung == known:
            try:
                async with asyncio.timeout(seconds):
                    await self._event.wait()
            except TimeoutError:
                pass
        return self.rung
