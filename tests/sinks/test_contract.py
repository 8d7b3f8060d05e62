"""What every sink must do behind the queue, whatever becomes of its service: nothing blocks, what waits is bounded, and
all that was not sent is counted."""

from __future__ import annotations

import asyncio
import logging
import threading
import time

import pytest

from penstock.sinks import SINKS
from penstock.sinks.base import Settings, Variables
from penstock.sinks.custom import sink_of
from penstock.sinks.shipping import Bounds, Room, Shipper
from tests.sinks.made import SECRETS, SERVICES, make_sink, open_post, payload
from tests.sinks.vendors import open_vendor

QUICK = Bounds(records=100, size=100_000, batch=10, linger=0.01, patience=0.3, pause=0.01, longest=0.05, give_up=30.0, farewell=0.4)
NAMES = pytest.mark.parametrize("name", SERVICES)


async def until(true, within: float = 5.0) -> None:
    end = time.monotonic() + within
    while not true():
        assert time.monotonic() < end, "it did not come"
        await asyncio.sleep(0.005)


def put_all(shipper: Shipper, numbers: range) -> None:
    """Must take no time: it is called where a request ends."""
    began = time.perf_counter()
    for number in numbers:
        shipper.put(PAYLOADS[number % 200], 900)
    assert time.perf_counter() - began < 0.05


PAYLOADS = [payload(number) for number in range(200)]


@NAMES
async def test_what_is_put_is_written_once_and_in_order(name):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK)
        put_all(shipper, range(35))
        await until(lambda: shipper.idle)
        assert vendor.wrong == [] and vendor.taken == [f"call-{n}" for n in range(35)]
        assert shipper.told() == {"waiting": 0, "written": 35}


@NAMES
async def test_down_bounded_and_back(name, caplog):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        room = Room()
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK, room)
        await vendor.stop()
        put_all(shipper, range(150))
        await until(lambda: shipper.trouble != "")
        assert shipper.waiting <= 110 and room.held <= 100_000
        assert shipper.counts.dropped >= 40 and shipper.counts.written == 0
        assert f"{name}: the queue is full" in caplog.text and f"{name}: records wait to be sent" in caplog.text
        await vendor.start()  # at the same port
        await until(lambda: shipper.idle)
        assert shipper.trouble == "" and room.held == 0
        assert shipper.counts.written + shipper.counts.dropped == 150
        assert list(dict.fromkeys(vendor.taken)) == [f"call-{n}" for n in range(shipper.counts.written)]


@NAMES
@pytest.mark.parametrize("mood", [500, 503, 429, "cut", "hangs"])
async def test_what_passes_is_tried_again(name, mood):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK)
        vendor.mood = mood
        put_all(shipper, range(5))
        await until(lambda: len(vendor.asked) >= 2)
        assert shipper.counts.written == shipper.counts.refused == 0 and shipper.trouble
        vendor.mood = "well"
        await until(lambda: shipper.idle)
        assert vendor.taken == [f"call-{n}" for n in range(5)] and shipper.counts.written == 5


@NAMES
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 302])
async def test_what_is_refused_is_counted_and_not_sent_again(name, status, caplog):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK)
        vendor.mood = status
        put_all(shipper, range(5))
        await until(lambda: shipper.idle)
        assert shipper.counts.refused == 5 and shipper.counts.written == 0 and len(vendor.asked) <= 5
        assert str(status) in caplog.text and not any(secret in caplog.text for secret in SECRETS)
        vendor.mood = "well"
        put_all(shipper, range(5, 8))
        await until(lambda: shipper.idle)
        assert vendor.taken == ["call-5", "call-6", "call-7"]


@NAMES
async def test_a_slow_one_holds_up_nobody(name):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK)
        vendor.mood, vendor.pause = "slow", 0.02
        put_all(shipper, range(60))
        worst = 0.0
        while not shipper.idle:
            began = time.perf_counter()
            await asyncio.sleep(0)
            worst = max(worst, time.perf_counter() - began)
            await asyncio.sleep(0.002)
        assert worst < 0.25 and shipper.counts.written == 60


@NAMES
async def test_the_end_is_bounded_and_counted(name, caplog):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        room = Room()
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK, room)
        vendor.mood = "hangs"
        put_all(shipper, range(25))
        began = time.monotonic()
        await shipper.stop()
        assert time.monotonic() - began < 1.5
        assert shipper.counts.lost == 25 and room.held == 0 and shipper.waiting == 0
        assert f"{name}: 25 records were not sent before the end" in caplog.text
        shipper.put(PAYLOADS[0], 900)
        assert shipper.counts.dropped == 1


