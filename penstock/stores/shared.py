"""What processes share: which deployments rest, what each has used in this minute, how quick it is, what is spent at
each provider, and small values.

A request asks and tells only what is known here, at once; a task of its own keeps that in step with the board. While
the board cannot be reached everything goes on for this process alone, and is in step again soon after it is back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from math import ceil
from typing import Any, Protocol

from penstock.core.route.quotas import Span
from penstock.core.route.spent import Spent
from penstock.stores.base import HOLD, WINDOW, Board, Figure, Mark, Store
from penstock.stores.ending import end, finish
from penstock.stores.marks import Marks
from penstock.stores.redis_client import NotInstalled
from penstock.stores.tally import Tally
from penstock.stores.values import Values

log = logging.getLogger("penstock")

TICK = 0.08  # seconds between two exchanges while there is something to say
IDLE = 1.0  # the same, while there is nothing: also the longest time until a board that is gone is noticed
REREAD = 10.0  # seconds between two readings of all marks, and of who has spent what: a message can get lost
UNHEARD = 1.0  # the same, while nobody tells the changes
FIRST_WAIT, LONGEST_WAIT = 0.1, 1.0  # seconds before a board that is gone is asked again
AT_ONCE = 500  # names in an exchange
LATENCIES = 2.0  # seconds between two exchanges of how quick deployments are
RESTS = "rests"  # the kind of the marks of deployments
LONGEST_STOP = 1.0  # seconds for each step of stopping: no restart waits for a Redis that hangs


def _ignore(live_id: str, seconds: float, why: str) -> None:
    return


class Counts(Protocol):
    """What is counted in windows of other lengths than a minute, or of more: by the length. ``wall``: the calendar."""

    @property
    def tallies(self) -> Mapping[Span, Tally]: ...
    @property
    def wall(self) -> Callable[[], float]: ...


class Figures(Protocol):
    """How quick deployments are: ``take`` what this process has seen since then, ``learn`` what others have."""

    def take(self, since: float, now: float) -> list[Figure]: ...
    def learn(self, figures: Iterable[Figure], now: float) -> None: ...


class Shared:
    """The view of one process, on the loop that ``start`` was called on. ``on_cooled``: called with what another
    process cooled: live id, seconds, why. ``spent`` and ``latencies``: of this process, kept in step with those of the
    others; None where nobody keeps any, and so are ``quotas``. ``values``: a store that falls back on this process's
    memory. ``clock``: seconds, monotonic; ``wall``: of the calendar, by which processes agree on the minute.
    ``trouble``: why the board cannot be used now, "" while it can."""

    def __init__(
        self,
        board: Board,
        values: Store | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.on_cooled: Callable[[str, float, str], None] = _ignore
        self.spent: Spent | None = None
        self.latencies: Figures | None = None
        self.quotas: Counts | None = None
        self.trouble = ""
        self._board = board
        self._clock, self._wall = clock, wall
        self._process = os.urandom(8).hex()
        self._marks = Marks()
        self._tally = Tally()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._heard = self._over = False
        self._reread_at = 0.0
        self._asked_who = self._compared = clock() - HOLD
        self._since = clock()
        self._wait = FIRST_WAIT
        self._seen = False
        self.values = Values(lambda: self.connected, values)

    # What the runtime asks and tells ----------------------------------------------------------------------------------

    def cooled(self, live_id: str, seconds: float, why: str) -> None:
        """Tell all processes that a deployment rests."""
        self._marks.put(Mark(RESTS, live_id, why, seconds), self._clock())
        self._wake.set()

    def resting(self) -> list[tuple[str, float, str]]:
        """List the deployments that rest, as far as anybody said: live id, seconds, why."""
        return [(mark.key, mark.seconds, mark.value) for mark in self._marks.current(RESTS, self._clock())]

    def count(self, live_id: str, requests: int, tokens: int) -> None:
        """Count what a deployment is asked for, in the minute under way."""
        window = int(self._wall() // WINDOW)
        if requests:
            self._tally.add(window, f"r{live_id}", requests)
        if tokens:
            self._tally.add(window, f"t{live_id}", tokens)
        self._wake.set()

    def total(self, live_id: str) -> tuple[int, int]:
        """Return the requests and tokens that all processes have counted in the minute under way."""
        window = int(self._wall() // WINDOW)
        self._wake.set()
        return self._tally.total(window, f"r{live_id}"), self._tally.total(window, f"t{live_id}")

    def others(self, name: str) -> tuple[int, int]:
        """Return the requests and tokens that other processes have counted in about the last minute: those of the
        minute under way, and of the one before as much as is left of it."""
        window, part = divmod(self._wall() / WINDOW, 1.0)
        self._wake.set()
        requests, requests_before = self._tally.others(int(window), f"r{name}")
        tokens, tokens_before = self._tally.others(int(window), f"t{name}")
        left = 1.0 - part
        return requests + ceil(requests_before * left), tokens + ceil(tokens_before * left)

    def left(self) -> float:
        """Return the seconds until the minute ends."""
        return WINDOW - self._wall() % WINDOW

    def rest_of(self, live_id: str) -> tuple[float, str] | None:
        """Return how long a deployment rests, and why; None for one of which nobody said so."""
        mark = self._marks.find(RESTS, live_id, self._clock())
        return None if mark is None else (mark.seconds, mark.value)

    def of(self, live_id: str) -> OneShared:
        """Return the same for one deployment, for whoever asks it often."""
        return OneShared(self, live_id)

    # What people ask --------------------------------------------------------------------------------------------------

    @property
    def where(self) -> str:
        """Say what is shared through."""
        return self._board.where

    @property
    def connected(self) -> bool:
        """Tell whether this process is in step with the others."""
        return self._seen and not self.trouble

    def told(self) -> dict[str, Any]:
        """Tell how it stands, for those who manage the gateway."""
        found: dict[str, Any] = {"where": self.where, "connected": self.connected}
        if self.trouble:
            found |= {"error": self.trouble, "for_seconds": round(self._clock() - self._since, 1)}
        return found

    # Keeping in step --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to keep in step, on the running loop."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._go_on(turn)) for turn in (self._keep_in_step, self._listen)]

    async def stop(self) -> None:
        """Say what was not said yet, if the board is there, and close it; what does not end in time is let go."""
        self._over = True
        tasks, self._tasks = self._tasks, []
        await asyncio.gather(*(end(task, LONGEST_STOP) for task in tasks))
        if tasks and self.connected and not await finish(self._say_the_last(), LONGEST_STOP):
            log.warning("%s does not answer: what was counted in the last moment was not said there", self.where)
        await finish(self._board.close(), LONGEST_STOP)

    async def _say_the_last(self) -> None:
        with suppress(OSError):
            await self._exchange()

    async def _go_on(self, turn: Callable[[], Awaitable[None]]) -> None:
        while not self._over:
            try:
                return await turn()
            except Exception:  # boundary: a fault of ours, in here or in who listens, must not end the sharing
                log.exception("what processes share stopped through a fault of the gateway; it begins again")
                await asyncio.sleep(LONGEST_WAIT)

    async def _keep_in_step(self) -> None:
        while not self._over:
            try:
                await self._exchange()
                await self._reread()
                if self.latencies is not None:
                    await self._compare(self.latencies)
            except NotInstalled as error:
                self._lost(error)
                return  # no package comes by waiting
            except OSError as error:
                self._lost(error)
                await asyncio.sleep(self._wait)
                self._wait = min(self._wait * 2, LONGEST_WAIT)
                continue
            self._found()
            await asyncio.sleep(TICK)
            if not self._wake.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(IDLE):
                        await self._wake.wait()
            self._wake.clear()

    async def _exchange(self) -> None:
        marks = self._marks.take(self._clock())
        try:
            await self._board.tell(marks)
        except BaseException:
            self._marks.put_back(marks)
            raise
        window = int(self._wall() // WINDOW)
        said = self._tally.take(window, AT_ONCE)
        totals = await self._board.count(window, self._process, said)
        self._tally.learn(window, said, totals)
        if self.quotas is not None:
            await self._exchange_quotas(self.quotas)
        if self.spent is not None:
            await self._exchange_spent(self.spent)

    async def _exchange_quotas(self, quotas: Counts) -> None:
        for span, tally in list(quotas.tallies.items()):
            window = span.number(quotas.wall())
            said = tally.take(window, AT_ONCE)
            totals = await self._board.count(window, f"{self._process}q", said, span.seconds)
            tally.learn(window, said, totals)

    async def _exchange_spent(self, spent: Spent) -> None:
        began = self._clock()
        whole = began >= self._asked_who + REREAD
        for told in spent.take(self._process, began, whole):
            known = await self._board.spend(told)
            spent.learn(told, known, self._clock())
        if whole:
            self._asked_who = began

    async def _compare(self, latencies: Figures) -> None:
        """Exchange how quick deployments are: what has been seen since the last time."""
        began = self._clock()
        if began < self._compared + LATENCIES:
            return
        seen = latencies.take(self._compared, began)
        for at in range(0, max(1, len(seen)), AT_ONCE):
            age = began - self._compared + LATENCIES  # what was on its way the last time, too
            found = await self._board.compare(seen[at : at + AT_ONCE], min(age, HOLD))
            latencies.learn(found, self._clock())
        self._compared = began

    async def _reread(self) -> None:
        now = self._clock()
        if now < self._reread_at:
            return
        self._reread_at = now + (REREAD if self._heard else UNHEARD)
        marks = await self._board.marks()
        news = self._marks.compare(marks, self._clock())
        if self._marks.waiting:  # the board forgot some
            self._wake.set()
        for mark in news:
            self._hear(mark)

    async def _listen(self) -> None:
        """Hear of changes as long as there is somebody to hear; what was missed is read anew."""
        wait = FIRST_WAIT
        while not self._over:
            try:
                async with aclosing(self._board.changes()) as changes:
                    async for mark in changes:
                        if mark is None:
                            self._heard, wait = True, FIRST_WAIT
                            self._reread_at = 0.0
                            self._wake.set()
                        elif self._marks.learn(mark, self._clock()):
                            self._hear(mark)
            except NotInstalled:
                return
            except OSError:  # the exchange says it, too
                wait = min(wait * 2, LONGEST_WAIT)
            self._heard = False
            await asyncio.sleep(wait)

    def _hear(self, mark: Mark) -> None:
        if mark.kind == RESTS:
            self.on_cooled(mark.key, mark.seconds, mark.value)

    def _lost(self, error: OSError) -> None:
        if self.trouble:
            self.trouble = str(error)
            return
        self.trouble, self._since = str(error), self._clock()
        self._reread_at = 0.0  # what was told meanwhile was not heard
        self._asked_who = self._clock() - REREAD  # and what was known may be forgotten
        text = "%s cannot be used (%s): what rests, is used up or spent is known to each process alone until it is back"
        log.warning(text, self.where, error)

    def _found(self) -> None:
        self._wait = FIRST_WAIT
        if self.trouble:
            log.warning("%s is back after %.1f s: processes are in step again", self.where, self._clock() - self._since)
        elif not self._seen:
            log.info("%s: processes share what rests, is used up and is spent", self.where)
        self.trouble, self._seen = "", True


class OneShared:
    """What processes share of one deployment; ``core.route.standing.Common``."""

    __slots__ = ("_live_id", "_shared")

    def __init__(self, shared: Shared, live_id: str) -> None:
        self._shared = shared
        self._live_id = live_id

    def cooled(self, seconds: float, why: str) -> None:
        """Tell all processes that it rests."""
        self._shared.cooled(self._live_id, seconds, why)

    def count(self, requests: int, tokens: int) -> None:
        """Count what it is asked for, in the minute under way."""
        self._shared.count(self._live_id, requests, tokens)

    def used(self) -> tuple[int, int, float]:
        """Return what all processes have counted of it in this minute, and the seconds until the minute ends."""
        return *self._shared.total(self._live_id), self._shared.left()
