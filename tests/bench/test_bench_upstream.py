"""The mock upstream answers what real clients can read, however a request is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import anthropic
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import payloads, upstream

MESSAGES = [{"role": "user", "content": "Hi"}]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    server, bound = await upstream.start(0)
    yield bound
    server.close()
    await server.wait_closed()


async def _raw(port: int, *pieces: bytes) -> bytes:
    """Send the pieces one by one on one connection; what came until the other side was quiet for 50 ms."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0.01)
    got = b""
    while True:
        try:
            data = await asyncio.wait_for(reader.read(65536), 0.05)
        except TimeoutError:
            break
        if not data:
            break
        got += data
    writer.close()
    return got


async def test_openai_sdk_reads_whole_and_streamed_answers(port: int) -> None:
    async with openai.AsyncOpenAI(api_key="sk-mock", base_url=f"http://127.0.0.1:{port}/v1") as client:
        whole = await client.chat.completions.create(model="m", messages=MESSAGES)
        assert whole.choices[0].message.content == payloads.WHOLE_TEXT
        assert whole.usage and whole.usage.total_tokens == 102
        chunks = [c async for c in await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)]
        assert len(chunks) == payloads.CHUNKS
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == payloads.STREAM_TEXT
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert [m.id async for m in client.models.list()] == [payloads.UPSTREAM_MODEL, payloads.ALIAS]


async def test_openai_sdk_accumulates_tool_calls(port: int) -> None:
    tools = json.loads(payloads.chat_tools_body("m", stream=True))["tools"]
    async with (
        openai.AsyncOpenAI(api_key="sk-mock", base_url=f"http://127.0.0.1:{port}/v1") as client,
        client.chat.completions.stream(model="m", messages=MESSAGES, tools=tools) as stream,
    ):
        message = (await stream.get_final_completion()).choices[0].message
    assert message.content == payloads.TOOL_TEXT
    calls = [(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or []]
    assert calls == list(payloads.TOOL_CALLS)


async def test_anthropic_sdk_reads_whole_and_streamed_answers(port: int) -> None:
    async with anthropic.AsyncAnthropic(api_key="sk-mock", base_url=f"http://127.0.0.1:{port}") as client:
        whole = await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        assert whole.content[0].text == payloads.WHOLE_TEXT
        async with client.messages.stream(model="m", max_tokens=9, messages=MESSAGES) as stream:
            final = await stream.get_final_message()
    assert final.content[0].text == payloads.STREAM_TEXT
    assert final.stop_reason == "end_turn"


@pytest.mark.parametrize("cut", [1, 20, 130, 200])
async def test_a_cut_request_gets_the_same_answer(port: int, cut: int) -> None:
    body = payloads.chat_body("m")
    request = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    assert (await _raw(port, request[:cut], request[cut:])).endswith(payloads.CHAT_WHOLE)


async def test_chunked_and_pipelined_requests(port: int) -> None:
    body = payloads.chat_body("m", stream=True)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    request = head + b"5\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (body[:5], len(body) - 5, body[5:])
    got = await _raw(port, request + b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    assert got.count(b"data: {") == payloads.CHUNKS
    assert got.index(b"[DONE]") < got.index(b'"object":"list"'), "the pipelined answer waits for the stream's end"


async def test_each_chunk_is_a_write_of_its_own_and_paced() -> None:
    server, port = await upstream.start(0, interval_us=2000)
    body = payloads.chat_body("m", stream=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = asyncio.get_running_loop().time()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    reads = []
    while b"[DONE]" not in (reads[-1] if reads else b""):
        reads.append(await reader.read(65536))
    took = asyncio.get_running_loop().time() - began
    writer.close()
    server.close()
    assert len(reads) > payloads.CHUNKS // 2
    assert took >= 0.002 * (payloads.CHUNKS - 2)


async def test_counters_and_unknown_paths(port: int) -> None:
    assert b"404 Not Found" in await _raw(port, b"GET /nope HTTP/1.1\r\nHost: x\r\n\r\n")
    got = await _raw(port, b"GET /_mock/counters HTTP/1.1\r\nHost: x\r\n\r\n")
    counters = json.loads(got.partition(b"\r\n\r\n")[2])
    assert counters == {"interval_s": 0.0, "streams": 0, "streams_cut": 0, "unexpected": 1, "whole": 0}


@given(st.recursive(st.booleans() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)), st.booleans())
def test_stream_flag_is_read_from_the_key_and_never_from_text(noise: object, wanted: bool) -> None:
    body = json.dumps({"messages": [noise, '"stream":true', {"stream": {}}], "stream": wanted}).encode()
    assert upstream.is_true(body, b'"stream"') is wanted


def test_sizes_are_exact() -> None:
    assert len(payloads.CHAT_WHOLE) == payloads.WHOLE_BYTES
    for kilobytes in (1, 10, 100):
        body = payloads.chat_body("m", kilobytes * 1024)
        assert len(body) == kilobytes * 1024
        assert json.loads(body)["messages"][-1]["role"] == "user"
    with pytest.raises(ValueError, match="smallest request"):
        payloads.chat_body("m", 100)
