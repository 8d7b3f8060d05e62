"""Uploads that end badly, and who is tried next: nothing is lost silently, and nothing stays behind."""

from __future__ import annotations

import asyncio
import json
import socket
import struct

import pytest

from penstock.core.errors import GatewayError
from penstock.server.doors import bodies as doors
from tests.door import busy, open_door, until
from tests.server.upload.ear import END, ERROR, MIB, Ear, Sender, answer, head, part, upload, yaml
from tests.server.upload.test_upload import FILE, settled

pytestmark = pytest.mark.asyncio
FRONT = part("model", b"m")
BODY = FRONT + part("file", FILE * 4, "a.wav") + END  # 12 MiB
FILE_FIRST = part("file", FILE * 4, "a.wav") + FRONT + END
DEAD = "http://127.0.0.1:9"


def message(said: bytes) -> str:
    return json.loads(said)["error"]["message"]


# ---- who is tried next


async def test_a_dead_upstream_costs_nothing_of_the_body(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(DEAD, ear)) as door:
        status, headers, _ = await upload(door, BODY)
        assert status == 200 and headers["x-litellm-attempted-fallbacks"] == "1"
        [heard] = ear.requests
        assert heard.size == heard.length and door.records[0].tries == 2


async def test_a_refusal_within_the_first_mebibyte_is_tried_elsewhere(tmp_path):
    async with Ear() as one, Ear() as two, open_door(tmp_path, yaml(one, two)) as door:
        one.says, one.early = [answer(503, ERROR)], [100_000]
        async with Sender(door) as client:
            await client.send(head(len(BODY)), BODY[:300_000])
            await until(lambda: bool(two.requests) and two.requests[0].size > 200_000)
            await client.send(BODY[300_000:])
            status, headers, _ = await client.one()
        assert status == 200 and headers["x-litellm-attempted-fallbacks"] == "1"
        wanted = BODY.replace(b"\r\n\r\nm\r\n", b"\r\n\r\nwhisper-1\r\n")
        [heard] = two.requests
        assert (heard.size, heard.length, heard.first, heard.last) == (len(wanted), len(wanted), wanted[:20_000], wanted[-20_000:])


@pytest.mark.parametrize("status", [503, 429, 401])
async def test_there_is_no_second_try_once_the_body_is_gone_and_the_error_says_so(status, tmp_path):
    async with Ear() as one, Ear() as two, open_door(tmp_path, yaml(one, two, retries=2)) as door:
        one.says = [answer(status, ERROR)]
        got, _, said = await upload(door, BODY)
        assert got == status and "No." in message(said) and "not held here" in message(said)
        assert len(one.requests) == 1 and not two.requests and door.records[0].tries == 1
        # A client's own mistake would not have been tried again anyway.
        one.says = [answer(400, ERROR)]
        got, _, said = await upload(door, BODY)
        assert got == 400 and "not held" not in message(said)


async def test_a_form_on_disk_is_sent_again_as_often_as_needed(tmp_path):
    async with Ear() as one, Ear() as two, open_door(tmp_path, yaml(one, two, retries=1)) as door:
        one.says, one.early = [answer(503, ERROR)], [2 * MIB, None]
        status, headers, _ = await upload(door, FILE_FIRST)
        assert status == 200 and headers["x-litellm-attempted-fallbacks"] == "1"
        first, second = one.requests
        [third] = two.requests
        assert not first.complete and second.hash.digest() == third.hash.digest() and third.size == third.length
        assert door.records[0].tries == 3


# ---- upstreams


