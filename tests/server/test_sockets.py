"""WebSockets through both doors to the mock, with a real client: Realtime sessions, and what is refused."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from penstock.mock import Script, Step
from penstock.server.doors.asgi import AsgiDoor
from tests.door import open_door, parse

KEY = "sk-client-key-0123456789"
SECRET = "sk-upstream-secret"
YAML = """
model_list:
  - model_name: voice
    litellm_params: {model: openai/gpt-realtime, api_base: "{mock}/v1", api_key: sk-upstream-secret}
    model_info: {input_cost_per_token: 0.001, output_cost_per_token: 0.01}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream-secret}
router_settings: {num_retries: 0}
"""


@asynccontextmanager
async def asgi_door(tmp_path, yaml=None, **options: Any):
    async with open_door(tmp_path, yaml, **options) as door:
        config = uvicorn.Config(AsgiDoor(door.gateway), ws="websockets-sansio", lifespan="off", log_config=None)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: config.http_protocol_class(config=config, server_state=state, app_state={}), "127.0.0.1", 0
        )
        door.port = server.sockets[0].getsockname()[1]
        try:
            yield door
        finally:
            server.close()
            for connection in list(state.connections):
                connection.transport.abort()
            for task in list(state.tasks):
                await asyncio.wait([task], timeout=2)


DOORS = {"quick": open_door, "asgi": asgi_door}
each_door = pytest.mark.parametrize("opened", DOORS.values(), ids=DOORS)


def dial(door: Any, path: str = "/v1/realtime?model=voice", key: str | None = KEY, **more: Any):
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return connect(f"ws://127.0.0.1:{door.port}{path}", additional_headers=headers, compression=None, **more)


async def hear(client: Any, until: str) -> list[dict[str, Any]]:
    """Events up to one of a type."""
    told = []
    while True:
        told.append(json.loads(await asyncio.wait_for(client.recv(), 5)))
        if told[-1]["type"] == until:
            return told


async def recorded(door: Any, count: int = 1) -> list[Any]:
    for _ in range(300):
        if len(door.records) >= count:
            return door.records
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(door.records)} of {count} records")


@each_door
async def test_a_session_is_passed_through_under_its_own_names_and_billed(tmp_path, opened):
    async with opened(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door, subprotocols=["realtime"]) as client:
            assert client.subprotocol == "realtime"
            assert "x-litellm-call-id" in client.response.headers
            [created] = await hear(client, "session.created")
            assert created["session"]["model"] == "voice"
            await client.send(json.dumps({"type": "session.update", "session": {"type": "realtime", "model": "voice"}}))
            [updated] = await hear(client, "session.updated")
            assert updated["session"]["model"] == "voice"
            for _ in range(2):
                await client.send(json.dumps({"type": "response.create"}))
                told = await hear(client, "response.done")
                assert "".join(e["delta"] for e in told if "delta" in e).strip() == "Hello from the mock."
        [record] = await recorded(door)
        [received] = door.mock.received
        assert received.messages[0]["session"]["model"] == "gpt-realtime" and "model=gpt-realtime" in received.query
        assert received.header("authorization") == f"Bearer {SECRET}" and KEY not in str(received.headers)
        assert (record.status, record.error, record.model) == (101, "", "voice"), record
        assert (record.target, record.provider, record.tries) == ("openai/gpt-realtime", "openai", 1)
        usage = record.usage
        assert (usage.fresh, usage.cache_read, usage.output, usage.audio_in, usage.audio_out) == (30, 10, 20, 12, 8)
        assert record.cost is not None and record.cost > 0 and record.bytes_out > 500
        assert received.closed == 1000
        await door.settle()


@each_door
@pytest.mark.parametrize(
    ("path", "key", "status"),
    [
        ("/v1/realtime?model=voice", "sk-wrong-key-0123456789", 401),
        ("/v1/realtime?model=voice", None, 401),
        ("/v1/responses", None, 401),
        ("/v1/realtime?model=nobody", KEY, 400),
        ("/v1/realtime", KEY, 400),
        ("/v1/realtime?model=claude", KEY, 426),
        ("/v1/chat/completions", KEY, 426),
        ("/", KEY, 426),
    ],
)
async def test_who_may_not_enter_is_told_so_before_the_upgrade(tmp_path, opened, path, key, status):
    async with opened(tmp_path, YAML, master_key=KEY) as door:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(door, path, key):
                raise AssertionError("it was let in")
        response = refused.value.response
        assert response.status_code == status
        assert json.loads(response.body)["error"]["message"] and SECRET.encode() not in response.body
        assert door.mock.received == []
        [record] = await recorded(door)
        assert record.status == status and record.error
        await door.settle()


@each_door
async def test_a_browser_s_key_stands_in_a_subprotocol_and_goes_no_further(tmp_path, opened):
    names = ["realtime", f"openai-insecure-api-key.{KEY}", "openai-beta.realtime-v1"]
    async with opened(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door, key=None, subprotocols=names) as client:
            assert client.subprotocol == "realtime"
            await hear(client, "session.created")
        [received] = door.mock.received
        assert KEY not in str(received.headers) and received.header("authorization") == f"Bearer {SECRET}"
        assert received.header("sec-websocket-protocol") == "realtime, openai-beta.realtime-v1"
        with pytest.raises(InvalidStatus) as refused:
            async with dial(door, key=None, subprotocols=["realtime", "openai-insecure-api-key.sk-no-such-key"]):
                raise AssertionError("it was let in")
        assert refused.value.response.status_code == 401
        await door.settle()


async def test_a_web_page_of_another_site_is_refused_where_no_key_is_needed(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(door, key=None, origin="https://evil.example"):
                raise AssertionError("it was let in")
        assert refused.value.response.status_code == 403
        async with dial(door, key=None, origin="http://localhost:3000") as client:
            await hear(client, "session.created")


@each_door
async def test_an_upstream_that_refuses_says_so_as_a_status(tmp_path, opened):
    told = Step(status=429, error=f"too many, said {SECRET}")
    async with opened(tmp_path, YAML, master_key=KEY, script=Script(default=told)) as door:
        with pytest.raises(InvalidStatus) as refused:
            async with dial(door):
                raise AssertionError("it was let in")
        response = refused.value.response
        assert response.status_code == 429 and b"too many" in response.body and SECRET.encode() not in response.body
        [record] = await recorded(door)
        assert (record.error, record.provider) == ("upstream_rate_limit", "openai")
        await door.settle()


async def test_another_target_takes_the_place_of_one_that_cannot(tmp_path):
    yaml = YAML.replace("model_name: claude", "model_name: voice").replace("num_retries: 0", "num_retries: 2")
    async with open_door(tmp_path, yaml, master_key=KEY) as door:
        for _ in range(8):  # whichever is asked first
            async with dial(door) as client:
                await hear(client, "session.created")
        records = await recorded(door, 8)
        assert {record.status for record in records} == {101}


@each_door
async def test_close_codes_pass_both_ways(tmp_path, opened):
    async with opened(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door) as client:
            await hear(client, "session.created")
            await client.send(json.dumps({"type": "mock.close", "code": 4321, "reason": f"enough of {SECRET}"}))
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), 5)
            assert client.close_code == 4321 and SECRET not in client.close_reason and "enough" in client.close_reason
        client = await dial(door)
        await hear(client, "session.created")
        await client.close(3999, "bye")
        [_, record] = await recorded(door, 2)
        assert record.status == 101 and not record.error
        assert [received.closed for received in door.mock.received][1] == 3999
        await door.settle()


@each_door
async def test_an_upstream_that_drops_is_an_error_event_and_1011(tmp_path, opened):
    async with opened(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door) as client:
            await hear(client, "session.created")
            await client.send(json.dumps({"type": "response.create"}))
            await hear(client, "response.done")
            await client.send(json.dumps({"type": "mock.drop"}))
            [error] = await hear(client, "error")
            assert "1006" in error["error"]["message"]
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), 5)
            assert client.close_code == 1011
        [record] = await recorded(door)
        assert record.error == "broken_stream" and record.fault == "upstream" and record.usage.output == 10
        await door.settle()


@each_door
async def test_a_client_that_drops_ends_the_upstream_s_socket_and_is_billed(tmp_path, opened):
    async with opened(tmp_path, YAML, master_key=KEY) as door:
        client = await dial(door)
        await client.send(json.dumps({"type": "response.create"}))
        await hear(client, "response.done")
        client.transport.abort()
        [record] = await recorded(door)
        assert record.status == 101 and record.usage.output == 10
        [received] = await door.mock.wait_for(1, complete=True)
        assert received.complete
        await door.settle()


@each_door
async def test_large_messages_and_binary_ones_pass_whole(tmp_path, opened):
    async with opened(tmp_path, YAML, master_key=KEY, max_body=8_000_000) as door:
        async with dial(door, max_size=None) as client:
            await hear(client, "session.created")
            pad = "ä" * 1_500_000
            parts = json.dumps({"type": "mock.echo", "pad": pad}, ensure_ascii=False)
            await client.send([parts[at : at + 100_000] for at in range(0, len(parts), 100_000)])
            [echo] = await hear(client, "mock.echo")
            assert echo["pad"] == pad
            await client.send(b"\0\xff" * 500_000)
            assert await asyncio.wait_for(client.recv(), 5) == b"\0\xff" * 500_000
            with pytest.raises(ConnectionClosed):
                await client.send("x" * 9_000_000)
                await asyncio.wait_for(client.recv(), 5)
            assert client.close_code == 1009
        await door.settle()


async def test_each_side_is_held_back_while_the_other_does_not_read(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door, max_queue=1, max_size=None) as client:
            await hear(client, "session.created")
            await client.send(json.dumps({"type": "mock.flood", "count": 400, "size": 100_000}))
            await asyncio.sleep(0.5)
            [exchange] = door.gateway.active
            held = exchange.socket.transport.get_write_buffer_size()
            assert held < 2_000_000, held
            for _ in range(400):
                assert len(await asyncio.wait_for(client.recv(), 5)) > 100_000
        await door.settle()


async def test_another_model_in_a_session_is_refused_and_the_session_goes_on(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door) as client:
            await hear(client, "session.created")
            await client.send(json.dumps({"type": "session.update", "session": {"model": "gpt-other"}}))
            [error] = await hear(client, "error")
            assert error["error"]["param"] == "session.model" and "gpt-other" in error["error"]["message"]
            await client.send(json.dumps({"type": "response.create"}))
            await hear(client, "response.done")
        assert [m["type"] for m in door.mock.received[0].messages] == ["response.create"]


async def test_a_vendor_that_repeats_the_key_in_an_event_is_masked(tmp_path):
    step = Step(error=f"your key {SECRET} is odd")
    async with open_door(tmp_path, YAML, master_key=KEY, script=Script(default=step)) as door:
        async with dial(door) as client:
            await client.send(json.dumps({"type": "response.create"}))
            told = await hear(client, "response.done")
            assert SECRET not in json.dumps(told) and "is odd" in json.dumps(told)


@each_door
async def test_a_shutdown_ends_silent_sessions_at_once_with_1001(tmp_path, opened):
    async with opened(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door) as client, dial(door, "/v1/responses") as other:
            await hear(client, "session.created")
            door.gateway.draining = True
            door.gateway.wind_down()
            for each in (client, other):
                with pytest.raises(ConnectionClosed):
                    await asyncio.wait_for(each.recv(), 5)
                assert each.close_code == 1001
        await door.settle()


async def test_below_mounts_and_on_azure_s_paths(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        for path in (
            "/realtime?model=voice",
            "/olla/litellm/v1/realtime?model=voice",
            "/openai/realtime?api-version=2025-04-01-preview&deployment=voice",
            "/openai/v1/realtime?model=voice",
        ):
            async with dial(door, path) as client:
                [created] = await hear(client, "session.created")
                assert created["session"]["model"] == "voice", path


BAD = {
    "masked by nobody": b"\x81\x05hello",
    "a reserved bit": b"\xc1\x80abcd",
    "an unknown opcode": b"\x83\x80abcd",
    "text that is not UTF-8": b"\x81\x82\0\0\0\0\xff\xfe",
    "a long ping": b"\x89\xfe\x00\x80abcd" + bytes(128),
    "a continuation of nothing": b"\x80\x80abcd",
}


@pytest.mark.parametrize("frame", BAD.values(), ids=BAD)
async def test_frames_that_are_wrong_end_the_session(tmp_path, frame):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(
            b"GET /v1/realtime?model=voice HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
            b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"authorization: Bearer %b\r\n\r\n" % KEY.encode()
        )
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 101") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        writer.write(frame)
        rest = await asyncio.wait_for(reader.read(), 8)
        assert b"\x88" in rest and (b"\x03\xea" in rest or b"\x03\xef" in rest), rest  # 1002 or 1007
        writer.close()
        await door.settle(6)


@pytest.mark.parametrize("answers", [True, False])
async def test_a_peer_that_gives_no_sign_of_life_is_cut_off(tmp_path, monkeypatch, answers):
    from penstock.runtime.http import websocket

    monkeypatch.setattr(websocket, "PING_EVERY", 0.05)
    monkeypatch.setattr(websocket, "DEAD", 0.3)
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        client = await dial(door, ping_interval=None)
        await hear(client, "session.created")
        if not answers:
            client.transport.pause_reading()
        await asyncio.sleep(1)
        assert bool(door.gateway.active) == answers
        client.transport.abort()
        await door.settle()


async def test_a_silent_session_ends(tmp_path, monkeypatch):
    from penstock.runtime import realtime

    monkeypatch.setattr(realtime, "IDLE", 0.3)
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        async with dial(door) as client:
            await hear(client, "session.created")
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(client.recv(), 5)
            assert client.close_code == 1001
        [record] = await recorded(door)
        assert record.status == 101 and not record.error


def test_nothing_of_it_is_loaded_before_the_first_is_opened():
    code = (
        "import sys, penstock.cli.serve, penstock.server.service\n"
        "print([name for name in sys.modules if 'websocket' in name or name.endswith('sockets')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


GOOD = b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
HANDSHAKES = {
    "no key": b"GET /v1/responses HTTP/1.1\r\nsec-websocket-version: 13\r\n",
    "a short key": b"GET /v1/responses HTTP/1.1\r\nsec-websocket-version: 13\r\nsec-websocket-key: eA==\r\n",
    "another version": b"GET /v1/responses HTTP/1.1\r\n" + GOOD.replace(b"13", b"8"),
    "POST": b"POST /v1/responses HTTP/1.1\r\n" + GOOD,
    "a body": b"GET /v1/responses HTTP/1.1\r\ncontent-length: 5\r\n" + GOOD,
    "a chunked body": b"POST /v1/responses HTTP/1.1\r\ntransfer-encoding: chunked\r\n" + GOOD,
    "HTTP/1.0": b"GET /v1/responses HTTP/1.0\r\n" + GOOD,
}
BODIES = {"a body": b"hello", "a chunked body": b"5\r\nhello\r\n0\r\n\r\n"}


@pytest.mark.parametrize("name", HANDSHAKES)
async def test_a_handshake_that_is_wrong_is_a_426(tmp_path, name):
    async with open_door(tmp_path, YAML) as door:
        head = HANDSHAKES[name] + b"host: localhost\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\r\n"
        status, _, body = parse(await door.raw(head + BODIES.get(name, b"")))
        assert status == 426 and json.loads(body)["error"]["message"]
        assert (await recorded(door))[0].error == "upgrade"
        await door.settle()


async def test_what_comes_with_the_handshake_is_heard(tmp_path):
    """RFC 6455 has a client wait for the 101; some do not."""
    async with open_door(tmp_path, YAML) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        head = b"GET /v1/realtime?model=voice HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
        said = b'{"type":"mock.echo"}'
        frame = b"\x81" + bytes([0x80 | len(said)]) + b"\0\0\0\0" + said
        writer.write(head + GOOD + b"\r\n" + frame)
        heard = b""
        while said not in heard:
            heard += await asyncio.wait_for(reader.read(65536), 5)
        assert heard.startswith(b"HTTP/1.1 101")
        writer.close()
        await door.settle(6)
