"""The engine in this process: one for all clients, on the SDK's loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from penstock.core.admit.caller import NOBODY
from penstock.runtime.call import Call
from penstock.runtime.engine import Engine
from penstock.runtime.http import Pool, Proxies
from penstock.runtime.records import Records

if TYPE_CHECKING:
    from penstock.core.record import Record
    from penstock.runtime.state import State
    from penstock.runtime.surface import Surface
    from penstock.sdk.channel import CaughtExchange


class Waiting(Protocol):
    """Who waits for a record."""

    record: Record | None
    hears: Callable[[Record], object] | None


class _Notes:
    """Gives each record to the request that waits for it, and to whoever hears of that one's client."""

    def __init__(self) -> None:
        self.waiting: dict[str, Waiting] = {}

    def put(self, record: Record) -> None:
        """Give a record to who waits for it."""
        waiting = self.waiting.get(record.call_id)
        if waiting is not None:
            waiting.record = record
            if waiting.hears is not None:
                waiting.hears(record)

    def close(self) -> None:
        """Forget who waits."""
        self.waiting.clear()


class Driver:
    """Drives requests to their ends. Belongs to the loop on which it answers the first. One engine serves all; clients
    that keep answers have one for each place where they are kept, since an engine has one such place."""

    def __init__(self) -> None:
        self._notes = _Notes()
        self.pool = Pool(proxies=Proxies.from_env(os.environ))
        self.engine = Engine(self.pool, Records([self._notes]))
        self._keeping: dict[str, Engine] = {}

    def engine_of(self, state: State) -> Engine:
        """Return the engine for a state's calls."""
        if state.caching is None:
            return self.engine
        place = repr(state.caching.place)
        found = self._keeping.get(place)
        if found is None:
            found = self._keeping[place] = Engine(self.pool, self.engine.records, lives=self.engine.means.lives)
        return found

    async def answer(self, caught: CaughtExchange, surface: Surface, state: State) -> None:
        """Answer a request by the engine. Its exchange has answer and record then."""
        means = self.engine_of(state).means
        call = Call(caught, means, NOBODY, surface)
        caught.call = call
        try:
            await self.handle(call, state, caught)
        finally:
            means.held.size -= caught.held
            caught.held = 0
            caught.call = None

    async def handle(self, call: Call, state: State, waiting: Waiting) -> None:
        """Answer a call, and give its record to who waits for it."""
        engine = self.engine_of(state)
        self._notes.waiting[call.call_id] = waiting
        try:
            await engine.handle(call, state)
        finally:
            engine.flush()
            self._notes.waiting.pop(call.call_id, None)

    async def close(self) -> None:
        """Close the connections."""
        for engine in (self.engine, *self._keeping.values()):
            await engine.answers.close()
            engine.flush()
        await self.pool.close()
        await asyncio.sleep(0)
