"""What is learned, counted, cooled or used up of a deployment while it serves: one record each, in one table.

A ``Target`` is what the config says and never changes; a ``Live`` is what traffic tells, under the target's
``live_id``. The table outlives reloads: whoever edits a timeout does not forget which engine is down. Deployments
behind a wildcard have a record for each name that was asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from typing import TYPE_CHECKING

from penstock.core.route.spent import Spent
from penstock.core.route.standing import Standing
from penstock.runtime.health import Health
from penstock.runtime.latencies import Latencies
from penstock.runtime.quotas import Quotas

if TYPE_CHECKING:
    from penstock.runtime.targets import Target
    from penstock.stores.shared import Shared

KEEP = 20_000  # records: clients choose the names behind a wildcard
MOST_GROUPS = 1000  # of which the standings are at hand


class Live:
    """What is known of one deployment at run time. ``dialects``: spoken beyond the provider's row, as found. ``asked``:
    dialects that were asked about, see ``speaks``. ``batch``: inputs that its server takes at once, once it said so; 0
    = not known. ``standing``: what routing goes by."""

    __slots__ = ("asked", "batch", "dialects", "health", "standing")

    def __init__(self) -> None:
        self.health = Health()
        self.dialects: tuple[str, ...] = ()
        self.asked: set[str] = set()
        self.batch = 0
        self.standing = Standing()

    def speaks(self, target: Target) -> tuple[str, ...]:
        """List the dialects of a target: its row's, then those that were found."""
        return target.dialects + self.dialects if self.dialects else target.dialects


class Lives(dict[str, Live]):
    """The table, by ``live_id``; ``lives[target.live_id]`` makes a record on first use. Made once per engine; one event
    loop writes. ``spent``: at each provider, where somebody has set a budget for one. ``quotas``: what deployments have
    used of theirs. ``shared``: what other processes know; None where there is nothing to share it through."""

    def __init__(self) -> None:
        super().__init__()
        self.spent = Spent()
        self.quotas = Quotas()
        self.shared: Shared | None = None
        self._latencies = Latencies(self)
        self._clock: Callable[[], float] = time.monotonic
        self._standings: dict[int, tuple[Sequence[Target], list[Standing]]] = {}  # by identity of the targets

    def __missing__(self, live_id: str) -> Live:
        if len(self) >= KEEP:
            del self[next(iter(self))]
            self._standings.clear()
        made = self[live_id] = Live()
        made.standing.quotas = self.quotas
        if self.shared is not None:
            made.standing.common = self.shared.of(live_id)
            if (rest := self.shared.rest_of(live_id)) is not None:
                made.standing.rest(self._clock(), *rest)
            self._latencies.give(live_id, made.standing)
        return made

    def share(self, shared: Shared, clock: Callable[[], float]) -> None:
        """Share what is known of deployments with other processes. ``clock``: that of those who ask."""
        self.shared, self._clock = shared, clock
        shared.on_cooled = self._rest
        shared.spent, shared.quotas = self.spent, self.quotas
        shared.latencies = self._latencies

    def _rest(self, live_id: str, seconds: float, why: str) -> None:
        """Let a deployment rest, as another process does. One that was not asked here yet is told when it is."""
        live = self.get(live_id)
        if live is not None:
            live.standing.rest(self._clock(), seconds, why)

    def of(self, target: Target) -> Live:
        """Return the record of a target."""
        return self[target.live_id]

    def standings(self, targets: Sequence[Target]) -> list[Standing]:
        """Return the standings of a group's targets."""
        found = self._standings.get(id(targets))
        if found is not None and found[0] is targets:
            return found[1]
        made = [self[target.live_id].standing for target in targets]
        if len(self._standings) >= MOST_GROUPS:
            self._standings.clear()
        if all(target.live_id in self for target in targets):  # the table was full: the last pushed out the first
            self._standings[id(targets)] = targets, made
        return made

    def keep(self, ids: Container[str]) -> None:
        """Forget the records of deployments that are not configured any more. ``ids``: those of deployments."""
        for key in [key for key in self if key.partition("\n")[0] not in ids]:
            del self[key]
        self._standings.clear()
