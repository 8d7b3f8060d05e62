"""The portable door: under uvicorn's two HTTP parsers, and under a driver of our own that sees every message."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from penstock.mock import Script, Step
from penstock.server.doors import asgi
from penstock.server.doors.asgi import AsgiDoor
from tests.door import HELLO, busy, open_door

STREAM = {**HELLO, "stream": True}
try:
    import h11  # noqa: F401

    PARSERS = ["httptools", "h11"]
except ImportError:
    PARSERS = ["httptools"]


@asynccontextmanager
async def under_uvicorn(tmp_path, parser: str, **options: Any):
    async with open_door(tmp_path, **options) as door:
        config = uvicorn.Config(AsgiDoor(door.gateway), http=parser, ws="none", lifespan="off", log_config=None)
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


each = pytest.mark.parametrize("parser", PARSERS)


@each
async def test_whole_streamed_and_refused(tmp_path, parser):
    async with under_uvicorn(tmp_path, parser, max_body=5000) as door:
        status, headers, body = await door.post(HELLO)
        assert status == 200 and json.loads(body)["model"] == "m" and headers["x-litellm-call-id"]
        status, headers, body = await door.post(STREAM)
        assert status == 200 and headers["content-type"].startswith("text/event-stream")
        assert b"data: [DONE]\n\n" in body and b'"model":"m"' in body
        status, _, body = await door.post({**HELLO, "pad": "x" * 6000})
        assert status == 413 and "5000 bytes" in json.loads(body)["error"]["message"]
        status, _, body = await door.post(b"{")
        assert status == 400
        status, headers, _ = await door.ask("GET", "/v1/chat/completions")
        assert status == 405 and headers["allow"] == "POST"
        for path in ("/", "/health", "/v1/models"):
            got, full, whole = await door.ask("GET", path)
            status, headers, body = await door.ask("HEAD", path)
            assert status == got == 200 and body == b"" and whole
            assert headers["content-length"] == full["content-length"] == str(len(whole))
        assert [r.status for r in door.records if r.path.endswith("completions")] == [200, 200, 413, 400, 405]
        await door.settle()


@each
async def test_a_client_that_leaves_ends_the_upstream_call_within_100_ms(tmp_path, parser):
    for body, step in ((HELLO, Step(latency_ms=5000)), (STREAM, Step(length=400, tokens_per_second=100))):
        async with under_uvicorn(tmp_path, parser, script=Script(default=step)) as door:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            data = json.dumps(body).encode()
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
                % (len(data), data)
            )
            while not busy(door.pool):
                await asyncio.sleep(0.005)
            if body is STREAM:
                await reader.readuntil(b"data: ")
            writer.close()
            left = asyncio.get_running_loop().time()
            while busy(door.pool):
                await asyncio.sleep(0.002)
            assert asyncio.get_running_loop().time() - left < (0.1 if "coverage" not in sys.modules else 1)
            await door.settle()
            assert [record.error for record in door.records] == ["client_gone"]
            assert door.mock.requests == 1


@each
async def test_keep_alive_serves_one_after_the_other(tmp_path, parser):
    async with under_uvicorn(tmp_path, parser) as door:
        data = json.dumps(STREAM).encode()
        one = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (
            len(data),
            data,
        )
        answer = await door.raw(one, one, answers=2, pause=0.1)
        assert answer.count(b"HTTP/1.1 200") == 2 and answer.count(b"[DONE]") == 2


# A driver of our own --------------------------------------------------------------------------------------------------


class Driver:
    """One request as a server would bring it: what was sent is in ``sent``; ``hold`` keeps ``send`` from returning."""

    def __init__(
        self, door: Any, body: bytes, method: str = "POST", path: str = "/v1/chat/completions", **headers: str
    ):
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": b"",
            "headers": [
                (n.replace("_", "-").encode(), v.encode()) for n, v in {"host": "localhost", **headers}.items()
            ],
            "client": ("127.0.0.1", 5),
        }
        self.events: asyncio.Queue[dict] = asyncio.Queue()
        self.events.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self.sent: list[dict] = []
        self.free = asyncio.Event()
        self.free.set()
        self.fault: Exception | None = None
        self.task = asyncio.ensure_future(AsgiDoor(door.gateway)(self.scope, self.events.get, self.send))

    async def send(self, message: dict) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent.append(message)
        await self.free.wait()

    def leave(self) -> None:
        self.events.put_nowait({"type": "http.disconnect"})

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def size(self) -> int:
        return len(self.body)


async def until(condition, seconds: float = 2.0) -> None:
    end = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < end, "did not happen"
        await asyncio.sleep(0.002)


async def test_the_messages_of_an_answer(tmp_path):
    async with open_door(tmp_path) as door:
        for body in (HELLO, STREAM):
            driver = Driver(door, json.dumps(body).encode())
            await asyncio.wait_for(driver.task, 2)
            start, *parts, last = driver.sent
            assert start["type"] == "http.response.start" and start["status"] == 200
            assert all(name == name.lower() and b"\r" not in value for name, value in start["headers"])
            assert (b"content-length" in dict(start["headers"])) == (body is HELLO)
            assert last == {"type": "http.response.body", "body": b"", "more_body": False}
            assert all(part["more_body"] for part in parts)
        await door.settle()


async def test_a_body_in_pieces_a_doubled_header_and_no_client(tmp_path):
    async with open_door(tmp_path, master_key="sk-the-key-123") as door:
        data = json.dumps(HELLO).encode()
        driver = Driver(door, b"", x_api_key="sk-the-key-123")
        driver.scope["client"] = None
        driver.events.get_nowait()
        for at in range(0, len(data), 7):
            driver.events.put_nowait(
                {"type": "http.request", "body": data[at : at + 7], "more_body": at + 7 < len(data)}
            )
        await asyncio.wait_for(driver.task, 2)
        assert driver.sent[0]["status"] == 200
        driver = Driver(door, data, x_api_key="sk-the-key-123")
        driver.scope["headers"].append((b"x-api-key", b"other"))
        await asyncio.wait_for(driver.task, 2)
        assert driver.sent[0]["status"] == 401
        [record, _] = door.records
        assert record.client == ""


async def test_a_client_that_leaves_in_the_middle_of_its_body_gets_no_answer(tmp_path):
    async with open_door(tmp_path) as door:
        driver = Driver(door, b"{")
        driver.events.get_nowait()
        driver.events.put_nowait({"type": "http.request", "body": b"{", "more_body": True})
        driver.leave()
        await asyncio.wait_for(driver.task, 2)
        assert driver.sent == [] and not door.gateway.active


async def test_a_body_over_the_limit_announced_or_not(tmp_path):
    async with open_door(tmp_path, max_body=100) as door:
        driver = Driver(door, b"", content_length="101")
        driver.events.get_nowait()
        await asyncio.wait_for(driver.task, 2)
        assert driver.sent[0]["status"] == 413, "without waiting for it"
        driver = Driver(door, b"x" * 101)
        await asyncio.wait_for(driver.task, 2)
        assert driver.sent[0]["status"] == 413 and not door.gateway.active


@pytest.mark.parametrize("how", ["disconnect", "send raises", "cancelled"])
@pytest.mark.parametrize("body", [HELLO, STREAM], ids=["whole", "streamed"])
async def test_every_way_to_leave_ends_the_upstream_call(tmp_path, how, body):
    step = Step(latency_ms=5000) if body is HELLO and how != "send raises" else Step(length=2000, tokens_per_second=200)
    async with open_door(tmp_path, script=Script(default=step)) as door:
        if body is HELLO and how == "send raises":
            door.mock.script = Script.always(length=5)
        driver = Driver(door, json.dumps(body).encode())
        await until(lambda: busy(door.pool) or driver.task.done())
        if body is STREAM:
            await until(lambda: driver.size > 100)
        if how == "disconnect":
            driver.leave()
        elif how == "send raises":
            driver.fault = OSError("the client is gone")
        else:
            driver.task.cancel()
        began = asyncio.get_running_loop().time()
        await asyncio.wait([driver.task], timeout=2)
        assert driver.task.done()
        await until(lambda: not busy(door.pool))
        assert asyncio.get_running_loop().time() - began < 0.3
        await door.settle()
        assert len(door.records) == 1


async def test_a_slow_reader_holds_the_upstream_back(tmp_path, monkeypatch):
    async with open_door(tmp_path, script=Script.always(length=25_000)) as door:
        driver = Driver(door, json.dumps(STREAM).encode())
        driver.free.clear()
        await until(lambda: driver.sent)
        await asyncio.sleep(0.3)
        [exchange] = door.gateway.active
        assert exchange._size < asgi.HIGH_WATER + 600_000 and exchange.bytes_out < 3_000_000, "it is not all in memory"
        before = exchange.bytes_out
        await asyncio.sleep(0.1)
        assert exchange.bytes_out == before, "nothing more comes while nobody reads"
        assert door.mock.received[0].sent_bytes < 12_000_000 and not driver.task.done()
        driver.free.set()
        await asyncio.wait_for(driver.task, 15)
        assert driver.body.endswith(b"data: [DONE]\n\n")
        await door.settle()


async def test_a_sign_of_life_after_the_last_byte_is_not_sent(tmp_path):
    async with open_door(tmp_path) as door:
        driver = Driver(door, json.dumps(STREAM).encode())
        driver.free.clear()
        await until(lambda: driver.sent)
        await until(lambda: all(e.done for e in door.gateway.active))
        door.gateway.state.keep_alive = 0.01
        await asyncio.sleep(0.05)
        door.gateway.tick()
        driver.free.set()
        await asyncio.wait_for(driver.task, 2)
        assert driver.sent[-1]["more_body"] is False and sum(not m.get("more_body", True) for m in driver.sent) == 1


async def test_an_answer_that_is_cut_is_left_unfinished(tmp_path):
    async with open_door(tmp_path) as door:

        async def broken(call: Any, state: Any) -> None:
            call.exchange.start(200, b"a: b\r\n")
            raise ZeroDivisionError

        door.gateway.engine.handle = broken
        driver = Driver(door, json.dumps(HELLO).encode())
        await asyncio.wait_for(driver.task, 2)
        assert [message["type"] for message in driver.sent] == ["http.response.start"], "the server sees it and cuts"
        [record] = door.records
        assert record.error == "gateway_bug" and not door.gateway.active


async def test_head_has_no_body(tmp_path):
    async with open_door(tmp_path) as door:
        driver = Driver(door, b"", "HEAD", "/health")
        await asyncio.wait_for(driver.task, 2)
        assert driver.body == b"" and int(dict(driver.sent[0]["headers"])[b"content-length"]) > 10


async def test_websockets_are_refused_before_they_are_accepted(tmp_path):
    async with open_door(tmp_path) as door:
        sent = []

        async def receive() -> dict:
            return {"type": "websocket.connect"}

        async def send(message: dict) -> None:
            sent.append(message["type"])

        await AsgiDoor(door.gateway)({"type": "websocket"}, receive, send)
        assert sent == ["websocket.close"]


async def test_the_lifespan_runs_what_is_to_start_and_to_stop(tmp_path):
    async with open_door(tmp_path) as door:
        said: list[str] = []

        async def note(word: str) -> None:
            said.append(word)

        events = iter(["lifespan.startup", "lifespan.shutdown"])

        async def receive() -> dict:
            return {"type": next(events)}

        async def send(message: dict) -> None:
            said.append(message["type"])

        app = AsgiDoor(door.gateway, lambda: note("start"), lambda: note("stop"))
        await app({"type": "lifespan"}, receive, send)
        assert said == ["start", "lifespan.startup.complete", "stop", "lifespan.shutdown.complete"]
