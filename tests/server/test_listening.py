"""PostgreSQL tells of changes at once: to every process, also over a connection that was cut; else the looks find them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import psycopg
import pytest

from penstock.server.bell import Bell
from penstock.stores.sql.address import read_address
from penstock.stores.sql.listening import Listener
from tests.databases import Running, postgres  # noqa: F401
from tests.relay import Relay
from tests.served import MASTER, ServedDoor, open_service
from tests.server.test_storage import CONFIG, add_key, status, until

NEVER = 60.0


@pytest.fixture(autouse=True)
def rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by itself: what is heard of came by a notification."""
    monkeypatch.setattr("penstock.server.storage.LOOK", NEVER)
    monkeypatch.setattr("penstock.server.service.LOOK", NEVER)


def served(url: str, tmp_path: Path, name: str):
    (tmp_path / name).mkdir(exist_ok=True)
    yaml = CONFIG.replace(f"{{master_key: {MASTER}}}", f"{{master_key: {MASTER}, database_url: '{url}'}}")
    return open_service(tmp_path / name, yaml, {"PENSTOCK_SECRET_KEY": "one of all"}, state_dir=tmp_path / name / "state")


async def took(one: ServedDoor, other: ServedDoor, name: str) -> float:
    """Seconds from the answer of a change here to its effect there."""
    await add_key(one, f"sk-{name}-0123456789")
    began = time.perf_counter()
    while await status(other, f"sk-{name}-0123456789") != 200:
        assert time.perf_counter() - began < 5
        await asyncio.sleep(0.001)
    return time.perf_counter() - began


async def test_a_change_is_heard_of_at_once_and_after_the_connection_was_cut(tmp_path: Path, postgres: Running):  # noqa: F811
    url = postgres.fresh()
    async with served(url, tmp_path, "one") as one, served(url, tmp_path, "other") as other:
        await listening(url, 2)
        times = sorted([await took(one, other, f"k{n}") for n in range(5)])
        print(f"heard of after {times[0] * 1000:.1f} to {times[-1] * 1000:.1f} ms")
        assert times[2] < 0.2
        with psycopg.connect(url, autocommit=True) as connection:
            pids = "SELECT pid FROM pg_stat_activity WHERE application_name = 'penstock listens' AND datname = current_database()"
            connection.execute(f"SELECT pg_terminate_backend(pid) FROM ({pids}) AS those")
        await add_key(one, "sk-meanwhile-0123456789")
        await until(lambda: _opens(other, "sk-meanwhile-0123456789"), 5.0)
        await listening(url, 2)
        assert await took(one, other, "after") < 1.0


async def _opens(door: ServedDoor, key: str) -> bool:
    return await status(door, key) == 200


async def listening(url: str, count: int) -> None:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock listens' AND datname = current_database()"
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(500):
            if connection.execute(query + " AND query LIKE 'LISTEN%'").fetchone() == (count,):
                return
            await asyncio.sleep(0.01)
    raise AssertionError("nobody listens")


async def test_models_are_heard_of_at_once_too(tmp_path: Path, postgres: Running):  # noqa: F811
    url = postgres.fresh()
    entry = {"model_name": "new", "litellm_params": {"model": "openai/new", "api_key": "k", "api_base": "https://x.test"}}
    async with served(url, tmp_path, "one") as one, served(url, tmp_path, "other") as other:
        watch = asyncio.create_task(other.service._look_at_models())
        await listening(url, 2)
        assert (await one.call("/model/new", entry))[0] == 200
        await until(lambda: _has(other, "new"), 2.0)
        watch.cancel()


async def _has(door: ServedDoor, name: str) -> bool:
    return name in door.gateway.state.catalog.names()


def test_a_listener_comes_back_and_ends_at_once(postgres: Running, monkeypatch: pytest.MonkeyPatch):  # noqa: F811
    monkeypatch.setattr("penstock.stores.sql.listening.PAUSES", (0.05,))
    relay, told = Relay(postgres.port), []
    url = postgres.fresh().replace(f":{postgres.port}/", f":{relay.port}/") + "?connect_timeout=2"
    listener = Listener(read_address(url), lambda: told.append(time.monotonic()))
    for round_ in (1, 2):
        end = time.monotonic() + 5
        while len(told) < round_:
            assert time.monotonic() < end, f"{len(told)} connections"
            time.sleep(0.01)
        relay.cut()
    began = time.monotonic()
    listener.close()
    listener.close()
    assert time.monotonic() - began < 0.3
    relay.close()


async def test_who_was_busy_misses_no_ring():
    bell = Bell()
    waiting = [asyncio.create_task(bell.wait(0, 5)) for _ in range(2)]
    await asyncio.sleep(0)
    bell.ring()
    assert await asyncio.gather(*waiting) == [1, 1]
    bell.ring()
    assert await bell.wait(1, 5) == 2 == await bell.wait(2, 0.01)
