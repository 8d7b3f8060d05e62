"""Uploads through the portable door: under uvicorn, and under a driver that sees what the door asks for."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.server.doors import bodies as doors
from tests.door import open_door, until
from tests.server.test_asgi import Driver, each, under_uvicorn
from tests.server.upload.ear import BOUNDARY, END, JSON, MIB, Ear, Sender, head, part, upload, yaml
from tests.server.upload.test_upload import FILE, settled

pytestmark = pytest.mark.asyncio
FRONT = part("model", b"m")
BODY = FRONT + part("file", FILE * 2, "a.wav") + END
KIND = f"multipart/form-data; boundary={BOUNDARY.decode()}"
PATH = "/v1/audio/transcriptions"


@each
@pytest.mark.parametrize("whole", [True, False])
async def test_an_upload_is_passed_on_while_it_comes(parser, whole, tmp_path):
    async with Ear() as ear, under_uvicorn(tmp_path, parser, yaml=yaml(ear)) as door:
        async with Sender(door) as client:
            cut = b"%x\r\n%b\r\n"
            first, rest = BODY[: 3 * MIB], BODY[3 * MIB :]
            await client.send(head(len(BODY) if whole else None), first if whole else cut % (len(first), first))
            await until(lambda: bool(ear.requests) and ear.requests[0].size > 2 * MIB)
            await client.send(rest if whole else cut % (len(rest), rest) + b"0\r\n\r\n")
            status, _, said = await client.one()
        wanted = BODY.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper-1\r\n")
        assert (status, said) == (200, JSON) and ear.requests[0].size == len(wanted)
        assert ear.requests[0].length == (len(wanted) if whole else None)
        assert door.records[0].bytes_in == len(BODY) and door.records[0].cost is not None


@each
async def test_limits_and_keys_come_before_the_body(parser, tmp_path):
    async with Ear() as ear, under_uvicorn(tmp_path, parser, yaml=yaml(ear), master_key="sk-master", max_upload=4 * MIB) as door:
        for more, length, status in ((b"", 2 * MIB, 401), (b"authorization: Bearer sk-master\r\n", len(BODY), 413)):
            async with Sender(door) as client:
                await client.send(head(length, more=more + b"expect: 100-continue\r\n"))
                got, _, said = await client.answer()
                assert got == status and "error" in json.loads(said)
        status, _, said = await upload(door, BODY, whole=False, authorization="Bearer sk-master")
        assert status == 413 and "max_file_size_mb" in json.loads(said)["error"]["message"]
        await door.settle()


def begun(door, **headers: str) -> Driver:
    """A driver whose body has not come yet."""
    driver = Driver(door, b"", path=PATH, content_type=KIND, **headers)
    driver.events.get_nowait()
    return driver


def event(data: bytes, more: bool = True) -> dict:
    return {"type": "http.request", "body": data, "more_body": more}


async def test_the_server_is_not_asked_for_a_body_that_nobody_wants(tmp_path):
    async with open_door(tmp_path, master_key="sk-master") as door:
        driver = begun(door, content_length=str(len(BODY)))
        driver.events.put_nowait(event(b"x"))
        await asyncio.wait_for(driver.task, 2)
        assert driver.sent[0]["status"] == 401 and driver.events.qsize() == 1


async def test_the_server_is_not_asked_for_more_than_the_upstream_takes(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        ear.deaf.set()
        total = 90 * MIB
        driver = begun(door, content_length=str(len(FRONT) + total))
        file = part("file", b"", "a.wav")[:-2]
        driver.events.put_nowait(event(FRONT + file))
        for _ in range(1400):
            driver.events.put_nowait(event(b"x" * 65536))
        await until(lambda: bool(ear.requests))
        last = -1
        while last != driver.events.qsize():
            last = driver.events.qsize()
            await asyncio.sleep(0.2)
        assert last > 600, "the kernels' buffers hold some, we hold next to nothing"
        driver.leave()
        driver.task.cancel()
        await asyncio.wait([driver.task])
        ear.deaf.clear()
        await door.settle()


@pytest.mark.parametrize("how", ["disconnect", "cancelled"])
async def test_a_client_that_leaves_ends_the_upstreams_request(how, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        driver = begun(door, content_length=str(len(BODY)))
        driver.events.put_nowait(event(BODY[: 2 * MIB]))
        await until(lambda: bool(ear.requests) and ear.requests[0].size > MIB)
        driver.leave() if how == "disconnect" else driver.task.cancel()
        await asyncio.wait([driver.task], timeout=2)
        await until(ear.requests[0].gone.is_set)
        await settled(door, baseline)
        assert driver.sent == [] and door.records[0].error == "client_gone"


async def test_a_client_that_stops_sending_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(doors, "BODY_STALL", 0.2)
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        driver = begun(door, content_length=str(len(BODY)))
        driver.events.put_nowait(event(BODY[: 2 * MIB]))
        await asyncio.wait_for(driver.task, 3)
        assert driver.sent[0]["status"] == 408
        await until(ear.requests[0].gone.is_set)
        await settled(door, baseline)