@pytest.mark.parametrize("body", [BODY, FILE_FIRST])
@pytest.mark.parametrize(("status", "after"), [(413, 0), (401, 0), (413, 3 * MIB)])
async def test_an_upstream_that_refuses_early_is_heard_by_a_client_that_still_sends(body, status, after, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        ear.says, ear.early = [answer(status, ERROR, more=b"connection: close\r\n")], [after]
        got, headers, said = await upload(door, body)
        assert got == status and "No." in message(said)
        assert headers["connection"] == "close"
        await settled(door, baseline)
        assert len(door.records) == 1 and door.records[0].status == status


@pytest.mark.parametrize("body", [BODY, FILE_FIRST])
async def test_an_upstream_that_dies_in_the_middle(body, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        ear.dies = 2 * MIB
        got, _, said = await upload(door, body)
        assert got in (500, 502) and ("not held here" in message(said)) is (body is BODY)
        await settled(door, baseline)
        assert door.records[0].fault == "upstream" and door.records[0].error in ("broken_answer", "connect")


async def test_an_upstream_that_does_not_read_holds_the_client_back(tmp_path):
    big = FRONT + part("file", FILE * 30, "a.wav") + END  # 90 MiB
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        ear.deaf.set()
        async with Sender(door) as client:
            sent = 0

            async def send() -> None:
                nonlocal sent
                await client.send(head(len(big)))
                for at in range(0, len(big), 65536):
                    await client.send(big[at : at + 65536])
                    sent = at

            sending = asyncio.ensure_future(send())
            last = -1
            while last != sent or not last:
                last = sent
                await asyncio.sleep(0.2)
            [exchange] = door.gateway.active
            source = exchange.upload.source
            assert source.paused and source._size < MIB and source.received < 40 * MIB < len(big), "kernels hold some"
            assert sum(map(len, exchange.upload.kept())) <= MIB + 256 * 1024
            ear.deaf.clear()
            status, _, _ = await client.one()
            await sending
            assert status == 200 and ear.requests[0].size == ear.requests[0].length


# ---- clients


async def leave(client: Sender, how: str) -> None:
    if how == "rst":
        client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.writer.transport.abort()
    elif how == "half":
        client.writer.write_eof()
    else:
        client.writer.close()


@pytest.mark.parametrize("how", ["fin", "rst", "half"])
@pytest.mark.parametrize("body", [BODY, FILE_FIRST])
async def test_a_client_that_leaves_ends_the_upstreams_request(body, how, tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        async with Sender(door) as client:
            await client.send(head(len(body)), body[: 5 * MIB])
            if body is BODY:
                await until(lambda: bool(ear.requests) and ear.requests[0].size > 4 * MIB)
            await leave(client, how)
            await settled(door, baseline)
        if body is BODY:
            await until(ear.requests[0].gone.is_set)
            assert not ear.requests[0].complete
        else:
            assert not ear.requests
        await until(lambda: bool(door.records))
        [record] = door.records
        assert (record.status, record.error) == (499, "client_gone") and 0 < record.bytes_in < len(body)


async def test_a_client_that_resets_while_it_is_held_back_is_missed_soon(tmp_path):
    big = FRONT + part("file", FILE * 30, "a.wav") + END
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        ear.deaf.set()
        async with Sender(door) as client:
            sending = asyncio.ensure_future(client.send(head(len(big)), big))
            await until(lambda: bool(door.gateway.active) and next(iter(door.gateway.active)).upload.source.paused)
            for _ in range(50):  # until the kernels' buffers are full
                await asyncio.sleep(0.01)
            sending.cancel()
            await leave(client, "rst")
            await asyncio.sleep(0.05)
            [connection] = door.state.connections
            connection.sweep(asyncio.get_running_loop().time())
            await settled(door, baseline)
        assert door.records[0].error == "client_gone"
        ear.deaf.clear()


async def test_a_client_that_stops_sending_is_told_and_the_upstream_let_go(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        async with Sender(door) as client:
            await client.send(head(len(BODY)), BODY[: 2 * MIB])
            await until(lambda: bool(ear.requests) and ear.requests[0].size > MIB)
            [connection] = door.state.connections
            now = asyncio.get_running_loop().time()
            connection.sweep(now + doors.BODY_STALL - 5)
            await asyncio.sleep(0.05)
            assert not door.records, "not yet"
            connection.sweep(now + doors.BODY_STALL + 5)
            status, headers, said = await client.answer()
            assert status == 408 and headers["connection"] == "close" and "No byte of the request's body" in message(said)
            await until(ear.requests[0].gone.is_set)
        await settled(door, baseline)
        assert (door.records[0].error, door.records[0].fault, door.records[0].tries) == ("request_timeout", "client", 1)
        assert "Exception" not in message(said), "no upstream said that"


async def test_a_client_that_drips_is_ended_too(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        async with Sender(door) as client:
            await client.send(head(len(BODY)), BODY[: 2 * MIB])
            await until(lambda: bool(ear.requests) and ear.requests[0].size > MIB)
            [exchange] = door.gateway.active
            later = asyncio.get_running_loop().time() + doors.BODY_TIME + 2 * MIB / doors.SLOWEST + 5
            exchange.touched = later - 1
            exchange.check(later - 10)
            assert not exchange.upload.source.failed
            exchange.check(later)
            status, _, said = await client.answer()
            assert status == 408 and "too slowly" in message(said)


async def test_a_broken_chunk_in_the_middle_is_told(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        async with Sender(door) as client:
            await client.send(head(None), b"200000\r\n" + BODY[: 2 * MIB] + b"\r\n")
            await until(lambda: bool(ear.requests))
            await client.send(b"nonsense\r\n")
            status, _, said = await client.answer()
            assert status == 400 and "not valid HTTP" in message(said)
        await settled(door, baseline)
        assert len(door.records) == 1 and not ear.requests[0].complete


# ---- the gateway


async def test_a_gateway_that_shuts_down_ends_an_upload_with_an_error(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()
        async with Sender(door) as client:
            await client.send(head(len(BODY)), BODY[: 2 * MIB])
            await until(lambda: bool(ear.requests))
            [exchange] = door.gateway.active
            door.gateway.cut_off(exchange, GatewayError("draining", "The gateway is shutting down."))
            status, _, said = await client.answer()
            assert status == 503 and "shutting down" in message(said)
        await settled(door, baseline)


async def test_forty_uploads_that_end_badly_leave_nothing(tmp_path):
    async with Ear() as ear, open_door(tmp_path, yaml(ear)) as door:
        baseline = asyncio.all_tasks()

        async def one(number: int) -> None:
            body = BODY if number % 2 else FILE_FIRST
            async with Sender(door) as client:
                await client.send(head(len(body)), body[: 100_000 * (number + 8)])
                await asyncio.sleep(0.01 * (number % 5))
                await leave(client, ("fin", "rst", "half")[number % 3])
                if number % 3 == 2:
                    assert await asyncio.wait_for(client.reader.read(), 10) == b"", "who hung up is not answered"

        await asyncio.gather(*(one(number) for number in range(40)))
        await settled(door, baseline)
        assert not busy(door.pool) and len(door.records) == 40
        assert {record.error for record in door.records} == {"client_gone"}
        status, _, _ = await upload(door, BODY)
        assert status == 200
