"""The law of batches: whatever is cancelled, killed or begun again, every line has one result in the end, in one of the
two files; and no line that has one is asked again."""

from __future__ import annotations

import asyncio
import io
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core.batches import lines
from penstock.core.batches.kept import CANCELLED, CANCELLING, COMPLETED, EXPIRED, KeptBatch
from penstock.server.batches import line as of_lines
from penstock.server.batches.line import Line, Outcome
from penstock.server.batches.places import Places
from penstock.server.batches.run import Run
from penstock.stores.batch_memory import MemoryBatchStore
from penstock.stores.files_disk import FileFolder, read_lines

STATUSES = st.lists(st.sampled_from([200, 200, 200, 400, 429, 500]), min_size=1, max_size=4)
LINES = st.lists(STATUSES, min_size=1, max_size=24)
# After so many answers, what happens: the process dies (and may have torn the line that it wrote), the batch is
# cancelled, its time is over, the process lets go of it.
EVENTS = st.lists(
    st.tuples(st.sampled_from(["kill", "tear", "cancel", "expire", "stop"]), st.integers(0, 12)), max_size=5
)


class Gateway:
    max_body = 10_000
    draining = False


class Room:
    """What a run needs of its room, of one process."""

    most_lines = 1000
    name = "one"

    def __init__(self, folder: Path, store: MemoryBatchStore) -> None:
        self.folder, self.store, self.gateway, self.places = FileFolder(folder), store, Gateway(), Places(lambda: 3)


class World:
    """Lines that are answered as they say, one try after the other. ``asked``: of each, how often."""

    def __init__(self, statuses: list[list[int]]) -> None:
        self.statuses, self.asked, self.answers, self.alarm = statuses, Counter[str](), 0, asyncio.Event()
        self.due = -1

    async def answer(self, line: Line) -> Outcome:
        id_ = line._asked.custom_id
        tries, self.asked[id_] = self.asked[id_], self.asked[id_] + 1
        await asyncio.sleep(0)
        told = self.statuses[int(id_)]
        self.answers += 1
        if self.answers == self.due:
            self.alarm.set()
        return Outcome(told[min(tries, len(told) - 1)] if tries < 40 else 400, b'{"usage": {"prompt_tokens": 2, "completion_tokens": 1}}', "c")


async def live(folder: Path, statuses: list[list[int]], events: list[tuple[str, int]]) -> tuple[KeptBatch, World, dict[str, int]]:
    store, world = MemoryBatchStore(), World(statuses)
    now = time.time()
    batch = KeptBatch(id="batch_1", owner="", form="openai", created_at=now, expires_at=now + 1000, endpoint="/x", input="", output="o", errors="e")
    FileFolder(folder).put(batch.id, [json.dumps({"custom_id": str(n), "url": "/x", "body": {}}).encode() + b"\n" for n in range(len(statuses))])
    await store.add_batch(batch)
    after: dict[str, int] = {}  # of lines that had a result when a process began: how often they were asked by then
    for event, count in [*events, ("", 0)]:
        room: Any = Room(folder, store)
        taken = await store.lease(batch.id, room.name, now, now + 100)
        assert taken is not None
        if taken.finished:
            break
        for id_ in results(folder):
            after.setdefault(id_, world.asked[id_])
        run = Run(room, taken)
        world.answers, world.due = 0, count if event else -1
        world.alarm.clear()
        if event and not count:
            world.alarm.set()
        of_lines.Line._ask = lambda line: world.answer(line)  # type: ignore[method-assign, assignment]
        drive, alarm = asyncio.create_task(run.drive()), asyncio.create_task(world.alarm.wait())
        await asyncio.wait((drive, alarm), return_when=asyncio.FIRST_COMPLETED)
        if not drive.done():
            await happen(event, run, drive, store, folder)
        alarm.cancel()
        await asyncio.gather(drive, alarm, return_exceptions=True)
        if event not in ("kill", "tear"):
            assert drive.cancelled() or drive.exception() is None, drive.exception()
    kept = await store.batch(batch.id)
    assert kept is not None
    return kept, world, after


