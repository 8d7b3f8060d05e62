"""The contract of ``stores.base.ModelStore``, for every store of deployments. A new one is a row in ``STORES``."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from penstock.runtime.ids import new_id
from penstock.stores import models
from penstock.stores.base import ModelStore, Outdated, StoredModel, StoredModels
from penstock.stores.directory_memory import MemoryDirectory
from penstock.stores.models import MemoryModelStore, SharedModelStore, make_shared_file
from penstock.stores.models_directory import DirectoryModelStore
from penstock.stores.sealing import Sealer

STORES: dict[str, Callable[[], ModelStore]] = {
    "memory": MemoryModelStore,
    "shared": lambda: SharedModelStore(make_shared_file()),
    "directory": lambda: DirectoryModelStore(MemoryDirectory(), Sealer(b"a secret"), new_id),
}


def model(id: str = "a", version: int = 1, entry: bytes = b"{}") -> StoredModel:
    return StoredModel(id, entry, version, 1.5, "master", 2.5, "me")


@pytest.fixture(params=sorted(STORES))
def store(request) -> Iterator[ModelStore]:
    made = STORES[request.param]()
    yield made
    if isinstance(made, SharedModelStore):
        os.close(made._fd)


async def test_what_was_put_is_there_in_its_order_until_it_is_deleted(store):
    assert await store.read_all() == StoredModels(await store.revision(), ())
    one, other = model("one", entry=b'{"k": "\xc3\xa4"}'), model("other", entry=b"x" * 100_000)
    await store.put(one)
    await store.put(other)
    assert (await store.read_all()).models == (one, other)
    assert await store.delete("one") is True and await store.delete("one") is False
    assert (await store.read_all()).models == (other,)


async def test_the_revision_is_another_one_after_each_change_and_no_other_time(store):
    seen = [await store.revision()]
    for change in (store.put(model()), store.put(model(version=2)), store.delete("a")):
        await change
        seen.append(await store.revision())
    assert len(set(seen)) == len(seen)
    with pytest.raises(Outdated):
        await store.put(model(version=7))
    assert await store.delete("nobody") is False
    assert await store.revision() == seen[-1] == (await store.read_all()).revision


async def test_a_writer_who_does_not_know_the_last_version_changes_nothing(store):
    await store.put(model())
    for version in (1, 3, 0):
        with pytest.raises(Outdated):
            await store.put(model(version=version, entry=b"no"))
    with pytest.raises(Outdated):
        await store.put(model("new", version=2))
    assert (await store.read_all()).models == (model(),)
    await store.put(model(version=2, entry=b"yes"))
    assert (await store.read_all()).models == (model(version=2, entry=b"yes"),)


async def test_of_many_writers_at_once_one_wins_each_version(store):
    async def write(number: int) -> bool:
        try:
            await store.put(model(entry=b"%d" % number))
        except Outdated:
            return False
        return True

    assert sum(await asyncio.gather(*(write(number) for number in range(20)))) == 1


async def test_what_is_too_much_is_refused_and_changes_nothing(store, monkeypatch):
    monkeypatch.setattr(models, "MAX_BYTES", 1000)
    await store.put(model(entry=b"x" * 600))
    with pytest.raises(OSError, match="already"):
        await store.put(model("b", entry=b"x" * 600))
    assert [one.id for one in (await store.read_all()).models] == ["a"]


async def test_a_model_does_not_show_what_it_holds(store):
    await store.put(model(entry=b"sk-secret-4711"))
    assert "4711" not in repr(await store.read_all()) and "4711" not in str(store)


class Model(RuleBasedStateMachine):
    """A store against a dict; where it is shared, two handles of it in turns."""

    kind = ""

    def __init__(self) -> None:
        super().__init__()
        first = STORES[self.kind]()
        other = SharedModelStore(first._fd) if isinstance(first, SharedModelStore) else first
        if isinstance(first, DirectoryModelStore):  # another process
            other = DirectoryModelStore(first._directory, Sealer(b"a secret"), new_id)
        self.handles = [first, other]
        self.known: dict[str, StoredModel] = {}
        self.loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        if isinstance(self.handles[0], SharedModelStore):
            os.close(self.handles[0]._fd)
        self.loop.close()

    ids = st.sampled_from(["a", "b", "c"])

    @rule(id=ids, entry=st.binary(max_size=300), which=st.integers(0, 1), step=st.sampled_from([1, 1, 1, 0, 2]))
    def put(self, id: str, entry: bytes, which: int, step: int) -> None:
        before = self.known.get(id)
        new = model(id, (before.version if before else 0) + step, entry)
        new = replace(new, updated_by=f"{len(entry)}")
        try:
            self.loop.run_until_complete(self.handles[which].put(new))
        except Outdated:
            assert step != 1
        else:
            assert step == 1
            self.known[id] = new

    @rule(id=ids, which=st.integers(0, 1))
    def delete(self, id: str, which: int) -> None:
        there = self.known.pop(id, None) is not None
        assert self.loop.run_until_complete(self.handles[which].delete(id)) is there

    @invariant()
    def both_see_the_same(self) -> None:
        for handle in self.handles:
            found = self.loop.run_until_complete(handle.read_all()).models
            assert {one.id: one for one in found} == self.known and len(found) == len(self.known)


def model_of(name: str) -> type:
    case = type(f"Model_{name}", (Model,), {"kind": name}).TestCase
    case.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
    return case


TestMemory, TestShared, TestDirectory = model_of("memory"), model_of("shared"), model_of("directory")


# What only the shared one must bear ----------------------------------------------------------------------------------

WRITER = """
import asyncio, sys
from penstock.stores.base import Outdated, StoredModel
from penstock.stores.models import SharedModelStore
async def main():
    store, won = SharedModelStore(int(sys.argv[1])), 0
    for _ in range(100):
        while True:
            found = {m.id: m for m in (await store.read_all()).models}
            before = found.get("n", StoredModel("n", b"0", 0, 0, "", 0, ""))
            try:
                await store.put(StoredModel("n", b"%d" % (int(before.entry) + 1), before.version + 1, 0, "", 0, ""))
                break
            except Outdated:
                pass
