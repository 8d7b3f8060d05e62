"""What several processes count together comes to the same sum everywhere, whatever gets lost on the way."""

from __future__ import annotations

import asyncio

from hypothesis import example, given
from hypothesis import strategies as st

from penstock.stores.base import NEWS, Mark
from penstock.stores.marks import Marks
from penstock.stores.memory import MemoryBoard
from penstock.stores.tally import Tally

NAMES = st.sampled_from(["a", "b", "c"])
PROCESS = st.integers(0, 2)
# add: (process, name, amount). exchange: (process, how): whole, question lost, answer lost. forget: the board is empty.
STEPS = st.lists(
    st.tuples(st.just("add"), PROCESS, NAMES, st.integers(0, 50))
    | st.tuples(st.just("total"), PROCESS, NAMES)
    | st.tuples(st.just("exchange"), PROCESS, st.sampled_from(["whole", "question lost", "answer lost", "late"]))
    | st.tuples(st.just("forget")),
    max_size=40,
)


def exchange(
    tally: Tally, board: MemoryBoard, process: int, how: str, late: list[tuple[str, list[tuple[str, int]]]]
) -> None:
    said = tally.take(7, 100)
    name = f"p{process}"
    if how == "late":  # sent, timed out, and it arrives after newer ones
        late.append((name, said))
    elif how != "question lost":
        totals = asyncio.run(board.count(7, name, said))
        if how == "whole":
            tally.learn(7, said, totals)


@given(STEPS)
def test_all_know_the_sum_and_nobody_ever_knows_more(steps) -> None:
    tallies, board, late = [Tally() for _ in range(3)], MemoryBoard(), []
    true = dict.fromkeys("abc", 0)
    for step in steps:
        if step[0] == "add":
            tallies[step[1]].add(7, step[2], step[3])
            true[step[2]] += step[3]
        elif step[0] == "total":
            tally, name = tallies[step[1]], step[2]
            before = tally.total(7, name)
            assert before <= true[name]
        elif step[0] == "exchange":
            exchange(tallies[step[1]], board, step[1], step[2], late)
        else:
            board = MemoryBoard()
    for name, said in late:
        asyncio.run(board.count(7, name, said))
    for tally in tallies:
        for name in true:
            tally.total(7, name)  # it is asked for, so it is kept in step
    for _ in range(2):
        for number, tally in enumerate(tallies):
            exchange(tally, board, number, "whole", late)
    for tally in tallies:
        assert {name: tally.total(7, name) for name in true} == true


@given(st.lists(st.tuples(NAMES, st.integers(1, 9), st.integers(7, 9)), max_size=30))
def test_a_window_begins_at_nothing(adds) -> None:
    tally = Tally()
    window = 0
    kept: dict[str, int] = {}
    for name, amount, at in sorted(adds, key=lambda add: add[2]):
        if at != window:
            window, kept = at, {}
        tally.add(at, name, amount)
        kept[name] = kept.get(name, 0) + amount
        assert {name: tally.total(at, name) for name in kept} == kept
    assert dict(tally.take(99, 10)) == dict.fromkeys(kept, 0), "what is over is not told any more, and is kept in step"
    assert tally.take(100, 10) == [], "and who was not asked for a whole window is forgotten"
    tally.learn(98, [("a", 1)], [5])
    assert tally.total(100, "a") == 0, "an answer of another window says nothing of this one"


@given(st.integers(1, 60), st.integers(1, 20))
def test_every_name_has_its_turn(count: int, most: int) -> None:
    tally = Tally()
    for number in range(count):
        tally.add(7, str(number), number)
    told = [tally.take(7, most) for _ in range(-(-count // most))]
    assert all(len(one) <= most for one in told)
    assert dict(pair for one in told for pair in one) == {str(number): number for number in range(count)}


@given(st.lists(st.integers(0, 30), max_size=60))
def test_a_tally_is_bounded(names) -> None:
    tally = Tally(most=10)
    for name in names:
        tally.add(7, str(name), 1)
    assert len(tally.take(7, 100)) <= 10


KEYS = st.sampled_from(["x", "y"])
MARK_STEPS = st.lists(
    st.tuples(st.just("put"), PROCESS, KEYS, st.floats(0.5, 50)) | st.tuples(st.just("reread"), PROCESS)
    | st.tuples(st.just("tell"), PROCESS, st.booleans()) | st.tuples(st.just("wait"), st.floats(0, 5)) | st.tuples(st.just("forget")),
    max_size=30,
)  # fmt: skip


@example([("put", 0, "x", 1.0), ("put", 2, "x", 2.0), ("tell", 2, False), ("forget",)])  # it has a shorter one
@given(MARK_STEPS)
def test_all_know_what_holds_longest_also_after_the_board_forgot(steps) -> None:
    now, views, longest = 1000.0, [Marks() for _ in range(3)], dict.fromkeys("xy", 0.0)

    def clock() -> float:
        return now

    board = MemoryBoard(clock)

    def tell(view: Marks, fails: bool) -> None:
        taken = view.take(now)
        view.put_back(taken) if fails else asyncio.run(board.tell(taken))

    for step in steps:
        if step[0] == "put":
            views[step[1]].put(Mark("rests", step[2], "why", step[3]), now)
            longest[step[2]] = max(longest[step[2]], now + step[3])
        elif step[0] == "tell":
            tell(views[step[1]], step[2])
        elif step[0] == "reread":
            views[step[1]].compare(asyncio.run(board.marks()), now)
        elif step[0] == "wait":
            now += step[1]
        else:
            board = MemoryBoard(clock)
    for _ in range(2):
        for view in views:
            view.compare(asyncio.run(board.marks()), now)
            tell(view, False)
    for view in views:
        view.compare(asyncio.run(board.marks()), now)
    for view in views:
        held = {mark.key: now + mark.seconds for mark in view.current("rests", now)}
        for key, until in longest.items():
            # One that all but ends is not told any more; one that is hardly longer is no news.
            if until > now + 1.0 + 3 * NEWS:
                assert abs(held[key] - until) <= 3 * NEWS, (key, held, until)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.1, 9)), max_size=60))
def test_marks_are_bounded_and_what_ends_first_goes_first(puts) -> None:
    marks = Marks(most=10)
    for key, seconds in puts:
        marks.put(Mark("rests", str(key), "", seconds), 0.0)
    held = {mark.key: mark.seconds for mark in marks.current("rests", 0.0)}
    assert len(held) <= 10
    if puts:
        assert max(seconds for _, seconds in puts) - NEWS <= max(held.values())
