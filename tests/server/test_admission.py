"""Who is refused by the head of a request has cost nothing: answered before the body, of which nothing is kept."""

from __future__ import annotations

import asyncio
import json
import tracemalloc

import pytest

from penstock.mock import Script, Step
from penstock.server.doors import coming as doors
from penstock.server.doors import quick
from penstock.server.surfaces import PATTERNS, SURFACES
from tests.door import HELLO, open_door, parse, read_answers
from tests.server.tables import ROUTES
from tests.server.test_asgi import under_uvicorn

KEY = "sk-gateway-key-1234567"
MIB = 1024 * 1024
PATHS = [
    *SURFACES,
    *(pattern.templates[0].replace("{model}", "m") for pattern in PATTERNS if pattern.templates),
    *(row.path.replace("{response_id}", "r").replace("{name:path}", "m") for row in ROUTES if row.role != "public"),
    "/nowhere",
    "/openai/v1/chat/completions",
    "/api/v1/chat/completions",
    "/api/v1/batch/chat/completions",
    "/olla/litellm/v1/messages",
]


@pytest.fixture(params=["quick", "asgi"])
def opened(request):
    return open_door if request.param == "quick" else lambda path, **more: under_uvicorn(path, "httptools", **more)


def head(path: str, length: int | None, *lines: str, method: str = "POST") -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    text = "\r\n".join([f"{method} {path} HTTP/1.1", "host: localhost", framing, *lines])
    return f"{text}\r\ncontent-type: application/json\r\n\r\n".encode()


