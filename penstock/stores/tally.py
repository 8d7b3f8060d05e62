"""What is counted in the window under way: by this process, and by the others as far as they have said. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MOST = 50_000  # names in a window: clients choose the names behind a wildcard


class Tally:
    """Counts by name. A name is kept in step from its first ``add`` or ``total`` on, and through the next window where
    anybody counted it in this one. Beyond ``most`` names the oldest drops out; who asks for it again gets what the
    board knows."""

    def __init__(self, most: int = MOST) -> None:
        self.window = -1
        self._most = most
        self._own: dict[str, int] = {}
        self._others: dict[str, int] = {}
        self._before: dict[str, int] = {}  # the others' in the window before
        self._at = 0

    def add(self, window: int, name: str, amount: int) -> None:
        """Count something of this process's."""
        if window != self.window:
            self._turn(window)
        own = self._own
        if name in own:
            own[name] += amount
        else:
            self._keep(name, amount)

    def total(self, window: int, name: str) -> int:
        """Return what all processes have counted, as far as it is known here."""
        if window != self.window:
            self._turn(window)
        own = self._own.get(name)
        if own is None:
            self._keep(name, own := 0)
        return own + self._others.get(name, 0)

    def others(self, window: int, name: str) -> tuple[int, int]:
        """Return what other processes have counted, as far as it is known here: in this window, and in the one before
        it."""
        if window != self.window:
            self._turn(window)
        if name not in self._own:
            self._keep(name, 0)
        return self._others.get(name, 0), self._before.get(name, 0)

    def take(self, window: int, most: int) -> list[tuple[str, int]]:
        """List what is to be said and asked next: all names with their own counts, or the next ``most`` of them."""
        if window != self.window:
            self._turn(window)
        if len(self._own) <= most:
            return list(self._own.items())
        items = list(self._own.items())
        begin = self._at % len(items)
        self._at = begin + most
        return (items[begin:] + items[:begin])[:most]

    def learn(self, window: int, said: Sequence[tuple[str, int]], totals: Sequence[int]) -> None:
        """Note the answer to what ``take`` gave. A board that forgot says less than it did: what is known stays."""
        if window != self.window:
            return
        others = self._others
        for (name, own), total in zip(said, totals, strict=True):
            more = total - own
            if more > others.get(name, 0) and name in self._own:
                others[name] = more

    def _keep(self, name: str, amount: int) -> None:
        if len(self._own) >= self._most:
            oldest = next(iter(self._own))
            del self._own[oldest]
            self._others.pop(oldest, None)
        self._own[name] = amount

    def _turn(self, window: int) -> None:
        self._before = self._others if window == self.window + 1 else {}
        self.window = window
        # Whom others ask in the new minute is known before it is asked here.
        self._own = {name: 0 for name, own in self._own.items() if own or name in self._others}
        self._others, self._at = {}, 0
