"""The rounds in which keys get new secrets by themselves: one process's, which at most one at a time goes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.admin.rotation import EVERY, GRACE, is_enabled, rotate_due
from penstock.core.errors import GatewayError
from penstock.runtime.ids import new_id

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.state import State

log = logging.getLogger("penstock")
USUAL = 60.0  # seconds between two looks: over rows that are in memory
SHORTEST = 1.0


class Rotation:
    """One process's."""

    def __init__(self, desk: Desk, state: Callable[[], State]) -> None:
        self._desk, self._state, self._name = desk, state, new_id()
        self._told = ""

    async def run(self) -> None:
        """Rotate what is due whenever it is time, until cancelled."""
        while True:
            await asyncio.sleep(self.pause())
            if is_enabled(self._state().env):
                await self.round()

    async def round(self) -> int:
        """Rotate what is due; return how many keys there were."""
        try:
            count = await rotate_due(self._desk, self._name, self._state().env.get(GRACE))
        except (GatewayError, OSError) as error:  # the database is away: whoever watches it says so
            log.info("Keys are rotated a little later: %s", error)
            return 0
        if count:
            log.info("%d keys have a new secret: /key/info tells it to who has the old one", count)
        return count

    def pause(self) -> float:
        """Return the seconds until the next look. A number that cannot be read is told of once."""
        text = str(self._state().env.get(EVERY, "")).strip()
        try:
            return max(SHORTEST, float(text)) if text else USUAL
        except ValueError:
            if text != self._told:
                self._told = text
                log.error("%s: %r is no number of seconds", EVERY, text[:40])
            return USUAL
