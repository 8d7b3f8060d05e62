"""The book of the ledger: what every account has spent and what is reserved of it, per window of time.

An account is somebody who pays: ``key:ID``, ``team:ID``, ``member:TEAM/USER``, ``user:ID``, ``organization:ID``,
``customer:ID``, ``tag:NAME``, each perhaps with ``/model:NAME`` behind it, or ``global``. All amounts are whole
picodollars. Law (``tests/laws/test_book_laws.py``): no reservation lifts spent and reserved together over a cap; a
window ends by time alone, and what is reserved then counts in the next one, where it will be paid. A clock that is set
goes to another window, and finds there what was spent in it: wherever it is set to, and however often.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import window

GLOBAL = "global"
MOST_KEPT = 4_000  # pairs of claims and cells that are not joined anew with each request
_BEFORE = -1.0  # a start that no window has
MOST_CARRIED = 12  # windows out of which something is carried: whoever was over by more than so many caps is forgiven
MOST_LEFT = 8  # windows of a cell that are remembered once it is in another one; older ones are asked for again


class Cell:
    """What an account has spent in the window that holds, and what is reserved of it. ``own``: what of it this process
    has spent; ``granted``: how much that may be, where several share a cap. ``asked``: whether somebody was asked what
    had been spent in this window before this book counted. ``until``: nothing is known of windows from then on.
    ``most``: where what exceeds a cap is carried into the next window, that cap; else None. ``carried``: from the
    windows before, of what is left of the cap."""

    __slots__ = (
        "account", "asked", "carried", "end", "granted", "most", "own", "period", "reserved", "spent", "start", "until",
        "_left",
    )  # fmt: skip

    def __init__(self, account: str, period: str, until: float = 0.0) -> None:
        self.account, self.period, self.until = account, period, until
        self.start, self.end = _BEFORE, _BEFORE
        self.spent = self.reserved = self.own = self.granted = self.carried = 0
        self.most: int | None = None
        self.asked = False
        self._left: dict[float, tuple[int, int, int, bool]] = {}

    def turn(self, now: float) -> None:
        """Go to the window that holds at a time: usually the next one, of which there is nothing to know. A clock may
        have been set, too: back to one that this cell has been in, or to one that it never saw, of which somebody must
        be asked."""
        if self.start <= now < self.end:
            return
        start, end = window(self.period, now)
        kept = self._left.pop(start, None)
        first = self.end == _BEFORE
        if not first:
            self._left[self.start] = self.spent, self.own, self.granted, self.asked
            if len(self._left) > MOST_LEFT:
                del self._left[next(iter(self._left))]
        if self.most is not None and not first:
            # What other processes have spent in the window that is over, the store knows: it is asked again.
            self.carried = self._carry(start, self.most) if start >= self.end else 0
            kept = None if kept is None else (kept[0], kept[1], kept[2], False)
        self.start, self.end = start, end
        if kept is None:
            self.spent = self.own = self.granted = 0
            self.asked = not first and start >= self.until and self.most is None
        else:
            self.spent, self.own, self.granted, self.asked = kept
        self.until = max(self.until, self.end)

    def _carry(self, start: float, most: int) -> int:
        """Return what is carried into a later window: of this one, less the caps of those between, in which nothing was
        spent."""
        over, end = carry((self.spent + self.carried,), most), self.end
        for _ in range(MOST_CARRIED):
            if not over or end >= start:
                return over
            over, end = max(0, over - most), window(self.period, end).end
        return 0

    def windows_before(self) -> list[float]:
        """List when the windows began out of which something may be carried into this one, the oldest first."""
        found, start = list[float](), self.start
        for _ in range(MOST_CARRIED):
            if start <= 0:
                break
            start = window(self.period, start - 1).start
            found.append(start)
        return found[::-1]

    def forget(self, at: float) -> None:
        """Know no longer what was spent in a window that the cell is not in: of a time ``at``. It is asked for again
        when a clock comes there."""
        start, end = window(self.period, at)
        self._left.pop(start, None)
        self.until = max(self.until, end)

    def __repr__(self) -> str:
        return f"Cell({self.account!r}, {self.period!r}, spent={self.spent}, reserved={self.reserved})"


class Claim(NamedTuple):
    """A cap that a request counts against, and where it is counted. ``name``: of the account, for messages."""

    cell: Cell
    cap: Cap
    name: str = ""


class Refusal(NamedTuple):
    """A reservation that does not fit. Amounts are those of the account when it was refused."""

    claim: Claim
    most: int
    spent: int
    reserved: int
    amount: int

    @property
    def by_reservations(self) -> bool:
        """Tell whether it is only what others have reserved, or this would reserve, that does not fit."""
        return self.spent < self.most


class Hold:
    """Money that is set aside for a request until it is known what the request cost."""

    __slots__ = ("amount", "cells", "claims", "open")

    def __init__(self, claims: Sequence[Claim], cells: Sequence[Cell], amount: int) -> None:
        self.claims, self.cells, self.amount, self.open = claims, cells, amount, True


class Place(NamedTuple):
    """Where the requests of a caller are counted. ``claims``: caps that hold for all of them; ``by_model``: for those
    of one model; ``cells``: accounts that are counted without a cap, too. ``accounts``: all names."""

    claims: tuple[Claim, ...]
    by_model: Mapping[str, tuple[Claim, ...]]
    cells: tuple[Cell, ...]
    accounts: tuple[str, ...]


class Book:
    """All accounts of one process. ``until``: nothing was spent after that, by this process or one before it, since no
    clock has been there yet."""

    def __init__(self) -> None:
        self.cells: dict[tuple[str, str], Cell] = {}
        self.until = 0.0
        self._distinct: dict[tuple[int, int], tuple[Sequence[Claim], Sequence[Cell], tuple[Cell, ...]]] = {}

    def cell(self, account: str, period: str = "") -> Cell:
        """Return where an account is counted in windows of a period, made at the first question."""
        found = self.cells.get((account, period))
        if found is None:
            # A second more: what was spent at that very moment belongs to a window that may begin with it.
            found = self.cells[account, period] = Cell(account, period, self.until + 1.0)
        return found

    def claim(self, account: str, cap: Cap, name: str = "") -> Claim:
        """Make the claim of a cap."""
        return Claim(self.cell(f"{account}/model:{cap.model}" if cap.model else account, cap.period), cap, name)

    def reserve(self, claims: Sequence[Claim], cells: Sequence[Cell], amount: int, now: float) -> Hold | Refusal:
        """Set an amount aside under every cap, or under none of them. ``cells``: counted as well, without a cap."""
        for claim in claims:
            refused = _refusal(claim, amount, now)
            if refused is not None:
                return refused
        return self.hold(claims, cells, amount, now)

    def hold(self, claims: Sequence[Claim], cells: Sequence[Cell], amount: int, now: float) -> Hold:
        """Set an amount aside without asking whether there is so much."""
        kept = self._distinct.get((id(claims), id(cells)))  # those of one caller are the same with each request
        cells = kept[2] if kept is not None and kept[0] is claims and kept[1] is cells else self._join(claims, cells)
        for cell in cells:
            if not cell.start <= now < cell.end:
                cell.turn(now)
            cell.reserved += amount
        return Hold(claims, cells, amount)

    def _join(self, claims: Sequence[Claim], cells: Sequence[Cell]) -> tuple[Cell, ...]:
        found = distinct(claims, cells)
        if len(self._distinct) >= MOST_KEPT:
            self._distinct.clear()
        self._distinct[id(claims), id(cells)] = claims, cells, found
        return found

    def extend(self, hold: Hold, more: int, now: float) -> Refusal | None:
        """Set more aside for the same request: it is tried again, and what was tried before costs, too."""
        for claim in hold.claims:
            refused = _refusal(claim, more, now)
            if refused is not None:
                return refused
        self.grow(hold, more, now)
        return None

    def grow(self, hold: Hold, more: int, now: float) -> None:
        """Set more aside, or less, without asking whether there is so much."""
        for cell in hold.cells:
            cell.turn(now)
            cell.reserved += more
        hold.amount += more

    def settle(self, hold: Hold, actual: int, now: float) -> None:
        """Put what a request cost in the place of what was set aside. A second time changes nothing."""
        if not hold.open:
            return
        hold.open, amount = False, hold.amount
        if now > self.until:
            self.until = now
        for cell in hold.cells:
            if not cell.start <= now < cell.end:
                cell.turn(now)
            cell.reserved -= amount
            cell.spent += actual
            cell.own += actual

    def release(self, hold: Hold, now: float) -> None:
        """Give back what was set aside for a request that cost nothing."""
        self.settle(hold, 0, now)

    def charge(self, cells: Iterable[Cell], actual: int, at: float, now: float) -> None:
        """Note what was spent at a time without a reservation: by a process that is gone. What belongs to another
        window is not of this one."""
        for cell in cells:
            cell.turn(now)
            if cell.start <= at < cell.end:
                cell.spent += actual
            else:
                cell.forget(at)


def _refusal(claim: Claim, amount: int, now: float) -> Refusal | None:
    cell, cap = claim.cell, claim.cap
    if not cell.start <= now < cell.end:
        cell.turn(now)
    most = (cap.most + cap.more if now < cap.until else cap.most) - cell.carried
    if cell.spent + cell.reserved + amount > most or cell.spent >= most:
        return Refusal(claim, most, cell.spent, cell.reserved, amount)
    return None


def carry(spent: Iterable[int], most: int) -> int:
    """Return what is carried out of windows in a row, the oldest first: what each had over the cap, with what it began
    with."""
    carried = 0
    for amount in spent:
        carried = max(0, carried + amount - most)
    return carried


def distinct(claims: Sequence[Claim], cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """List every cell once: an account may have two caps in windows of the same length."""
    return tuple(dict.fromkeys((*(claim.cell for claim in claims), *cells)))
