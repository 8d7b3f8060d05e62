"""What is spent at each provider, against its budget: by this process, and by others as far as they have said. Pure.

Amounts are whole nano-dollars. A window begins with its first amount, whoever spent it; where processes have begun
windows of their own, because they could not hear of each other, the earliest that is not over is everybody's. A process
always says all that it has spent in a window, so saying it twice counts it once, and a board that forgot is told again.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from penstock.core.money import to_nano

MOST_SPENDERS = 10_000  # processes of a window that are remembered one by one


class Told(NamedTuple):
    """What a process says of a budget's window. ``name``: whose budget; ``period``: ms that a window takes. ``at``: ms
    of the board's clock at which it began, 0 where the board did not say so; ``age``: ms since then. ``own``: what this
    process is called in the window, with a number that tells its windows apart; ``turn``: that number, 0 for a process
    that knows of no window. ``by``: what who has spent; nothing to ask only. ``whole``: asks who has spent what."""

    name: str
    period: int
    at: int
    age: int
    own: str
    turn: int
    by: Mapping[str, int]
    whole: bool


class Known(NamedTuple):
    """What a board knows of a budget's window. ``at`` and ``age``: as in ``Told``. ``total``: of all; ``mine``: of who
    asks, and 0 where what was told belongs to a window that is over. ``by``: who has spent what; None where that was
    not asked, or are too many to tell."""

    at: int
    age: int
    total: int
    mine: int
    by: Mapping[str, int] | None


class _Window:
    """``own``: spent by this process; ``others``: by the others; ``heard``: the same, as the board said last.
    ``known``: who of them has spent what; ``missing``: what of it the board has forgotten. ``doubt``: it has forgotten
    something."""

    __slots__ = ("at", "began", "doubt", "heard", "known", "missing", "others", "own", "turn")

    def __init__(self, began: float, turn: int) -> None:
        self.began, self.turn = began, turn
        self.at = self.own = self.others = self.heard = 0
        self.known: dict[str, int] = {}
        self.missing: dict[str, int] = {}
        self.doubt = False


class Spent:
    """What is spent, by provider. ``now``: seconds of one clock that only goes forward. Where nothing is shared,
    ``take`` and ``learn`` are not called, and all of it is this process's."""

    __slots__ = ("_asked", "_turn", "_windows")

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}
        self._asked: dict[str, float] = {}  # name -> seconds that a window takes
        self._turn = 0

    def ask(self, budgets: Mapping[str, tuple[float, float]]) -> None:
        """Keep these budgets in step with the other processes, whoever of them spends first."""
        self._asked = {name: period for name, (_, period) in budgets.items()}

    def add(self, name: str, amount: Decimal, now: float, period: float) -> None:
        """Add an amount, in US dollars; in another window than the last one when that is over."""
        window = self._current(name, now, period) or self._begin(name, now)
        self._asked[name] = period
        window.own += to_nano(amount)

    def broke(self, budgets: Mapping[str, tuple[float, float]], now: float) -> dict[str, float]:
        """Return who has used up its budget (US dollars in so many seconds), and the seconds until the next window."""
        found = {}
        for name, (limit, period) in budgets.items():
            window = self._current(name, now, period)
            amount = 0 if window is None else window.own + window.others
            if amount >= _limit(limit):
                found[name] = period if window is None else period - (now - window.began)
        return found

    def take(self, process: str, now: float, whole: bool) -> list[Told]:
        """List what the board is to be told and asked. ``process``: what this one is called."""
        found = []
        for name, seconds in self._asked.items():
            period, window = int(seconds * 1000), self._current(name, now, seconds)
            if window is None:
                found.append(Told(name, period, 0, 0, process, 0, {}, True))
                continue
            own = f"{process}.{window.turn}"
            by = {**window.missing, own: window.own} if window.own else window.missing
            age = int((now - window.began) * 1000)
            found.append(Told(name, period, window.at, age, own, window.turn, by, whole or window.doubt))
        return found

    def learn(self, told: Told, known: Known | None, now: float) -> None:
        """Note what the board says to what ``take`` gave; None: nobody has spent anything."""
        window = self._current(told.name, now, told.period / 1000)
        if told.turn != (0 if window is None else window.turn):
            return
        if known is None:
            if window is not None:
                window.missing = dict(window.known)
            return
        if known.age >= told.period:
            return
        said = told.by.get(told.own, 0)
        if window is None or (said and not known.mine):
            later = 0 if window is None else window.own - said
            window = self._begin(told.name, now)
            window.own = later
        window.at, window.began = known.at, now - known.age / 1000
        others = known.total - known.mine
        window.doubt = others < window.heard
        window.heard, window.others = others, max(others, window.others)
        window.missing = {}
        if known.by is not None:
            _compare(window, {name: amount for name, amount in known.by.items() if name != told.own})

    def _current(self, name: str, now: float, period: float) -> _Window | None:
        window = self._windows.get(name)
        return window if window is not None and now - window.began < period else None

    def _begin(self, name: str, now: float) -> _Window:
        self._turn += 1
        window = self._windows[name] = _Window(now, self._turn)
        return window


def _compare(window: _Window, by: Mapping[str, int]) -> None:
    """Note who has spent what, and what of that the board does not know any more. (A process that has ended cannot say
    it again; those that have heard of it can.)"""
    window.doubt = False
    window.missing = {name: amount for name, amount in window.known.items() if by.get(name, 0) < amount}
    window.known = {**by, **window.missing}


@lru_cache(maxsize=1000)
def _limit(amount: float) -> int:
    return to_nano(Decimal(repr(amount)))
