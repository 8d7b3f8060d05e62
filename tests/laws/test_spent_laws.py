"""What processes spend against one budget: never lost, never doubled, whatever gets lost on the way."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.money import to_nano
from penstock.core.route.spent import Spent, Told
from penstock.stores.memory import MemoryBoard

DAY = 86400.0
PERIOD = 20.0
NAMES = st.sampled_from(["a", "b"])
WHO = st.integers(0, 2)
DOLLARS = st.integers(1, 50).map(lambda n: Decimal(n) / 1000)
HOW = st.sampled_from(["whole", "question lost", "answer lost", "late"])


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Processes:
    """Three processes and a board; ``dead`` ones are gone, with all that only they knew."""

    def __init__(self, period: float) -> None:
        self.period = period
        self.clock = Clock()
        self.board = MemoryBoard(self.clock)
        self.late: list[Told] = []
        self.born = 0
        self.all = [self.birth() for _ in range(3)]

    def birth(self) -> tuple[str, Spent]:
        spent = Spent()
        spent.ask(dict.fromkeys("ab", (1.0, self.period)))
        self.born += 1
        return f"p{self.born}", spent

    def exchange(self, who: int, how: str = "whole", whole: bool = True) -> None:
        name, spent = self.all[who]
        for told in spent.take(name, self.clock.now, whole):
            if how == "late":  # sent, timed out, and it arrives after newer ones
                self.late.append(told)
            elif how != "question lost":
                known = asyncio.run(self.board.spend(told))
                if how == "whole":
                    spent.learn(told, known, self.clock.now)

    def in_step(self) -> None:
        for _ in range(3):
            for who in range(3):
                self.exchange(who)

    def knows(self, who: int, name: str, period: float) -> int:
        """What a process knows to be spent."""
        spent = self.all[who][1]
        window = spent._current(name, self.clock.now, period)
        return 0 if window is None else window.own + window.others


STEPS = st.lists(
    st.tuples(st.just("add"), WHO, NAMES, DOLLARS)
    | st.tuples(st.just("exchange"), WHO, HOW, st.booleans())
    | st.tuples(st.just("forget"))
    | st.tuples(st.just("die"), WHO)
    | st.tuples(st.just("wait"), st.integers(1, 600)),
    max_size=30,
)


@given(STEPS)
def test_all_know_what_is_spent_and_nobody_ever_knows_more(steps) -> None:
    """One window. A process dies after it has said all, and after the others have heard it."""
    some, true = Processes(DAY), dict.fromkeys("ab", 0)
    for step in steps:
        if step[0] == "add":
            some.all[step[1]][1].add(step[2], step[3], some.clock.now, DAY)
            true[step[2]] += to_nano(step[3])
        elif step[0] == "exchange":
            some.exchange(*step[1:])
        elif step[0] == "forget":
            some.board = MemoryBoard(some.clock)
        elif step[0] == "die":
            some.in_step()
            some.all[step[1]] = some.birth()
        else:
            some.clock.now += step[1]
        for who in range(3):
            for name in true:
                assert some.knows(who, name, DAY) <= true[name]
    for told in some.late:
        asyncio.run(some.board.spend(told))
    some.in_step()
    for who in range(3):
        assert {name: some.knows(who, name, DAY) for name in true} == true


ADDS = st.lists(st.tuples(WHO, DOLLARS, st.integers(0, 60).map(lambda n: n / 2)), max_size=20)


@given(ADDS)
def test_processes_in_step_are_as_one(adds) -> None:
    """Over many windows: each ends for all at the same time, and the next begins with the next amount."""
    some, alone = Processes(PERIOD), Spent()
    for who, amount, wait in adds:
        some.clock.now += wait
        some.in_step()
        some.all[who][1].add("a", amount, some.clock.now, PERIOD)
        alone.add("a", amount, some.clock.now, PERIOD)
        some.in_step()
        tiny = {"a": (1e-9, PERIOD)}
        expected = alone.broke(tiny, some.clock.now)
        for who in range(3):
            assert some.all[who][1].broke(tiny, some.clock.now) == expected
    everybody = Processes(PERIOD)
    everybody.clock, everybody.all = some.clock, [*some.all[:2], ("alone", alone)]
    known = [everybody.knows(who, "a", PERIOD) for who in range(3)]
    assert known[0] == known[1] == known[2]


@given(ADDS)
def test_processes_apart_count_each_for_itself_and_come_together_again(adds) -> None:
    """The board is away: each begins windows of its own. Then all have the earliest, with what each has in its own."""
    some, own = Processes(PERIOD), [Spent() for _ in range(3)]
    for who, amount, wait in adds:
        some.clock.now += wait
        some.all[who][1].add("a", amount, some.clock.now, PERIOD)
        own[who].add("a", amount, some.clock.now, PERIOD)
    alone = Processes(PERIOD)
    alone.clock, alone.all = some.clock, [("x", spent) for spent in own]
    before = [alone.knows(who, "a", PERIOD) for who in range(3)]
    left = [spent.broke({"a": (1e-9, PERIOD)}, some.clock.now).get("a", PERIOD) for spent in own]
    if min(left) <= 1.0:
        return  # nearly over, and so not joined: see the board's contract
    some.in_step()
    assert [some.knows(who, "a", PERIOD) for who in range(3)] == [sum(before)] * 3
    if sum(before):
        for _, spent in some.all:
            assert abs(spent.broke({"a": (1e-9, PERIOD)}, some.clock.now)["a"] - min(left)) <= 1.0


@given(st.lists(st.tuples(st.decimals(0, 1000, places=12), st.floats(0, 5)), max_size=20), st.floats(0.5, 20))
def test_a_window_begins_with_its_first_amount(adds, period) -> None:
    spent, now, began, sum_ = Spent(), 1000.0, None, 0
    for amount, wait in adds:
        now += wait
        if began is None or now - began >= period:
            began, sum_ = now, 0
        spent.add("a", amount, now, period)
        sum_ += to_nano(amount)
        exact, more = {"a": (sum_ / 10**9, period)}, {"a": ((sum_ + 1) / 10**9, period)}
        assert spent.broke(exact, now) == {"a": period - (now - began)}
        assert spent.broke(more, now) == {}
        assert spent.broke({"b": (1e-12, period)}, now) == {}, "a budget is not used up before anything is spent"


@given(st.decimals(0, 10**6, places=15))
def test_nothing_is_free_that_is_not(amount) -> None:
    nano = to_nano(amount)
    assert 0 <= Decimal(nano) / 10**9 - amount < Decimal("1e-9")
