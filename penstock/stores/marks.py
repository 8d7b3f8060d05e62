"""The marks that hold, as this process knows them: its own, and what others told. Pure: ``now`` is an argument."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from penstock.stores.base import NEWS, Mark

MOST = 10_000  # marks at one time
WORTH = 1.0  # seconds that a mark must still hold to be told again


class _Held(NamedTuple):
    value: str
    until: float


class Marks:
    """Marks by kind and key, each until its end; ``untold``: what the board is to be told."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._held: dict[tuple[str, str], _Held] = {}
        self._untold: dict[tuple[str, str], None] = {}

    def put(self, mark: Mark, now: float) -> None:
        """Note a mark of this process's, and that it is to be told."""
        if self.learn(mark, now):
            self._untold[mark.kind, mark.key] = None

    def learn(self, mark: Mark, now: float) -> bool:
        """Note a mark; tell whether it is news: it holds, and longer than what was known."""
        at, until = (mark.kind, mark.key), now + mark.seconds
        held = self._held.get(at)
        if mark.seconds <= 0 or (held is not None and until <= held.until + NEWS):
            return False
        if held is None and len(self._held) >= self._most:
            self._make_room(now)
        self._held[at] = _Held(mark.value, until)
        return True

    def compare(self, told: Iterable[Mark], now: float) -> list[Mark]:
        """Note all that the board has; return what is news. What it has not, although it holds, or has not for so
        long, it is told again."""
        marks = list(told)
        there = {(mark.kind, mark.key): now + mark.seconds for mark in marks}
        self._untold.update(
            (at, None)
            for at, held in self._held.items()
            if held.until > now + WORTH and held.until > there.get(at, 0.0) + NEWS
        )
        return [mark for mark in marks if self.learn(mark, now)]

    def take(self, now: float) -> list[Mark]:
        """Take what is to be told now; give it to ``put_back`` where that failed."""
        taken, self._untold = self._untold, {}
        found = ((at, self._held[at]) for at in taken if at in self._held)
        return [Mark(*at, held.value, held.until - now) for at, held in found if held.until > now]

    def put_back(self, marks: Iterable[Mark]) -> None:
        """Note that these are still to be told."""
        self._untold.update(((mark.kind, mark.key), None) for mark in marks)

    def find(self, kind: str, key: str, now: float) -> Mark | None:
        """Return a mark that holds; None without one."""
        held = self._held.get((kind, key))
        return Mark(kind, key, held.value, held.until - now) if held is not None and held.until > now else None

    def current(self, kind: str, now: float) -> list[Mark]:
        """List the marks of a kind that hold."""
        return [
            Mark(*at, held.value, held.until - now)
            for at, held in self._held.items()
            if at[0] == kind and held.until > now
        ]

    @property
    def waiting(self) -> bool:
        """Tell whether anything is to be told."""
        return bool(self._untold)

    def _make_room(self, now: float) -> None:
        """Forget what is over; of what holds, where that is too much, what ends first."""
        self._held = {at: held for at, held in self._held.items() if held.until > now}
        if len(self._held) >= self._most:
            del self._held[min(self._held, key=lambda at: self._held[at].until)]
