"""No way in which a request can end leaves a circle of references: all that is its own is freed at once, by counts.

A circle waits for the collector, which then stops every other request for some milliseconds. Here the collector is off;
what it finds afterwards of our own is what was left."""

from __future__ import annotations

import asyncio
import gc
import json
import types
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

import penstock
from penstock.core.errors import GatewayError
from penstock.mock import Script, Step
from tests.door import HELLO, Door, open_door

CONFIG = """
model_list:
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret, timeout: 5}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream-secret, timeout: 5}
  - model_name: dead
    litellm_params: {model: openai/real-model, api_base: "http://127.0.0.1:9/v1", api_key: sk-x}
  - model_name: falls
    litellm_params: {model: openai/real-model, api_base: "http://127.0.0.1:9/v1", api_key: sk-x}
  - model_name: impatient
    litellm_params:
      {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-x, timeout: 0.05, stream_timeout: 0.05}
router_settings: {num_retries: 0, fallbacks: [{falls: [m]}]}
"""
KEY = "sk-gateway-key-1234567"
CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
STREAM = {**HELLO, "stream": True}
TALK = {**HELLO, "max_tokens": 50}  # Messages
INPUT = {"model": "m", "input": "hello"}
TOOL = {"name": "look", "description": "Looks", "parameters": {"type": "object", "properties": {"q": {"type": "string"}}}}
FORM = {"type": "json_schema", "json_schema": {"name": "f", "schema": {"type": "object", "properties": {}}}}
FOREVER = 60_000  # ms: nobody waits for it
SLOWLY = Step(text="one two three four five", tokens_per_second=100)  # each event comes alone
CUT = Step(cut_after_events=3, cut="close").over(SLOWLY)
Way = Callable[[Door], Awaitable[None]]


def asks(body: Any, path: str = CHAT, status: int = 200, step: Step | None = None, key: str = KEY) -> Way:
    """A way: one POST, answered with ``status``."""

    async def way(door: Door) -> None:
        if step is not None:
            door.mock.script = Script(default=step)
        told, _, answer = await door.post(body, path, authorization=f"Bearer {key}")
        assert told == status, (told, answer)

    return way


def gets(path: str, status: int = 200, method: str = "GET") -> Way:
    """A way: one request without a body."""

    async def way(door: Door) -> None:
        told, _, answer = await door.ask(method, path, b"", {"authorization": f"Bearer {KEY}"})
        assert told == status, (told, answer)

    return way


def sends(*parts: bytes) -> Way:
    """A way: bytes as they are, and whatever comes back."""

    async def way(door: Door) -> None:
        assert await door.raw(*parts, wait=1.0)

    return way


def request(body: Any, path: str = CHAT) -> bytes:
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def leaves(body: Any, step: Step, path: str = CHAT, *, first_byte: bool) -> Way:
    """A way: the client goes, before or after the first byte of its answer."""

    async def way(door: Door) -> None:
        door.mock.script = Script(default=step)
        seen = door.mock.requests
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request(body, path))
        if first_byte:
            assert await reader.read(1)
        else:
            await door.mock.wait_for(seen + 1)
        writer.transport.abort()

    return way


def cut_off(body: Any, step: Step) -> Way:
    """A way: the gateway ends it, as it does when it shuts down."""

    async def way(door: Door) -> None:
        door.mock.script = Script(default=step)
        seen = door.mock.requests
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(request(body))
        await door.mock.wait_for(seen + 1)
        [exchange] = door.gateway.active
        door.gateway.cut_off(exchange, GatewayError("draining", "The test ends this request."))
        del exchange
        assert await reader.read(65536)
        writer.close()

    return way


def bug() -> Way:
    """A way: a bug of ours."""

    async def way(door: Door) -> None:
        state = door.gateway.state
        plan = state.plan
        state.plan = lambda model: 1 / 0  # type: ignore[method-assign, assignment, return-value]
        try:
            await asks(HELLO, status=500)(door)
        finally:
            state.plan = plan  # type: ignore[method-assign]

    return way


