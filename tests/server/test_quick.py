"""The quick door: connections that stay, clients that do not read, errors that arrive; and no bytes that upset it."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from penstock.mock import Script
from penstock.server.doors import quick
from penstock.server.doors.asgi import AsgiDoor
from penstock.server.doors.quick import QuickProtocol
from tests.door import HELLO, busy, open_door, parse, until

STREAM = {**HELLO, "stream": True}


def request(body: object = None, method: str = "POST", path: str = "/v1/chat/completions", more: bytes = b"") -> bytes:
    data = json.dumps(body).encode() if body is not None else b""
    length = b"content-length: %d\r\n" % len(data) if data else b""
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n".encode() + more + length + b"\r\n" + data


async def answer_of(reader: asyncio.StreamReader, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
    """One answer from a connection that stays open."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
    status, headers, _ = parse(head)
    if head_only:
        return status, headers, b""
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            assert await reader.readexactly(2) == b"\r\n"
        assert await reader.readexactly(2) == b"\r\n"
        return status, headers, body
    return status, headers, await reader.readexactly(int(headers["content-length"]))


async def test_one_connection_serves_whatever_comes(tmp_path):
    async with open_door(tmp_path) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for round_ in range(3):
            writer.write(request(HELLO))
            status, headers, body = await answer_of(reader)
            assert status == 200 and json.loads(body)["model"] == "m" and "connection" not in headers
            writer.write(request(STREAM))
            status, _, body = await answer_of(reader)
            assert status == 200 and body.endswith(b"data: [DONE]\n\n")
            writer.write(request({"model": "nobody", "messages": [{}]}))
            assert (await answer_of(reader))[0] == 400
            writer.write(request(method="HEAD", path="/health"))
            status, headers, _ = await answer_of(reader, head_only=True)
            assert status == 200 and int(headers["content-length"]) > 10
            writer.write(request(method="GET", path="/nothing"))
            assert (await answer_of(reader))[0] == 404
            assert len(door.state.connections) == 1 and door.mock.requests == 2 * (round_ + 1)
        writer.write(request(HELLO, more=b"connection: close\r\n"))
        _, headers, _ = await answer_of(reader)
        assert headers["connection"] == "close" and await reader.read() == b""
        writer.close()
        await door.settle()


async def test_head_and_get_say_the_same(tmp_path):
    async with open_door(tmp_path) as door:
        for path in ("/", "/health", "/v1/models", "/health/readiness"):
            _, full, body = await door.ask("GET", path)
            status, headers, nothing = await door.ask("HEAD", path)
            assert status == 200 and nothing == b"" and body
            assert headers["content-length"] == full["content-length"] == str(len(body))
            assert headers["content-type"] == full["content-type"]