async def happen(event: str, run: Run, drive: asyncio.Task[None], store: MemoryBatchStore, folder: Path) -> None:
    if event == "stop":
        run.stop()
        await drive
        return
    if event in ("cancel", "expire"):
        while not drive.done():
            found = await store.batch("batch_1")
            assert found is not None
            fields: dict[str, Any] = {"expires_at": 0.0} if event == "expire" else {"status": CANCELLING, "cancelling_at": 1.0}
            if found.finished or await store.change(found.changed(**fields)):
                break
        run.look()
        await drive
        return
    drive.cancel()
    await asyncio.gather(drive, return_exceptions=True)
    if event == "tear":
        for name in ("o", "e"):
            place = folder / name
            if place.exists() and place.stat().st_size > 3:
                with place.open("r+b") as file:
                    file.truncate(place.stat().st_size - 3)


def results(folder: Path) -> dict[str, bool]:
    """Ids with a whole result, and whether it is a good one."""
    found: dict[str, bool] = {}
    for name, good in (("o", True), ("e", False)):
        if (folder / name).exists():
            for raw in (folder / name).read_bytes().split(b"\n")[:-1]:
                id_ = json.loads(raw)["custom_id"]
                assert id_ not in found, "a line has two results"
                found[id_] = good
    return found


@settings(deadline=None)
@given(LINES, EVENTS)
def test_every_line_has_one_result(statuses, events):
    before, pause = of_lines.Line._ask, of_lines.LONGEST_PAUSE
    of_lines.LONGEST_PAUSE = 0.0
    try:
        with tempfile.TemporaryDirectory() as folder:
            batch, world, after = asyncio.run(live(Path(folder), statuses, events))
            found = results(Path(folder))
            assert set(found) == {str(n) for n in range(len(statuses))}
            assert batch.finished and batch.status in (COMPLETED, CANCELLED, EXPIRED)
            good = sum(found.values())
            assert (batch.total, batch.completed, batch.failed) == (len(statuses), good, len(statuses) - good)
            assert batch.used.input == 2 * good and batch.used.output == good
            assert batch.cancelled + batch.expired <= batch.failed
            if "tear" not in [event for event, _ in events]:
                assert {id_: world.asked[id_] for id_ in after} == after, "what has a result is not asked again"
            if not {"cancel", "expire"} & {event for event, _ in events}:
                assert batch.status == COMPLETED and not batch.cancelled + batch.expired
            assert not (Path(folder) / "batch_1").exists(), "nothing is left of its input"
    finally:
        of_lines.Line._ask, of_lines.LONGEST_PAUSE = before, pause  # type: ignore[method-assign]


@given(st.binary(max_size=300), st.integers(1, 40))
def test_lines_are_the_same_however_long_they_are(data, longest):
    found = list(read_lines(io.BytesIO(data), longest))
    wanted = [raw.rstrip(b"\r") for raw in data.removesuffix(b"\n").split(b"\n")] if data else []
    assert [len(raw) > longest for raw in found] == [len(raw) > longest for raw in wanted]
    assert [raw for raw in found if len(raw) <= longest] == [raw for raw in wanted if len(raw) <= longest]


JSON = st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3), max_leaves=8)


@given(st.lists(st.one_of(JSON, st.dictionaries(st.sampled_from(["custom_id", "method", "url", "body"]), JSON)), max_size=6), st.binary(max_size=20))
def test_whatever_a_file_has_each_line_is_taken_or_told(rows, junk):
    checker = lines.Checker(("/x",), 100, 5000)
    raws = [json.dumps(row).encode() for row in rows] + [junk.replace(b"\n", b" ")]
    for number, raw in enumerate(raws, 1):
        told = len(checker.faults)
        checker.check(number, raw)
        if len(checker.faults) == told and raw.strip():
            asked = lines.read_line(raw)
            assert asked.custom_id and json.loads(asked.body) is not None and asked.url == "/x"
        assert all(fault.line == number for fault in checker.faults[told:])


@pytest.mark.parametrize("text", [b"[" * 5000 + b"]" * 5000, b"\xff\xfe", b"nothing"])
def test_an_answer_that_is_no_json_is_kept_as_it_is(text):
    line = lines.write_answer("i", "a", 502, "r", text)
    assert line.endswith(b"\n") and line.count(b"\n") == 1 and lines.read_result(line).custom_id == "a"
    assert lines.usage_of(text) == lines.Used()


@given(JSON, st.text(max_size=20), st.integers(200, 599))
def test_a_result_is_one_line_and_is_read_as_it_was_written(body, id_, status):
    line = lines.write_answer("i", id_, status, "r", json.dumps(body, indent=2).encode())
    assert line.count(b"\n") == 1
    read = lines.read_result(line)
    assert read.response is not None and json.loads(bytes(read.response.body)) == body
    assert (read.custom_id, read.response.status_code) == (id_, status)
