"""The contract of ``stores.base.Pot``: in memory, in Redis, and in each kind of database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import pytest

from penstock.stores.base import Pot, Want
from penstock.stores.redis_board import RedisBoard
from penstock.stores.redis_pot import RedisPot
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.pot import SqlPot
from tests.databases import KINDS
from tests.pots import MemoryPot
from tests.redis_servers import redis_server, session_redis  # noqa: F401

UNTIL = 4e9
DOLLAR = 10**12
CAP = 9_000_000 * DOLLAR  # the largest there is


@pytest.fixture(params=["memory", "redis", *KINDS])
async def pot(request: pytest.FixtureRequest) -> AsyncIterator[Pot]:
    if request.param == "memory":
        yield MemoryPot()
    elif request.param == "redis":
        board = RedisBoard(request.getfixturevalue("redis_server").settings())
        yield RedisPot(board)
        await board.close()
    else:
        database = Database(read_address(request.getfixturevalue(f"empty_{request.param}")))
        yield SqlPot(database)
        database.close()


def want(account: str = "key:a", need: int = 0, cap: int = 100 * DOLLAR, granted: int = 0, spent: int = 0, **more) -> Want:
    told = {"period": "1d", "start": 1.79e9, "until": UNTIL, "base": 0} | more
    return Want(account=account, cap=cap, granted=granted, spent=spent, need=need, **told)


async def test_no_more_is_granted_than_there_is(pot: Pot) -> None:
    [one] = await pot.take("p", "f:1", [[want(need=60 * DOLLAR)]])
    assert one.granted and one.caps[0] == (60 * DOLLAR, 60 * DOLLAR, 1)
    first, second = await pot.take("q", "f:1", [[want(need=41 * DOLLAR)], [want(need=40 * DOLLAR)]])
    assert not first.granted and first.caps[0].used == 60 * DOLLAR
    assert second.granted and second.caps[0] == (40 * DOLLAR, 100 * DOLLAR, 2)
    [other] = await pot.take("q", "f:1", [[want(need=100 * DOLLAR, start=1.8e9)]])
    assert other.granted, "another window is another cap"


async def test_all_of_a_question_or_nothing(pot: Pot) -> None:
    question = [want(need=5 * DOLLAR), want("team:t", need=5 * DOLLAR, cap=3 * DOLLAR)]
    [refused] = await pot.take("p", "f:1", [question])
    assert not refused.granted and [got.granted for got in refused.caps] == [0, 0]
    [granted] = await pot.take("p", "f:1", [[question[0], question[1]._replace(cap=9 * DOLLAR)]])
    assert granted.granted and [got.granted for got in granted.caps] == [5 * DOLLAR] * 2


async def test_what_a_process_says_it_has_is_what_it_has(pot: Pot) -> None:
    await pot.take("p", "f:1", [[want(need=90 * DOLLAR)]])
    await pot.take("p", "f:2", [[want(granted=20 * DOLLAR, spent=20 * DOLLAR)]])  # it gives the rest back
    [one] = await pot.take("q", "f:1", [[want(need=80 * DOLLAR)]])
    assert one.granted and one.caps[0].used == 100 * DOLLAR
    [twice] = await pot.take("q", "f:1", [[want(need=80 * DOLLAR)]])  # the answer was lost, and it says it again
    assert twice.granted and twice.caps[0].used == 100 * DOLLAR


async def test_what_was_spent_before_counts_once(pot: Pot) -> None:
    [one] = await pot.take("p", "f:1", [[want(need=50 * DOLLAR, base=50 * DOLLAR)]])
    [two] = await pot.take("q", "f:1", [[want(need=1000, base=70 * DOLLAR)]])
    assert one.granted and not two.granted and two.caps[0].used == 100 * DOLLAR


async def test_more_is_a_part_of_what_is_left(pot: Pot) -> None:
    [one] = await pot.take("p", "f:1", [[want(need=20 * DOLLAR, more=50 * DOLLAR)]])
    assert one.caps[0].granted == 40 * DOLLAR
    [two] = await pot.take("p", "f:1", [[want(granted=40 * DOLLAR, more=4 * DOLLAR)]])
    assert two.caps[0].granted == 44 * DOLLAR


async def test_of_a_dead_process_what_it_spent_stays(pot: Pot) -> None:
    other = want("team:t", need=30 * DOLLAR)
    await pot.take("p", "f:100", [[want(need=60 * DOLLAR), other]])
    await pot.take("p", "g:7", [[want(granted=60 * DOLLAR, spent=10 * DOLLAR)]])
    names = {("key:a", "1d", 1.79e9): "g:7", ("team:t", "1d", 1.79e9): "f:100"}
    assert await pot.marks_of("p") == names
    await pot.bury("p", {("key:a", "1d", 1.79e9): 2 * DOLLAR, ("key:unknown", "", 0.0): 1})
    [one] = await pot.take("q", "f:1", [[want(need=88 * DOLLAR), want("team:t", need=100 * DOLLAR)]])
    assert one.granted
    assert await pot.marks_of("nobody") == {}
    await pot.bury("nobody", {})


async def test_the_largest_amounts_and_strange_names(pot: Pot) -> None:
    name = 'member:t:1/user "é" {x}\n/model:a/b:c'
    [one] = await pot.take("p", "f:1", [[want(name, need=CAP - 1000, cap=CAP, period="", start=0.0, until=float("inf"))]])
    assert one.granted and one.caps[0].granted == CAP - 1000
    [two] = await pot.take("q", "f:1", [[want(name, need=2000, cap=CAP, period="", start=0.0, until=float("inf"))]])
    [three] = await pot.take("q", "f:1", [[want(name, need=1000, cap=CAP, period="", start=0.0, until=float("inf"))]])
    assert (two.granted, three.granted) == (False, True)
    assert list(await pot.marks_of("p")) == [(name, "", 0.0)]


async def test_many_at_once_get_no_more_than_there_is(pot: Pot) -> None:
    dice, held = random.Random(5), dict[str, int]()

    async def run(process: str) -> None:
        for _ in range(12):
            need = dice.randrange(1, 5) * DOLLAR
            asked = [want(need=need, granted=held.get(process, 0)), want("team:t", granted=held.get(process, 0), need=need)]
            dice.shuffle(asked)
            [told] = await pot.take(process, "f:1", [asked])
            held[process] = told.caps[0].granted

    await asyncio.gather(*(run(f"p{number}") for number in range(6)))
    assert 96 * DOLLAR <= sum(held.values()) <= 100 * DOLLAR
