"""Pass-through at both doors and in old HTTP; a slow reader, a shutdown, and what a passed request leaves behind."""

from __future__ import annotations

import asyncio
import gc
import json

import pytest

from penstock.core.errors import GatewayError
from penstock.runtime import pass_through
from tests.door import parse
from tests.server.test_asgi import each, under_uvicorn
from tests.server.test_pass_through import AUTH, CHAT, KEY, YAML, open_door
from tests.server.test_pass_through_edges import OK, Upstream, behind


@each
async def test_the_portable_door_passes_the_raw_path(tmp_path, parser):
    async with under_uvicorn(tmp_path, parser, yaml=YAML, master_key=KEY) as door:
        body = json.dumps({**CHAT, "stream": True}).encode()
        status, headers, answer = await door.ask(
            "POST", "/openai/v1/chat/completions?x=%2F", body, {**AUTH, "content-type": "application/json"}
        )
        assert status == 200 and b"data: [DONE]" in answer and door.mock.received[-1].query == "x=%2F"
        status, headers, answer = await door.ask("GET", "/openai/v1/models", b"", AUTH)
        assert status == 200 and json.loads(answer)["data"] and "transfer-encoding" not in headers
        status, headers, answer = await door.ask("HEAD", "/openai/v1/models", b"", AUTH)
        assert status == 200 and answer == b""
        for path in ("/openai/v1/%2e%2e/x", "/openai/v1/..%2fx"):
            assert (await door.ask("GET", path, b"", AUTH))[0] == 400
        assert (await door.ask("GET", "/openai/v1/models"))[0] == 401
        await door.settle()


@each
async def test_a_break_at_the_portable_door_is_a_break(tmp_path, parser):
    upstream = Upstream(OK + b"transfer-encoding: chunked\r\n\r\n", b"5\r\nhello\r\n", pause=0.05, reset=True)
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    yaml = YAML.replace("{mock}/v1", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    async with under_uvicorn(tmp_path, parser, yaml=yaml) as door:
        whole = await door.raw(b"GET /openai/v1/x HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert not whole.endswith(b"0\r\n\r\n") and door.records[-1].error == "broken_stream"
    server.close()


async def test_http_1_0_gets_the_answer_and_the_end(tmp_path):
    upstream = Upstream(OK + b"transfer-encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n")
    async with behind(tmp_path, upstream) as door:
        whole = await door.raw(b"GET /openai/v1/x HTTP/1.0\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n")
        assert whole.partition(b"\r\n\r\n")[2] == b"hello" and b"transfer-encoding" not in whole


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_keep_the_connection(status, tmp_path):
    upstream = Upstream(b"HTTP/1.1 %d X\r\netag: a\r\n\r\n" % status)
    async with behind(tmp_path, upstream) as door:
        ask = b"GET /openai/v1/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
        whole = await door.raw(ask, ask, answers=2, pause=0.2)
        assert whole.count(b"HTTP/1.1 %d " % status) == 2
        assert b"content-length" not in whole and b"transfer-encoding" not in whole


async def test_a_status_that_is_none_is_told(tmp_path):
    async with behind(tmp_path, Upstream(b"HTTP/1.1 999 X\r\ncontent-length: 0\r\n\r\n")) as door:
        status, _, body = await door.ask("GET", "/openai/v1/x", b"", AUTH)
        assert status == 502 and "999" in body.decode()


async def test_a_slow_reader_holds_the_upstream_back(tmp_path):
    size = 64 * 1024 * 1024
    part = b"\x01" * 65536
    upstream = Upstream(OK + b"content-type: audio/wav\r\ncontent-length: %d\r\n\r\n" % size, *[part] * (size // len(part)))
    async with behind(tmp_path, upstream) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port, limit=1024)
        writer.write(b"GET /openai/v1/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n")
        await asyncio.wait_for(reader.read(100), 3)
        await asyncio.sleep(0.5)
        [exchange] = door.gateway.active
        assert exchange.bytes_out < size / 2  # the kernel's buffers and not much more
        writer.transport.abort()
        await door.settle()


async def test_a_shutdown_ends_what_runs(tmp_path):
    head = OK + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    for parts, expected in (((head, b"5\r\nhello\r\n", b"HOLD"), "broken"), ((b"HOLD",), "told")):
        async with behind(tmp_path, Upstream(*parts)) as door:
            ask = b"GET /openai/v1/x HTTP/1.1\r\nhost: x\r\nauthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
            asked = asyncio.ensure_future(door.raw(ask))
            while not door.gateway.active:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            door.gateway.draining = True
            for exchange in list(door.gateway.active):
                door.gateway.cut_off(exchange, GatewayError("draining", "Going away.", retry_after=1))
            whole = await asyncio.wait_for(asked, 5)
            assert door.records[-1].error == "draining"
            if expected == "told":
                assert parse(whole)[0] == 503
            else:
                assert not whole.endswith(b"0\r\n\r\n")
            assert (await door.ask("GET", "/openai/v1/x", b"", AUTH))[0] == 503


async def test_it_can_be_switched_off(tmp_path):
    async with open_door(tmp_path, YAML + "general_settings: {pass_through: false}\n", master_key=KEY) as door:
        assert (await door.ask("GET", "/openai/v1/models", b"", AUTH))[0] == 404
        assert (await door.ask("GET", "/openai/v1/models"))[0] == 401
        assert (await door.post({"messages": []}, "/openai/deployments/m/chat/completions", **AUTH))[0] == 400


async def test_nothing_is_left_behind(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        for _ in range(3):
            await door.post(CHAT, "/openai/v1/chat/completions", **AUTH)
        await door.settle()
        gc.collect()
        gc.disable()
        try:
            before = sum(isinstance(one, pass_through.PassThrough) for one in gc.get_objects())
            for _ in range(20):
                await door.post({**CHAT, "stream": True}, "/openai/v1/chat/completions", **AUTH)
                await door.post(CHAT, "/openai/v1/nothing", **AUTH)
            await door.settle()
            after = sum(isinstance(one, pass_through.PassThrough) for one in gc.get_objects())
        finally:
            gc.enable()
        assert after <= before + 1  # without the collector: no circles
