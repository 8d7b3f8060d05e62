"""The contract of a board (``stores.base``), for every board. A new one is a row in ``BOARDS``.

Several boards of one test see the same thing, as several processes do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest

from penstock.core.route.spent import Known, Told
from penstock.stores.base import Board, Figure, Mark
from penstock.stores.memory import MemoryBoard
from penstock.stores.redis_board import RedisBoard
from tests.redis_servers import RedisServer, redis_server, session_redis, until  # noqa: F401

ODD = ["", "a b", "漢\n\x00", "=r", "x" * 5000, '"]']


@pytest.fixture(params=["memory", "redis"])
async def board(request: pytest.FixtureRequest):
    """``board()``: one more view of the same board."""
    opened: list[Board] = []
    if request.param == "memory":
        one = MemoryBoard()
        yield lambda: one
        return
    server: RedisServer = request.getfixturevalue("redis_server")

    def made() -> Board:
        opened.append(RedisBoard(server.settings()))
        return opened[-1]

    yield made
    for each in opened:
        await each.close()


Make = Callable[[], Board]


def mark(key: str = "k", seconds: float = 5.0, value: str = "why", kind: str = "rests") -> Mark:
    return Mark(kind, key, value, seconds)


def near(found: list[Mark], *expected: Mark) -> None:
    found, wanted = sorted(found), sorted(expected)
    assert [one[:3] for one in found] == [one[:3] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert other.seconds - 1.0 < one.seconds <= other.seconds


async def test_a_mark_is_there_for_everybody_until_its_end(board: Make) -> None:
    one, other = board(), board()
    assert await other.marks() == []
    await one.tell([mark("short", 0.6), mark("long", 5.0, "a\nb"), mark("long", 4.0, kind="dead")])
    near(await other.marks(), mark("short", 0.6), mark("long", 5.0, "a\nb"), mark("long", 4.0, kind="dead"))
    await asyncio.sleep(0.65)
    near(await other.marks(), mark("long", 5.0, "a\nb"), mark("long", 4.0, kind="dead"))


async def test_of_two_marks_the_longer_stays(board: Make) -> None:
    one, other = board(), board()
    await one.tell([mark(seconds=5.0, value="first")])
    await other.tell([mark(seconds=2.0, value="shorter")])
    near(await one.marks(), mark(seconds=5.0, value="first"))
    await other.tell([mark(seconds=9.0, value="longer")])
    near(await one.marks(), mark(seconds=9.0, value="longer"))


@pytest.mark.parametrize("key", ODD)
async def test_kinds_keys_and_names_are_any(board: Make, key: str) -> None:
    one, other = board(), board()
    await one.tell([mark(key, kind=key), mark("k", kind=key + "k")])
    near(await other.marks(), mark(key, kind=key), mark("k", kind=key + "k"))
    assert await one.count(7, "aa", [(key, 3), (key + "x", 4)]) == [3, 4]
    assert await other.count(7, "bb", [(key + "x", 1), (key, 0)]) == [5, 3]


async def test_windows_of_another_length_are_others(board: Make) -> None:
    one, other = board(), board()
    assert await one.count(7, "aa", [("x", 3)]) == [3]
    assert await other.count(7, "bb", [("x", 5)], 86_400) == [5]
    assert await one.count(7, "aa", [("x", 1)], 86_400) == [6]
    assert await other.count(7, "bb", [("x", 1)], 60) == [4]


async def test_changes_tell_what_comes_after_they_listen_and_only_news(board: Make) -> None:
    one, other = board(), board()
    heard: list[Mark | None] = []

    async def listen() -> None:
        async with aclosing(other.changes()) as changes:
            async for change in changes:
                heard.append(change)

    await one.tell([mark("before")])
    task = asyncio.create_task(listen())
    await until(lambda: heard, what="it says when it listens")
    assert heard == [None]
    await one.tell([mark("a", 5.0), mark("b", 5.0, "漢")])
    await one.tell([mark("a", 5.1), mark("a", 1.0)])  # not worth telling
    await other.tell([mark("c", 2.0)])
    await until(lambda: len(heard) == 4)
    await asyncio.sleep(0.05)
    assert heard == [None, mark("a"), mark("b", 5.0, "漢"), mark("c", 2.0)]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await one.tell([mark("d")])


async def test_counts_are_of_all_processes_and_saying_one_twice_counts_it_once(board: Make) -> None:
    one, other = board(), board()
    assert await one.count(7, "aa", [("x", 3), ("y", 0)]) == [3, 0]
    assert await one.count(7, "aa", [("x", 3)]) == [3]
    assert await other.count(7, "bb", [("x", 4), ("y", 2)]) == [7, 2]
    assert await one.count(7, "aa", [("x", 5), ("x", 5)]) == [9, 9]
    assert await one.count(7, "aa", [("x", 2)]) == [9], "one that comes late takes nothing away"
    assert await one.count(7, "aa", []) == []


async def test_windows_are_apart(board: Make) -> None:
    one = board()
    assert await one.count(7, "aa", [("x", 3)]) == [3]
    assert await one.count(8, "aa", [("x", 1)]) == [1]
    assert await one.count(7, "bb", [("x", 1)]) == [4]


async def test_large_counts_and_many_names_are_exact(board: Make) -> None:
    one, other = board(), board()
    big = 2**50 + 1
    assert await one.count(7, "aa", [("x", big)]) == [big]
    assert await other.count(7, "bb", [("x", 2)]) == [big + 2]
    names = [(f"n{number}", number) for number in range(500)]
    began = time.monotonic()
    assert await one.count(9, "aa", names) == list(range(500))
    assert time.monotonic() - began < 1


async def test_no_process_is_taken_for_another(board: Make) -> None:
    """Their names and the counters' names stand in one hash."""
    one = board()
    assert await one.count(7, "a", [("ax", 3)]) == [3]
    assert await one.count(7, "aa", [("x", 4)]) == [4]
    assert await one.count(7, "a", [("=x", 5), ("x", 1)]) == [5, 5]


