"""Each entry is stored once and with its cost, whatever dies, and whenever the store is away."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.admit.book import Book
from penstock.runtime import bookkeeper as keepers
from penstock.runtime.bookkeeper import Bookkeeper
from penstock.stores import journal as journals
from penstock.stores.base import Spent
from penstock.stores.journal import Journal
from penstock.stores.spend_memory import MemorySpendStore

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 30)),
        st.tuples(st.just("end"), st.integers(0, 30)),
        st.tuples(st.sampled_from(("carry", "crash", "away", "fails late", "ask")), st.just(0)),
    ),
    max_size=60,
)


class Unsure(MemorySpendStore):
    """A store that may fail after it has kept everything: whoever asked does not know."""

    fails_late = False

    async def append(self, *given):
        await super().append(*given)
        if self.fails_late:
            self.fails_late = False
            raise OSError("the connection was lost behind the commit")


class Process:
    """A process that keeps books, until it dies."""

    def __init__(self, folder, store, number: int) -> None:
        self.journal = Journal(folder, f"p{number:03d}")
        self.keeper = Bookkeeper(store, self.journal, folder, lambda account: ("",))
        self.book, self.open = Book(), dict[str, int]()

    async def carry(self) -> None:
        try:
            while await self.keeper._step():
                pass
        except OSError:
            return

    def die(self) -> None:
        for file in [*self.journal.files, *(file for files in self.keeper._dead for file in files)]:
            file.close()
        self.keeper._thread.shutdown()


async def run(folder, steps) -> None:
    store, number = Unsure(), 0
    process = Process(folder, store, number)
    expected: Counter[str] = Counter()
    for step, value in steps:
        call, account = f"c{value}", f"key:{value % 3}"
        if step == "begin" and call not in process.open and call not in expected:
            process.open[call] = value
            process.journal.put(Spent(call, 1.0, 1.0, "x", cost=1000 + value, pending=True, accounts=(account,)))
            process.journal.flush()
        elif step == "end" and call in process.open:
            del process.open[call]
            process.journal.put(Spent(call, 2.0, 1.0, "x", cost=value, accounts=(account,)))
            process.journal.flush()
            expected[call] = value
            cell = process.book.cell(account)
            cell.turn(3.0)
            cell.spent += value
        elif step == "ask":
            for name in range(3):
                cell = process.book.cell(f"key:{name}")
                cell.turn(3.0)
                if not cell.asked:
                    process.keeper.ask(cell)
        elif step == "carry":
            await process.carry()
        elif step == "away":
            store.away = not store.away
        elif step == "fails late":
            store.fails_late = True
        elif step == "crash":
            expected.update({name: 1000 + cost for name, cost in process.open.items()})
            process.die()
            number += 1
            process = Process(folder, store, number)
            process.keeper._dead = journals.take_over(folder)
    store.away = store.fails_late = False
    await process.carry()
    found = {call: entry.cost for call, entry in store.entries.items()}
    assert found == expected
    for name in range(3):
        of = sum(cost for call, cost in expected.items() if int(call[1:]) % 3 == name)
        assert store.sums[f"key:{name}", "", 0.0] == of, "the sums are those of the entries"
        cell = process.book.cells.get((f"key:{name}", ""))
        if cell is not None and cell.asked:
            assert cell.spent == of, "the book and the store say the same"
    process.die()


@given(STEPS)
def test_each_entry_is_stored_once(steps) -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own would look through all of them for each one
        asyncio.run(run(Path(folder), steps))


@pytest.mark.parametrize("most", [1, 3])
def test_small_batches_and_files_change_nothing(tmp_path_factory, monkeypatch, most) -> None:
    monkeypatch.setattr(keepers, "MOST_ENTRIES", most)
    monkeypatch.setattr(journals, "LARGEST", 400)
    steps = [*(("begin", n) for n in range(20)), ("ask", 0), *(("end", n) for n in range(0, 20, 2)), ("carry", 0)]
    steps += [("ask", 0), *(("end", n) for n in range(1, 10, 2)), ("crash", 0), ("ask", 0), ("carry", 0)]
    steps += [("fails late", 0), *(("begin", n) for n in range(20, 30)), ("end", 21), ("carry", 0), ("crash", 0)]
    asyncio.run(run(tmp_path_factory.mktemp("books"), steps))


class Busy(MemorySpendStore):
    """A store during each of whose transactions another request ends."""

    journal: Journal
    batches = 0

    async def append(self, *given):
        await super().append(*given)
        self.batches += 1
        if self.batches < 200:
            self.journal.put(Spent(f"more {self.batches}", 2.0, 1.0, "x", cost=1, accounts=("key:k",)))
            self.journal.flush()


async def test_what_comes_while_a_batch_is_stored_waits_for_the_next_round(tmp_path, monkeypatch) -> None:
    """Else there is always one more batch to store under load, of the few that came meanwhile."""
    monkeypatch.setattr(keepers, "EVERY", 0.05)
    store = Busy()
    store.journal = Journal(tmp_path, "p")
    keeper = Bookkeeper(store, store.journal, tmp_path, lambda account: ("",))
    store.journal.put(Spent("first", 2.0, 1.0, "x", cost=1, accounts=("key:k",)))
    store.journal.flush()
    await keeper.start()
    await asyncio.sleep(0.3)
    assert 1 <= store.batches <= 6
    await keeper.stop()
    assert store.sums["key:k", "", 0.0] == len(store.entries) == 200
    store.journal.close()
