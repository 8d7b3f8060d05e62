"""What a process knows of what others share: at once of its own, soon of theirs, and alone while the board is away.

The same tests with a board in memory and one in Redis; then what only a broken board shows."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable

import pytest

from penstock.stores.base import Board, Mark
from penstock.stores.memory import MemoryBoard, MemoryStore
from penstock.stores.redis_board import RedisBoard, RedisStore
from penstock.stores.redis_client import MISSING, NotInstalled
from penstock.stores.shared import RESTS, Shared
from tests.redis_servers import redis_server, session_redis, until  # noqa: F401

SOON = 3.0  # seconds; on a machine that is not busy it is a tenth: test_redis_down.py measures
MINUTE = 29_000_000 * 60.0


class Wall:
    """A calendar that stands: no test is to meet the end of a minute."""

    now = MINUTE + 1

    def __call__(self) -> float:
        return self.now


Make = Callable[[], Shared]


@pytest.fixture(params=["memory", "redis"])
async def process(request: pytest.FixtureRequest) -> AsyncIterator[Make]:
    """``process()``: the view of one more process, started."""
    begun: list[Shared] = []
    wall = Wall()
    memory, values = MemoryBoard(), MemoryStore()
    server = request.getfixturevalue("redis_server") if request.param == "redis" else None

    def made() -> Shared:
        if server is None:
            shared = Shared(memory, values, wall=wall)
        else:
            board = RedisBoard(server.settings())
            shared = Shared(board, RedisStore(board), wall=wall)
        shared.heard = []  # type: ignore[attr-defined]
        shared.on_cooled = lambda *cooled: shared.heard.append(cooled)  # type: ignore[attr-defined]
        shared.wall = wall  # type: ignore[attr-defined]
        shared.start()
        begun.append(shared)
        return shared

    yield made
    for each in begun:
        await each.stop()


async def test_own_counts_are_there_at_once_and_those_of_others_soon(process: Make) -> None:
    one, other = process(), process()
    one.count("d", 1, 40)
    assert one.total("d") == (1, 40) and other.total("d") == (0, 0)
    other.count("d", 2, 0)
    await until(lambda: one.total("d") == other.total("d") == (3, 40), SOON)
    for _ in range(100):
        one.count("d", 1, 1)
        other.count("e", 1, 7)
    assert one.total("d") == (103, 140)
    await until(lambda: other.total("d") == (103, 140) and one.total("e") == (100, 700), SOON)


async def test_one_deployment_can_be_held_by_itself(process: Make) -> None:
    one, other = process(), process()
    mine = one.of("d")
    mine.count(1, 5)
    mine.cooled(5.0, "Timeout")
    assert mine.used() == (1, 5, 59.0) and one.total("d") == (1, 5)
    await until(lambda: other.of("d").used() == (1, 5, 59.0) and [heard[0] for heard in other.heard] == ["d"], SOON)
    seconds, why = other.rest_of("d")  # type: ignore[misc]
    assert 4.0 < seconds <= 5.0 and why == "Timeout" and other.rest_of("e") is None


async def test_a_minute_begins_at_nothing(process: Make) -> None:
    one, other = process(), process()
    one.count("d", 1, 1)
    await until(lambda: other.total("d") == (1, 1), SOON)
    one.wall.now += 60  # type: ignore[attr-defined]
    assert one.total("d") == other.total("d") == (0, 0)
    other.count("d", 5, 0)
    await until(lambda: one.total("d") == (5, 0), SOON)


async def test_others_hear_of_a_cooldown_once_and_who_told_does_not(process: Make) -> None:
    one, other, third = process(), process(), process()
    await until(lambda: one.connected and other.connected and third.connected, SOON)
    one.cooled("d\nmodel", 5.0, "RateLimitError")
    await until(lambda: other.heard and third.heard, SOON)
    other.cooled("d\nmodel", 5.0, "RateLimitError")  # it met the same refusal
    await asyncio.sleep(0.3)
    [(live_id, seconds, why)] = other.heard
    assert (live_id, why) == ("d\nmodel", "RateLimitError") and 4.0 < seconds <= 5.0
    assert third.heard == [(live_id, pytest.approx(seconds, abs=0.5), why)] and one.heard == []
    [(live_id, seconds, why)] = third.resting()
    assert (live_id, why) == ("d\nmodel", "RateLimitError") and 3.0 < seconds <= 5.0


async def test_who_starts_later_hears_what_rests(process: Make) -> None:
    one = process()
    one.cooled("d", 5.0, "Timeout")
    one.cooled("gone", 0.1, "Timeout")
    await asyncio.sleep(0.3)
    later = process()
    await until(lambda: later.heard, SOON)
    assert [name for name, _, _ in later.heard] == ["d"]


async def test_values_are_seen_by_others(process: Make) -> None:
    one, other = process(), process()
    await until(lambda: one.connected and other.connected, SOON)
    await one.values.put("session", b"d", 5.0)
    assert await other.values.get("session") == b"d"
    assert await other.values.delete("session") is True
    assert await one.values.get("session") is None


async def test_what_was_not_said_yet_is_said_at_the_end(process: Make) -> None:
    one, other = process(), process()
    await until(lambda: one.connected and other.connected, SOON)
    one.count("d", 1, 1)
    one.cooled("d", 5.0, "Timeout")
    await one.stop()
    await until(lambda: other.total("d") == (1, 1) and other.heard, SOON)


async def test_a_view_that_was_not_started_is_this_processes_own() -> None:
    shared = Shared(MemoryBoard(), wall=Wall())
    shared.count("d", 1, 2)
    shared.cooled("d", 5.0, "Timeout")
    assert shared.total("d") == (1, 2) and [one[0] for one in shared.resting()] == ["d"]
    assert not shared.connected
    await shared.values.put("k", b"v")
    assert await shared.values.get("k") == b"v"
    await shared.stop()


class Breaking(MemoryBoard):
    """A board that cannot be reached while ``broken``."""

    broken: Exception | None = None
    asked = 0

    async def tell(self, marks: list[Mark]) -> None:  # type: ignore[override]
        self.asked += 1
        self._check()
        await super().tell(marks)

    async def count(self, *words: object) -> list[int]:  # type: ignore[override]
        self._check()
        return await super().count(*words)  # type: ignore[arg-type]

    async def changes(self):
        self._check()
        async for change in super().changes():
            self._check()
            yield change

    def _check(self) -> None:
        if self.broken is not None:
            raise self.broken


async def test_it_goes_on_alone_says_so_once_and_is_in_step_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "penstock")
    board = Breaking()
    heard: list[object] = []
    one, other = Shared(board, MemoryStore(), wall=Wall()), Shared(board, MemoryStore(), wall=Wall())
    other.on_cooled = lambda *cooled: heard.append(cooled)
    one.start()
    other.start()
    await until(lambda: one.connected and other.connected, SOON)
    board.broken = ConnectionResetError("it went away")
    one.count("d", 1, 0)
    await until(lambda: one.trouble, SOON)
    one.count("d", 2, 5)
    one.cooled("d", 30.0, "Timeout")
    other.count("d", 4, 0)
    await one.values.put("k", b"v")
    assert await one.values.get("k") == b"v", "from this process's own memory"
    await asyncio.sleep(0.5)
    assert one.total("d") == (3, 5) and other.total("d") == (4, 0) and heard == []
    told = one.told()
    assert told["connected"] is False and told["error"] == "it went away" and told["for_seconds"] > 0.3
    board.broken = None
    await until(lambda: one.total("d") == other.total("d") == (7, 5) and heard, SOON)
    assert one.told() == {"where": "memory", "connected": True}
    await one.stop()
    await other.stop()
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert sorted(line.split(" ")[1] for line in said) == ["cannot", "cannot", "is", "is"], said
    assert "memory cannot be used (it went away): " in said[0]


async def test_a_board_that_stays_away_is_asked_ever_more_seldom() -> None:
    board = Breaking()
    board.broken = OSError("no")
    shared = Shared(board, wall=Wall())
    shared.start()
    await asyncio.sleep(1.2)
    assert 2 <= board.asked <= 6
    for _ in range(1000):
        shared.count("d", 1, 1)
    assert shared.total("d") == (1000, 1000)
    await shared.stop()


async def test_a_cancellation_that_gets_lost_keeps_nobody_from_stopping() -> None:
    class Losing(MemoryBoard):
        lost = 0

        async def count(self, *words: object) -> list[int]:  # type: ignore[override]
            if not self.lost:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.lost += 1
            return []

    board = Losing()
    shared = Shared(board, wall=Wall())
    shared.start()
    await asyncio.sleep(0.05)
    async with asyncio.timeout(SOON):
        await shared.stop()
    assert board.lost == 1


async def test_a_fault_of_who_listens_does_not_end_the_sharing(caplog: pytest.LogCaptureFixture) -> None:
    board = Breaking()
    one, other = Shared(board, wall=Wall()), Shared(board, wall=Wall())

    def fail(*cooled: object) -> None:
        raise ZeroDivisionError

    other.on_cooled = fail
    one.start()
    other.start()
    await until(lambda: one.connected and other.connected, SOON)
    one.cooled("d", 30.0, "Timeout")
    await until(lambda: "through a fault of the gateway" in caplog.text, SOON)
    heard: list[str] = []
    other.on_cooled = lambda live_id, *_: heard.append(live_id)
    one.count("d", 1, 0)
    one.cooled("e", 30.0, "Timeout")
    await until(lambda: other.total("d") == (1, 0) and "e" in heard, 3.0)
    await one.stop()
    await other.stop()


async def test_without_the_package_it_says_what_to_install_once(caplog: pytest.LogCaptureFixture) -> None:
    board = Breaking()
    board.broken = NotInstalled(MISSING)
    shared = Shared(board, wall=Wall())
    shared.start()
    await until(lambda: shared.trouble, SOON)
    await asyncio.sleep(0.4)
    assert board.asked == 1
    assert caplog.text.count("pip install 'penstock[redis]'") == 1
    shared.count("d", 1, 0)
    assert shared.total("d") == (1, 0)
    await shared.stop()


async def test_a_mark_that_the_board_forgot_is_told_again() -> None:
    board, now = MemoryBoard(), time.monotonic
    one = Shared(board, clock=now, wall=Wall())
    one.start()
    one.cooled("d", 30.0, "Timeout")
    await until(lambda: board._marks, SOON)
    board._marks.clear()
    one._reread_at = 0.0
    one.count("d", 1, 0)
    await until(lambda: (RESTS, "d") in board._marks, SOON)
    await one.stop()


def test_both_boards_keep_the_protocol() -> None:
    boards: list[type[Board]] = [MemoryBoard, RedisBoard]
    assert len(boards) == 2
