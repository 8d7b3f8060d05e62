"""Workers that count as one: sums, what takes the place of a dead one, other bounds, and what is no longer fresh."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace

import pytest

from penstock.core.admit.caller import Caller
from penstock.core.ir import Usage
from penstock.core.record import Record
from penstock.runtime import tally, tally_shared
from penstock.runtime.tally import Event, Tally
from penstock.runtime.tally_shared import SharedTally
from penstock.stores.counts import make_counts_file


@pytest.fixture
def fds() -> Iterator[list[int]]:
    found = [make_counts_file() for _ in range(3)]
    yield found
    for fd in found:
        os.close(fd)


def worker(fds: list[int], at: int, buckets: tuple[float, ...] = tally.BUCKETS) -> Tally:
    made = Tally(lambda name: True, {"/v1/chat/completions"}, buckets=buckets)
    made.file = SharedTally(made, fds, at)
    return made


def put(to: Tally, times: int = 1, key: str = "k", cost: str = "0.1") -> None:
    call = SimpleNamespace(
        caller=Caller(key, False, key=key), path="/v1/chat/completions", surface=object(), caching=None, way=None,
        attempt=SimpleNamespace(target=SimpleNamespace(origin=None)),
    )  # fmt: skip
    record = Record(
        at=time.time(), call_id="", request_id="", key=key, client="", method="POST", path=call.path, model="m",
        target="x/m", target_id="1", provider="x", status=200, ms=12.0, tries=1, usage=Usage(fresh=3, output=2),
        cost=Decimal(cost),
    )  # fmt: skip
    for _ in range(times):
        to.put(call, record)  # type: ignore[arg-type]
    to.fold()


def sums(asked: Tally, at: int) -> object:
    cells = [*asked.cells.values(), *(cell for peer in asked.others() for cell in peer.cells)]
    return sum(cell.values[at] for cell in cells)


def test_whoever_is_asked_tells_the_sum(fds: list[int]):
    workers = [worker(fds, at) for at in range(3)]
    for at, one in enumerate(workers):
        put(one, at + 1)
        one.count(Event("page", ("GET", "404")), 2)
    for one in workers:
        assert sums(one, tally.REQUESTS) == 6 and sums(one, tally.OUTPUT) == 12
        assert float(sums(one, tally.COST)) == pytest.approx(0.6)  # type: ignore[arg-type]
        assert sum(cell.values[0] for peer in one.others() for cell in peer.events) == 4
        assert one.told(1, 5, time.time())["totals"]["requests"] == 6
    put(workers[0], 4, key="another")
    assert sums(workers[2], tally.REQUESTS) == 10


def test_who_takes_a_dead_workers_place_counts_on(fds: list[int]):
    first, other = worker(fds, 0), worker(fds, 1)
    put(first, 5, cost="0.25")
    first.count(Event("page", ("GET", "404")))
    del first
    assert sums(other, tally.REQUESTS) == 5
    second = worker(fds, 0)
    assert sums(second, tally.REQUESTS) == 5 == sums(other, tally.REQUESTS)
    put(second, 2, cost="0.25")
    second.count(Event("page", ("GET", "404")))
    assert sums(other, tally.REQUESTS) == 7 and sums(other, tally.COST) == Decimal("1.75")
    assert len(second.cells) == 1, "the labels are the same, so is the cell"
    assert [cell.values for peer in other.others() for cell in peer.events] == [[2.0]]
    assert other.told(1, 5, time.time())["totals"]["requests"] == 7


def test_other_bounds_begin_anew(fds: list[int]):
    first, other = worker(fds, 0), worker(fds, 1)
    put(first, 5)
    list(other.others())
    second = worker(fds, 0, buckets=(1.0, 2.0))
    assert second.cells == {}
    put(second)
    assert sums(other, tally.REQUESTS) == 0, "what cannot be added is not"


def test_what_stood_with_a_process_that_is_gone_is_not_told(fds: list[int], monkeypatch: pytest.MonkeyPatch):
    first, other = worker(fds, 0), worker(fds, 1)
    assert isinstance(first.file, SharedTally)
    first.file.tell([("penstock_workers", (), 1.0), ("penstock_queue_length", ("m",), 3)])
    assert [list(note) for note in other.notes()] == [
        [("penstock_workers", (), 1.0), ("penstock_queue_length", ("m",), 3.0)]
    ]
    later = time.time() + tally_shared.FRESH + 1
    monkeypatch.setattr(tally_shared.time, "time", lambda: later)
    assert list(other.notes()) == []


def test_a_note_that_is_too_long_is_said_once(fds: list[int], caplog: pytest.LogCaptureFixture):
    first = worker(fds, 0)
    assert isinstance(first.file, SharedTally)
    for _ in range(2):
        first.file.tell([("penstock_queue_length", ("x" * 2_000_000,), 3)])
    assert caplog.text.count("more than a megabyte") == 1
