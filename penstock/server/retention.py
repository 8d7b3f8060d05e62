"""Deletes requests from the ledger that are older than they are to be kept: in small steps, with pauses, and never
while anybody waits for it. Sums per day and what budgets have spent stay."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.core.admit.periods import later

if TYPE_CHECKING:
    from penstock.runtime.state import State
    from penstock.stores.sql.spend import SqlSpendStore

log = logging.getLogger("penstock")
BATCH, MOST_BATCHES = 1000, 500  # rows of a step, and steps of a run: LiteLLM's
INTERVAL = "1d"
LOOK = 10.0  # seconds between two looks at whether it is time
PAUSE = 0.05  # seconds between two steps, in which others use the database
# Rows that are not to be kept at all are there for so long: until then they see to it that nothing is counted twice.
SHORTEST = 3600.0
SET = 3600.0  # seconds by which a clock that was set differs from one that runs
WAIT = 3600.0  # seconds after that in which nothing is deleted: a clock that is wrong is mostly right again soon


class Kept(NamedTuple):
    """How long requests are kept, in seconds; None: for good. ``failed``: those that failed and cost nothing."""

    all: float | None = None
    failed: float | None = None


class Retention:
    """One process's. Others may do the same at the same time: what is gone is gone. ``now``: the time, by which rows
    are old; ``clock``: seconds that pass whatever the time is set to, by which it is time to clean up."""

    def __init__(
        self,
        store: SqlSpendStore,
        state: Callable[[], State],
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._state, self._now, self._clock = store, state, now, clock
        self._told: set[str] = set()
        self._next = clock()
        self._apart = now() - self._next
        self._failed_until = 0.0  # before that, those that failed are deleted already

    async def run(self) -> None:
        """Clean up whenever it is time, until cancelled."""
        while True:
            await asyncio.sleep(LOOK)
            if self.due():
                await self.clean()

    def due(self) -> bool:
        """Tell whether it is time to clean up. Where the clock was set, a while later: ahead by a month, all that is
        kept would be too old."""
        clock = self._clock()
        apart = self._now() - clock
        if abs(apart - self._apart) > SET:
            log.warning("The clock was set by %d seconds: no old requests are deleted for an hour", apart - self._apart)
            self._apart, self._next = apart, clock + WAIT
        return clock >= self._next

    async def clean(self) -> int:
        """Delete what is too old, in steps. Return how many rows there were."""
        kept, now, clock = self.kept(), self._now(), self._clock()
        self._next = clock + self._seconds(self._configured("maximum_spend_logs_retention_interval"), INTERVAL)
        if kept.failed is not None or kept.all == SHORTEST:
            self._next = min(self._next, clock + SHORTEST)
        count = 0
        try:
            if kept.all is not None:
                count += await self._forget(now - kept.all)
            if kept.failed is not None:
                before = now - kept.failed
                since = self._failed_until if self._failed_until <= before else 0.0  # the clock was set back
                count += await self._forget(before, since, True)
                self._failed_until = before
        except OSError as error:  # it is tried again at the next time
            log.warning("Old requests could not be deleted: %s", error.strerror or error)
            self._next = clock + 60
        if count:
            log.info("%d requests were deleted from the ledger: they were older than they are kept", count)
        return count

    def kept(self) -> Kept:
        """Read how long requests are kept."""
        found = self._seconds(self._configured("maximum_spend_logs_retention_period"), "")
        kept = found or None
        if self._configured("disable_spend_logs"):
            kept = SHORTEST if kept is None else min(kept, SHORTEST)
        return Kept(kept, SHORTEST if self._configured("disable_error_logs") else None)

    async def _forget(self, before: float, since: float = 0.0, failed: bool = False) -> int:
        batch = int(self._configured("maximum_spend_logs_cleanup_batch_size") or BATCH)
        steps = int(self._configured("maximum_spend_logs_cleanup_max_batches") or MOST_BATCHES)
        end = self._seconds(self._configured("maximum_spend_logs_cleanup_run_budget"), "")
        until = self._now() + end if end else float("inf")
        count = 0
        for _ in range(steps):
            done = await self._store.forget(before, batch, since, failed)
            count += done
            if done < batch or self._now() >= until:
                break
            await asyncio.sleep(PAUSE)
        return count

    def _configured(self, name: str) -> Any:
        return self._state().config.general.values.get(name)

    def _seconds(self, value: Any, usual: str) -> float:
        """Read a duration; 0 for none. One that cannot be read deletes nothing, and is told of once."""
        text = str(value or usual).strip()
        if not text:
            return 0.0
        now = self._now()
        try:
            return later(text, now) - now
        except ValueError as error:
            if text not in self._told:
                self._told.add(text)
                log.error("general_settings.maximum_spend_logs_...: %s", error)
            return later(usual, now) - now if usual else 0.0
