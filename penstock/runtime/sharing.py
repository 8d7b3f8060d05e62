"""Budgets that several processes share: each spends only what it was granted of a cap, see ``stores.base.Pot``.

A request that what is granted does not suffice for waits for one step at the pot; all that ask meanwhile ask together
in the next one, for only one step is under way. What is granted and not needed any more is given back within a second.

While the pot cannot be reached a process goes on with what it was granted, and with its part of ``AWAY`` of each cap as
long as something was left when it last was asked: as many parts as processes were known, and at least ``processes``. So
all together exceed a cap by no more than that, and tell it afterwards.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple

from penstock.core.admit.book import Book, Cell, Claim, Hold, Refusal
from penstock.core.admit.periods import window
from penstock.stores.base import Answered, Got, Pot, Spent, Want

log = logging.getLogger("penstock")
TICK = 0.5  # seconds between two looks at what can be given back
AWAY = 20  # one part of so many: 5 % of a cap
AGAIN = 1.0  # seconds until a pot that is away is asked again
_MOST_ROUNDS = 4  # a window may end while somebody waits, but not so often

Periods = Callable[[str], Sequence[str]]


class Question(NamedTuple):
    """What one request asks. ``wants``: the claims, and what is missing of each."""

    wants: list[tuple[Claim, int, int]]  # claim, its cap, what is missing
    told: asyncio.Future[bool]


class Sharing:
    """One process's part. ``slices``: in how many a cap is cut, of which one is granted ahead of need; 0: only what is
    needed is granted. ``processes``: how many there are at least. ``trouble``: why the pot cannot be used now, "" while
    it can."""

    def __init__(
        self,
        pot: Pot,
        process: str,
        mark: Callable[[], str],
        slices: int = 0,
        processes: int = 1,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.trouble = ""
        self._pot, self._process, self._mark, self._slices = pot, process, mark, slices
        self._processes, self._now = max(1, processes), now
        self._asking: dict[Cell, int] = {}
        self._seen: dict[Cell, tuple[float, Got]] = {}  # how a cap stood in a window when it was last asked about
        self._lent: dict[Cell, int] = {}  # taken without asking, while nobody could be asked
        self._touched: dict[Cell, int] = {}  # caps of which something is granted
        self._questions: list[Question] = []
        self._ahead: dict[Cell, int] = {}  # caps of which another slice is wanted
        self._wake = asyncio.Event()
        self._ask_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Give back what is not spent."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._slices = 0
        with suppress(OSError):
            await self._give_back()

    async def reserve(self, book: Book, claims: Sequence[Claim], cells: Sequence[Cell], amount: int) -> Hold | Refusal:
        """Set an amount aside under every cap, or under none of them; as ``Book.reserve``."""
        caps = _caps(claims, self._now())
        for claim, most in caps:
            refused = self._spent_up(claim, most, amount)
            if refused is not None:
                return refused
            if self._slices:
                self._look_ahead(claim, most)
        hold = book.hold(claims, cells, 0, self._now())
        refused = await self._set_aside(book, hold, caps, amount)
        if refused is not None:
            book.release(hold, self._now())
        return refused or hold

    async def extend(self, book: Book, hold: Hold, more: int) -> Refusal | None:
        """Set more aside for the same request; as ``Book.extend``."""
        return await self._set_aside(book, hold, _caps(hold.claims, self._now()), more)

    async def bury(self, process: str, entries: Sequence[tuple[str, int, Spent]], periods: Periods) -> None:
        """Free what a process that is gone had been granted and had not spent. ``entries``: of its journal, with file
        and end of each, and behind the end of all files those that never ended."""
        marks = {name: _position(mark) for name, mark in (await self._pot.marks_of(process)).items()}
        paid: dict[tuple[str, str, float], int] = {}
        for of_file, end, spent in entries:
            for account in spent.accounts:
                for period in periods(account):
                    name = account, period, window(period, spent.at).start
                    if name in marks and (of_file, end) > marks[name]:
                        paid[name] = paid.get(name, 0) + spent.cost
        await self._pot.bury(process, paid)

    async def _set_aside(
        self, book: Book, hold: Hold, caps: Sequence[tuple[Claim, int]], amount: int
    ) -> Refusal | None:
        book.grow(hold, amount, self._now())
        refused: Refusal | None = None
        try:
            for _ in range(_MOST_ROUNDS):
                refused = await self._cover(caps, amount)
                for claim, _most in caps:
                    claim.cell.turn(self._now())
                if refused is not None or not any(self._missing(claim.cell) for claim, _ in caps):
                    break
        except BaseException:  # the client left while this was asked
            book.grow(hold, -amount, self._now())
            raise
        if refused is not None:
            book.grow(hold, -amount, self._now())
        return refused

    # What is missing. -------------------------------------------------------------------------------------------------

    def _spent_up(self, claim: Claim, most: int, amount: int) -> Refusal | None:
        """Refuse where the cap is spent, as far as is known: also what sets nothing aside."""
        cell = claim.cell
        seen = self._seen.get(cell)
        used = max(cell.spent, seen[1].used if seen is not None and seen[0] == cell.start else 0)
        if used >= most and (amount == 0 or cell.spent >= most):
            return Refusal(claim, most, used, cell.reserved, amount)
        return None

    def _look_ahead(self, claim: Claim, most: int) -> None:
        """Ask for another slice before this one is spent, for nobody who waits."""
        cell = claim.cell
        left = cell.granted - cell.own - cell.reserved
        if left < self._slice(most) // 2 and cell not in self._ahead:
            self._ahead[cell] = most
            self._wake.set()

    def _missing(self, cell: Cell) -> int:
        return max(0, cell.own + cell.reserved - cell.granted - self._asking.get(cell, 0))

    async def _cover(self, caps: Sequence[tuple[Claim, int]], amount: int) -> Refusal | None:
        """Ask for all that is missing, and get all of it or nothing."""
        if not amount:
            return None
        wants = [(claim, most, missing) for claim, most in caps if (missing := self._missing(claim.cell))]
        if not wants:
            return None
        for claim, _, missing in wants:
            self._asking[claim.cell] = self._asking.get(claim.cell, 0) + missing
        question = Question(wants, asyncio.get_running_loop().create_future())
        self._questions.append(question)
        self._wake.set()
        try:
            granted = await question.told
        finally:
            for claim, _, missing in wants:
                self._asking[claim.cell] -= missing
        if granted:
            return None
        claim, most = min(((claim, most) for claim, most, _ in wants), key=self._room)
        seen = self._seen.get(claim.cell)
        spent = max(claim.cell.spent, claim.cell.spent - claim.cell.own if seen is None else 0)
        reserved = max(0, seen[1].used - spent) if seen is not None else claim.cell.reserved
        return Refusal(claim, most, min(spent, most), reserved, amount)

    def _room(self, cap: tuple[Claim, int]) -> int:
        seen = self._seen.get(cap[0].cell)
        return cap[1] - (seen[1].used if seen is not None else 0)

    # The steps at the pot. --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._wake.wait()
            self._wake.clear()
            questions, self._questions = self._questions, []
            try:
                if questions or self._ahead:
                    await self._ask(questions)
                elif not self.trouble or time.monotonic() >= self._ask_at:
                    await self._give_back()
            except OSError as error:
                self._lose(error)
            except Exception:  # boundary: a bug of ours must leave nobody waiting
                log.exception("Shared budgets could not be asked for, through a fault of the gateway")
                for question in questions:
                    if not question.told.done():
                        question.told.set_result(False)

    async def _ask(self, questions: list[Question]) -> None:
        questions = [question for question in questions if not question.told.done()]  # others were given up
        if self.trouble and time.monotonic() < self._ask_at:
            self._share(questions)
            return
        asked = [[self._want(claim.cell, most, missing) for claim, most, missing in q.wants] for q in questions]
        ahead, self._ahead = list(self._ahead.items()), {}
        more = [[self._want(cell, most, 0, ahead=True)] for cell, most in ahead]
        try:
            answers = await self._pot.take(self._process, self._mark(), [*asked, *more])
        except OSError as error:
            self._lose(error)
            self._share(questions)
            return
        self._found()
        for (cell, _), wants, answer in zip(ahead, more, answers[len(questions) :], strict=True):
            self._note([cell], wants, answer)
        for question, wants, answer in zip(questions, asked, answers, strict=False):
            self._note([claim.cell for claim, _, _ in question.wants], wants, answer)
            if not question.told.done():
                question.told.set_result(answer.granted)

    def _note(self, cells: Sequence[Cell], wants: Sequence[Want], answer: Answered) -> None:
        for cell, want, got in zip(cells, wants, answer.caps, strict=True):
            if cell.start == want.start:
                cell.granted = max(cell.granted, got.granted)
                self._seen[cell] = cell.start, got
                self._lent.pop(cell, None)  # it is told now, and stands in what is used
                self._touched[cell] = want.cap

    async def _give_back(self) -> None:
        """Tell what is spent, and give back what is not needed."""
        if not self._touched:
            return
        now = self._now()
        cells = list(self._touched.items())
        for cell, most in cells:
            cell.turn(now)
            cell.granted = min(cell.granted, cell.own + cell.reserved + self._slice(most))
        asked = [[self._want(cell, most, 0)] for cell, most in cells]
        answers = await self._pot.take(self._process, self._mark(), asked)
        self._found()
        for (cell, _), [want], answer in zip(cells, asked, answers, strict=True):
            if cell.start == want.start:
                self._seen[cell] = cell.start, answer.caps[0]
                self._lent.pop(cell, None)
            if cell.granted <= cell.own and not cell.reserved and not self._asking.get(cell):
                self._touched.pop(cell, None)  # all of it is said, until somebody asks again
                self._asking.pop(cell, None)

    def _slice(self, most: int) -> int:
        return most // self._slices if self._slices else 0

    def _want(self, cell: Cell, most: int, missing: int, ahead: bool = False) -> Want:
        more = self._slice(most) if missing or ahead else 0
        granted = max(cell.granted, cell.own)
        base = cell.spent - cell.own
        return Want(cell.account, cell.period, cell.start, cell.end, most, base, granted, cell.own, missing, more)

    # While it is away. ------------------------------------------------------------------------------------------------

    def _share(self, questions: list[Question]) -> None:
        """Answer from this process's share of what is left."""
        for question in questions:
            fits = all(missing <= self._left(claim.cell, most) for claim, most, missing in question.wants)
            if fits:
                for claim, most, missing in question.wants:
                    cell = claim.cell
                    cell.granted += missing
                    self._lent[cell] = self._lent.get(cell, 0) + missing
                    self._touched[cell] = most
            if not question.told.done():
                question.told.set_result(fits)

    def _left(self, cell: Cell, most: int) -> int:
        seen = self._seen.get(cell)
        known = seen is not None and seen[0] == cell.start
        used = seen[1].used if seen is not None and known else cell.spent
        parts = max(self._processes, seen[1].processes if seen is not None and known else 1)
        return min(max(0, most - used), most // AWAY) // parts - self._lent.get(cell, 0)

    def _lose(self, error: OSError) -> None:
        if not self.trouble:
            log.warning("Budgets cannot be shared now: %s. This process goes on with its part of what is left", error)
        self.trouble = str(error)
        self._ask_at = time.monotonic() + AGAIN

    def _found(self) -> None:
        if self.trouble:
            log.warning("Budgets are shared again")
        self.trouble = ""


def _position(mark: str) -> tuple[str, int]:
    """Read how far a journal had come: file and position."""
    file, _, position = mark.rpartition(":")
    return file, int(position)


def _caps(claims: Sequence[Claim], now: float) -> list[tuple[Claim, int]]:
    """List the claims by where they are counted, each with the tightest cap that holds there."""
    found: dict[Cell, tuple[Claim, int]] = {}
    for claim in claims:
        claim.cell.turn(now)
        most = max(0, claim.cap.at(now) - claim.cell.carried)
        known = found.get(claim.cell)
        if known is None or most < known[1]:
            found[claim.cell] = claim, most
    return list(found.values())
