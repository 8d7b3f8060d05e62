"""Redis is killed and started again, empty, while processes count: nobody waits, nothing is lost, nobody doubles."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import pytest

from penstock.stores.redis_board import open_shared
from penstock.stores.shared import Shared
from tests.redis_servers import RedisServer, running, until
from tests.stores.test_shared import Wall

pytestmark = pytest.mark.serial  # measures time
PROCESSES = 3


def made(server: RedisServer) -> Shared:
    shared = open_shared(server.settings())
    shared._wall = Wall()
    shared.start()
    return shared


@pytest.mark.parametrize("times", [2])
async def test_killed_and_started_again_while_counters_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, times: int
) -> None:
    with running(RedisServer(tmp_path, password="a-password-77aa31")) as server:
        processes = [made(server) for _ in range(PROCESSES)]
        await until(lambda: all(one.connected for one in processes), 2.0)
        true, longest, counting = 0, 0.0, True

        async def work(shared: Shared) -> None:
            nonlocal true, longest
            while counting:
                began = time.perf_counter()
                shared.count("d", 1, 10)
                requests, tokens = shared.total("d")
                longest = max(longest, time.perf_counter() - began)
                true += 1
                assert requests <= true and tokens == 10 * requests
                await asyncio.sleep(0.001)

        tasks = [asyncio.create_task(work(one)) for one in processes]
        for round_ in range(times):
            await asyncio.sleep(0.3)
            server.kill()
            await until(lambda: all(one.trouble for one in processes), 2.0)
            heard: list[str] = []
            processes[1].on_cooled = lambda live_id, seconds, why, heard=heard: heard.append(live_id)
            processes[0].cooled(f"d{round_}", 30.0, "Timeout")
            await asyncio.sleep(0.8)
            server.start()
            began = time.monotonic()
            await until(lambda: all(one.connected for one in processes), 2.0)
            name = f"d{round_}"
            await until(
                lambda name=name, heard=heard: name in heard,
                2.0 - (time.monotonic() - began),
                "the cooldown told while it was away",
            )
        counting = False
        await asyncio.gather(*tasks)
        await until(lambda: all(one.total("d") == (true, 10 * true) for one in processes), 2.0)
        for one in processes:
            await one.stop()
    assert longest < 0.1, "a request never waits for Redis"
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in said if "cannot be used" in line]) == times * PROCESSES
    assert len([line for line in said if "is back after" in line]) == times * PROCESSES
    assert "a-password-77aa31" not in caplog.text


async def test_a_server_that_hangs_is_noticed_and_nobody_waits(tmp_path: Path) -> None:
    """SIGSTOP: the connection stays and nothing comes. Time limits end it."""
    import signal

    with running(RedisServer(tmp_path)) as server:
        one, other = made(server), made(server)
        await until(lambda: one.connected and other.connected, 2.0)
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            one.count("d", 1, 0)
            await until(lambda: one.trouble and other.trouble, 3.0)
            began = time.perf_counter()
            await one.values.put("k", b"v")
            assert await one.values.get("k") == b"v"
            assert time.perf_counter() - began < 0.1
        finally:
            server.process.send_signal(signal.SIGCONT)
        await until(lambda: other.total("d") == (1, 0), 2.5)
        await one.stop()
        await other.stop()


async def test_others_hear_of_a_rest_and_of_counts_within_a_second(tmp_path: Path) -> None:
    with running(RedisServer(tmp_path)) as server:
        one, other = made(server), made(server)
        heard: list[str] = []
        other.on_cooled = lambda live_id, seconds, why: heard.append(live_id)
        await until(lambda: one.connected and other.connected and other._heard, 2.0)
        other.total("d")
        for number in range(5):
            one.cooled(f"d{number}", 5.0, "Timeout")
            one.count("d", 1, 10)
            await until(
                lambda number=number: len(heard) == number + 1 and other.total("d") == (number + 1, 10 * number + 10),
                1.0,
            )
        await one.stop()
        await other.stop()
