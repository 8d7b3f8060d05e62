"""Every way in which a request can end, as the tests of what is left of it go them: by name, each a request or more."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from penstock.core.errors import GatewayError
from penstock.mock import Script, Step
from penstock.runtime import engine
from penstock.runtime.http import names
from penstock.runtime.outlet import Outlet
from penstock.server.doors import bodies
from tests.door import HELLO, Door

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
  - model_name: patient
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-x, timeout: 5, num_retries: 3}
  - model_name: named
    litellm_params: {model: openai/real-model, api_base: "http://upstream.test:9/v1", api_key: sk-x, timeout: 5}
router_settings: {num_retries: 0, retry_after: 30, fallbacks: [{falls: [m]}]}
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
# Across dialects an answer begins with its first content: what follows it must come by itself on a busy machine, too.
SLOWER = Step(tokens_per_second=10).over(SLOWLY)
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


def sends(*parts: bytes, answers: int = 1) -> Way:
    """A way: bytes as they are, and so many answers."""

    async def way(door: Door) -> None:
        assert await door.raw(*parts, answers=answers)

    return way


def head(length: int | None, path: str = CHAT, key: str = KEY, *lines: str) -> bytes:
    framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    text = "\r\n".join([f"POST {path} HTTP/1.1", "host: x", f"authorization: Bearer {key}", framing, *lines])
    return f"{text}\r\n\r\n".encode()


def request(body: Any, path: str = CHAT) -> bytes:
    data = json.dumps(body).encode()
    return head(len(data), path) + data


def in_chunks(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


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


def breaks_off(*parts: bytes, wait: bool = True) -> Way:
    """A way: the client sends a part of its request, and goes. ``wait``: when the gateway has begun to read it."""

    async def way(door: Door) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.02)
        if wait:
            while not door.gateway.active:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)
        writer.transport.abort()
        await asyncio.sleep(0.02)

    return way


@contextmanager
def put(where: Any, name: str, value: Any) -> Iterator[None]:
    """Has another value for a while in the place of one."""
    before = getattr(where, name)
    setattr(where, name, value)
    try:
        yield
    finally:
        setattr(where, name, before)


def stalls(*parts: bytes, status: int = 408) -> Way:
    """A way: the client stops sending, and is told."""

    async def way(door: Door) -> None:
        with put(bodies, "BODY_STALL", 0.05):
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.02)
            answer = asyncio.ensure_future(asyncio.wait_for(reader.read(12), 10))
            while not answer.done():  # megabytes may still be on their way when the first look comes
                await asyncio.sleep(0.06)
                for connection in list(door.state.connections):
                    connection.sweep(asyncio.get_running_loop().time())
            assert (await answer).startswith(b"HTTP/1.1 %d" % status)
            writer.transport.abort()

    return way


def without_room(way: Way) -> Way:
    """A way, when the gateway holds as much as it may."""

    async def within(door: Door) -> None:
        with put(door.gateway.held, "limit", 20_000):
            await way(door)

    return within


def while_draining(way: Way) -> Way:
    async def within(door: Door) -> None:
        with put(door.gateway, "draining", True):
            await way(door)

    return within


def fails_in(find: Callable[[Door], tuple[Any, str]], way: Way) -> Way:
    """A way, with a bug of ours at a place that it passes."""

    async def within(door: Door) -> None:
        where, name = find(door)

        def fail(*args: Any, **more: Any) -> None:
            body = b"x" * 5_000
            raise RuntimeError(f"a fault of ours, with {len(body)} bytes in its frame")

        with put(where, name, fail):
            await way(door)

    return within


def looked_up_slowly(way: Way) -> Way:
    """A way, with a system's resolver that takes its time, in its thread."""

    async def within(door: Door) -> None:
        async def resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Any:
            await loop.run_in_executor(None, time.sleep, 0.1)
            raise OSError("nobody is called that")

        with put(names, "resolve", resolve):
            await way(door)
            await asyncio.sleep(0.15)

    return within


