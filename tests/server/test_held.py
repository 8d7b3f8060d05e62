"""What requests and whole answers hold is counted, bounded, and given back once; beyond the bound a 503 that says when."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.core.errors import GatewayError
from penstock.mock import Script, Step
from penstock.runtime.exchange import Exchange
from penstock.runtime.held import Held
from penstock.server.memory import memory_bytes
from tests.door import HELLO, open_door, parse, read_answers, until
from tests.server.test_asgi import under_uvicorn

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
PATHS = {
    CHAT: HELLO,
    MESSAGES: {**HELLO, "max_tokens": 5},
    "/v1/responses": {"model": "m", "input": "hello"},
    "/v1beta/models/m:generateContent": {"contents": [{"parts": [{"text": "hello"}]}]},
    "/api/chat": {**HELLO, "stream": False},
    "/v1/embeddings": {"model": "m", "input": "a"},
    "/api/v1/chat/completions": HELLO,
}
KIB = 1024


@pytest.fixture(params=["quick", "asgi"])
def opened(request):
    return open_door if request.param == "quick" else lambda path, **more: under_uvicorn(path, "httptools", **more)


# The count ------------------------------------------------------------------------------------------------------------


def test_what_is_taken_is_given_back_once():
    held, one, two = Held(100), Exchange(), Exchange()
    held.take(one, 60)
    held.take(two, 30)
    with pytest.raises(GatewayError) as refused:
        held.take(one, 20)
    assert (refused.value.kind, refused.value.status, held.size) == ("overloaded", 503, 90)
    assert refused.value.retry_after and "max_held_mb" in refused.value.message
    held.free(one)
    held.free(one)
    assert (held.size, one.held, two.held) == (30, 0, 30)
    held.take(one, 20)
    held.free(two)
    held.free(one)
    assert held.size == 0


def test_what_would_never_fit_is_too_large_and_not_asked_for_again():
    held, exchange = Held(100), Exchange()
    held.take(exchange, 60)
    with pytest.raises(GatewayError) as refused:
        held.take(exchange, 60)
    assert refused.value.kind == "too_large" and refused.value.retry_after is None and held.size == 60


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({}, "", None),
        ({"memory.max": "max"}, "0::/", None),
        ({"memory.max": "1000"}, "0::/", 1000),
        ({"a/b/memory.max": "3000", "a/memory.max": "2000", "memory.max": "max"}, "0::/a/b", 2000),
        ({"memory/memory.limit_in_bytes": "500"}, "4:memory:/docker/x\n5:cpu,cpuacct:/y", 500),
        ({"memory/docker/memory.limit_in_bytes": "400"}, "4:memory:/docker/x\nnonsense", 400),
        ({"memory.max": "-1"}, "0::/", None),
    ],
)
def test_memory_is_the_least_of_all_limits(files, own, expected, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    member = tmp_path / "member"
    member.write_text(own)
    whole = memory_bytes(tmp_path / "nowhere", tmp_path / "nothing")
    assert whole > 100_000_000
    assert memory_bytes(tmp_path, member) == (expected or whole)


# At the doors ---------------------------------------------------------------------------------------------------------


def request(body: bytes, path: str = CHAT, chunked: bool = False) -> bytes:
    framing = "transfer-encoding: chunked" if chunked else f"content-length: {len(body)}"
    return f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{framing}\r\n\r\n".encode()


async def holding(door, size: int):
    """A request with a body of so many bytes that waits for its upstream."""
    seen = door.mock.requests
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    body = json.dumps({**HELLO, "user": "x" * size}).encode()
    writer.write(request(body) + body)
    await door.mock.wait_for(seen + 1)
    return reader, writer, len(body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("size", [0, 400 * KIB])
async def test_beyond_the_bound_a_503_in_the_clients_dialect(path, size, tmp_path, opened):
    async with opened(tmp_path, script=Script(default=Step(latency_ms=60_000))) as door:
        reader, writer, first = await holding(door, 500 * KIB)
        assert door.gateway.held.size == first
        body = json.dumps({**PATHS[path], "pad": "x" * size}).encode()
        door.gateway.held.limit = first + len(body) - 1
        status, headers, told = parse(await door.raw(request(body, path), body))
        assert status == 503 and int(headers["retry-after"]) >= 1, told
        text = json.dumps(json.loads(told))
        assert "max_held_mb" in text and (path != MESSAGES or json.loads(told)["error"]["type"] == "overloaded_error")
        assert door.gateway.held.size == first, "it took nothing"
        assert door.records[-1].error == "overloaded" and door.records[-1].fault == "gateway"
        door.gateway.held.limit += 1
        door.mock.script = Script()
        status, _, told = parse(await door.raw(request(body, path), body))
        assert status < 500, told
        writer.close()
        await door.settle()
        assert door.gateway.held.size == 0


async def test_a_request_that_was_let_in_is_read_to_its_end(tmp_path, opened):
    """The length that it announced is kept for it, whoever comes meanwhile."""
    async with opened(tmp_path) as door:
        body = json.dumps({**HELLO, "user": "x" * 600 * KIB}).encode()
        door.gateway.held.limit = len(body) + 10 * KIB
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request(body) + body[: 100 * KIB])
        await until(lambda: door.gateway.held.size == len(body))
        for _ in range(3):
            assert (await door.post({**HELLO, "user": "y" * 20 * KIB}))[0] == 503
        writer.write(body[100 * KIB :])
        status, _, _ = parse(await read_answers(reader, 1))
        assert status == 200
        writer.close()
        await door.settle()
        assert door.gateway.held.size == 0


async def test_a_chunked_body_grows_until_there_is_no_room(tmp_path, opened):
    async with opened(tmp_path, script=Script(default=Step(latency_ms=60_000))) as door:
        _, writer, first = await holding(door, 500 * KIB)
        door.gateway.held.limit = first + 300 * KIB
        piece = b"%x\r\n%b\r\n" % (100 * KIB, b"x" * 100 * KIB)
        parts = [request(b"", chunked=True), piece, piece, piece, piece, piece]
        status, headers, told = parse(await door.raw(*parts))
        assert status == 503 and "retry-after" in headers, told
        await until(lambda: door.gateway.held.size == first)
        writer.close()
        await door.settle()
        assert door.gateway.held.size == 0


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_whole_answer_counts_and_one_without_room_is_no_fault_of_its_upstream(framing, tmp_path, opened):
    step = Step(length=300_000, framing=framing)
    async with opened(tmp_path, script=Script(default=step)) as door:
        status, _, told = await door.post(HELLO)
        assert status == 200 and len(told) > 600 * KIB
        await door.settle()
        assert door.gateway.held.size == 0
        door.gateway.held.limit = 200 * KIB
        status, headers, told = await door.post(HELLO)
        assert status == 503 and "retry-after" in headers and b"no room for the answer" in told
        await door.settle()
        [target] = door.gateway.state.targets
        assert not door.live(target).health.ill and door.gateway.held.size == 0
        assert (door.records[-1].error, door.records[-1].fault, door.records[-1].tries) == ("overloaded", "gateway", 1)


async def test_an_answer_that_the_client_does_not_read_counts_until_it_goes(tmp_path):
    step = Step(length=2_000_000)
    async with open_door(tmp_path, script=Script(default=step)) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        body = json.dumps(HELLO).encode()
        writer.write(request(body) + body)
        await door.mock.wait_for(1)
        await until(lambda: not door.gateway.active)  # the answer is out, as far as the gateway goes
        [connection] = door.state.connections
        assert connection.write_paused and door.gateway.held.size > 1_000_000
        writer.transport.abort()
        await until(lambda: door.gateway.held.size == 0)


async def test_items_of_a_batch_give_back_what_they_held(tmp_path):
    step = Step(length=300_000)
    async with open_door(tmp_path, script=Script(default=step)) as door:
        status, _, told = await door.post([HELLO] * 3, "/api/v1/batch/chat/completions")
        assert status == 200 and json.loads(told)["successful"] == 3
        await door.settle()
        assert door.gateway.held.size == 0