STILL = Step(latency_ms=FOREVER)
STALLS = Step(stall_after_events=3)
WAYS: dict[str, Way] = {
    # answered
    "whole, same lane": asks(HELLO),
    "streamed, same lane": asks(STREAM),
    "whole, Messages to Chat": asks(TALK, MESSAGES),
    "streamed, Messages to Chat": asks({**TALK, "stream": True}, MESSAGES),
    "whole, Chat to Messages": asks({**HELLO, "model": "claude"}),
    "streamed, Chat to Messages": asks({**STREAM, "model": "claude"}),
    "whole, Messages": asks({**TALK, "model": "claude"}, MESSAGES),
    "streamed, Messages": asks({**TALK, "model": "claude", "stream": True}, MESSAGES),
    "whole, Responses to Chat": asks(INPUT, RESPONSES),
    "streamed, Responses to Chat": asks({**INPUT, "stream": True}, RESPONSES),
    "whole, Gemini": asks({"contents": [{"parts": [{"text": "hello"}]}]}, "/v1beta/models/m:generateContent"),
    "streamed, Gemini": asks({"contents": [{"parts": [{"text": "hello"}]}]}, "/v1beta/models/m:streamGenerateContent"),
    "whole, Ollama": asks({**HELLO, "stream": False}, "/api/chat"),
    "streamed, Ollama": asks(HELLO, "/api/chat"),
    "streamed, tools": asks({**STREAM, "model": "claude", "tools": [{"type": "function", "function": TOOL}]}),
    "streamed, a schema": asks({**STREAM, "model": "claude", "response_format": FORM}),
    "checked": asks({**HELLO, "response_format": FORM, "validate": True}, status=502, step=Step(text="no")),
    "a stream where none was asked for": asks(
        HELLO, step=Step(body='data: {"id":"1","object":"chat.completion.chunk","choices":[{"index":0,"delta":'
        '{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n', headers={"content-type": "text/event-stream"})
    ),
    "pipelined": sends(request(HELLO) * 3),
    "a fallback": asks({**HELLO, "model": "falls"}),
    "a fallback, streamed": asks({**STREAM, "model": "falls"}),
    "completions": asks({"model": "m", "prompt": "hi"}, "/v1/completions"),
    "embeddings": asks({"model": "m", "input": ["a", "b"]}, "/v1/embeddings"),
    "moderations": asks({"model": "m", "input": "a"}, "/v1/moderations"),
    "count_tokens": asks({**HELLO, "model": "claude"}, "/v1/messages/count_tokens"),
    "count_tokens, counted here": asks(HELLO, "/v1/messages/count_tokens"),
    "a batch": asks([HELLO, {**HELLO, "model": "nobody"}], "/api/v1/batch/chat/completions"),
    "passed through, whole": asks({**HELLO, "model": "gpt-4o-mini"}, "/openai/v1/chat/completions"),
    "passed through, streamed": asks({**STREAM, "model": "gpt-4o-mini"}, "/openai/v1/chat/completions"),
    "a page": gets("/v1/models"),
    "a page for everybody": gets("/health/liveliness"),
    # refused
    "not JSON": asks(b"{", status=400),
    "no messages": asks({"model": "m"}, status=400),
    "a wrong key": asks(HELLO, status=401, key="sk-wrong"),
    "a wrong key for a page": asks(HELLO, "/nowhere", status=401, key="sk-wrong"),
    "no such model": asks({**HELLO, "model": "nobody"}, status=400),
    "no such path": gets("/nowhere", 404),
    "a wrong method": gets(CHAT, 405),
    "not HTTP": sends(b"nonsense\r\n\r\n"),
    "no host": sends(b"POST /v1/messages HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"),
    "too large": sends(b"POST /v1/messages HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n{}"),
    "a bug of ours": bug(),
    # the upstream's faults
    "upstream 500": asks(HELLO, status=500, step=Step(status=500)),
    "upstream 500, cross": asks(TALK, MESSAGES, status=500, step=Step(status=500)),
    "upstream 429, streamed": asks(STREAM, status=429, step=Step(status=429)),
    "not connected": asks({**HELLO, "model": "dead"}, status=500),
    "hung up": asks(HELLO, status=502, step=Step(hangup="before_answer")),
    "not HTTP from the upstream": asks(HELLO, status=502, step=Step(status_line="nonsense")),
    "half a body": asks(HELLO, status=502, step=Step(cut_after_bytes=40, cut="close")),
    "not JSON from the upstream": asks(HELLO, status=502, step=Step(malform=["bad_json"])),
    "not JSON from the upstream, cross": asks(TALK, MESSAGES, status=502, step=Step(malform=["bad_json"])),
    "cut in mid-stream": asks(STREAM, step=CUT),
    "cut in mid-stream, cross": asks({**TALK, "stream": True}, MESSAGES, step=CUT),
    "an error in mid-stream": asks(STREAM, step=Step(error_event_after=2).over(SLOWLY)),
    "an error in mid-stream, cross": asks({**TALK, "stream": True}, MESSAGES, step=Step(error_event_after=2).over(SLOWLY)),
    "a bad event, cross": asks({**TALK, "stream": True}, MESSAGES, step=Step(malform=["bad_json"]).over(SLOWLY)),
    "passed through, 500": asks({**HELLO, "model": "x"}, "/openai/v1/chat/completions", status=500, step=Step(status=500)),
    "a timeout": asks({**HELLO, "model": "impatient"}, status=408, step=STILL),
    "a timeout, streamed": asks({**STREAM, "model": "impatient"}, step=STALLS),
    # the client goes, or is sent away
    "gone before the first byte": leaves(HELLO, STILL, first_byte=False),
    "gone before the first byte, cross": leaves(TALK, STILL, MESSAGES, first_byte=False),
    "gone after the first byte": leaves(STREAM, STALLS, first_byte=True),
    "gone after the first byte, cross": leaves({**TALK, "stream": True}, STALLS, MESSAGES, first_byte=True),
    "gone from a batch": leaves([HELLO] * 3, STILL, "/api/v1/batch/chat/completions", first_byte=False),
    "gone from what is passed through": leaves(STREAM, STALLS, "/openai/v1/chat/completions", first_byte=True),
    "sent away": cut_off(HELLO, STILL),
    "sent away in mid-stream": cut_off(STREAM, STALLS),
}