@NAMES
async def test_the_end_writes_what_waits(name):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK._replace(linger=60.0))
        put_all(shipper, range(3))
        await shipper.stop()
        assert vendor.taken == ["call-0", "call-1", "call-2"] and shipper.counts.unsent == 0


@NAMES
async def test_a_batch_that_is_refused_for_good_is_given_up(name):
    async with open_vendor(SERVICES[name][0]()) as vendor, open_post() as post:
        shipper = Shipper(name, make_sink(name, vendor, post), QUICK._replace(give_up=0.2))
        vendor.mood = 500
        put_all(shipper, range(5))
        await until(lambda: shipper.idle)
        assert shipper.counts.lost == 5


async def test_the_queues_share_their_room():
    room = Room(limit=2_000)
    async with open_vendor(SERVICES["webhook"][0]()) as vendor, open_post() as post:
        one, two = (Shipper(name, make_sink("webhook", vendor, post), QUICK, room) for name in "ab")
        one.put(PAYLOADS[0], 900)
        two.put(PAYLOADS[1], 900)
        two.put(PAYLOADS[2], 900)
        assert two.counts.dropped == 1
        await until(lambda: one.idle and two.idle)
        assert room.held == 0


async def test_a_service_says_when_to_come_back():
    async with open_vendor(SERVICES["webhook"][0]()) as vendor, open_post() as post:
        shipper = Shipper("webhook", make_sink("webhook", vendor, post), QUICK._replace(longest=0.4))
        vendor.mood, vendor.retry_after = 429, "30"  # bounded by ``longest``
        shipper.put(PAYLOADS[0], 900)
        await until(lambda: shipper.trouble != "")
        vendor.mood, began = "well", time.monotonic()
        await until(lambda: shipper.idle)
        assert time.monotonic() - began > 0.2


async def test_what_a_sink_raises_costs_one_batch(caplog):
    class Broken:
        calls = 0

        async def write(self, batch):
            self.calls += 1
            if self.calls == 1:
                raise ZeroDivisionError("a bug")
            return 0

        async def close(self):
            pass

    caplog.set_level(logging.ERROR)
    shipper = Shipper("mine", Broken(), QUICK)
    put_all(shipper, range(10))
    put_all(shipper, range(10, 15))
    await until(lambda: shipper.idle)
    assert shipper.counts.lost == 10 and shipper.counts.written == 5 and "ZeroDivisionError" in caplog.text


# What writes on this machine, and the operator's own code ---------------------------------------------------------------


async def test_a_file_that_cannot_be_written_is_tried_again(tmp_path, caplog):
    path = tmp_path / "later" / "records.jsonl"
    shipper = Shipper("file", SINKS["file"](Settings(Variables({}), None, {"path": str(path)})), QUICK)
    put_all(shipper, range(150))
    await until(lambda: shipper.trouble != "")
    assert shipper.counts.dropped >= 40 and "No such file or directory" in caplog.text
    path.parent.mkdir()
    await until(lambda: shipper.idle)
    assert len(path.read_text().splitlines()) == shipper.counts.written == 150 - shipper.counts.dropped


def own(found):
    return sink_of("mine", found, lambda kind, said: said)[0]


def hanging(release):
    def hangs(kwargs, response, start, end):
        release.wait(20)

    class Hangs:
        async def write(self, batch):
            release.wait(20)

    return {"function": hangs, "writer": Hangs()}


@pytest.mark.parametrize("kind", ["function", "writer"])
async def test_code_that_hangs_is_bounded_counted_and_begun_once(kind, caplog):
    release = threading.Event()
    shipper = Shipper("mine", own(hanging(release)[kind]), QUICK)
    put_all(shipper, range(150))
    await asyncio.sleep(1.0)  # longer than ``patience``: it goes on, and is not begun again
    assert shipper.waiting <= 110 and shipper.counts.dropped >= 40 and shipper.counts.written == 0
    began = time.monotonic()
    await shipper.stop()
    assert time.monotonic() - began < 1.5 and shipper.counts.lost == 150 - shipper.counts.dropped
    release.set()


async def test_code_that_raises_costs_its_own_records(caplog):
    class Raises:
        async def write(self, batch):
            raise KeyError("mine")

    shipper = Shipper("mine", own(Raises()), QUICK)
    put_all(shipper, range(10))
    await until(lambda: shipper.idle)
    assert shipper.counts.lost == 10 and "KeyError" in caplog.text
