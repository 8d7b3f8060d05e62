"""What exceeds a budget counts in its next window, against a list of all that was ever paid: while the process runs, and
as a store tells one that has just begun."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import example, given, settings
from hypothesis import strategies as st

from penstock.core.admit.book import MOST_CARRIED, Book, Hold, Refusal, carry
from penstock.core.admit.holders import Cap, Holder
from penstock.core.admit.periods import window
from penstock.runtime.accounts import Accounts
from penstock.runtime.bookkeeper import Bookkeeper
from penstock.stores.base import Spent
from penstock.stores.journal import Journal
from penstock.stores.spend_memory import MemorySpendStore

BEGIN = 1_790_000_000.0
PERIODS = st.sampled_from(["1h", "1d", "7d", "1mo"])
STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30), st.integers(0, 60)), max_size=40)


def moved(period: str, now: float, windows: int) -> float:
    for _ in range(windows):
        now = window(period, now).end
    return now + 1.0


def owed(paid: Counter[float], period: str, now: float, most: int) -> int:
    """What is carried into the window of a time, in plain words."""
    start, found = min(paid, default=now), 0
    at = window(period, start).start
    while at < window(period, now).start:
        found = max(0, found + paid[at] - most)
        at = window(period, at).end
    return found


def accounts_of(book: Book, period: str, most: int) -> Accounts:
    accounts = Accounts(book, lambda: None, (), carries=True)
    accounts._place_of(Holder("key", "k", caps=(Cap(most, period), Cap(most, period, "m"), Cap(most))))
    return accounts


@given(PERIODS, st.integers(1, 50), STEPS)
@example("1d", 5, [(0, 5, 60), (4, 5, 0), (4, 5, 0), (4, 5, 0), (0, 5, 1)])
def test_what_exceeds_a_cap_is_taken_off_the_next_windows(period, most, steps) -> None:
    book, now, paid = Book(), BEGIN, Counter[float]()
    accounts_of(book, period, most)
    claim = book.claim("key:k", Cap(most, period))
    for windows, amount, actual in steps:
        now = moved(period, now, windows)
        told = book.reserve((claim,), (), amount, now)
        spent, carried = paid[claim.cell.start], owed(paid, period, now, most)
        assert claim.cell.carried == carried or carried > MOST_CARRIED * most
        assert isinstance(told, Refusal) is (spent + carried + amount > most or spent + carried >= most)
        if isinstance(told, Hold):  # what it costs may be more than anybody thought: an estimate was too low
            book.settle(told, actual, now)
            paid[claim.cell.start] += actual
    for account, of in book.cells:
        if (account, of) != ("key:k", period):
            assert book.cells[account, of].most is None, "of one model, and of all time, nothing is carried"


@given(PERIODS, st.integers(1, 50), STEPS)
@settings(max_examples=30, deadline=None)
def test_a_process_that_has_just_begun_is_told_of_it(period, most, steps) -> None:
    async def run(folder: Path) -> None:
        store, now, paid = MemorySpendStore(), BEGIN, Counter[float]()
        for number, (windows, _, cost) in enumerate(steps):
            now = moved(period, now, windows)
            entry = Spent(f"c{number}", now, now, "acompletion", cost=cost, accounts=("key:k",))
            await store.append([entry], {"key:k": ["", period]}, {})
            paid[window(period, now).start] += cost
        book = Book()
        accounts = accounts_of(book, period, most)
        cell = book.cell("key:k", period)
        cell.turn(now)
        journal = Journal(folder, "j")
        keeper = Bookkeeper(store, journal, folder, accounts.periods)
        keeper.ask(cell)
        assert await keeper._step()
        keeper._thread.shutdown()
        journal.close()
        assert cell.spent == paid[cell.start]
        wanted = owed(paid, period, now, most)
        starts = cell.windows_before()
        assert cell.carried == carry([paid[at] for at in starts], most) and len(starts) == MOST_CARRIED
        assert cell.carried == wanted or owed(paid, period, starts[0], most), "all but what is older than that"

    with TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder)))


def test_a_setting_that_changes_carries_from_then_on_or_no_more() -> None:
    book = Book()
    accounts = accounts_of(book, "1d", 10)
    cell = book.cell("key:k", "1d")
    cell.turn(BEGIN)
    cell.spent = 25
    cell.turn(BEGIN + 86_400)
    assert (cell.spent, cell.carried, cell.asked) == (0, 15, False)
    accounts.go_by(())
    assert (cell.most, cell.carried) == (None, 0)
    accounts.go_by((), carries=True)
    accounts._place_of(Holder("key", "k", caps=(Cap(7, "1d"),)))
    assert (cell.most, cell.asked) == (7, False), "the store is asked of the windows before"
