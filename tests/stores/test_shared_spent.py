"""What processes spend against one budget, and how quick deployments are: soon known to all, also after a time apart."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path

import pytest

from penstock.runtime.live import Lives
from penstock.stores import redis_client, shared
from penstock.stores.memory import MemoryBoard
from penstock.stores.redis_board import RedisBoard
from penstock.stores.shared import Shared
from tests.redis_servers import RedisServer, redis_server, running, session_redis, until  # noqa: F401

SOON = 3.0  # seconds; on a machine that is not busy it is a tenth
STOP = 0.3
DAY = 86400.0
Make = Callable[[], Lives]


def started(board: MemoryBoard | RedisBoard) -> Lives:
    lives, view = Lives(), Shared(board)
    lives.share(view, time.monotonic)
    lives.spent.ask({"openai": (1.0, DAY), "groq": (1.0, DAY)})
    view.start()
    return lives


def spent(lives: Lives, name: str = "openai", limit: float = 1e-9) -> bool:
    return name in lives.spent.broke({name: (limit, DAY)}, time.monotonic())


def spend(lives: Lives, dollars: str, name: str = "openai") -> None:
    lives.spent.add(name, Decimal(dollars), time.monotonic(), DAY)


def exactly(lives: Lives, dollars: str, name: str = "openai") -> bool:
    """Whether a process knows of just so much: a budget of it is used up, and one of a nano-dollar more is not."""
    amount = Decimal(dollars)
    return spent(lives, name, float(amount)) and not spent(lives, name, float(amount + Decimal("1e-9")))


def shared_of(lives: Lives) -> Shared:
    assert lives.shared is not None
    return lives.shared


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "LATENCIES", 0.05)
    monkeypatch.setattr(shared, "IDLE", 0.1)
    monkeypatch.setattr(shared, "LONGEST_STOP", STOP)
    monkeypatch.setattr(redis_client, "LONGEST_CLOSE", STOP)


@pytest.fixture(params=["memory", "redis"])
async def process(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """``process()``: one more process, started."""
    begun: list[Lives] = []
    memory = MemoryBoard()
    server = request.getfixturevalue("redis_server") if request.param == "redis" else None

    def made() -> Lives:
        begun.append(started(memory if server is None else RedisBoard(server.settings())))
        return begun[-1]

    yield made
    for lives in begun:
        await shared_of(lives).stop()


async def test_what_one_spends_all_know_soon_and_to_the_nano_dollar(process: Make) -> None:
    one, other = process(), process()
    spend(one, "0.1")
    assert exactly(one, "0.1"), "its own at once"
    for _ in range(10):
        spend(other, "0.000000007")
    await until(lambda: exactly(one, "0.10000007") and exactly(other, "0.10000007"), SOON)
    spend(one, "5", "groq")
    await until(lambda: exactly(other, "5", "groq") and exactly(other, "0.10000007"), SOON)


async def test_who_starts_later_knows_what_is_spent_and_what_is_left_of_the_window(process: Make) -> None:
    one = process()
    spend(one, "0.25")
    await asyncio.sleep(0.3)
    await shared_of(one).stop()
    later = process()
    await until(lambda: exactly(later, "0.25"), SOON, "also of one that has ended")
    left = later.spent.broke({"openai": (0.1, DAY)}, time.monotonic())["openai"]
    assert DAY - 10 < left < DAY - 0.2


def quick(lives: Lives, live_id: str, stream: bool = False) -> float:
    return lives[live_id].standing.latency(time.monotonic(), stream, 3600.0)


async def test_who_starts_later_knows_who_is_quick(process: Make) -> None:
    one = process()
    one["slow"].standing.answered_in(time.monotonic(), 8.0, 1)
    one["quick"].standing.began_in(time.monotonic(), 0.25)
    await asyncio.sleep(0.3)
    later = process()
    later["slow"].standing.answered_in(time.monotonic() - 60.0, 0.1, 1)
    await until(lambda: quick(later, "slow") > 4.0, SOON, "what was seen last counts")
    assert 0.1 < quick(later, "quick", stream=True) <= 0.25, "also of one that is asked for the first time now"
    assert quick(later, "quick") == 0.0


async def test_a_figure_does_not_stay_young_by_going_round(process: Make) -> None:
    one, other, third = process(), process(), process()
    for lives in (other, third):
        _ = lives["d"]
    seen = time.monotonic()
    one["d"].standing.answered_in(seen, 8.0, 1)
    await until(lambda: quick(other, "d") and quick(third, "d"), SOON)
    await asyncio.sleep(0.8)
    for lives in (one, other, third):
        assert lives["d"].standing.quickness(False) == (8.0, pytest.approx(seen, abs=0.2))


@pytest.mark.serial
async def test_what_is_spent_while_redis_is_away_is_added_afterwards_once(tmp_path: Path) -> None:
    """Killed and started again, empty: who lives says all again, and what those have spent that ended is known, too."""
    with running(RedisServer(tmp_path)) as server:
        lives = [started(RedisBoard(server.settings())) for _ in range(3)]
        await until(lambda: all(shared_of(one).connected for one in lives), 2.0)
        true, longest, spending = 0, 0.0, True

        async def work(one: Lives) -> None:
            nonlocal true, longest
            while spending:
                began = time.perf_counter()
                spend(one, "0.001")
                true += 1
                assert not spent(one, limit=float(Decimal(true) / 1000 + Decimal("1e-9"))), "nothing is doubled"
                longest = max(longest, time.perf_counter() - began)
                await asyncio.sleep(0.001)

        gone = lives.pop()
        spend(gone, "7")
        true += 7000
        await until(lambda: all(spent(one, limit=7.0) for one in lives), 2.0)
        await shared_of(gone).stop()
        for one in lives:
            shared_of(one)._asked_who = 0.0  # they ask again, as every ten seconds, who has spent what
        await asyncio.sleep(0.3)
        tasks = [asyncio.create_task(work(one)) for one in lives]
        for _ in range(2):
            await asyncio.sleep(0.3)
            server.kill()
            await until(lambda: all(shared_of(one).trouble for one in lives), 2.0)
            await asyncio.sleep(0.8)
            server.start()
            await until(lambda: all(shared_of(one).connected for one in lives), 2.0)
        spending = False
        await asyncio.gather(*tasks)
        total = str(Decimal(true) / 1000)
        await until(lambda: all(exactly(one, total) for one in lives), 2.5)
        later = started(RedisBoard(server.settings()))
        await until(lambda: exactly(later, total), 2.0, "and Redis has all of it again")
        for one in (*lives, later):
            await shared_of(one).stop()
    assert longest < 0.1, "a request never waits for Redis"


class Stubborn(MemoryBoard):
    """A board whose commands neither end nor let themselves be cancelled."""

    hangs = False

    async def count(self, *words: object) -> list[int]:  # type: ignore[override]
        while self.hangs:
            try:
                await asyncio.sleep(0.5)
            except asyncio.CancelledError:
                continue
        return await super().count(*words)  # type: ignore[arg-type]

    async def close(self) -> None:
        while self.hangs:
            await asyncio.sleep(0.5)


async def test_a_board_that_never_ends_keeps_nobody_from_stopping() -> None:
    board = Stubborn()
    lives = started(board)
    view = shared_of(lives)
    await until(lambda: view.connected, SOON)
    board.hangs = True
    await asyncio.sleep(0.2)
    view.count("d", 1, 1)
    await asyncio.sleep(0.2)
    began = time.monotonic()
    await view.stop()
    assert time.monotonic() - began < 3 * STOP + 0.5
    board.hangs = False
    await asyncio.sleep(1.1)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not others, "and what was let go ends as soon as it can"


@pytest.mark.serial
async def test_a_redis_that_hangs_keeps_nobody_from_stopping(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        lives = started(RedisBoard(server.settings(socket_timeout=30)))
        await until(lambda: shared_of(lives).connected, 2.0)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            spend(lives, "1")
            await asyncio.sleep(0.2)
            began = time.monotonic()
            await shared_of(lives).stop()
            assert time.monotonic() - began < 3 * STOP + 0.5
        finally:
            server.process.send_signal(signal.SIGCONT)
