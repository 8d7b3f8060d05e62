"""Processes that share caps never spend more than there is together, whatever dies and whenever nobody can be asked."""

from __future__ import annotations

import asyncio
import random

import pytest

from penstock.core.admit.book import Book, Hold
from penstock.core.admit.holders import Cap
from penstock.runtime.sharing import Sharing
from penstock.stores.base import Spent
from tests.pots import MemoryPot

CAPS = {"key:a": Cap(1_000_000, "1d"), "team:t": Cap(1_600_000, "1d"), "key:b": Cap(900_000, "1d")}
NOW = 1_790_000_000.0


class Process:
    """A process: its book, its part of what is shared, and what its journal has."""

    def __init__(self, pot: MemoryPot, name: str, slices: int, processes: int) -> None:
        self.name, self.book, self.journal = name, Book(), list[tuple[str, int, Spent]]()
        self.sharing = Sharing(pot, name, lambda: f"f:{len(self.journal)}", slices, processes, lambda: NOW)
        self.sharing.start()
        self.pending: dict[int, tuple[int, tuple[str, ...]]] = {}

    async def work(self, dice: random.Random, paid: dict[str, int], now) -> bool:
        """Make one request; whether it was let in."""
        accounts = (dice.choice(("key:a", "key:b")), "team:t")
        claims = [self.book.claim(account, CAPS[account]) for account in accounts]
        amount = dice.choice((0, 2_000, 10_000, 40_000))
        held = await self.sharing.reserve(self.book, claims, [claim.cell for claim in claims], amount)
        if not isinstance(held, Hold):
            return False
        number = id(held)
        self.pending[number] = amount, accounts
        await asyncio.sleep(dice.random() * 0.004)
        if dice.random() < 0.1 and await self.sharing.extend(self.book, held, amount) is None:
            amount *= 2
            self.pending[number] = amount, accounts
        actual = dice.randrange(amount + 1)
        del self.pending[number]
        self.book.settle(held, actual, now())
        self.journal.append(("f", len(self.journal) + 1, spent(actual, accounts, now())))
        for account in accounts:
            paid[account] += actual
        return True

    async def die(self, pot: MemoryPot, paid: dict[str, int], now) -> None:
        """Die at once; what was under way is charged at what was set aside, by whoever finds the journal."""
        assert self.sharing._task is not None
        self.sharing._task.cancel()
        left = list(self.pending.values())
        for amount, accounts in left:
            for account in accounts:
                paid[account] += amount
        behind = [("~", 0, spent(amount, accounts, now())) for amount, accounts in left]
        finder = Sharing(pot, "finder", lambda: "f:0")
        await finder.bury(self.name, [*self.journal, *behind], lambda account: (CAPS[account].period,))


def spent(cost: int, accounts: tuple[str, ...], at: float) -> Spent:
    return Spent("c", at, at, "x", cost=cost, accounts=accounts)


@pytest.mark.parametrize("slices", [0, 20])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("trouble", ["none", "away", "unsure", "crash"])
async def test_together_they_spend_no_more_than_there_is(slices, seed, trouble) -> None:
    dice, paid = random.Random(seed), dict.fromkeys(CAPS, 0)
    pot = MemoryPot(random.Random(seed))
    pot.unsure = 0.2 if trouble == "unsure" else 0.0
    now = lambda: NOW  # noqa: E731
    processes = [Process(pot, f"p{number}", slices, 4) for number in range(4)]
    refused, tasks = list[bool](), list[asyncio.Task[bool]]()

    async def client(process: Process) -> None:
        for _ in range(14):
            task = asyncio.create_task(process.work(dice, paid, now))
            tasks.append(task)
            try:
                refused.append(not await task)
            except asyncio.CancelledError:
                return

    async def disturb() -> None:
        await asyncio.sleep(0.03)
        if trouble == "away":
            pot.away = True
            await asyncio.sleep(0.05)
            pot.away = False
        if trouble == "crash":
            victim = processes[0]
            for task in clients[:8]:
                task.cancel()
            await victim.die(pot, paid, now)

    clients = [asyncio.create_task(client(process)) for process in processes for _ in range(8)]
    await asyncio.gather(disturb(), *clients, return_exceptions=True)
    for account, cap in CAPS.items():
        bound = cap.most * 1.05 if trouble in ("away", "unsure") else cap.most
        assert paid[account] <= bound, account
    assert any(refused), "there was not enough for all"
    if trouble == "none" and not slices:
        assert paid["team:t"] > 1_300_000, "what there is can be spent"
    for process in processes[trouble == "crash" :]:
        await process.sharing.stop()
    if trouble == "none":
        for account, cap in CAPS.items():
            [name] = [name for name in pot.caps if name[0] == account]
            assert sum(pot.caps[name].values()) == paid[account] <= cap.most, "what was not spent is free again"


async def test_what_one_gives_back_another_may_have() -> None:
    pot, now = MemoryPot(), lambda: NOW
    one, other = (Process(pot, name, 2, 2) for name in "ab")
    claims = [[process.book.claim("key:a", CAPS["key:a"])] for process in (one, other)]
    first = await one.sharing.reserve(one.book, claims[0], (), 700_000)
    assert isinstance(first, Hold)
    assert not isinstance(await other.sharing.reserve(other.book, claims[1], (), 400_000), Hold)
    one.book.settle(first, 100_000, now())
    await one.sharing.stop()
    assert isinstance(await other.sharing.reserve(other.book, claims[1], (), 900_000), Hold)
    assert not isinstance(await other.sharing.reserve(other.book, claims[1], (), 1), Hold)
    await other.sharing.stop()


async def test_while_nobody_can_be_asked_each_has_its_part() -> None:
    pot = MemoryPot()
    pot.away = True
    processes = [Process(pot, name, 0, 4) for name in "abcd"]
    total = 0
    for process in processes:
        claim = process.book.claim("key:a", CAPS["key:a"])
        while isinstance(await process.sharing.reserve(process.book, [claim], (), 10_000), Hold):
            total += 10_000
        assert process.sharing.trouble
    assert 40_000 <= total <= 50_000
    pot.away = False
    for process in processes:
        process.sharing._ask_at = 0.0
        await process.sharing.stop()
    assert sum(next(iter(pot.caps.values())).values()) == total, "what each took meanwhile is told afterwards"


async def test_a_client_that_leaves_while_it_is_asked_holds_nothing() -> None:
    process = Process(MemoryPot(), "a", 0, 1)
    claim = process.book.claim("key:a", CAPS["key:a"])
    task = asyncio.create_task(process.sharing.reserve(process.book, [claim], (), 600_000))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert claim.cell.reserved == 0
    assert isinstance(await process.sharing.reserve(process.book, [claim], (), 1_000_000), Hold)
    await process.sharing.stop()
