"""The book of the ledger: whatever is reserved, settled, given back or lost, and wherever the clock is set to, no
reservation lifts an account over a cap.

A model in plain words runs beside it: entries with the time at which they were paid, and what is open. It is the store,
too, which is asked of windows that the book says it does not know.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from penstock.core.admit.book import MOST_LEFT, Book, Hold, Refusal
from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import window

ACCOUNTS = ("key:a", "key:b", "team:t", "user:u", "global")
PERIODS = ("", "1h", "1d", "1mo")
AMOUNTS = st.integers(0, 60)
HOUR, DAY = 3600.0, 86_400.0


class TheBook(RuleBasedStateMachine):
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.book, self.now = Book(), 1_790_000_000.0
        self.caps: dict[tuple[str, str], Cap] = {}
        self.paid: list[tuple[float, tuple[str, ...], int]] = []  # what a journal has
        self.open: dict[Hold, tuple[str, ...]] = {}

    def spent(self, account: str, period: str) -> int:
        start, end = window(period, self.now)
        return sum(cost for at, accounts, cost in self.paid if account in accounts and start <= at < end)

    def reserved(self, account: str) -> int:
        return sum(hold.amount for hold, accounts in self.open.items() if account in accounts)

    def answer(self) -> None:
        """Answer what the book asks of windows: all else it must know by itself."""
        for cell in self.book.cells.values():
            cell.turn(self.now)
            if not cell.asked:
                cell.asked, cell.spent = True, self.spent(cell.account, cell.period)

    def claims(self, accounts: tuple[str, ...]):
        return [self.book.claim(of, cap) for (of, _), cap in self.caps.items() if of in accounts]

    @rule(account=st.sampled_from(ACCOUNTS), period=st.sampled_from(PERIODS), most=st.integers(0, 200))
    def change_a_cap(self, account: str, period: str, most: int) -> None:
        known = (account, period) in self.caps
        self.caps[account, period] = Cap(most, period)
        cell = self.book.cell(account, period)
        if not known:  # what it spent before anybody counted it is asked of a store
            cell.turn(self.now)
            cell.asked, cell.reserved = False, self.reserved(account)
            self.answer()
            for hold, accounts in self.open.items():
                if account in accounts and cell not in hold.cells:
                    hold.cells = (*hold.cells, cell)

    @rule(target=holds, accounts=st.sets(st.sampled_from(ACCOUNTS), min_size=1), amount=AMOUNTS)
    def reserve(self, accounts: set[str], amount: int):
        chosen = tuple(sorted(accounts))
        claims = self.claims(chosen)
        cells = [self.book.cell(one) for one in chosen]
        self.answer()
        told = self.book.reserve(claims, cells, amount, self.now)
        over = [
            claim
            for claim in claims
            if self.spent(claim.cell.account, claim.cap.period) + self.reserved(claim.cell.account) + amount
            > claim.cap.most
            or self.spent(claim.cell.account, claim.cap.period) >= claim.cap.most
        ]
        assert isinstance(told, Refusal) == bool(over)
        if isinstance(told, Refusal):
            assert told.claim.cell in [claim.cell for claim in over]
            return None
        for claim in claims:
            assert claim.cell.spent + claim.cell.reserved <= claim.cap.most
        self.open[told] = chosen
        return told

    @rule(hold=holds, more=AMOUNTS)
    def extend(self, hold: Hold | None, more: int) -> None:
        if hold is None or hold not in self.open:
            return
        self.answer()
        before = hold.amount
        refused = self.book.extend(hold, more, self.now)
        assert hold.amount == (before if refused is not None else before + more)
        for claim in hold.claims if refused is None else ():
            assert claim.cell.spent + claim.cell.reserved <= claim.cap.most

    @rule(hold=consumes(holds), share=st.integers(0, 100), twice=st.booleans())
    def settle(self, hold: Hold | None, share: int, twice: bool) -> None:
        if hold is None or hold not in self.open:
            return
        actual = hold.amount * share // 100
        before = {cell: cell.spent + cell.reserved for cell in hold.cells}
        self.book.settle(hold, actual, self.now)
        if twice:
            self.book.settle(hold, actual, self.now)
            self.book.release(hold, self.now)
        assert all(cell.spent + cell.reserved <= sum_ for cell, sum_ in before.items()), "settling lifts no account"
        self.paid.append((self.now, self.open.pop(hold), actual))

    @rule(hold=consumes(holds))
    def cancel(self, hold: Hold | None) -> None:
        if hold is not None and hold in self.open:
            self.book.release(hold, self.now)
            del self.open[hold]

    @rule(seconds=st.sampled_from((1.0, 1800.0, HOUR, DAY, 40 * DAY)))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from((0.5, 5.0, HOUR, DAY, 30 * DAY, 400 * DAY)))
    def set_the_clock_back(self, seconds: float) -> None:
        self.now = max(self.now - seconds, 1.0)

    @rule(hours=st.integers(1, 12))
    def run_in_the_wrong_time_for_a_while(self, hours: int) -> None:
        """More windows pass than are remembered, and then the clock is right again."""
        right = self.now
        for number in range(hours):
            self.now += HOUR
            for cell in self.book.cells.values():
                self.book.charge([cell], 0, self.now, self.now)
            self.pay(number)
        self.now = right

    def pay(self, amount: int) -> None:
        cells = [cell for cell in self.book.cells.values() if cell.account == "key:a"]
        told = self.book.hold((), cells, amount, self.now)
        self.book.settle(told, amount, self.now)
        self.paid.append((self.now, ("key:a",), amount))

    @rule()
    def crash_and_recover(self) -> None:
        """What was under way is charged at what was reserved; the rest comes from the journal."""
        for hold, accounts in self.open.items():
            self.paid.append((self.now, accounts, hold.amount))
        self.open.clear()
        self.book = Book()
        self.book.until = max((at for at, _, _ in self.paid), default=0.0)
        for account in ACCOUNTS:
            for period in {"", *(of for name, of in self.caps if name == account)}:
                cell = self.book.cell(account, period)
                for at, accounts, cost in self.paid:
                    if account in accounts:
                        self.book.charge([cell], cost, at, self.now)
                cell.turn(self.now)
                assert cell.spent == self.spent(account, period), "before the store has answered"

    @invariant()
    def it_says_what_the_model_says(self) -> None:
        self.answer()
        for cell in self.book.cells.values():
            assert cell.spent == self.spent(cell.account, cell.period), cell
            assert cell.reserved == self.reserved(cell.account), cell


TestTheBook = TheBook.TestCase
TestTheBook.settings = settings(stateful_step_count=40)


def test_a_window_that_the_clock_comes_back_to_is_known_without_asking() -> None:
    book = Book()
    cell = book.cell("key:a", "1h")
    book.settle(book.hold((), [cell], 9, 10.0), 7, 10.0)
    cell.asked, cell.granted = True, 20  # of a cap that several share
    for number in range(1, MOST_LEFT + 1):
        cell.turn(10.0 + number * HOUR)
        assert (cell.spent, cell.own, cell.granted, cell.asked) == (0, 0, 0, True), (
            "of a new window there is nothing to know"
        )
    cell.turn(11.0)
    assert (cell.spent, cell.own, cell.granted, cell.asked) == (7, 7, 20, True)
    for number in range(1, MOST_LEFT + 2):
        cell.turn(11.0 + number * HOUR)
    cell.turn(12.0)
    assert (cell.spent, cell.asked) == (0, False), "one that is forgotten is asked for"


def test_a_cell_that_is_new_asks_of_windows_that_the_clock_has_been_in() -> None:
    book = Book()
    early = book.cell("key:a")
    book.settle(book.hold((), [early], 9, 30 * DAY), 7, 30 * DAY)
    late = book.cell("key:a", "1d")  # a budget that is set once the clock is right again
    late.turn(10.0)
    assert not late.asked
    late.asked = True
    late.turn(30 * DAY)
    assert not late.asked, "what was spent while the clock was ahead"
    late.asked = True
    late.turn(32 * DAY)
    assert late.asked, "no clock has been there"