DAY = 86_400_000


def said(own: str = "aa.1", name: str = "openai", period: int = DAY, at: int = 0, age: int = 0, **by: int) -> Told:
    """What a process says; ``aa=5``: ``aa.1`` has spent 5."""
    return Told(name, period, at, age, own, 1, {f"{who}.1": amount for who, amount in by.items()}, True)


async def told(board: Board, said: Told) -> Known:
    known = await board.spend(said)
    assert known is not None
    return known


@pytest.mark.parametrize("name", [*ODD, "openai"])
async def test_what_is_spent_is_that_of_all_and_saying_it_twice_counts_it_once(board: Make, name: str) -> None:
    one, other = board(), board()
    assert await one.spend(said(name=name)) is None, "nobody has spent anything, and asking begins no window"
    first = await told(one, said(name=name, aa=5))
    assert (first.total, first.mine, first.by) == (5, 5, {"aa.1": 5}) and 0 <= first.age < 5000
    second = await told(other, said("bb.1", name, at=first.at, bb=7))
    assert (second.at, second.total, second.mine, second.by) == (first.at, 12, 7, {"aa.1": 5, "bb.1": 7})
    again = await told(one, said(name=name, at=first.at, aa=5))
    assert (again.total, again.mine) == (12, 5)
    late = await told(one, said(name=name, at=first.at, aa=3))
    assert (late.total, late.mine) == (12, 5), "what comes late takes nothing away"
    asked = await told(other, said("cc.1", name)._replace(whole=False))
    assert (asked.total, asked.mine, asked.by) == (12, 0, None)


async def test_large_amounts_are_exact_and_one_may_speak_for_others(board: Make) -> None:
    one, big = board(), 2**52 + 1  # nano-dollars: four and a half millions
    known = await told(one, said(aa=big, gone=2))
    assert (known.total, known.mine, known.by) == (big + 2, big, {"aa.1": big, "gone.1": 2})
    assert (await told(one, said(at=known.at, aa=big + 2))).total == big + 4


async def test_budgets_of_other_names_and_periods_are_apart(board: Make) -> None:
    one = board()
    await one.spend(said(aa=5))
    assert await one.spend(said(name="groq")) is None and await one.spend(said(period=DAY - 1)) is None
    assert (await told(one, said("bb.1", "groq", bb=1))).total == 1


async def test_the_earlier_of_two_windows_is_everybodys(board: Make) -> None:
    one, other = board(), board()
    later = await told(one, said(aa=5))
    earlier = await told(other, said("bb.1", age=3_600_000, bb=7))
    assert earlier.total == 12 and 3_599_000 < earlier.age < 3_605_000
    assert (await told(one, said(at=later.at, aa=5))).at == earlier.at
    assert (await told(one, said(at=later.at, aa=6))).total == 13


async def test_a_window_is_over_at_its_end_and_leaves_nothing(board: Make) -> None:
    one, other = board(), board()
    first = await told(one, said(period=400, aa=5))
    assert (await told(other, said("bb.1", period=400))).total == 5
    await asyncio.sleep(0.45)
    assert await other.spend(said("bb.1", period=400)) is None
    assert await one.spend(said(period=400, at=first.at, aa=6)) is None, "what is over is not begun again"
    assert await one.spend(said(period=400, age=390, aa=6)) is None, "nor what is nearly"
    fresh = await told(other, said("bb.1", period=400, bb=1))
    stale = await told(one, said(period=400, at=first.at, aa=6))
    assert (stale.at, stale.total, stale.mine) == (fresh.at, 1, 0), "nor is it counted in another window"


async def test_of_two_figures_the_younger_stays(board: Make) -> None:
    one, other = board(), board()
    assert await other.compare([], 60.0) == []
    await one.compare([Figure("d", False, 0.25, 2.0), Figure("d", True, 1e-09, 0.5), Figure("e\n漢", False, 3.5, 30.0)], 60.0)
    await other.compare([Figure("d", False, 9.0, 5.0), Figure("d", True, 0.125, 0.0)], 60.0)
    found = {(figure.key, figure.stream): figure for figure in await other.compare([], 60.0)}
    assert {at: figure.value for at, figure in found.items()} == {
        ("d", False): 0.25, ("d", True): 0.125, ("e\n漢", False): 3.5,
    }  # fmt: skip
    assert 2.0 <= found["d", False].age < 4.0 and 30.0 <= found["e\n漢", False].age < 32.0
    assert [figure.key for figure in await one.compare([], 10.0)] == ["d", "d"], "only what is young enough"
    assert all(figure.age < 60.0 for figure in await one.compare([Figure("old", False, 1.0, 4000.0)], 4000.0))