asyncio.run(main())
"""


def test_processes_that_write_at_once_lose_nothing():
    fd = make_shared_file()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(fd)], pass_fds=(fd,)) for _ in range(3)]
    assert [writer.wait(30) for writer in writers] == [0, 0, 0]
    [found] = asyncio.run(SharedModelStore(fd).read_all()).models
    assert (found.entry, found.version) == (b"300", 300)
    os.close(fd)


async def test_a_worker_that_is_killed_while_it_writes_leaves_what_was_there(monkeypatch):
    store = STORES["shared"]()
    for number in range(20):
        await store.put(model(f"m{number}", entry=b"x" * 100 * number))
    before = await store.read_all()
    real, calls = os.pwrite, []

    def cut(fd: int, data: bytes, at: int) -> int:
        calls.append(at)
        if len(data) == models._HEAD.size:
            raise OSError("killed")
        return real(fd, data, at)

    monkeypatch.setattr(models.os, "pwrite", cut)
    for _ in range(3):
        with pytest.raises(OSError, match="killed"):
            await store.put(model("new", entry=b"y" * 5000))
        assert await store.read_all() == before
    assert len(calls) == 6
    monkeypatch.undo()
    await store.put(model("new", entry=b"y" * 5000))
    assert len((await store.read_all()).models) == 21
    os.close(store._fd)


async def test_the_file_does_not_grow_without_end():
    store = STORES["shared"]()
    for version in range(1, 200):
        await store.put(model(version=version, entry=b"x" * (1000 + version % 7)))
    assert os.fstat(store._fd).st_size < 5_000
    os.close(store._fd)


def test_a_lock_that_another_process_keeps_is_an_error_and_no_wait_for_ever(monkeypatch):
    monkeypatch.setattr(models, "_PATIENCE", 0.05)
    fd = make_shared_file()
    code = "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX); print('has', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(fd)], pass_fds=(fd,), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"has\n"
    store = SharedModelStore(fd)
    with pytest.raises(OSError, match="another worker"):
        asyncio.run(store.put(model()))
    assert asyncio.run(store.revision()) == 0
    holder.kill()  # its lock ends with it
    holder.wait()
    asyncio.run(store.put(model()))
    os.close(fd)
