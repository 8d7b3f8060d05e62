"""What deployments have used of their quotas: counted here, and by other processes as far as they have said.

What a request may use is held while it is under way, so that many at once do not pass each other; when it is over, what
it has used is counted. Over a quota goes what estimates were too low, and what other processes have under way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from penstock.core.route.quotas import Asks, Exhausted, Quota, Span
from penstock.stores.tally import Tally


class Reserved(NamedTuple):
    """What a request holds while it is under way."""

    live_id: str
    quotas: Sequence[Quota]
    asks: Asks


class Quotas:
    """Of one process. ``tallies``: what is counted in the windows under way, by their length; a board keeps them in
    step. ``wall``: seconds since 1970."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self.tallies: dict[Span, Tally] = {}
        self.wall = wall
        self._held: dict[str, int] = {}

    def used(self, live_id: str, quota: Quota) -> int:
        """Return what is used of a quota, with what requests under way may use."""
        name = f"{quota.what[0]}{live_id}"
        return self._tally(quota.span).total(quota.span.number(self.wall()), name) + self._held.get(name, 0)

    def over(self, live_id: str, quotas: Sequence[Quota], asks: Asks) -> Exhausted | None:
        """Return the first quota that has no room for what a request asks; None where all have."""
        for quota in quotas:
            used = self.used(live_id, quota)
            if used + max(1, getattr(asks, quota.what)) > quota.most:
                return Exhausted(quota, used, quota.span.left(self.wall()))
        return None

    def take(self, live_id: str, quotas: Sequence[Quota], asks: Asks) -> Reserved:
        """Hold what a request may use."""
        for what in {quota.what for quota in quotas}:
            name = f"{what[0]}{live_id}"
            self._held[name] = self._held.get(name, 0) + getattr(asks, what)
        return Reserved(live_id, quotas, asks)

    def settle(self, held: Reserved, used: Asks) -> None:
        """Let go of what a request held, and count what it has used."""
        live_id, quotas, asks = held
        for what in {quota.what for quota in quotas}:
            name = f"{what[0]}{live_id}"
            left = self._held.get(name, 0) - getattr(asks, what)
            if left > 0:
                self._held[name] = left
            else:
                self._held.pop(name, None)
        wall = self.wall()
        for span, what in {(quota.span, quota.what) for quota in quotas}:
            self._tally(span).add(span.number(wall), f"{what[0]}{live_id}", getattr(used, what))

    def _tally(self, span: Span) -> Tally:
        found = self.tallies.get(span)
        if found is None:
            found = self.tallies[span] = Tally()
        return found
