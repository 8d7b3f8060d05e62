"""A pot in memory, in plain words: what a pot of any kind must do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence

from penstock.stores.base import Answered, Got, Want

Name = tuple[str, str, float]


class MemoryPot:
    """See ``stores.base.Pot``. ``away``: it cannot be reached; ``unsure``: the share of steps that are done, and whose
    answer is lost."""

    def __init__(self, dice: random.Random | None = None) -> None:
        self.caps: dict[Name, dict[str, int]] = {}
        self.spent: dict[Name, dict[str, int]] = {}
        self.marks: dict[str, dict[Name, str]] = {}
        self.away, self.unsure, self.steps = False, 0.0, 0
        self._dice = dice or random.Random(1)

    async def take(self, process: str, mark: str, questions: Sequence[Sequence[Want]]) -> list[Answered]:
        await asyncio.sleep(self._dice.random() * 0.003)
        if self.away:
            raise OSError("the pot is away")
        self.steps += 1
        for want in (want for question in questions for want in question):
            name = want.account, want.period, want.start
            cap = self.caps.setdefault(name, {"": want.base})
            cap[process] = want.granted
            self.spent.setdefault(name, {})[process] = want.spent
            self.marks.setdefault(process, {})[name] = mark
        answers = []
        for question in questions:
            names = [(want.account, want.period, want.start) for want in question]
            fits = all(
                sum(self.caps[name].values()) + want.need <= want.cap
                for name, want in zip(names, question, strict=True)
            )
            for name, want in zip(names, question, strict=True) if fits else ():
                extra = max(0, min(want.more, (want.cap - sum(self.caps[name].values()) - want.need) // 4))
                self.caps[name][process] += want.need + extra
            caps = [Got(self.caps[n][process], sum(self.caps[n].values()), len(self.caps[n]) - 1) for n in names]
            answers.append(Answered(fits, caps))
        if self._dice.random() < self.unsure:
            raise OSError("the answer was lost")
        return answers

    async def marks_of(self, process: str) -> Mapping[Name, str]:
        return self.marks.get(process, {})

    async def bury(self, process: str, paid: Mapping[Name, int]) -> None:
        for name, spent in self.spent.items():
            if process in spent:
                spent[process] += paid.get(name, 0)
                self.caps[name][process] = spent[process]
        self.marks.pop(process, None)
