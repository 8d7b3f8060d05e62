"""The clock is set: an hour, a day, a month, ahead and back, under budgets whose windows run. No window is reset twice, no
entry is lost or counted twice, and nobody gets more than the cap of a window, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.admit.book import Book, Hold
from penstock.core.admit.holders import Cap
from penstock.core.admit.periods import window
from penstock.runtime.bookkeeper import Bookkeeper
from penstock.stores import journal as journals
from penstock.stores.base import SpendStore, Spent
from penstock.stores.journal import Journal
from penstock.stores.spend_memory import MemorySpendStore
from penstock.stores.sql.address import file_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.migrate import upgrade
from penstock.stores.sql.spend import SqlSpendStore

BEGIN = 1_793_447_990.0  # ten seconds before a month and a day of 2026 end
HOUR, DAY, MONTH = 3600.0, 86_400.0, 30 * 86_400.0
PERIODS = ("", "1h", "1d", "1mo")
CAPS = {"key:a": [Cap(100, "1d"), Cap(300, "1mo")], "key:b": [Cap(50, "1h")], "team:t": [Cap(160, "1d")]}
JUMPS = (1.0, 11.0, -11.0, HOUR, -HOUR, DAY, -DAY, MONTH, -MONTH)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.sampled_from(("a", "b")), st.integers(1, 60)),
        st.tuples(st.just("end"), st.integers(0, 9), st.integers(0, 100)),
        st.tuples(st.just("set"), st.sampled_from(JUMPS)),
        st.tuples(st.just("carry")),
        st.tuples(st.just("ask")),
        st.tuples(st.just("crash")),
    ),
    max_size=40,
)


class Process:
    """A process as the ledger is one: what it charges stands in the book and in the journal."""

    def __init__(self, folder: Path, store: SpendStore, number: int) -> None:
        self.book, self.journal = Book(), Journal(folder, f"p{number:03d}")
        self.keeper = Bookkeeper(store, self.journal, folder, lambda account: PERIODS)
        self.open: list[tuple[Hold, Spent]] = []
        self._store = store

    async def start(self, folder: Path) -> None:
        self.keeper._dead = journals.take_over(folder)
        await self.keeper._carry_dead()
        self.book.until = await self._store.latest()

    async def carry(self) -> None:
        while await self.keeper._step():
            pass

    def ask(self, cells, now: float) -> None:
        """Ask the store for what the book says it does not know, as each request does."""
        for cell in cells:
            cell.turn(now)
            if not cell.asked:
                self.keeper.ask(cell)

    async def hear(self, cells, now: float) -> None:
        self.ask(cells, now)
        if self.keeper._asks:
            await self.carry()
            self.ask(cells, now)
            assert not self.keeper._asks, "all was answered"

    def cells(self, account: str):
        return [self.book.cell(account, period) for period in PERIODS]

    def die(self) -> None:
        for file in self.journal.files:
            file.close()
        self.keeper._thread.shutdown()


class World:
    """Processes one after the other, a clock that somebody sets, and all that was ever paid, in plain words."""

    def __init__(self, folder: Path, store: SpendStore) -> None:
        self.folder, self.store, self.now, self.number = folder, store, BEGIN, 0
        self.paid: list[Spent] = []
        self.process = Process(folder, store, 0)

    def spent(self, account: str, period: str) -> int:
        start, end = window(period, self.now)
        return sum(one.cost for one in self.paid if account in one.accounts and start <= one.at < end)

    async def begin(self, key: str, amount: int) -> None:
        process, accounts = self.process, (f"key:{key}", "team:t")
        cells = [cell for account in accounts for cell in process.cells(account)]
        await process.hear(cells, self.now)
        claims = [process.book.claim(account, cap) for account in accounts for cap in CAPS[account]]
        held = process.book.reserve(claims, cells, amount, self.now)
        fits = True
        for claim in claims:
            account, period = claim.cell.account, claim.cap.period
            reserved = sum(hold.amount for hold, entry in process.open if account in entry.accounts)
            spent = self.spent(account, period)
            fits = fits and spent + reserved + amount <= claim.cap.most and spent < claim.cap.most
        assert isinstance(held, Hold) == fits, "who has nothing left is refused, and nobody else"
        if isinstance(held, Hold):
            self.number += 1
            entry = Spent(f"c{self.number}", self.now, self.now, "x", key=key, team="t", cost=amount, pending=True,
                          accounts=accounts)  # fmt: skip
            process.journal.put(entry)
            process.journal.flush()
            process.open.append((held, entry))

    def end(self, at: int, share: int) -> None:
        process = self.process
        if at < len(process.open):
            hold, entry = process.open.pop(at)
            cost = entry.cost * share // 100
            process.book.settle(hold, cost, self.now)
            self._pay(Spent(entry.call_id, self.now, entry.began, "x", key=entry.key, team="t", cost=cost,
                            accounts=entry.accounts))  # fmt: skip

    def _pay(self, entry: Spent) -> None:
        self.process.journal.put(entry)
        self.process.journal.flush()
        self.paid.append(entry)

    async def crash(self) -> None:
        self.paid += [entry for _, entry in self.process.open]
        self.process.die()
        self.number += 1
        self.process = Process(self.folder, self.store, self.number)
        await self.process.start(self.folder)

    async def check(self) -> None:
        """Wherever the clock was, the book says what was spent then; and so does the store, once it has everything."""
        await self.process.carry()
        times = {self.now, *(entry.at for entry in self.paid)}
        for now in sorted(times, reverse=True):
            self.now = now
            for account in CAPS:
                cells = self.process.cells(account)
                await self.process.hear(cells, now)
                asked = [(cell.account, cell.period, cell.start) for cell in cells]
                told = [total.amount for total in await self.store.totals(asked)]
                assert [cell.spent for cell in cells] == told == [self.spent(account, of) for of in PERIODS], account


async def live(store: SpendStore, steps) -> World:
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder), store)
        await world.process.start(Path(folder))
        for what, *given in steps:
            if what == "begin":
                await world.begin(*given)
            elif what == "end":
                world.end(*given)
            elif what == "set":
                world.now = max(1.0, world.now + given[0])
            elif what == "carry":
                await world.process.carry()
            elif what == "ask":
                for account in CAPS:
                    world.process.ask(world.process.cells(account), world.now)
            else:
                await world.crash()
        await world.check()
        world.process.die()
        return world


@given(STEPS)
def test_wherever_the_clock_is_set_each_window_has_what_was_spent_in_it(steps) -> None:
    asyncio.run(live(MemorySpendStore(), steps))


@given(STEPS)
@settings(max_examples=max(5, settings.default.max_examples // 10))
def test_a_database_says_the_same(steps) -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(file_address(Path(folder) / "x.db"))
        upgrade(database)
        try:
            world = asyncio.run(live(SqlSpendStore(database), steps))
            found = database.read_now(lambda c: c.exec_driver_sql("SELECT call_id, cost FROM penstock_spend").all())
            assert sorted(map(tuple, found)) == sorted((one.call_id, one.cost) for one in world.paid), "once each"
            days = database.read_now(
                lambda c: c.exec_driver_sql("SELECT SUM(cost) FROM penstock_daily WHERE dimension = 'key'").scalar()
            )
            assert (days or 0) == sum(one.cost for one in world.paid)
        finally:
            database.close()


@pytest.mark.parametrize("jump", [HOUR, DAY, MONTH, 400 * DAY])
@pytest.mark.parametrize("crash", [False, True])
async def test_a_clock_that_was_ahead_gives_nobody_a_second_budget(jump, crash) -> None:
    """The day is spent up; the clock goes ahead, where the later window is spent up, too, and comes back: still nothing
    is left. When that window truly comes, nothing is left of it, either."""
    again = [("crash",)] if crash else []
    spend = [step for _ in range(3) for step in (("begin", "b", 50), ("end", 0, 100))]
    steps = [*spend, ("set", jump), *spend, *again, ("set", -jump), *again, *spend, ("set", jump), *spend]
    world = await live(MemorySpendStore(), steps)
    assert len(world.paid) == 2 and {entry.cost for entry in world.paid} == {50}


async def test_a_question_that_is_answered_in_another_window_is_asked_again() -> None:
    spend = [("begin", "b", 50), ("end", 0, 100)]
    steps = [*spend, ("crash",), ("ask",), ("set", DAY), ("ask",), ("carry",), ("set", -DAY), ("begin", "b", 1)]
    world = await live(MemorySpendStore(), steps)
    assert len(world.paid) == 1
