"""The contract of a board (``stores.base``), for every board. A new one is a row in ``BOARDS``.

Several boards of one test see the same thing, as several processes do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

import pytest

from penstock.stores.base import Board, Mark
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
