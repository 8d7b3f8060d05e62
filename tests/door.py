"""A gateway in the test's own event loop, behind its quick door, with a mock upstream: everything can be counted."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from penstock.config import load
from penstock.core.providers.resolve import resolve
from penstock.core.record import Record
from penstock.mock import Mock
from penstock.runtime.engine import Engine
from penstock.runtime.http import Pool
from penstock.runtime.identity import Identity
from penstock.runtime.live import Live
from penstock.runtime.records import Records
from penstock.runtime.state import State
from penstock.runtime.targets import Target
from penstock.server.doors.asgi import AsgiDoor
from penstock.server.doors.quick import QuickProtocol
from penstock.server.gateway import Gateway
from penstock.server.site import Site

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}


class Kept:
    """A sink that keeps."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def put(self, record: Record) -> None:
        self.records.append(record)

    def close(self) -> None:
        return None


class Door:
    """``url``, ``gateway``, ``pool``, ``mock`` and what was recorded; ``raw`` talks to it in bytes."""

    def __init__(self, gateway: Gateway, pool: Pool, mock: Mock, kept: Kept, state: ServerState) -> None:
        self.gateway, self.pool, self.mock, self.kept, self.state = gateway, pool, mock, kept, state
        self.port = 0

    def live(self, target: Target) -> Live:
        """What is known of a target."""
        return self.gateway.engine.means.lives.of(target)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def records(self) -> list[Record]:
        return self.kept.records

    async def raw(self, *parts: bytes, answers: int = 1, pause: float = 0.02) -> bytes:
        """Sends the parts with pauses between them; what comes back, see ``read_answers``."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for number, part in enumerate(parts):
                if number:
                    await asyncio.sleep(pause)
                writer.write(part)
            return await read_answers(reader, answers)
        finally:
            await write_records()
            writer.close()

    async def post(
        self, body: Any, path: str = "/v1/chat/completions", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One JSON POST: status, headers, body (bytes as they are are sent as they are)."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.ask("POST", path, data, {"content-type": "application/json", **headers})

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        lines = {"host": f"127.0.0.1:{self.port}", "connection": "close", **(headers or {})}
        if body or method == "POST":
            lines.setdefault("content-length", str(len(body)))
        head = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in lines.items())
        answer = await self.raw(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body, answers=0)
        return parse(answer)

    async def settle(self, seconds: float = 10.0) -> None:
        """Waits until nothing is in progress any more, and the records are written; fails when something stays."""
        end = asyncio.get_running_loop().time() + seconds
        while self.gateway.active or busy(self.pool):
            assert asyncio.get_running_loop().time() < end, f"stuck: {self.gateway.active} {self.pool.stats()}"
            await asyncio.sleep(0.01)
        await write_records()


def busy(pool: Pool) -> int:
    """Upstream connections in the middle of an exchange."""
    return sum(counts["active"] for counts in pool.stats().values())


async def write_records() -> None:
    """Lets the loop turn a few times: a call ends behind its answer, and its record is written behind that."""
    for _ in range(5):
        await asyncio.sleep(0)


async def until(predicate: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what comes soon: a sleep of a fixed length is too short on a busy machine, and too long on any other."""
    end = asyncio.get_running_loop().time() + seconds
    while not predicate():
        assert asyncio.get_running_loop().time() < end, "it did not happen"
        await asyncio.sleep(0.005)


async def read_answers(reader: asyncio.StreamReader, count: int, seconds: float = 15.0) -> bytes:
    """Everything until so many answers are complete, or until the server closes; 0: until it closes. The time is for a
    machine that does too much at once, and for a server that never answers: what came until then."""
    out, at, left = bytearray(), 0, count
    try:
        async with asyncio.timeout(seconds):
            while part := await reader.read(65536):
                out += part
                while count and (end := end_of_answer(out, at)) >= 0:
                    left -= not INTERIM.match(out, at)
                    at = end
                    if not left:
                        return bytes(out)
    except (TimeoutError, ConnectionError):
        pass
    return bytes(out)


INTERIM = re.compile(rb"HTTP/1\.1 1(?!01)")
_FRAMING = re.compile(rb"\r\n(?:content-length: *(\d+)|(transfer-encoding): *chunked)(?=\r\n)", re.IGNORECASE)
_NO_BODY = re.compile(rb"HTTP/1\.1 (?:1\d\d|204|304) ")


def end_of_answer(data: bytearray, at: int) -> int:
    """Where the answer ends that begins there; -1 when it is not complete, or when only the connection's end ends it."""
    head = data.find(b"\r\n\r\n", at)
    if head < 0 or _NO_BODY.match(data, at):
        return head + 4 if head >= 0 else -1
    framing = _FRAMING.search(data, at, head + 2)
    if framing is None:
        return -1
    if not framing[2]:
        end = head + 4 + int(framing[1])
        return end if end <= len(data) else -1
    at = head + 4
    while (line := data.find(b"\r\n", at)) >= 0:
        size = int(data[at:line].partition(b";")[0], 16)
        at = line + 2 + size + 2
        if not size:  # no server here sends trailers
            return at if at <= len(data) else -1
    return -1


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body (chunked or not) of one HTTP/1.1 answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    status = int(lines[0].split(" ")[1])
    headers = dict(line.split(": ", 1) for line in lines[1:])
    if headers.get("transfer-encoding") == "chunked":
        whole, rest = b"", body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            if not length:
                break
            whole, rest = whole + rest[:length], rest[length + 2 :]
        body = whole
    return status, headers, body


def config_yaml(mock: Mock) -> str:
    return f"""
model_list:
  - model_name: m
    litellm_params: {{model: openai/real-model, api_base: "{mock.url}/v1", api_key: sk-upstream-secret}}
router_settings: {{num_retries: 0}}
"""


@asynccontextmanager
async def open_door(
    tmp_path: Path,
    yaml: str | None = None,
    *,
    master_key: str | None = None,
    guard: bool = True,
    max_body: int = 0,
    max_upload: int = 0,
    env: dict[str, str] | None = None,
    **mock: Any,
):
    """``yaml`` may hold ``{mock}`` for the mock's address, and so may the values of ``env``, the gateway's."""
    async with Mock(**mock) as upstream:
        text = config_yaml(upstream) if yaml is None else yaml.replace("{mock}", upstream.url)
        path = tmp_path / "config.yaml"
        path.write_text(text)
        environ = {name: value.replace("{mock}", upstream.url) for name, value in (env or {}).items()}
        loaded = load(path, environ, resolve=resolve)
        assert loaded.config is not None, [str(p) for p in loaded.problems]
        kept = Kept()
        records = Records([kept])
        pool = Pool()
        state = State(loaded.config, environ)
        gateway = Gateway(Engine(pool, records), state, Identity(master_key, guard), Site(), max_body, max_upload)
        config = uvicorn.Config(
            AsgiDoor(gateway), http=QuickProtocol, ws="none", lifespan="off", log_config=None, proxy_headers=False
        )
        config.load()
        server_state = ServerState()
        door = Door(gateway, pool, upstream, kept, server_state)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: QuickProtocol(config=config, server_state=server_state, app_state={}), "127.0.0.1", 0
        )
        door.port = server.sockets[0].getsockname()[1]
        try:
            yield door
        finally:
            server.close()
            for connection in list(server_state.connections):
                connection.transport.abort()
            await pool.close()
            await asyncio.sleep(0)
