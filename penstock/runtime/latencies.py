"""How quick deployments are, as processes tell each other: who starts does not begin blind.

What counts is the figure that was seen last, whoever saw it. A process tells only what it has seen itself, so no figure
stays young by going round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from penstock.core.route.standing import Standing
from penstock.stores.base import NEWS, Figure

if TYPE_CHECKING:
    from penstock.runtime.live import Live  # circle: the table of lives holds what is told of them

KEEP = 20_000  # figures: as many as there are lives


class Latencies:
    """The figures of a table of lives, as ``stores.shared.Figures``."""

    def __init__(self, lives: Mapping[str, Live]) -> None:
        self._lives = lives
        self._heard: dict[tuple[str, bool], tuple[float, float]] = {}  # live id, of streams -> figure, when it was seen

    def take(self, since: float, now: float) -> list[Figure]:
        """List what this process has seen itself since then."""
        found = []
        for live_id, live in self._lives.items():
            for stream in (False, True):
                value, seen = live.standing.quickness(stream)
                if seen > since and self._heard.get((live_id, stream), (0.0, 0.0))[1] != seen:
                    found.append(Figure(live_id, stream, value, now - seen))
        return found

    def learn(self, figures: Iterable[Figure], now: float) -> None:
        """Note what others have seen. A deployment that was not asked here yet is told when it is."""
        for figure in figures:
            at, seen = (figure.key, figure.stream), now - figure.age
            live = self._lives.get(figure.key)
            if live is None:
                self._keep(at, figure.value, seen)
            elif seen > live.standing.quickness(figure.stream)[1] + NEWS:
                self._keep(at, figure.value, seen)
                live.standing.hear(figure.stream, figure.value, seen)

    def give(self, live_id: str, standing: Standing) -> None:
        """Tell a deployment that is asked for the first time what others have seen of it."""
        for stream in (False, True):
            if (heard := self._heard.get((live_id, stream))) is not None:
                standing.hear(stream, *heard)

    def _keep(self, at: tuple[str, bool], value: float, seen: float) -> None:
        if len(self._heard) >= KEEP and at not in self._heard:
            del self._heard[next(iter(self._heard))]
        self._heard[at] = (value, seen)
