"""The contract of ``stores.base``, for every store. A new one is a row in ``STORES``."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from penstock.stores import behind
from penstock.stores.base import Store
from penstock.stores.behind import Behind
from penstock.stores.memory import MemoryStore
from penstock.stores.redis_board import RedisBoard, RedisStore
from penstock.stores.sql.kept import SqlStore
from tests.databases import SERVERS, Emptied
from tests.redis_servers import RedisServer


class Clock:
    """``moved``: told by how much the time of a server that has a clock of its own is to be moved on. ``grain``: how
    near the end of a value's life can be looked at."""

    def __init__(self) -> None:
        self._now = 1000.0
        self.moved: Callable[[float], None] = lambda seconds: None
        self.grain = 0.001

    def __call__(self) -> float:
        return self._now

    @property
    def now(self) -> float:
        return self._now

    @now.setter
    def now(self, now: float) -> None:
        self.moved(now - self._now)
        self._now = now


class OfRedis(RedisStore):
    """Closes its connections with itself: each example of the model has a loop of its own."""

    async def close(self) -> None:
        await self._board.close()


# Moves the ends of all values nearer, which is all that the time does to them.
_MOVE = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= tonumber(ARGV[1]) then redis.call('DEL', key)
  elseif left >= 0 then redis.call('PEXPIRE', key, left - tonumber(ARGV[1])) end
end
"""


@cache
def _server() -> RedisServer:
    server = RedisServer(Path(tempfile.mkdtemp()))
    server.start()
    atexit.register(shutil.rmtree, server.folder, ignore_errors=True)
    atexit.register(server.kill)
    return server


def _of_redis(clock: Clock, size: int) -> Store:
    server = _server()
    server.ask("FLUSHALL")
    clock.grain = 0.5
    clock.moved = lambda seconds: server.ask("EVAL", _MOVE, "0", str(round(seconds * 1000))) and None
    return OfRedis(RedisBoard(server.settings()))


@cache
def _file() -> Emptied:
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Emptied(f"sqlite:///{folder}/penstock.db")


def _of_sqlite(clock: Clock, size: int) -> Store:
    emptied = _file()
    emptied.empty()
    return SqlStore(emptied.database, clock)


Make = Callable[[Clock, int], Store]
STORES: dict[str, Make] = {
    "memory": lambda clock, size: MemoryStore(size, clock),
    "redis": _of_redis,
    "sqlite": _of_sqlite,
    "behind": lambda clock, size: Behind(MemoryStore(size, clock), clock),
}
BOUNDED = {"memory"}  # their docstring names a bound in bytes
BIG = 1 << 30


@pytest.fixture(params=sorted([*STORES, *SERVERS]))
def make(request) -> Callable[..., tuple[Store, Clock]]:
    """Makes stores; those of database servers are the one of SQLite in other words, and have no model of their own."""
    if request.param in SERVERS:
        emptied: Emptied = request.getfixturevalue(f"session_{request.param}")
        emptied.empty()

    def made(size: int = BIG) -> tuple[Store, Clock]:
        clock = Clock()
        if request.param in SERVERS:
            return SqlStore(emptied.database, clock), clock
        return STORES[request.param](clock, size), clock

    return made


async def test_a_value_is_there_until_it_is_deleted(make):
    store, clock = make()
    assert await store.get("k") is None and await store.delete("k") is False
    await store.put("k", b"\x00v\xff")
    clock.now += 1e9
    assert await store.get("k") == b"\x00v\xff"
    assert await store.delete("k") is True
    assert await store.get("k") is None and await store.delete("k") is False


async def test_a_value_is_gone_when_its_time_is_over_and_not_before(make):
    store, clock = make()
    await store.put("k", b"v", ttl=10)
    clock.now += 10 - clock.grain
    assert await store.get("k") == b"v"
    clock.now += clock.grain
    assert await store.get("k") is None
    assert await store.delete("k") is False, "there was nothing any more"
    await store.put("d", b"v", ttl=1)
    clock.now += 2
    assert await store.delete("d") is False


async def test_a_put_replaces_value_and_time(make):
    store, clock = make()
    await store.put("k", b"one", ttl=1)
    await store.put("k", b"two")
    clock.now += 5
    assert await store.get("k") == b"two"
    await store.put("k", b"three", ttl=1)
    clock.now += 5
    assert await store.get("k") is None


async def test_keys_and_values_are_any(make):
    store, _ = make()
    for key in ("", "a:b/c d\n", "漢" * 300, "\x00"):
        for value in (b"", b"\xff" * 70_000):
            await store.put(key, value)
            assert await store.get(key) == value
    assert await store.get("no") is None


async def test_a_closed_store_can_be_closed_again(make):
    store, _ = make()
    await store.put("k", b"v")
    await store.close()
    assert await store.close() is None  # the second time, too: no error


@pytest.mark.parametrize("name", sorted(BOUNDED))
async def test_over_its_bound_the_least_recently_written_go_first(name):
    store = STORES[name](Clock(), 100)
    for key in "abcd":
        await store.put(key, b"x" * 24)
    await store.get("a")
    await store.put("b", b"y" * 24)  # written again: "a" and "c" are older now
    await store.put("e", b"x" * 24)
    assert [await store.get(key) is not None for key in "abcde"] == [False, True, True, True, True]
    await store.put("f", b"x" * 49)
    assert [await store.get(key) is not None for key in "abcdef"] == [False, True, False, False, True, True]


@pytest.mark.parametrize("name", sorted(BOUNDED))
async def test_one_value_over_the_bound_is_kept_alone(name):
    store = STORES[name](Clock(), 100)
    await store.put("a", b"x")
    await store.put("big", b"x" * 1000)
    assert await store.get("a") is None and await store.get("big") == b"x" * 1000
    await store.put("b", b"x")
    assert await store.get("big") is None and await store.get("b") == b"x"


class Model(RuleBasedStateMachine):
    """A store against a dict that remembers when."""

    make: Make
    size = BIG

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.store = type(self).make(self.clock, self.size)
        self.known: dict[str, tuple[bytes, float | None]] = {}
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        self.loop.run_until_complete(self.store.close())
        self.loop.close()

    keys = st.sampled_from(["a", "b", "c", "dd"])

    def expected(self, key: str) -> bytes | None:
        value, until = self.known.get(key, (None, None))
        return None if until is not None and self.clock.now >= until else value

    @rule(key=keys, value=st.binary(max_size=40), ttl=st.none() | st.sampled_from([0.0, 1.0, 5.0]))
    def put(self, key: str, value: bytes, ttl: float | None) -> None:
        self.loop.run_until_complete(self.store.put(key, value, ttl))
        self.known.pop(key, None)
        self.known[key] = (value, None if ttl is None else self.clock.now + ttl)

    @rule(key=keys)
    def get(self, key: str) -> None:
        assert self.loop.run_until_complete(self.store.get(key)) == self.expected(key)

    @rule(key=keys)
    def delete(self, key: str) -> None:
        assert self.loop.run_until_complete(self.store.delete(key)) == (self.expected(key) is not None)
        self.known.pop(key, None)

    @rule(seconds=st.sampled_from([0.5, 1.0, 4.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: isinstance(self.store, MemoryStore))
    @invariant()
    def the_size_is_what_is_held(self) -> None:
        held = self.store._values
        assert self.store._size == sum(len(key) + len(value) for key, (value, _) in held.items())


def model_of(name: str) -> type:
    machine = type(f"Model_{name}", (Model,), {"make": staticmethod(STORES[name])})
    case = machine.TestCase
    case.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
    return case


TestMemory = model_of("memory")
TestRedis = model_of("redis")
TestSqlite = model_of("sqlite")
TestBehind = model_of("behind")


class Slow(MemoryStore):
    """A store that waits until it may go on, and that may be away."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.away = asyncio.Event(), False

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        await self.go.wait()
        if self.away:
            raise OSError("away")
        await super().put(key, value, ttl)


