"""The contract of ``stores.base.NearAnswers``, for every place whose answers are found by questions like theirs."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from penstock.config.cache import CacheSettings
from penstock.runtime.cloud.qdrant import open_qdrant
from penstock.runtime.http import Pool
from penstock.stores.base import MOST_NEAR, CannotCompare, NearAnswers
from penstock.stores.vectors_memory import MOST_COMPARED, MemoryVectors
from penstock.stores.vectors_qdrant import _COMPRESSED
from penstock.stores.vectors_redis import PREFIX, RedisVectors
from tests.qdrant import open_qdrant_server
from tests.redis_servers import RedisServer, redis_server, session_redis, settings  # noqa: F401
from tests.search_redis import open_search_redis

SIZE = 24
KINDS = ("memory", "redis", "qdrant")


@asynccontextmanager
async def open_near(kind: str, size: int = SIZE) -> AsyncIterator[tuple[NearAnswers, Any]]:
    """A place, and the server behind it."""
    if kind == "memory":
        yield MemoryVectors(1 << 30), None
    elif kind == "redis":
        async with open_search_redis() as redis:
            answers = RedisVectors(settings(url=redis.url), "questions")
            yield answers, redis
            await answers.close()
    else:
        async with open_qdrant_server("sk-qdrant") as qdrant:
            pool = Pool()
            params = {"qdrant_api_base": qdrant.url, "qdrant_api_key": "sk-qdrant", "qdrant_collection_name": "kept"}
            params |= {"qdrant_semantic_cache_vector_size": size}  # type: ignore[dict-item]
            made = CacheSettings(kind="qdrant-semantic", params=params)
            yield open_qdrant(made, {}, SimpleNamespace(pool=pool)), qdrant  # type: ignore[arg-type]
            await pool.close()


@pytest.fixture(params=KINDS)
async def near(request) -> AsyncIterator[tuple[NearAnswers, Any]]:
    async with open_near(request.param) as opened:
        yield opened


def vector(dice: random.Random, near_to: tuple[float, ...] = (), noise: float = 1.0) -> tuple[float, ...]:
    made = [(near_to[at] if near_to else 0.0) + noise * dice.gauss(0, 1) for at in range(SIZE)]
    length = math.hypot(*made)
    return tuple(number / length for number in made)


async def test_the_nearest_of_a_scope_are_those_that_a_look_at_all_of_them_finds(near) -> None:
    answers, _ = near
    dice = random.Random(5)
    kept: dict[str, dict[str, tuple[float, ...]]] = {"aa": {}, "bb": {}, "0f": {}}
    for number in range(150):
        scope = dice.choice(list(kept))
        kept[scope][f"ns:k{number}"] = made = vector(dice)
        await answers.put_near(f"ns:k{number}", b"v%d" % number, 60, scope, made)
    for scope, vectors in kept.items():
        for _ in range(5):
            asked = vector(dice)
            found = await answers.nearest(scope, asked)
            right = sorted(((sum(map(lambda a, b: a * b, asked, one)), key) for key, one in vectors.items()), reverse=True)
            assert [one.key for one in found] == [key for _, key in right[:MOST_NEAR]]
            assert [one.likeness for one in found] == pytest.approx([like for like, _ in right[:MOST_NEAR]], abs=1e-5)
            assert await answers.get(found[0].key) == b"v" + found[0].key[4:].encode()


async def test_what_is_in_another_scope_is_not_even_compared(near) -> None:
    answers, server = near
    dice = random.Random(6)
    made = vector(dice)
    for number in range(20):
        await answers.put_near(f"other{number}", b"theirs", 60, "0b0b", made)
    await answers.put_near("mine", b"mine", 60, "a1", vector(dice))
    assert [one.key for one in await answers.nearest("a1", made)] == ["mine"], "however much nearer the others are"
    assert await answers.nearest("c1", made) == []
    if server is not None:
        assert len(server.compared) == 1, "the server filters before it compares"


async def test_what_has_ended_or_is_deleted_is_found_no_more(near) -> None:
    answers, _ = near
    made = vector(random.Random(7))
    await answers.put_near("short", b"v", 0.1, "aa", made)
    await answers.put_near("long", b"v", 60, "aa", made)
    await answers.put_near("gone", b"v", 60, "aa", made)
    assert await answers.delete(["gone", "never"]) == 1
    await asyncio.sleep(0.15)
    assert [one.key for one in await answers.nearest("aa", made) if await answers.get(one.key)] == ["long"]
    await answers.flush()
    assert await answers.nearest("aa", made) == [] and await answers.get("long") is None


async def test_a_put_takes_the_vector_away_and_another_scope_too(near) -> None:
    answers, _ = near
    made = vector(random.Random(8))
    await answers.put_near("k", b"one", 60, "aa", made)
    await answers.put_near("k", b"two", 60, "bb", made)
    assert await answers.nearest("aa", made) == [] and [one.key for one in await answers.nearest("bb", made)] == ["k"]
    await answers.put("k", b"three", 60)
    assert await answers.nearest("bb", made) == [] and await answers.get("k") == b"three"


async def test_it_says_that_it_can_search(near) -> None:
    answers, _ = near
    await answers.search_ready()
    await answers.ping()
    assert await answers.info()


# Memory ---------------------------------------------------------------------------------------------------------------


async def test_vectors_count_for_the_bound_and_the_oldest_go_first() -> None:
    answers = MemoryVectors(100_000)
    dice = random.Random(9)
    for number in range(300):
        await answers.put_near(f"k{number}", b"x" * 500, 60, f"s{number % 3}", vector(dice))
        assert await answers.get("k0") is not None, "the one that is asked for all the time"
        told = await answers.info()
        assert told["bytes"] <= 100_000 and told["entries"] == told["compared"]
    assert 80 < told["entries"] < 120
    await answers.put_near("huge", b"x" * 200_000, 60, "s0", vector(dice))
    assert await answers.get("huge") is None and await answers.get("k299") is not None
    for one in await answers.nearest("s0", vector(dice)):
        assert await answers.get(one.key)


async def test_a_long_search_lets_others_have_their_turn() -> None:
    answers = MemoryVectors(1 << 30)
    dice = random.Random(10)
    for number in range(1500):
        await answers.put_near(f"k{number}", b"v", 60, "aa", vector(dice))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(others())
    assert len(await answers.nearest("aa", vector(dice))) == MOST_NEAR
    other.cancel()
    assert turns >= 10


async def test_a_scope_has_so_many_vectors_and_the_others_are_still_answers() -> None:
    answers = MemoryVectors(1 << 30)
    for number in range(MOST_COMPARED + 5):
        angle = number / 1000
        await answers.put_near(f"k{number}", b"v", 60, "aa", (math.cos(angle), math.sin(angle)))
        await answers.put_near(f"other{number}", b"v", 60, f"b{number}", (1.0, 0.0))
    assert (await answers.nearest("aa", (1.0, 0.0)))[0].key == "k5" and await answers.get("k0") == b"v"
    assert (await answers.info())["compared"] == 2 * MOST_COMPARED + 5
    assert await answers.delete([f"k{number}" for number in range(MOST_COMPARED + 5)]) == MOST_COMPARED + 5
    assert await answers.nearest("aa", (1.0, 0.0)) == []


async def test_vectors_of_another_length_are_not_compared() -> None:
    answers = MemoryVectors(1 << 20)
    await answers.put_near("k", b"v", 60, "aa", (1.0, 0.0))
    assert await answers.nearest("aa", (1.0, 0.0, 0.0)) == []


# Redis ----------------------------------------------------------------------------------------------------------------


async def test_redis_makes_an_index_for_each_length_once_and_again_when_somebody_dropped_it() -> None:
    async with open_near("redis") as (answers, redis):
        await answers.put_near("a", b"v", 60, "aa", (1.0, 0.0))
        await answers.put_near("b", b"v", 60, "aa", (1.0, 0.0, 0.0))
        for _ in range(2):
            assert [one.key for one in await answers.nearest("aa", (1.0, 0.0))] == ["a"]
            assert [one.key for one in await answers.nearest("aa", (1.0, 0.0, 0.0))] == ["b"]
        assert set(redis.indexes) == {b"questions-2", b"questions-3"}
        assert sum(words[0] == b"FT.CREATE" for words in redis.asked) == 2
        redis.indexes.clear()
        assert [one.key for one in await answers.nearest("aa", (1.0, 0.0))] == ["a"]


async def test_a_redis_without_a_search_keeps_answers_and_says_what_it_lacks(redis_server: RedisServer) -> None:  # noqa: F811
    answers = RedisVectors(settings(url=redis_server.url), "questions")
    try:
        await answers.put_near("k", b"v", 60, "aa", (1.0, 0.0))
        assert await answers.get("k") == b"v" and await answers.delete(["k"]) == 1
        for work in (answers.search_ready(), answers.nearest("aa", (1.0, 0.0))):
            with pytest.raises(CannotCompare, match="this server has no search"):
                await work
        await answers.put("k", b"v", 60)
        redis_server.ask("SET", "somebody-else", "1")
        redis_server.ask("SET", f"{PREFIX}other-index:k", "1")
        await answers.flush()
        assert await answers.get("k") is None and b"$1" in redis_server.ask("GET", "somebody-else")
        assert b"$1" in redis_server.ask("GET", f"{PREFIX}other-index:k")
    finally:
        await answers.close()


async def test_a_cluster_cannot_search_and_says_so() -> None:
    answers = RedisVectors(settings(startup_nodes=[{"host": "127.0.0.1", "port": 1}]), "questions")
    with pytest.raises(CannotCompare, match="no cluster"):
        await answers.nearest("aa", (1.0, 0.0))


# Qdrant ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", ["binary", "scalar", "product"])
async def test_qdrant_makes_its_collection_once_with_what_it_is_filtered_by(compressed: str) -> None:
    async with open_near("qdrant") as (answers, qdrant):
        answers._compressed = _COMPRESSED[compressed]  # type: ignore[attr-defined]
        made = vector(random.Random(11))
        await asyncio.gather(*(answers.put_near(f"k{n}", b"v", 60, "aa", made) for n in range(5)))
        assert sum((method, path) == ("PUT", "/collections/kept") for method, path, _ in qdrant.asked) == 1
        assert qdrant.collections["kept"]["indexed"] == {"kept_by": "keyword", "scope": "keyword", "ends": "float"}


async def test_a_collection_that_is_there_keeps_its_size_and_other_vectors_are_named() -> None:
    async with open_near("qdrant", 1536) as (answers, qdrant):
        shape = {"vectors": {"size": SIZE, "distance": "Cosine"}, "points": {}, "indexed": {}}
        qdrant.collections["kept"] = shape
        made = vector(random.Random(12))
        await answers.put_near("k", b"v", 60, "aa", made)
        assert [one.key for one in await answers.nearest("aa", made)] == ["k"]
        with pytest.raises(CannotCompare, match="vectors of 24 numbers, the embedding model gives 2"):
            await answers.nearest("aa", (1.0, 0.0))
        shape["points"]["litellm"] = {"id": "litellm", "vector": list(made), "payload": {"text": "t", "response": "r"}}
        assert [one.key for one in await answers.nearest("aa", made)] == ["k"], "LiteLLM's own points are not ours"
        await answers.flush()
        assert list(shape["points"]) == ["litellm"]


async def test_what_has_ended_is_deleted_from_qdrant_now_and_then() -> None:
    async with open_near("qdrant") as (answers, qdrant):
        now = 1000.0
        answers._clock = lambda: now  # type: ignore[attr-defined]
        answers._sweep_at = 1500.0  # type: ignore[attr-defined]
        made = vector(random.Random(13))
        for number in range(5):
            await answers.put_near(f"k{number}", b"v", 60, "aa", made)
        now = 1600.0
        await answers.put_near("new", b"v", 60, "aa", made)
        assert len(qdrant.collections["kept"]["points"]) == 1


async def test_a_collection_that_another_gateway_makes_at_the_same_time_is_no_fault() -> None:
    async with open_near("qdrant") as (answers, qdrant):
        answered = qdrant._answered

        def slow(method: str, target: str, headers: dict[str, str], raw: bytes) -> tuple[int, Any]:
            told = answered(method, target, headers, raw)
            if told[0] == 404 and method == "GET":  # as it is made before the answer is there
                qdrant.collections["kept"] = {"vectors": {"size": SIZE, "distance": "Cosine"}, "points": {}, "indexed": {}}
            return told

        qdrant._answered = slow
        made = vector(random.Random(14))
        await answers.put_near("k", b"v", 60, "aa", made)
        assert [one.key for one in await answers.nearest("aa", made)] == ["k"]


async def test_a_qdrant_that_refuses_is_an_os_error() -> None:
    async with open_near("qdrant") as (answers, qdrant):
        qdrant.refuses = 500
        for work in (answers.get("k"), answers.ping(), answers.nearest("aa", vector(random.Random(1)))):
            with pytest.raises(OSError, match="500"):
                await work
        qdrant.refuses, qdrant.key = 0, "another"
        with pytest.raises(OSError, match="401"):
            await answers.ping()