STILL = Step(latency_ms=FOREVER)
STALLS = Step(stall_after_events=3)
BIG = {**HELLO, "user": "x" * 400_000}
LARGE = {**HELLO, "user": "x" * 3_000_000}
HALF = json.dumps(BIG).encode()[:200_000]
FORM_TYPE = "content-type: multipart/form-data; boundary=xyz"
SPEECH = "/v1/audio/transcriptions"
MODEL = b'--xyz\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n'
FILE = b'--xyz\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + b"y" * 2_500_000 + b"\r\n"
MODEL_FIRST, FILE_FIRST = MODEL + FILE + b"--xyz--\r\n", FILE + MODEL + b"--xyz--\r\n"


def form(data: bytes, key: str = KEY, *lines: str) -> bytes:
    return head(len(data), SPEECH, key, FORM_TYPE, *lines) + data


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
    "pipelined": sends(request(HELLO) * 3, answers=3),
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
    "whole, a large body": asks(BIG),
    "whole, a larger body": asks(LARGE),
    "streamed, a large body, cross": asks({**BIG, "max_tokens": 50, "stream": True}, MESSAGES),
    "a large body, chunked": sends(head(None), *(in_chunks(json.dumps(BIG).encode()) for _ in "1"), b"0\r\n\r\n"),
    "a body in two writes": sends(head(len(json.dumps(HELLO))), json.dumps(HELLO).encode()),
    "a body that was asked for": sends(head(len(json.dumps(HELLO)), CHAT, KEY, "expect: 100-continue"), json.dumps(HELLO).encode()),
    "pipelined, large": sends(request(BIG) * 3, answers=3),
    "an upload": sends(form(MODEL_FIRST)),
    "an upload that is put on disk": sends(form(FILE_FIRST)),
    "an upload, chunked": sends(head(None, SPEECH, KEY, FORM_TYPE), in_chunks(MODEL_FIRST), b"0\r\n\r\n"),
    "a large answer": asks(HELLO, step=Step(length=300_000)),
    # refused by the head, with a large body on its way
    "a large body with a wrong key": sends(head(3_000_000, CHAT, "sk-wrong"), HALF),
    "a large body, chunked, with a wrong key": sends(head(None, CHAT, "sk-wrong"), in_chunks(HALF)),
    "a large body to nowhere": sends(head(3_000_000, "/nowhere"), HALF),
    "a small rest to nowhere": sends(head(3_000, "/nowhere"), b"x" * 100, b"x" * 2_900),
    "a large body that is too large": sends(head(99_000_000), HALF),
    "a large body of another type": sends(head(3_000_000, CHAT, KEY, "content-type: text/plain"), HALF),
    "an upload with a wrong key": sends(form(MODEL_FIRST, "sk-wrong")),
    "an upload that is too large": sends(head(900_000_000, SPEECH, KEY, FORM_TYPE), HALF),
    "an upload that is no form": sends(head(2_000_000, SPEECH, KEY, "content-type: multipart/form-data"), b"x" * 2_000_000),
    "asked for, with a wrong key": sends(head(3_000_000, CHAT, "sk-wrong", "expect: 100-continue")),
    "no room": without_room(asks({**HELLO, "user": "x" * 30_000}, status=413)),
    "no room for a large body": without_room(asks(BIG, status=413)),
    "no room for a chunked body": without_room(sends(head(None), in_chunks(HALF), in_chunks(HALF))),
    "no room for an upload": without_room(sends(form(MODEL_FIRST))),
    "no room for the answer": without_room(asks(HELLO, status=503, step=Step(length=300_000))),
    "shutting down": while_draining(asks(BIG, status=503)),
    "not JSON, large": asks(b"{" * 400_000, status=400),
    "a large body with a broken chunk": sends(head(None), in_chunks(HALF), b"nonsense\r\n"),
    "an upload with a broken chunk": sends(head(None, SPEECH, KEY, FORM_TYPE), in_chunks(MODEL_FIRST[:2_000_000]), b"nonsense\r\n"),
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
    "an error in mid-stream, cross": asks({**TALK, "stream": True}, MESSAGES, step=Step(error_event_after=4).over(SLOWER)),
    "a bad event, cross": asks({**TALK, "stream": True}, MESSAGES, step=Step(malform=["bad_json"]).over(SLOWER)),
    "passed through, 500": asks({**HELLO, "model": "x"}, "/openai/v1/chat/completions", status=500, step=Step(status=500)),
    "a timeout": asks({**HELLO, "model": "impatient"}, status=408, step=STILL),
    "a timeout, streamed": asks({**STREAM, "model": "impatient"}, step=STALLS),
    # the client goes, or is sent away
    "broken off in the head": breaks_off(head(10)[:30], wait=False),
    "broken off behind the head": breaks_off(head(3_000_000)),
    "broken off in the body": breaks_off(head(3_000_000), HALF),
    "broken off in the body, with its head": breaks_off(head(3_000_000) + HALF),
    "broken off in a small body": breaks_off(head(3_000) + b"{"),
    "broken off in a chunked body": breaks_off(head(None), in_chunks(HALF)),
    "broken off when it was asked for": breaks_off(head(3_000_000, CHAT, KEY, "expect: 100-continue")),
    "broken off with a wrong key": breaks_off(head(3_000_000, CHAT, "sk-wrong"), HALF, wait=False),
    "broken off with a batch": breaks_off(head(3_000_000, "/api/v1/batch/chat/completions"), HALF),
    "broken off on its way through": breaks_off(head(3_000_000, "/openai/v1/chat/completions"), HALF),
    "broken off behind another one": breaks_off(request({**HELLO, "model": "named"}) + head(3_000_000), HALF),
    "broken off in an upload": breaks_off(form(MODEL_FIRST)[:1_500_000]),
    "broken off in an upload that goes to disk": breaks_off(form(FILE_FIRST)[:2_000_000]),
    "broken off in an upload nobody asked for yet": breaks_off(head(2_000_000, SPEECH, KEY, FORM_TYPE)),
    "the body stalls": stalls(head(3_000_000), HALF),
    "a small body stalls": stalls(head(3_000) + b"{"),
    "an upload stalls": stalls(form(FILE_FIRST)[:2_000_000]),
    "gone while it waits for the next try": leaves({**BIG, "model": "patient"}, Step(status=500), first_byte=False),
    "gone while a name is looked up": looked_up_slowly(breaks_off(request({**BIG, "model": "named"}))),
    "a name that nobody has": looked_up_slowly(asks({**BIG, "model": "named"}, status=500)),
    "gone before the first byte, large": leaves(LARGE, STILL, first_byte=False),
    "gone after the first byte, large": leaves({**BIG, "stream": True}, STALLS, first_byte=True),
    "sent away, large": cut_off(BIG, STILL),
    # bugs of ours, wherever
    "a bug in the site": fails_in(lambda door: (door.gateway.site, "find"), asks(BIG, "/nowhere", status=500)),
    "a bug in the gate": fails_in(lambda door: (door.gateway.gate, "admit"), asks(BIG, status=500)),
    "a bug in the count": fails_in(lambda door: (door.gateway, "_arrive"), asks(BIG, status=500)),
    "a bug in the reading": fails_in(lambda door: (engine, "open_body"), asks(BIG, status=500)),
    "a bug in the attempt": fails_in(lambda door: (engine, "Attempt"), asks(BIG, status=500)),
    "a bug in the sending": fails_in(lambda door: (door.pool, "ask"), asks(BIG, status=500)),
    "a bug in the outlet": fails_in(lambda door: (Outlet, "whole"), asks(BIG, status=500)),
    "gone before the first byte": leaves(HELLO, STILL, first_byte=False),
    "gone before the first byte, cross": leaves(TALK, STILL, MESSAGES, first_byte=False),
    "gone after the first byte": leaves(STREAM, STALLS, first_byte=True),
    "gone after the first byte, cross": leaves({**TALK, "stream": True}, STALLS, MESSAGES, first_byte=True),
    "gone from a batch": leaves([HELLO] * 3, STILL, "/api/v1/batch/chat/completions", first_byte=False),
    "gone from what is passed through": leaves(STREAM, STALLS, "/openai/v1/chat/completions", first_byte=True),
    "sent away": cut_off(HELLO, STILL),
    "sent away in mid-stream": cut_off(STREAM, STALLS),
}