async def test_who_puts_never_waits_for_the_store_behind():
    far, clock = Slow(), Clock()
    store = Behind(far, clock)
    await store.put("b", b"1")
    await asyncio.sleep(0)  # it is on its way, the next ones wait
    await store.put("a", b"1", ttl=10)
    await store.put("b", b"2")
    await asyncio.sleep(0.01)
    assert await store.get("a") == b"1" and await store.get("b") == b"2" and await far.get("b") is None
    assert await Behind(far, clock).get("a") is None, "another process has it once it is there"
    clock.now += 4
    far.go.set()
    await asyncio.sleep(0.01)
    assert await Behind(far).get("b") == b"2"
    assert far._values["a"][1] - far._clock() == pytest.approx(6, abs=1), "its time went on meanwhile"
    far.go.clear()
    await store.put("c", b"3")
    await asyncio.sleep(0)
    deleting = asyncio.create_task(store.delete("c"))
    await asyncio.sleep(0)
    far.go.set()
    assert await deleting is True
    assert await store.get("c") is None and await far.get("c") is None, "what was on its way does not come back"


async def test_values_wait_for_a_store_that_is_away_up_to_a_bound(monkeypatch):
    monkeypatch.setattr(behind, "MOST_WAITING", 100)
    far = Slow()
    far.away = True
    far.go.set()
    store = Behind(far)
    await store.put("a", b"x" * 60)
    await store.put("a", b"y" * 30)
    with pytest.raises(OSError, match="too much waits"):
        await store.put("b", b"x" * 80)
    assert await store.get("a") == b"y" * 30
    far.away = False
    await asyncio.sleep(0.6)
    assert await far.get("a") == b"y" * 30
    await store.put("b", b"x" * 80)
    await store.close()


async def test_what_is_over_is_cleaned_up_little_by_little():
    clock = Clock()
    store = _of_sqlite(clock, BIG)
    for number in range(3):
        await store.put(f"k{number}", b"v", ttl=10)
    await store.put("lasting", b"v")
    clock.now += 100
    await store.put("new", b"v", ttl=10)
    held = await _file().database.read(lambda c: c.exec_driver_sql("SELECT COUNT(*) FROM penstock_kept").scalar())
    assert held == 2


def test_every_store_has_its_model():
    assert {f"Test{name.capitalize()}" for name in STORES} <= set(globals())
