"""A second deployment asked beside one that is late: who answers first is taken, the other one is let go.

Only before anything of an answer is out. The loser's request is cancelled, and what it had used by then is billed to
the call and recorded with it: a vendor bills it, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.route.plan import LATE, Both, Outcome, Try
from penstock.runtime.http import in_task
from penstock.runtime.outlet import AlreadyAnswered

if TYPE_CHECKING:
    from penstock.core.route.plan import Steps
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.targets import Target

Make = Callable[[Try["Target"]], "Attempt"]
Run = Callable[["Attempt"], Awaitable[Outcome]]


class Race:
    """One try of a call, with another one beside it when it is late. ``make``: makes the attempt of a step; ``run``:
    carries it out; ``lost``: is given the attempt that was let go."""

    def __init__(self, call: Call, make: Make, run: Run, lost: Callable[[Attempt], None]) -> None:
        self._call, self._make, self._run, self._lost = call, make, run, lost
        self._tasks: list[asyncio.Task[Outcome]] = []
        self._made: list[Attempt] = []
        self._gone: list[Attempt] = []

    async def run(self, steps: Steps[Target, GatewayError | None], step: Try[Target], seconds: float) -> Outcome | Both:
        """Carry out a try; ask ``steps`` for another one when it has not begun to answer after so many seconds."""
        await in_task()
        outlet = self._call.outlet
        outlet.claimed = self._claimed
        try:
            first = self._start(step)
            await asyncio.wait((first,), timeout=seconds)
            if first.done() or outlet.owner:
                return await self._outcome(first)
            other = steps.send(LATE)
            if not isinstance(other, Try):
                return await self._outcome(first)
            second = self._start(other)
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in self._tasks:
                if task.done() and not task.cancelled() and (await self._outcome(task)).error is None:
                    self._let_go(task)
            return Both(await self._outcome(first), await self._outcome(second))
        finally:
            outlet.claimed = None
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for attempt in self._made:
                if attempt is not self._call.attempt:
                    self._lose(attempt)
            self._tasks.clear()
            self._made.clear()
            self._gone.clear()

    def _start(self, step: Try[Target]) -> asyncio.Task[Outcome]:
        attempt = self._make(step)
        self._made.append(attempt)
        task = asyncio.ensure_future(self._carry_out(attempt))
        self._tasks.append(task)
        return task

    async def _carry_out(self, attempt: Attempt) -> Outcome:
        return await self._run(attempt)

    def _claimed(self, attempt: Attempt) -> None:
        """Let the other one go, now that this one answers. It is billed here: the end of this answer may be next."""
        self._let_go(self._tasks[self._made.index(attempt)])
        for other in self._made:
            if other is not attempt:
                self._lose(other)

    def _lose(self, attempt: Attempt) -> None:
        """Give away an attempt that was let go, once."""
        if attempt not in self._gone:
            self._gone.append(attempt)
            self._lost(attempt)

    def _let_go(self, winner: asyncio.Task[Outcome]) -> None:
        for task in self._tasks:
            if task is not winner:
                task.cancel()

    async def _outcome(self, task: asyncio.Task[Outcome]) -> Outcome:
        try:
            return await task
        except AlreadyAnswered:
            return _lost()
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                raise  # the client left
            return _lost()


def _lost() -> Outcome:
    return Outcome(GatewayError("timeout", "Another deployment, asked beside this one, answered first."))