def ours(found: object) -> str:
    """What an object is, if it is of our making: a type of ours, a function or a frame of our code. "" for others'."""
    if type(found) in weakref.ProxyTypes:  # a look at one asks what it stands for, which may be gone
        return ""
    if isinstance(found, types.FrameType):
        path = Path(found.f_code.co_filename)
        inside = path.is_relative_to(Path(penstock.__file__).parent) and "mock" not in path.parts
        return f"a frame of {found.f_code.co_qualname}" if inside else ""
    if isinstance(found, types.FunctionType | types.CoroutineType | types.MethodType):
        kind = f"{type(found).__name__} {found.__qualname__}"
        module = getattr(found, "__module__", None) or str(getattr(found, "cr_code", None))
    else:
        kind, module = type(found).__name__, type(found).__module__
    if isinstance(found, types.CoroutineType):
        return kind if "/penstock/" in module and "/mock/" not in module else ""
    return kind if module.startswith("penstock.") and not module.startswith("penstock.mock") else ""


async def left_by(way: Way, door: Door) -> Counter[str]:
    """What the collector finds of ours after a request has gone this way."""
    door.mock.script = Script()
    await way(door)
    await door.settle()
    door.mock.script = Script()
    for _ in range(20):  # connections are told of their ends, records are written
        await asyncio.sleep(0.001)
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        return Counter(filter(None, map(ours, gc.garbage)))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.collect()  # what was kept to be looked at


@pytest.mark.parametrize("name", WAYS)
async def test_nothing_is_left_for_the_collector(name, tmp_path):
    way = WAYS[name]
    env = {"OPENAI_API_KEY": "sk-upstream-secret", "OPENAI_API_BASE": "{mock}/v1"}
    async with open_door(tmp_path, CONFIG, master_key=KEY, env=env) as door:
        await left_by(way, door)  # the first time things are loaded and built
        gc.disable()
        try:
            left = await left_by(way, door)
        finally:
            gc.enable()
        assert not left


async def test_a_circle_would_be_found(tmp_path):
    async with open_door(tmp_path, CONFIG, master_key=KEY) as door:

        async def way(door: Door) -> None:
            await WAYS["whole, same lane"](door)
            error = GatewayError("connect", "it holds itself")
            error.__cause__ = GatewayError("connect", "which holds it")
            error.__cause__.__cause__ = error

        assert await left_by(way, door) == {"GatewayError": 2}
