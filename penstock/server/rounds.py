"""Something that is done again and again while the service runs: a task that begins and ends with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Rounds:
    """A task of rounds. Whoever has some says what one is (``round``) and how long to wait behind it (``pause``)."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running loop."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End, in the middle of a round if need be."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            if self.wanted:
                await self.round()
            await asyncio.sleep(self.pause)

    @property
    def wanted(self) -> bool:
        """Tell whether a round is wanted now."""
        return True

    @property
    def pause(self) -> float:
        """Return the seconds until the next round."""
        raise NotImplementedError

    async def round(self) -> None:
        """Do it once."""
        raise NotImplementedError
