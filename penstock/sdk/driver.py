"""The engine in this process: one for all clients, on the SDK's loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

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


class _Notes:
    """Gives each record to the request that waits for it."""

    def __init__(self) -> None:
        self.waiting: dict[str, CaughtExchange] = {}

    def put(self, record: Record) -> None:
        """Give a record to who waits for it."""
        caught = self.waiting.get(record.call_id)
        if caught is not None:
            caught.record = record

    def close(self) -> None:
        """Forget who waits."""
        self.waiting.clear()


class Driver:
    """Drives requests to their ends. Belongs to the loop on which it answers the first."""

    def __init__(self) -> None:
        self._notes = _Notes()
        self.pool = Pool(proxies=Proxies.from_env(os.environ))
        self.engine = Engine(self.pool, Records([self._notes]))

    async def answer(self, caught: CaughtExchange, surface: Surface, state: State) -> None:
        """Answer a request by the engine. Its exchange has answer and record then."""
        means = self.engine.means
        call = Call(caught, means, NOBODY, surface)
        caught.call = call
        self._notes.waiting[call.call_id] = caught
        try:
            await self.engine.handle(call, state)
        finally:
            self.engine.flush()
            self._notes.waiting.pop(call.call_id, None)
            means.held.size -= caught.held
            caught.held = 0
            caught.call = None

    async def close(self) -> None:
        """Close the connections."""
        await self.engine.answers.close()
        await self.pool.close()
        self.engine.flush()
        await asyncio.sleep(0)