async def pushed(door, data: bytes, body: int) -> tuple[int, dict[str, str], bytes]:
    """Sends a head and then a body of so many bytes, as a client does that reads only afterwards."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    try:
        writer.write(data)
        await asyncio.sleep(0.01)
        for _ in range(body // 65536):
            writer.write(b"x" * 65536)
            await writer.drain()
        return parse(await read_answers(reader, 1))
    finally:
        writer.close()


@pytest.mark.parametrize("key", [None, "sk-wrong"])
async def test_a_stranger_is_told_before_the_body_at_every_path(key, tmp_path, opened):
    async with opened(tmp_path, master_key=KEY) as door:
        lines = [] if key is None else [f"authorization: Bearer {key}"]
        told = await asyncio.gather(*(door.raw(head(path, 30 * MIB, *lines)) for path in PATHS))
        for path, answer in zip(PATHS, told, strict=True):
            status, _, body = parse(answer)
            assert status == 401 and b"error" in body, (path, answer)
        await door.settle()
        assert door.gateway.held.size == 0 and not door.mock.received and len(PATHS) > 40


REFUSED = {
    "no key": (head("/v1/chat/completions", 30 * MIB), 401),
    "no key, chunked": (head("/v1/chat/completions", None), 401),
    "no such path": (head("/nowhere", 30 * MIB, f"authorization: Bearer {KEY}"), 404),
    "a wrong method": (head("/v1/chat/completions", 30 * MIB, f"authorization: Bearer {KEY}", method="PUT"), 405),
    "too large": (head("/v1/chat/completions", 33 * MIB, f"authorization: Bearer {KEY}"), 413),
    "not JSON": (head("/v1/messages", 30 * MIB, f"x-api-key: {KEY}").replace(b"application/json", b"text/plain"), 415),
    "a wrong key in the query": (head("/v1beta/models/m:generateContent?key=sk-no", 30 * MIB), 401),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_what_the_head_refuses_is_answered_at_once(why, tmp_path, opened):
    data, expected = REFUSED[why]
    async with opened(tmp_path, master_key=KEY) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(data)
        got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        assert got.startswith(b"HTTP/1.1 %d" % expected)
        assert not door.gateway.active or not next(iter(door.gateway.active)).held
        writer.close()
        await door.settle()
        assert door.gateway.held.size == 0 and door.records[-1].status == expected


@pytest.mark.parametrize("why", REFUSED)
async def test_who_sends_first_and_reads_then_sees_the_answer(why, tmp_path, opened):
    data, expected = REFUSED[why]
    async with opened(tmp_path, master_key=KEY) as door:
        if b"chunked" in data:
            data += b"%x\r\n" % (40 * MIB)
        status, _, body = await pushed(door, data, 20 * MIB)
        assert status == expected and b"error" in body
        await door.settle()


async def test_the_key_in_the_query_opens_where_it_may_stand(tmp_path, opened):
    async with opened(tmp_path, master_key=KEY) as door:
        body = json.dumps({"contents": [{"parts": [{"text": "x" * 300_000}]}]}).encode()
        path = f"/v1beta/models/m:generateContent?key={KEY}"
        status, _, answer = parse(await door.raw(head(path, len(body)), body))
        assert status == 200, answer


async def test_who_waits_to_be_told_to_send_is_told_only_when_let_in(tmp_path, opened):
    async with opened(tmp_path, master_key=KEY) as door:
        expects = "expect: 100-continue"
        answer = await door.raw(head("/v1/chat/completions", 50_000, expects))
        assert answer.startswith(b"HTTP/1.1 401") and b"100 Continue" not in answer
        body = json.dumps({**HELLO, "user": "x" * 50_000}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(head("/v1/chat/completions", len(body), expects, f"authorization: Bearer {KEY}"))
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)).startswith(b"HTTP/1.1 200")
        writer.close()
        await door.settle()


async def test_sixty_strangers_cost_nothing(tmp_path, opened):
    async with opened(tmp_path, master_key=KEY) as door:
        data = head("/v1/chat/completions", 30 * MIB)
        await pushed(door, data, 0)
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            strangers = [pushed(door, data, 4 * MIB) for _ in range(60)]
            answers = await asyncio.gather(*strangers)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [status for status, _, _ in answers] == [401] * 60
        # Both sides of 60 connections are in this process; tests/e2e/test_memory.py measures the gateway alone.
        assert most - before < 60 * MIB, f"{(most - before) / MIB:.0f} MiB"


@pytest.mark.parametrize("length", [10, 1000, 60_000])
async def test_a_connection_goes_on_behind_a_refusal_with_little_left(length, tmp_path):
    """Clients send head and body in two writes: one that mistyped a path keeps its connection."""
    async with open_door(tmp_path, master_key=KEY) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        good = json.dumps(HELLO).encode()
        for _ in range(3):
            writer.write(head("/v1/nowhere", length, f"authorization: Bearer {KEY}"))
            got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            assert got.startswith(b"HTTP/1.1 404") and b"connection: close" not in got
            await reader.readexactly(int(got.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            writer.write(b"x" * length + head("/v1/chat/completions", len(good), f"authorization: Bearer {KEY}") + good)
            got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
            assert got.startswith(b"HTTP/1.1 200")
            await reader.readexactly(int(got.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        writer.close()
        await door.settle()
        assert [record.status for record in door.records] == [404, 200] * 3


async def test_what_was_left_and_does_not_come_ends_the_connection_without_a_word(tmp_path):
    async with open_door(tmp_path, master_key=KEY) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(head("/v1/nowhere", 1000, f"authorization: Bearer {KEY}") + b"x" * 10)
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 2)
        [connection] = door.state.connections
        connection.sweep(asyncio.get_running_loop().time() + quick.HEAD_TIME + 1)
        rest = await asyncio.wait_for(reader.read(), 2)
        assert b"HTTP/1.1" not in rest and len(door.records) == 1
        writer.close()


async def test_a_body_without_end_behind_a_refusal_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(quick, "MAX_SPILLED", 2 * MIB)
    async with open_door(tmp_path, master_key=KEY) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(head("/v1/chat/completions", None) + b"ffffffff\r\n")
        with pytest.raises(ConnectionError):
            for _ in range(1000):
                writer.write(b"x" * 65536)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()
        await door.settle()
        assert not door.state.connections


async def test_a_body_that_waits_for_its_turn_is_not_read_far(tmp_path):
    """Behind an answer that goes on, a second request's body is neither judged nor kept."""
    step = Step(latency_ms=300)
    async with open_door(tmp_path, master_key=KEY, script=Script(default=step)) as door:
        good = json.dumps(HELLO).encode()
        first = head("/v1/chat/completions", len(good), f"authorization: Bearer {KEY}") + good
        big = json.dumps({**HELLO, "user": "x" * 8 * MIB}).encode()
        second = head("/v1/chat/completions", len(big), f"authorization: Bearer {KEY}")
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(first)
        await door.mock.wait_for(1)
        writer.write(second + big)
        await asyncio.sleep(0.1)
        [connection] = door.state.connections
        waiting = connection.queue[0]
        assert isinstance(waiting, doors.ComingExchange) and waiting.coming.received < MIB
        for _ in range(2):
            got = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            assert got.startswith(b"HTTP/1.1 200")
            await reader.readexactly(int(got.partition(b"content-length: ")[2].split(b"\r\n")[0]))
        writer.close()
        await door.settle()
        assert door.gateway.held.size == 0
