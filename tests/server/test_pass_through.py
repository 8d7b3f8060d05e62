"""Pass-through: byte for byte to the vendor's host, with the vendor's key, and what it used in the record."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from tests.door import open_door, parse

KEY = "sk-gateway-key-1234567"
UPSTREAM = "sk-upstream-secret"
YAML = """
model_list:
  - model_name: m
    litellm_params: {model: openai/gpt-4o-mini, api_base: "{mock}/v1", api_key: sk-upstream-secret}
  - model_name: c
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream-secret}
  - model_name: g
    litellm_params: {model: gemini/gemini-2.5-flash, api_base: "{mock}", api_key: AIzaUpstreamSecret0000000000}
  - model_name: v
    litellm_params: {model: hosted_vllm/llama, api_base: "{mock}/v1"}
"""
CHAT = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "odd": [1, 2]}
MESSAGES = {"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
GENERATE = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
AUTH = {"authorization": f"Bearer {KEY}"}


async def test_a_chat_goes_through_byte_for_byte(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        body = json.dumps(CHAT, indent=3).encode()
        status, headers, answer = await door.ask(
            "POST",
            "/openai/v1/chat/completions?a=%2F&b",
            body,
            {**AUTH, "content-type": "application/json; x=y", "x-own": "1", "cookie": "c=1", "user-agent": "me/1"},
        )
        [got] = door.mock.received
        assert (got.method, got.path, got.query, got.body) == ("POST", "/v1/chat/completions", "a=%2F&b", body)
        assert got.header("authorization") == f"Bearer {UPSTREAM}"
        assert got.header("content-type") == "application/json; x=y" and got.header("x-own") == "1"
        assert got.header("user-agent") == "me/1" and got.header("cookie") is None
        assert KEY not in repr(got.headers)
        assert status == 200 and json.loads(answer)["model"] == "gpt-4o-mini"
        assert headers["x-litellm-call-id"] and float(headers["x-litellm-response-cost"]) > 0
        [record] = door.records
        assert record.usage.input > 0 and record.usage.output > 0 and record.cost > 0
        assert (record.model, record.target, record.provider) == ("gpt-4o-mini", "openai/gpt-4o-mini", "openai")
        assert (record.path, record.status, record.lane) == ("/openai/v1/chat/completions", 200, "pass")
        await door.settle()


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/openai/v1/chat/completions", {**CHAT, "stream": True, "stream_options": {"include_usage": True}}, {}),
        ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "hello", "stream": True}, {}),
        ("/openai/v1/responses", {"model": "gpt-4o-mini", "input": "hello"}, {}),
        ("/openai/v1/embeddings", {"model": "text-embedding-3-small", "input": "hello"}, {}),
        ("/anthropic/v1/messages", MESSAGES, {"anthropic-version": "2023-06-01"}),
        ("/anthropic/v1/messages", {**MESSAGES, "stream": True}, {"anthropic-version": "2023-06-01"}),
        ("/gemini/v1beta/models/gemini-2.5-flash:generateContent", GENERATE, {}),
        ("/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse", GENERATE, {}),
        ("/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent", GENERATE, {}),
    ],
)
async def test_answers_are_the_upstreams_own_and_their_use_is_recorded(path, body, headers, tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        status, told, answer = await door.post(body, path, **AUTH, **headers)
        direct = await ask_directly(door, path, body, headers)
        assert status == 200 and same_shape(answer, direct), (answer, direct)
        [record] = door.records
        assert record.usage is not None and record.usage.input > 0 and not record.usage.estimated, record
        assert record.cost is not None and record.cost > 0
        assert record.stream == ("event-stream" in told["content-type"])
        await door.settle()


async def test_an_engines_own_paths_begin_at_its_root(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        assert (await door.post({**CHAT, "model": "llama"}, "/vllm/v1/chat/completions", **AUTH))[0] == 200
        assert door.mock.received[-1].path == "/v1/chat/completions"
        assert door.mock.received[-1].header("authorization") == "Bearer dummy"
        await door.ask("GET", "/hosted_vllm/metrics", b"", AUTH)
        assert door.mock.received[-1].path == "/metrics"
        first, second = door.records
        assert (first.target, first.cost) == ("hosted_vllm/llama", 0) and second.status == 404


async def test_a_form_goes_through_and_its_model_is_known(tmp_path):
    form = (
        b'--b1\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n'
        b'--b1\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n\x00\xff\r\n--b1--\r\n'
    )
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        kind = {"content-type": "multipart/form-data; boundary=b1"}
        status, _, _ = await door.ask("POST", "/openai/v1/audio/transcriptions", form, AUTH | kind)
        assert status == 200 and door.mock.received[-1].body == form
        assert door.mock.received[-1].header("content-type") == kind["content-type"]
        assert door.records[-1].model == "whisper-1"


async def ask_directly(door, path: str, body: dict, headers: dict[str, str]) -> bytes:
    """The same request at the mock."""
    tail = path.partition("/")[2].partition("/")[2]
    data = json.dumps(body).encode()
    lines = {"host": "x", "connection": "close", "content-type": "application/json", **headers}
    head = "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in lines.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", door.mock.port)
    writer.write(f"POST /{tail} HTTP/1.1\r\n{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    whole = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return parse(whole)[2]


def same_shape(one: bytes, other: bytes) -> bool:
    """Equal but for numbers and ids, of which the mock makes new ones for each request."""

    def flat(data: bytes) -> bytes:
        return re.sub(rb"\d+", b"0", re.sub(rb"(chatcmpl-|msg_|resp_|fp_|req_|\"responseId\":\")\w+", rb"\1", data))

    return flat(one) == flat(other)
