"""The contract of ``stores.batch_base.BatchStore``, in memory and for each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.core.batches.kept import COMPLETED, RUNNING, KeptBatch, KeptFile, LineError, Total, Used
from penstock.stores.batch_base import BatchStore
from penstock.stores.batch_memory import MemoryBatchStore
from penstock.stores.sql.address import read_address
from penstock.stores.sql.batch_store import SqlBatchStore
from penstock.stores.sql.database import Database
from tests.databases import KINDS


@pytest.fixture(params=["memory", *KINDS])
async def store(request: pytest.FixtureRequest) -> AsyncIterator[BatchStore]:
    if request.param == "memory":
        yield MemoryBatchStore()
        return
    database = Database(read_address(request.getfixturevalue(f"empty_{request.param}")))
    yield SqlBatchStore(database)
    database.close()


def file(id: str = "f1", owner: str = "key a", at: float = 1000.25, **more: object) -> KeptFile:
    return KeptFile(**{"id": id, "owner": owner, "created_at": at, "filename": "a.jsonl", "purpose": "batch", **more})


def batch(id: str = "b1", owner: str = "key a", at: float = 1000.25, **more: object) -> KeptBatch:
    told = {"id": id, "owner": owner, "form": "openai", "created_at": at, "expires_at": at + 5, "endpoint": "/v1/x", "input": "f"}
    return KeptBatch(**{**told, **more})


async def test_what_is_kept_is_what_was_given(store):
    one = file(bytes=2**40, expires_at=7.5, filename="Öl 🛢.jsonl", provider="p", shown='{"id":"f1"}')
    await store.add_file(one)
    assert await store.file("f1") == one and await store.file("F1") is None
    await store.add_file(file(bytes=3))
    assert (await store.file("f1")).bytes == 3, "a file that is added again is the newer one"
    assert await store.remove_file("f1") and not await store.remove_file("f1") and await store.file("f1") is None
    other = batch(metadata={"a": "ü"}, faults=(LineError("c", "m", None, 3),), used=Used(1, 2, 3, 4), client="1.2.3.4")
    await store.add_batch(other)
    assert await store.batch("b1") == other and await store.batch("b2") is None
    assert await store.remove_batch("b1") and not await store.remove_batch("b1")


async def test_lists_are_parts_of_an_owners_own(store):
    for number in range(5):
        await store.add_file(file(f"f{number}", at=float(number // 2), purpose="batch" if number else "user_data"))
        await store.add_batch(batch(f"b{number}", at=float(number // 2)))
    await store.add_file(file("other", owner="key b"))
    await store.add_batch(batch("other", owner="key b"))
    await store.add_batch(batch("theirs", form="anthropic"))
    for listed, prefix, more in ((store.files, "f", ()), (store.batches, "b", ("openai",))):
        first = await listed("key a", *more, limit=2)
        assert [row.id for row in first.rows] == [f"{prefix}4", f"{prefix}3"] and first.more
        rest = await listed("key a", *more, after=f"{prefix}3", limit=3)
        assert [row.id for row in rest.rows] == [f"{prefix}2", f"{prefix}1", f"{prefix}0"] and not rest.more
        rising = await listed("key a", *more, after=f"{prefix}1", limit=2, descending=False)
        assert [row.id for row in rising.rows] == [f"{prefix}2", f"{prefix}3"] and rising.more
        everybody = await listed(None, *more, limit=100)
        assert len(everybody.rows) == 6 and not everybody.more
        assert (await listed("key z", *more)).rows == ()
    assert [row.id for row in (await store.files("key a", "user_data")).rows] == ["f0"]


async def test_files_that_are_over_are_found(store):
    for id_, end in (("a", 5.0), ("b", 9.0), ("stays", 0.0)):
        await store.add_file(file(id_, expires_at=end))
    assert [one.id for one in await store.files_over(8.0)] == ["a"]
    assert {one.id for one in await store.files_over(99.0)} == {"a", "b"}
    assert len(await store.files_over(99.0, limit=1)) == 1


async def test_a_change_holds_only_over_the_version_that_it_was_made_of(store):
    old = batch()
    await store.add_batch(old)
    first, second = old.changed(status=RUNNING), old.changed(total=9)
    assert await store.change(first) and not await store.change(second)
    assert await store.batch("b1") == first
    assert not await store.change(batch("nobody").changed(total=1))


async def test_one_runs_a_batch_at_a_time(store):
    await store.add_batch(batch("b1", at=5.0))
    await store.add_batch(batch("b0", at=4.0))
    assert [one.id for one in await store.waiting(100.0)] == ["b0", "b1"]
    taken = await store.lease("b1", "one", 100.0, 110.0)
    assert taken is not None and taken.id == "b1"
    assert await store.lease("b1", "two", 109.0, 120.0) is None
    assert [one.id for one in await store.waiting(109.0)] == ["b0"]
    assert await store.lease("b1", "one", 109.0, 120.0) is not None, "who has it goes on having it"
    changed = taken.changed(total=2)
    assert not await store.change(changed, "two") and await store.change(changed, "one")
    found = await store.lease("b1", "two", 120.0, 130.0)
    assert found == changed, "a lease ends"
    assert not await store.change(changed.changed(total=3), "one")
    await store.release("b1", "one")
    assert await store.lease("b1", "one", 121.0, 131.0) is None, "who lost it gives nothing back"
    await store.release("b1", "two")
    assert await store.lease("b1", "one", 121.0, 131.0) is not None
    assert await store.lease("nobody", "one", 1.0, 2.0) is None


async def test_what_is_finished_or_a_providers_waits_for_nobody(store):
    await store.add_batch(batch("done", status=COMPLETED))
    await store.add_batch(batch("theirs", provider="p"))
    await store.add_batch(batch("ours"))
    assert [one.id for one in await store.waiting(1.0)] == ["ours"]
    assert len(await store.waiting(1.0, limit=1)) == 1


async def test_of_many_who_take_a_batch_at_once_one_has_it(store):
    await store.add_batch(batch())
    found = await asyncio.gather(*(store.lease("b1", f"r{number}", 10.0, 20.0) for number in range(8)))
    assert sum(one is not None for one in found) == 1


async def test_what_files_take_of_the_disk_is_added_up_by_owner_and_team(store):
    assert await store.taken_by("key a", "t") == (Total(), Total())
    for number, (owner, team, size) in enumerate((("key a", "t", 2**40), ("key a", "", 5), ("key b", "t", 7), ("key b", "T", 1))):
        await store.add_file(file(f"f{number}", owner, team=team, bytes=size))
    await store.add_file(file("theirs", team="t", bytes=100, provider="openai"))
    assert await store.taken_by("key a", "t") == (Total(2, 2**40 + 5), Total(2, 2**40 + 7))
    assert await store.taken_by("key b", "") == (Total(2, 8), Total())
    assert (await store.taken_by("", "T"))[1] == Total(1, 1)
    await store.add_file(file("f0", "key a", team="t", bytes=1))
    assert (await store.taken_by("key a", ""))[0] == Total(2, 6)
    await store.remove_file("f1")
    assert (await store.taken_by("key a", ""))[0] == Total(1, 1)
