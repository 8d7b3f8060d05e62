"""The contract of ``stores.base.Answers``, for every place where answers are kept. A new one is a row in ``PLACES``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.stores.answers_disk import DiskAnswers
from penstock.stores.answers_memory import MemoryAnswers
from penstock.stores.answers_redis import PREFIX, RedisAnswers
from penstock.stores.base import Answers
from penstock.stores.vectors_memory import MemoryVectors
from penstock.stores.vectors_redis import RedisVectors
from tests.buckets import open_bucket
from tests.contract.test_near_answers import open_near
from tests.redis_servers import RedisServer, redis_server, session_redis, settings  # noqa: F401

BIG = 1 << 30


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


Make = Callable[[Clock, Path, int], Answers]
PLACES: dict[str, Make] = {
    "memory": lambda clock, folder, size: MemoryAnswers(size, clock),
    "vectors in memory": lambda clock, folder, size: MemoryVectors(size, clock),
    "disk": lambda clock, folder, size: DiskAnswers(str(folder / "deep" / "kept"), size, clock),
}
ASKED: dict[str, Callable[[str], Answers]] = {  # their time is the server's own
    "redis": lambda url: RedisAnswers(settings(url=url)),
    "vectors in redis": lambda url: RedisVectors(settings(url=url), "i[n]dex*"),
}
BUCKETS = ("s3", "gcs", "azure-blob")
BOUNDED = ("memory", "vectors in memory", "disk")  # the others are bounded where they are


@pytest.fixture(params=[*sorted(PLACES), *sorted(ASKED), *BUCKETS, "qdrant"])
async def kept(request, tmp_path) -> AsyncIterator[tuple[Answers, Callable[[float], Any]]]:
    """A place, and what lets time pass."""
    clock = Clock()

    async def wait(seconds: float) -> None:
        clock.now += seconds
        if request.param in ASKED:
            await asyncio.sleep(seconds)

    if request.param == "qdrant":
        async with open_near("qdrant") as (near, _):
            near._clock = clock  # type: ignore[attr-defined]
            yield near, wait
        return
    if request.param in BUCKETS:
        async with open_bucket(request.param, clock) as (answers, _):
            yield answers, wait
        return
    if request.param in ASKED:
        server = request.getfixturevalue("redis_server")
        answers: Answers = ASKED[request.param](server.url)
    else:
        answers = PLACES[request.param](clock, tmp_path, BIG)
    yield answers, wait
    await answers.close()


async def test_an_answer_is_there_until_it_is_deleted(kept) -> None:
    answers, _ = kept
    assert await answers.get("k") is None
    await answers.put("k", b"\x00v\xff")
    assert await answers.get("k") == b"\x00v\xff"
    assert await answers.delete(["k", "other"]) == 1
    assert await answers.get("k") is None and await answers.delete(["k"]) == 0


async def test_an_answer_is_gone_when_its_time_is_over_and_not_before(kept) -> None:
    answers, wait = kept
    await answers.put("k", b"v", 0.3)
    await wait(0.1)
    assert await answers.get("k") == b"v"
    await wait(0.25)
    assert await answers.get("k") is None and await answers.delete(["k"]) == 0
    await answers.put("z", b"v", 0)
    assert await answers.get("z") is None


async def test_a_put_replaces_value_and_time(kept) -> None:
    answers, wait = kept
    await answers.put("k", b"one", 0.05)
    await answers.put("k", b"two")
    await wait(0.1)
    assert await answers.get("k") == b"two"


async def test_keys_and_values_are_any(kept) -> None:
    answers, _ = kept
    for key in ("name:" + "a" * 64, "a b/c\n", "漢" * 100):
        for value in (b"", b"\xff" * 700_000):
            await answers.put(key, value)
            assert await answers.get(key) == value


async def test_a_flush_forgets_all_of_it(kept) -> None:
    answers, _ = kept
    for number in range(1200):
        await answers.put(f"k{number}", b"v")
    await answers.flush()
    assert [await answers.get(f"k{number}") for number in range(1200)] == [None] * 1200
    await answers.put("k", b"v")
    assert await answers.get("k") == b"v"


async def test_a_ping_and_figures_are_answered(kept) -> None:
    answers, _ = kept
    await answers.ping()
    assert await answers.info()


async def test_many_at_once_come_out_as_they_went_in(kept) -> None:
    answers, _ = kept
    await asyncio.gather(*(answers.put(f"k{n}", b"%d" % n) for n in range(50)))
    assert await asyncio.gather(*(answers.get(f"k{n}") for n in range(50))) == [b"%d" % n for n in range(50)]


@pytest.mark.parametrize("name", BOUNDED)
async def test_there_is_never_more_than_its_bound_and_what_is_asked_for_stays(name: str, tmp_path: Path) -> None:
    clock = Clock()
    answers = PLACES[name](clock, tmp_path, 100_000)
    try:
        for number in range(400):
            clock.now += 100
            await answers.put(f"k{number}", b"x" * 2000)
            assert await answers.get("k0") is not None, "the one that is asked for all the time"
            told = await answers.info()
            assert told["bytes"] <= 100_000
        assert told["entries"] > 20 and await answers.get("k1") is None and await answers.get("k399") is not None
        await answers.put("huge", b"x" * 200_000)
        assert await answers.get("huge") is None and await answers.get("k399") is not None
    finally:
        await answers.close()


async def test_entries_in_memory_may_be_counted_too() -> None:
    answers = MemoryAnswers(BIG, Clock(), 3)
    for key in "abcde":
        await answers.put(key, b"v")
    assert [await answers.get(key) is not None for key in "abcde"] == [False, False, True, True, True]


async def test_the_disk_keeps_over_a_restart_and_for_another_process(tmp_path: Path) -> None:
    one, two = DiskAnswers(str(tmp_path)), DiskAnswers(str(tmp_path))
    await one.put("k", b"v", 60)
    assert await two.get("k") == b"v"
    await two.close()
    await one.close()
    assert await DiskAnswers(str(tmp_path)).get("k") == b"v"
    assert (tmp_path / "answers.sqlite3").stat().st_mode & 0o077 == 0, "answers are nobody else's affair"


async def test_a_disk_that_cannot_be_used_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError):
        await DiskAnswers(str(tmp_path / "file" / "in")).get("k")
    (tmp_path / "answers.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(OSError, match="not a database"):
        await DiskAnswers(str(tmp_path)).get("k")


async def test_a_flush_of_redis_takes_nothing_of_others(redis_server: RedisServer) -> None:  # noqa: F811
    answers = RedisAnswers(redis_server.settings())
    await answers._client.set("somebody:else", b"x")
    await answers.put("k", b"v")
    assert set(await answers._client.keys("*")) == {b"somebody:else", PREFIX.encode() + b"k"}
    await answers.flush()
    assert await answers._client.keys("*") == [b"somebody:else"]
    await answers.close()


async def test_a_redis_that_is_away_is_an_os_error(tmp_path: Path) -> None:
    answers = RedisAnswers(settings(url="redis://:secret-word@127.0.0.1:9/0"))
    for question in (answers.get("k"), answers.put("k", b"v", 5), answers.delete(["k"]), answers.flush(), answers.ping()):
        with pytest.raises(OSError) as failed:
            await question
        assert "secret-word" not in str(failed.value)
    await answers.close()


# Buckets --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BUCKETS)
async def test_a_bucket_is_asked_by_who_may_and_below_the_path(kind: str) -> None:
    async with open_bucket(kind, Clock(), path="some/where") as (answers, bucket):
        bucket.objects["other"] = b"x"
        await answers.put("prod:key", b"v", 60)
        path = "" if kind == "azure-blob" else "some/where/"  # which has a container of its own, and no setting for it
        assert list(bucket.objects) == ["other", f"{path}penstock-answers/prod:key"]
        said = [headers.get("authorization", "") for _, _, headers in bucket.asked]
        if kind == "s3":
            assert all("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/" in one and "/eu-x-1/s3/aws4_request" in one for one in said)
            assert all(headers["x-amz-content-sha256"] for _, _, headers in bucket.asked)
            assert all(bucket.signed(method, target, headers) for method, target, headers in bucket.asked)
        await answers.flush()
        assert list(bucket.objects) == ["other"]


@pytest.mark.parametrize("kind", BUCKETS)
@pytest.mark.parametrize("status", [403, 500, 503])
async def test_a_bucket_that_refuses_is_an_os_error(kind: str, status: int) -> None:
    async with open_bucket(kind, Clock()) as (answers, bucket):
        await answers.put("k", b"v")
        bucket.refuses = status
        for question in (answers.get("k"), answers.put("k", b"v"), answers.delete(["k"]), answers.flush(), answers.ping()):
            with pytest.raises(OSError, match=str(status)):
                await question


@pytest.mark.parametrize("kind", BUCKETS)
async def test_an_object_that_is_none_of_ours_is_no_answer(kind: str) -> None:
    async with open_bucket(kind, Clock()) as (answers, bucket):
        await answers.put("k", b"v")
        [name] = bucket.objects
        for junk in (b"", b"short"):
            bucket.objects[name] = junk
            assert await answers.get("k") is None


@pytest.mark.parametrize("kind", BUCKETS)
async def test_a_bucket_that_is_away_is_an_os_error(kind: str) -> None:
    async with open_bucket(kind, Clock(), port=9) as (answers, _):
        with pytest.raises(OSError):
            await answers.get("k")
