"""The places where answers are kept, in a gateway: down, slow, changed by a reload, asked by whoever manages it."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from penstock.config import load
from penstock.core.providers.resolve import resolve
from penstock.runtime import cache_place
from penstock.runtime.cache_place import Opener
from penstock.runtime.state import State
from penstock.stores.answers_memory import MemoryAnswers
from tests.door import HELLO, Door, open_door
from tests.redis_servers import RedisServer, redis_server, session_redis  # noqa: F401
from tests.server.test_cache import settled, tell, yaml

KEY = "sk-gateway-key-1234567"


class Away(MemoryAnswers):
    """A place over a network that can be away, or slow."""

    at_once = False
    trouble: OSError | None = None
    seconds = 0.0
    asked = 0

    async def _reach(self) -> None:
        self.asked += 1
        await asyncio.sleep(self.seconds)
        if self.trouble is not None:
            raise self.trouble

    async def get(self, key: str) -> bytes | None:
        await self._reach()
        return await super().get(key)

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        await self._reach()
        await super().put(key, value, ttl)

    async def delete(self, keys: Sequence[str]) -> int:
        await self._reach()
        return await super().delete(keys)

    async def flush(self) -> None:
        await self._reach()
        await super().flush()

    async def ping(self) -> None:
        await self._reach()


MADE: list[Away] = []


def open_away(*_: Any) -> Away:
    MADE.append(Away())
    return MADE[-1]


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[Away]:
    """What a gateway with a cache of type disk has instead."""
    MADE.clear()
    monkeypatch.setattr(cache_place, "OPENERS", {**cache_place.OPENERS, "disk": Opener(__name__, "open_away")})
    monkeypatch.setattr(cache_place, "_REST", 0.2)
    return MADE


async def test_a_place_over_a_network_is_as_good(away, tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: disk")) as door:
        assert [(await tell(door, HELLO))[0] for _ in range(3)] == ["miss", "hit", "hit"]
        assert [(await tell(door, {**HELLO, "stream": True}))[0]] == ["hit"]
        batch = {"model": "m", "input": ["a", "b"]}
        assert [(await tell(door, batch, "/v1/embeddings"))[0] for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize("how", ["down", "slow"])
async def test_a_place_that_is_away_fails_nobody_and_is_said_once(how: str, away, tmp_path, caplog) -> None:
    async with open_door(tmp_path, yaml("type: disk"), master_key=KEY) as door:
        key = {"authorization": f"Bearer {KEY}"}
        await tell(door, HELLO, **key)
        [place] = away
        if how == "down":
            place.trouble = ConnectionRefusedError("connection refused")
        else:
            place.seconds = 3.0
        with caplog.at_level(logging.WARNING, "penstock"):
            began = time.perf_counter()
            for number in range(20):
                how_told, _ = await tell(door, {**HELLO, "seed": number}, **key)
                assert how_told == "miss"
            assert time.perf_counter() - began < 1.5, "20 requests, of which each may wait 100 ms at most"
            assert caplog.text.count("is not usable") == 1 and place.asked < 8
            _, _, body = await door.ask("GET", "/health", headers=key)
            told = json.loads(body)["cache"]
            assert told["type"] == "disk" and told["status"] == "unhealthy" and told["error"]
            place.trouble, place.seconds = None, 0.0
            for _ in range(100):
                await asyncio.sleep(0.02)
                how_told, _ = await tell(door, HELLO, **key)
                if how_told == "hit":
                    break
            assert how_told == "hit" and caplog.text.count("is usable again") == 1
            _, _, body = await door.ask("GET", "/health", headers=key)
            assert json.loads(body)["cache"] == {"type": "disk", "status": "healthy"}


async def test_nobody_waits_for_a_write(away, tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: disk")) as door:
        await tell(door, HELLO)
        [place] = away
        place.seconds = 0.09
        began = time.perf_counter()
        assert (await door.post({**HELLO, "seed": 1}))[0] == 200
        assert time.perf_counter() - began < 0.17
        await asyncio.sleep(0.2)
        place.seconds = 0.0
        assert (await tell(door, {**HELLO, "seed": 1}))[0] == "hit"


async def test_what_stands_there_that_is_no_entry_is_none(away, tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: disk")) as door:
        await tell(door, HELLO)
        [place] = away
        [key] = place.values
        for junk in (b"", b"{}", b"\xc1", b"\x98\x08" + b"\xc0" * 8, place.values[key][8:-9], b"\xff" * 500):
            await MemoryAnswers.put(place, key, junk, 60)
            assert (await tell(door, HELLO))[0] == "miss"
            assert (await tell(door, HELLO))[0] == "hit"


async def test_a_place_that_cannot_be_opened_is_said_once(monkeypatch, tmp_path, caplog) -> None:
    monkeypatch.setattr("penstock.runtime.cache_places.find_redis", lambda *_: type("F", (), {"settings": None, "problems": ()}))
    async with open_door(tmp_path, yaml("type: redis, host: localhost")) as door:
        for _ in range(3):
            assert (await tell(door, HELLO))[0] == "-"
        assert caplog.text.count("Answers are not cached") == 1
        assert door.gateway.engine.answers.trouble


# A reload -------------------------------------------------------------------------------------------------------------


def reload(door: Door, tmp_path: Any, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("{mock}", door.mock.url))
    config = load(path, {}, resolve=resolve).config
    assert config is not None
    door.gateway.state = State(config, {})


async def test_what_is_kept_outlives_a_reload_that_changes_nothing_about_the_place(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        await tell(door, HELLO)
        reload(door, tmp_path, yaml())
        assert (await tell(door, HELLO))[0] == "hit"
        reload(door, tmp_path, yaml("type: local, ttl: 5, mode: default_off"))
        assert (await tell(door, HELLO))[0] == "-"
        assert (await tell(door, {**HELLO, "cache": {"use-cache": True}}))[0] == "hit"
        reload(door, tmp_path, yaml("type: local, max_size_mb: 1"))
        assert (await tell(door, HELLO))[0] == "miss", "another place"
        reload(door, tmp_path, yaml().replace("cache: true", "cache: false"))
        assert (await tell(door, HELLO))[0] == "-"


async def test_requests_that_run_while_the_place_changes_are_answered(away, tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: disk")) as door:
        for number in range(6):
            runs = [asyncio.create_task(door.post({**HELLO, "seed": one})) for one in range(8)]
            await asyncio.sleep(0.005)
            reload(door, tmp_path, yaml("type: disk" if number % 2 else "type: local"))
            assert [(await one)[0] for one in runs] == [200] * 8
        await settled(door)
        assert not door.gateway.engine.answers.flights


# Whoever manages it ---------------------------------------------------------------------------------------------------


async def admin(door: Door, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    data = b"" if body is None else json.dumps(body).encode()
    lines = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    status, _, answer = await door.ask(method, path, data, lines)
    return status, json.loads(answer)


@pytest.mark.parametrize("kind", ["local", "disk", "redis"])
async def test_a_manager_asks_and_has_answers_forgotten(kind: str, request, tmp_path) -> None:
    params = f"type: {kind}"
    if kind == "disk":
        params += f", disk_cache_dir: {tmp_path}"
    elif kind == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        params += f", host: 127.0.0.1, port: {server.port}"
    async with open_door(tmp_path, yaml(params), master_key=KEY) as door:
        key = {"authorization": f"Bearer {KEY}"}
        assert (await admin(door, "GET", "/cache/ping"))[1]["cache_type"] == kind
        for seed in (1, 2):
            await tell(door, {**HELLO, "seed": seed}, **key)
        _, lines, _ = await door.post({**HELLO, "seed": 1}, **key)
        assert lines["x-penstock-cache"] == "hit"
        kept = lines["x-litellm-cache-key"]
        assert await admin(door, "POST", "/cache/delete", {"keys": [kept, "no"]}) == (200, {"status": "success", "deleted": 1})
        assert (await tell(door, {**HELLO, "seed": 1}, **key))[0] == "miss"
        assert (await tell(door, {**HELLO, "seed": 2}, **key))[0] == "hit"
        assert await admin(door, "POST", "/cache/flushall") == (200, {"status": "success"})
        assert (await tell(door, {**HELLO, "seed": 2}, **key))[0] == "miss"
        status, told = await admin(door, "GET", "/cache/redis/info")
        if kind == "redis":
            assert status == 200 and told["num_clients"] >= 1 and told["info"]["redis_version"]
        else:
            assert status == 400 and kind in told["error"]["message"]
        for body in ({}, {"keys": "k"}, {"keys": [1]}, []):
            assert (await admin(door, "POST", "/cache/delete", body))[0] == 400
        for method, path in (("GET", "/cache/ping"), ("POST", "/cache/delete"), ("POST", "/cache/flushall"), ("GET", "/cache/redis/info")):
            assert (await door.ask(method, path, b"{}" if method == "POST" else b"", {"content-type": "application/json"}))[0] == 401
        await door.gateway.engine.answers.close()


async def test_without_a_cache_its_pages_say_so(tmp_path) -> None:
    async with open_door(tmp_path, master_key=KEY) as door:
        for method, path in (("GET", "/cache/ping"), ("POST", "/cache/flushall")):
            status, told = await admin(door, method, path)
            assert status == 503 and "no cache is configured" in told["error"]["message"]
        _, _, body = await door.ask("GET", "/health", headers={"authorization": f"Bearer {KEY}"})
        assert "cache" not in json.loads(body)


async def test_a_place_that_is_away_is_told_to_who_manages_it(away, tmp_path) -> None:
    async with open_door(tmp_path, yaml("type: disk"), master_key=KEY) as door:
        await admin(door, "GET", "/cache/ping")
        away[0].trouble = ConnectionRefusedError("connection refused")
        status, told = await admin(door, "GET", "/cache/ping")
        assert status == 503 and "connection refused" in told["error"]["message"]


# Redis itself ---------------------------------------------------------------------------------------------------------


async def test_two_gateways_share_what_is_in_redis_and_go_on_when_it_is_killed(tmp_path_factory) -> None:
    from tests.redis_servers import running

    with running(RedisServer(tmp_path_factory.mktemp("redis"))) as server:
        config = yaml(f"type: redis, host: 127.0.0.1, port: {server.port}, namespace: prod")
        one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
        async with open_door(one, config) as first, open_door(two, config) as second:
            _, answer = await tell(first, HELLO)
            assert await tell(second, HELLO) == ("hit", answer) and second.mock.requests == 0
            assert (await tell(second, {**HELLO, "stream": True}))[0] == "hit"
            server.kill()
            for door in (first, second):
                assert (await tell(door, HELLO))[0] == "miss"
            server.start()
            for _ in range(200):
                await asyncio.sleep(0.02)
                if (await tell(second, HELLO))[0] == "hit":
                    break
            else:
                raise AssertionError("not used again")
            for door in (first, second):
                await door.gateway.engine.answers.close()


def test_every_type_can_be_opened() -> None:
    from importlib import import_module

    from penstock.config.keys_cache import TYPES

    openers: Mapping[str, Opener] = cache_place.OPENERS
    assert set(openers) == set(TYPES)
    for opener in openers.values():
        assert callable(getattr(import_module(opener.module), opener.function))
