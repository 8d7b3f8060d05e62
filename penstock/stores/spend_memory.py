"""What was spent, kept in memory: for tests, and where nothing is to last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from penstock.core.admit.periods import window
from penstock.stores.base import KeptTexts, Spent, Total


class MemorySpendStore:
    """See ``SpendStore``. ``away``: it cannot be reached, as far as anybody can tell."""

    def __init__(self) -> None:
        self.entries: dict[str, Spent] = {}
        self.sums: Counter[tuple[str, str, float]] = Counter()
        self.texts: dict[str, KeptTexts] = {}
        self.away = False
        self._periods: dict[str, tuple[str, ...]] = {}
        self._marks: dict[str, int] = {}

    async def append(
        self, entries: Sequence[Spent], periods: Mapping[str, Sequence[str]], mark: Mapping[str, int]
    ) -> None:
        self._reach()
        self._periods.update((account, tuple(found)) for account, found in periods.items())
        for entry in entries:
            before = self.entries.get(entry.call_id)
            if before is not None and (entry.pending or not before.pending):
                continue
            if before is not None:
                self._add(before, -before.cost)
            self.entries[entry.call_id] = entry
            self._add(entry, entry.cost)
        self._marks.update(mark)

    async def keep_texts(self, texts: Sequence[KeptTexts]) -> None:
        self._reach()
        self.texts.update((one.call_id, one) for one in texts)

    async def totals(self, asked: Sequence[tuple[str, str, float]]) -> list[Total]:
        self._reach()
        return [Total(*one, self.sums[one]) for one in asked]

    async def amounts(self, accounts: Sequence[str], period: str, start: float) -> list[int]:
        return [total.amount for total in await self.totals([(account, period, start) for account in accounts])]

    async def marks(self) -> Mapping[str, int]:
        self._reach()
        return dict(self._marks)

    async def latest(self) -> float:
        self._reach()
        return max((entry.at for entry in self.entries.values()), default=0.0)

    def _add(self, entry: Spent, amount: int) -> None:
        for account in entry.accounts:
            for period in self._periods.get(account, ("",)):
                self.sums[account, period, window(period, entry.at).start] += amount

    def _reach(self) -> None:
        if self.away:
            raise OSError("the database is away")