async def narrow(door) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose kernel holds little for a client that does not read."""
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    plain.setblocking(False)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", door.port))
    return await asyncio.open_connection(sock=plain, limit=4096)


async def test_a_client_that_reads_slowly_holds_the_upstream_back(tmp_path):
    async with open_door(tmp_path, script=Script.always(length=20_000)) as door:
        reader, writer = await narrow(door)
        writer.write(request(STREAM, more=b"connection: close\r\n"))
        await reader.readuntil(b"data: ")
        for _ in range(100):
            await asyncio.sleep(0.02)
            [connection] = door.state.connections
            if connection.write_paused:
                break
        assert connection.write_paused
        await asyncio.sleep(0.1)
        [exchange] = door.gateway.active
        sent = exchange.bytes_out
        await asyncio.sleep(0.1)
        assert exchange.bytes_out == sent, "nothing more is taken from the upstream"
        rest = b""
        while data := await asyncio.wait_for(reader.read(1 << 20), 3):
            rest += data
        assert rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and exchange.bytes_out > sent
        writer.close()
        await door.settle()


async def refuses_to_read(door, sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, QuickProtocol]:
    reader, writer = await narrow(door)
    writer.write(sent)
    for _ in range(200):
        await asyncio.sleep(0.01)
        for connection in door.state.connections:
            if connection.write_paused:
                return reader, writer, connection
    raise AssertionError("the client's buffers took it all")


@pytest.mark.parametrize("close", [b"", b"connection: close\r\n"])
@pytest.mark.parametrize("body", [HELLO, STREAM], ids=["whole", "streamed"])
async def test_a_client_that_never_reads_is_let_go(tmp_path, monkeypatch, body, close):
    """A close waits until all is written: without an end to the patience such connections stay for ever."""
    monkeypatch.setattr(quick, "CLIENT_STALL", 0.1)
    monkeypatch.setattr(quick, "IDLE_TIME", 0.1)
    script = Script.always(text="x" * 6_000_000) if body is HELLO else Script.always(length=25_000)
    async with open_door(tmp_path, script=script) as door:
        _, writer, connection = await refuses_to_read(door, request(body, more=close))
        now = asyncio.get_running_loop().time()
        for second in range(1, 6):
            await asyncio.sleep(0.01)
            connection.sweep(now + second)
        await until(lambda: not door.state.connections)
        writer.close()
        await door.settle()
        assert len(door.records) == 1


async def test_an_error_reaches_a_client_that_still_sends(tmp_path):
    """A close with unread bytes is a reset, and a reset overtakes the answer."""
    async with open_door(tmp_path, max_body=1000) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000\r\n\r\n")
        for _ in range(20):
            writer.write(b"x" * 100_000)
            await asyncio.sleep(0.002)
        status, headers, body = parse(await asyncio.wait_for(reader.read(), 3))
        assert status == 413 and headers["connection"] == "close" and b"1000 bytes" in body
        writer.close()
        await door.settle()


async def test_a_client_that_does_not_hang_up_after_an_error_is_hung_up_on(tmp_path, monkeypatch):
    monkeypatch.setattr(quick, "LINGER", 0.05)
    async with open_door(tmp_path) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"nonsense\r\n\r\n")
        assert parse(await asyncio.wait_for(reader.read(), 2))[0] == 400
        [connection] = door.state.connections
        connection.sweep(asyncio.get_running_loop().time() + 0.01)
        await asyncio.sleep(0.01)
        assert door.state.connections
        connection.sweep(asyncio.get_running_loop().time() + 0.06)
        await until(lambda: not door.state.connections)
        writer.close()


async def test_a_keep_alive_between_answers_is_idle_and_ends_quietly(tmp_path, monkeypatch):
    async with open_door(tmp_path) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request(HELLO))
        await answer_of(reader)
        [connection] = door.state.connections
        now = asyncio.get_running_loop().time()
        connection.sweep(now + quick.IDLE_TIME - 1)
        writer.write(request(HELLO))
        assert (await answer_of(reader))[0] == 200
        connection.sweep(asyncio.get_running_loop().time() + quick.IDLE_TIME + 1)
        assert await asyncio.wait_for(reader.read(), 2) == b""
        writer.close()


async def test_draining_closes_the_idle_and_lets_the_busy_finish(tmp_path):
    async with open_door(tmp_path, script=Script.always(latency_ms=100)) as door:
        idle, idle_writer = await asyncio.open_connection("127.0.0.1", door.port)
        work, work_writer = await asyncio.open_connection("127.0.0.1", door.port)
        work_writer.write(request(HELLO))
        while not busy(door.pool):
            await asyncio.sleep(0.005)
        for connection in list(door.state.connections):
            connection.shutdown()
        assert await asyncio.wait_for(idle.read(), 1) == b""
        status, headers, _ = await answer_of(work)
        assert status == 200 and headers["connection"] == "close" and await work.read() == b""
        idle_writer.close()
        work_writer.close()


# Any bytes ------------------------------------------------------------------------------------------------------------


class Wire(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self, protocol: QuickProtocol) -> None:
        super().__init__({"peername": ("127.0.0.1", 5)})
        self.out, self.shut, self.protocol = b"", False, protocol

    def write(self, data: bytes) -> None:
        assert not self.shut or not data
        self.out += data

    def close(self) -> None:
        self.shut = True

    abort = close

    def is_closing(self) -> bool:
        return self.shut

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        return None

    def pause_reading(self) -> None:
        return None

    resume_reading = pause_reading


PIECES = st.sampled_from(
    [b"GET / HTTP/1.1\r\n", b"GET /v1/models?limit=%C2%B2 HTTP/1.1\r\n", b"HEAD /health HTTP/1.0\r\n", b"host: a\r\n",
     b"POST /v1/chat/completions HTTP/1.1\r\n", b"host: localhost\r\n", b"content-length: 2\r\n", b"\r\n", b"{}", b"\n",
     b"transfer-encoding: chunked\r\n", b"2\r\n{}\r\n", b"0\r\n\r\n", b"content-type: text/x\r\n",
     b"expect: 100-continue\r\n",
     b"GET http://[::1/ HTTP/1.1\r\n", b"GET //%zz%00?a#b HTTP/1.1\r\n", b"OPTIONS * HTTP/1.1\r\n",
     b"PRI * HTTP/2.0\r\n\r\n",
     b"anthropic-version: 1\r\n", b"GET /v1/models/\xc3\xa9 HTTP/1.1\r\n",
     b"connection: upgrade\r\nupgrade: h2c\r\n", b"x",
     b"GET /v1/responses/x/y HTTP/1.1\r\n", b"DELETE /v1/responses/%2e HTTP/1.1\r\n",
     b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"]
)  # fmt: skip


@settings(
    max_examples=max(40, settings.default.max_examples // 2),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(st.lists(PIECES | st.binary(max_size=12), max_size=14))
def test_any_bytes_get_answers_or_an_end_and_nothing_stays(tmp_path, pieces):
    async def talk() -> None:
        async with open_door(tmp_path) as door:
            loop = asyncio.get_running_loop()
            failed: list[dict] = []
            loop.set_exception_handler(lambda _, context: failed.append(context))
            config = uvicorn.Config(
                AsgiDoor(door.gateway), http=QuickProtocol, log_config=None, ws="none", proxy_headers=False
            )
            config.load()
            protocol = QuickProtocol(config=config, server_state=ServerState(), app_state={})
            wire = Wire(protocol)
            protocol.connection_made(wire)
            for piece in pieces:
                if not wire.shut:
                    protocol.data_received(piece)
                await asyncio.sleep(0)
            for _ in range(30):
                await asyncio.sleep(0)
            protocol.sweep(loop.time() + 1000)
            protocol.sweep(loop.time() + 2000)
            await asyncio.sleep(0)
            assert wire.shut or protocol.active is not None
            protocol.connection_lost(None)
            await door.settle()
            assert failed == []
            for head in wire.out.split(b"HTTP/1.1 ")[1:]:
                assert head[:3].isdigit() and not head.startswith(b"5")

    asyncio.run(talk())


async def test_a_client_that_leaves_before_its_task_begins_is_forgotten(tmp_path):
    async with open_door(tmp_path) as door:
        config = uvicorn.Config(
            AsgiDoor(door.gateway), http=QuickProtocol, log_config=None, ws="none", proxy_headers=False
        )
        config.load()
        protocol = QuickProtocol(config=config, server_state=ServerState(), app_state={})
        protocol.connection_made(Wire(protocol))
        protocol.data_received(request(HELLO))
        assert door.gateway.active
        protocol.connection_lost(ConnectionResetError())
        await asyncio.sleep(0.01)
        assert not door.gateway.active and door.mock.received == []
