"""The book of the ledger: whatever is reserved, settled, given back or lost, no reservation lifts an account over a cap.

A model in plain words runs beside it: entries with the time at which they were paid, and what is open.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from penstock.core.admit.book import Book, Hold, Refusal
from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import window

ACCOUNTS = ("key:a", "key:b", "team:t", "user:u", "global")
PERIODS = ("", "1h", "1d", "1mo")
AMOUNTS = st.integers(0, 60)


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

    def claims(self, accounts: tuple[str, ...]):
        return [self.book.claim(of, cap) for (of, _), cap in self.caps.items() if of in accounts]

    @rule(account=st.sampled_from(ACCOUNTS), period=st.sampled_from(PERIODS), most=st.integers(0, 200))
    def change_a_cap(self, account: str, period: str, most: int) -> None:
        known = (account, period) in self.caps
        self.caps[account, period] = Cap(most, period)
        cell = self.book.cell(account, period)
        cell.turn(self.now)
        if not known:  # what it spent before anybody counted it is asked of a store
            cell.spent, cell.reserved = self.spent(account, period), self.reserved(account)
            for hold, accounts in self.open.items():
                if account in accounts and cell not in hold.cells:
                    hold.cells = (*hold.cells, cell)

    @rule(target=holds, accounts=st.sets(st.sampled_from(ACCOUNTS), min_size=1), amount=AMOUNTS)
    def reserve(self, accounts: set[str], amount: int):
        chosen = tuple(sorted(accounts))
        claims = self.claims(chosen)
        told = self.book.reserve(claims, [self.book.cell(one) for one in chosen], amount, self.now)
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
        before = {cell: cell.spent + cell.reserved for cell in hold.cells if self.now < cell.end}
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

    @rule(sold=st.sampled_from((1.0, 1800.0, 86_400.0, 40 * 86_400.0)))
    def wait(self, sold: float) -> None:
        self.now += sold

    @rule(seconds=st.sampled_from((0.5, 5.0)))
    def set_the_clock_back(self, seconds: float) -> None:
        if all(window(period, self.now - seconds) == window(period, self.now) for period in PERIODS):
            self.now -= seconds

    @rule()
    def crash_and_recover(self) -> None:
        """What was under way is charged at what was reserved; the rest comes from the journal."""
        for hold, accounts in self.open.items():
            self.paid.append((self.now, accounts, hold.amount))
        self.open.clear()
        self.book = Book()
        for account in ACCOUNTS:
            for period in {"", *(of for name, of in self.caps if name == account)}:
                cell = self.book.cell(account, period)
                for at, accounts, cost in self.paid:
                    if account in accounts:
                        self.book.charge([cell], cost, at, self.now)

    @invariant()
    def it_says_what_the_model_says(self) -> None:
        for cell in self.book.cells.values():
            if self.now < cell.end:
                assert cell.spent == self.spent(cell.account, cell.period), cell
            assert cell.reserved == self.reserved(cell.account), cell


TestTheBook = TheBook.TestCase
TestTheBook.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
