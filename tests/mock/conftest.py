from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from penstock.mock import Mock

CLIENTS: list[Any] = []  # SDK clients of the running test; an unclosed one complains when the loop is gone


def closing(client: Any) -> Any:
    """Have an SDK client closed at the end of the test."""
    CLIENTS.append(client)
    return client


def plain_http(sdk: Any) -> Any:
    """The SDK's HTTP client without the system's CAs: loading them for each client is most of a test's time."""
    return sdk.DefaultAsyncHttpxClient(verify=False)


@pytest.fixture(autouse=True)
async def close_clients() -> AsyncIterator[None]:
    yield
    while CLIENTS:
        await CLIENTS.pop().close()


def both_loops(test: Callable[[Mock], Awaitable[None]]) -> Callable[[str], None]:
    """Run `test(mock)` on plain asyncio and on uvloop, client and mock on the same loop."""

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    def on_a_loop(loop: str) -> None:
        async def main() -> None:
            async with Mock() as mock:
                await test(mock)

        with asyncio.Runner(loop_factory=uvloop.new_event_loop if loop == "uvloop" else None) as runner:
            runner.run(main())

    return on_a_loop


@pytest.fixture
async def mock() -> AsyncIterator[Mock]:
    async with Mock() as running:
        yield running


@pytest.fixture
def sync_mock() -> Iterator[Mock]:
    with Mock.thread() as running:
        yield running


async def talk(mock: Mock, sent: bytes, *, seconds: float = 2.0, until_eof: bool = True) -> bytes:
    """Send bytes on a fresh connection; everything until the mock closes, or `seconds` later. RST raises."""
    reader, writer = await asyncio.open_connection(mock.host, mock.port)
    writer.write(sent)
    got = b""
    try:
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65536):
                got += piece
    except TimeoutError:
        assert not until_eof, f"the mock kept the connection open after {got[-200:]!r}"
    finally:
        writer.close()
    return got


def post(path: str, body: bytes, *headers: str) -> bytes:
    """A raw POST that asks for the connection to be closed afterwards."""
    lines = [f"POST {path} HTTP/1.1", "host: mock", "content-type: application/json", "connection: close"]
    lines += [f"content-length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and raw body of one answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in rest)
    return int(first.split()[1]), headers, body


def dechunk(body: bytes) -> tuple[list[bytes], bool]:
    """Chunks, and whether the last chunk came."""
    chunks = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return chunks, True
        chunks.append(body[:length])
        body = body[length + 2 :]
    return chunks, False


def chat(text: str = "hi", **fields: Any) -> dict[str, Any]:
    return {"model": "mock/echo", "messages": [{"role": "user", "content": text}], **fields}
