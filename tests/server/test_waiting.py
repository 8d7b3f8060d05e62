"""No single request, whatever is in it, makes another client wait.

Every chat surface, towards a target of another dialect, with large and adversarial bodies and answers; meanwhile a
second client asks for a small chat again and again and measures how long it takes. Clients and upstreams have threads
of their own, so that the loop of the gateway does nothing but serve.
"""

from __future__ import annotations

import asyncio
import gc
import http.client
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import View, Wire
from penstock.core.envelope import seal
from penstock.core.ir import Message, Request, Response, Text, explode
from penstock.runtime import apart
from tests.door import Door, open_door
from tests.laws import work_shapes as shapes

pytestmark = pytest.mark.serial

LONGEST = 0.25  # seconds that another client may wait
YAML = """
model_list:
  - {model_name: small, litellm_params: {model: openai/gpt-4o, api_base: "{small}/v1", api_key: k}}
  - {model_name: openai_chat, litellm_params: {model: openai/gpt-4o, api_base: "{big}/v1", api_key: k}}
  - {model_name: quirky, litellm_params: {model: mistral/mistral-small, api_base: "{big}/v1", api_key: k}}
  - {model_name: anthropic, litellm_params: {model: anthropic/claude-opus-4-5, api_base: "{big}", api_key: k}}
  - {model_name: gemini, litellm_params: {model: gemini/gemini-2.0-flash, api_base: "{big}", api_key: k}}
router_settings: {num_retries: 0}
"""
# Path of the surface, its dialect, the targets (called by their dialects) that it is asked to reach.
SURFACES = {
    "/v1/chat/completions": ("openai_chat", ("anthropic", "gemini")),
    "/v1/messages": ("anthropic", ("openai_chat", "gemini")),
    "/v1/responses": ("openai_responses", ("anthropic", "gemini")),
    "/v1beta/models/{model}:generateContent": ("gemini", ("anthropic", "openai_chat")),
    "/api/chat": ("ollama", ("gemini", "anthropic")),
    "/api/generate": ("ollama_generate", ("openai_chat",)),
    "/v1/completions": ("completions", ("anthropic",)),
}


class Upstream:
    """A server in a thread of its own that reads every request and gives ``answer``: content type, body."""

    def __init__(self) -> None:
        self.answer = ("application/json", b"{}")
        self.sizes: list[int] = []
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        self._loop.run_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                left = length
                while left:
                    left -= len(await reader.read(left))
                self.sizes.append(length)
                kind, body = self.answer
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n" % kind.encode())
                writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)


def post(port: int, path: str, body: bytes) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=100)
    try:
        connection.request("POST", path, body, {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Other:
    """The second client: asks in a thread until it is stopped. ``longest``: what it waited for one answer."""

    BODY = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hello"}]}).encode()

    def __init__(self, port: int) -> None:
        self.longest = 0.0
        self.count = 0
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=100)
        while not self._over.is_set():
            begun = time.monotonic()
            connection.request("POST", "/v1/chat/completions", self.BODY, {"content-type": "application/json"})
            assert connection.getresponse().read()
            self.longest = max(self.longest, time.monotonic() - begun)
            self.count += 1
            self._over.wait(0.005)
        connection.close()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(100)


class Waiting:
    """A gateway, and what is measured at it."""

    def __init__(self, door: Door, big: Upstream) -> None:
        self.door = door
        self.big = big

    async def ask(self, what: str, path: str, body: bytes, statuses: tuple[int, ...] = (200,)) -> bytes:
        """Send a request while the other client asks; the answer. Measured again, twice at most, if the machine was
        busy: what others compute on a core's second thread doubles the time of the same work."""
        for last in (False, False, True):
            other = Other(self.door.port)
            # How long the loop computed without a pause; what other processes take is not in it.
            steady = asyncio.create_task(_longest_step())
            try:
                await asyncio.sleep(0.02)
                status, answer = await asyncio.to_thread(post, self.door.port, path, body)
            finally:
                steady.cancel()
                await asyncio.to_thread(other.stop)
            step = await steady
            assert status in statuses, f"{what}: {status} {answer[:300]!r}"
            if step < LONGEST and other.longest < LONGEST:
                return answer
            assert not last or step < LONGEST, f"{what}: one step of the loop took {step * 1000:.0f} ms"
            assert not last, f"{what}: another client waited {other.longest * 1000:.0f} ms"
        raise AssertionError


async def _longest_step() -> float:
    longest, before = 0.0, time.thread_time()
    try:
        while True:
            await asyncio.sleep(0.002)
            now = time.thread_time()
            longest, before = max(longest, now - before), now
    except asyncio.CancelledError:
        return longest


VIEW = View(model="m", request=shapes.request([shapes.user(shapes.HELLO)]), now=7)
SMALL = shapes.answer(shapes.HELLO)


def told(dialect: str, response: Response, stream: bool = False) -> tuple[str, bytes]:
    """An answer as an upstream of the dialect gives it: whole, or as a stream of large events."""
    spoken = DIALECTS[dialect]
    if not stream:
        return "application/json", spoken.render_response(response, VIEW).body
    encoder = spoken.encoder(VIEW)
    return "text/event-stream", b"".join([encoder.feed(event) for event in explode(response, 1 << 30)])


@asynccontextmanager
async def gateway(tmp_path: Any) -> AsyncIterator[Waiting]:
    small, big = Upstream(), Upstream()
    small.answer = told("openai_chat", SMALL)
    # As the service does when it starts: a collection that looks at all that the tests have loaded takes 0.4 s. It stays
    # so: to thaw would give the tests themselves back to the collector, which tests/conftest.py took them from.
    gc.collect()
    gc.freeze()
    try:
        async with open_door(tmp_path, YAML.replace("{small}", small.url).replace("{big}", big.url)) as door:
            yield Waiting(door, big)
    finally:
        small.close()
        big.close()


def body_of(request: Request, dialect: str, model: str) -> bytes:
    wire = Wire(model="gemini-2.5-pro" if dialect == "gemini" else "m", family=DIALECTS[dialect].family, max_tokens=9)
    fields = DIALECTS[dialect].render_request(replace(request, dialect=dialect), wire).fields
    return seal({**fields, "model": msgspec.Raw(msgspec.json.encode(model))})


REQUESTS: dict[str, Callable[[], Request]] = {
    "many messages": lambda: shapes.request(shapes.MESSAGES["turns"](20_000)),
    "many parts": lambda: shapes.request(shapes.MESSAGES["blocks"](40_000)),
    "many calls": lambda: shapes.request(shapes.MESSAGES["calls of one turn"](10_000)),
    "many tools": lambda: shapes.REQUESTS["tools"](9_000),
    "too many tools": lambda: shapes.REQUESTS["tools"](30_000),
    "a huge text": lambda: shapes.request([shapes.user(Text("hello, [world] " * 700_000))]),
    "a wide schema": lambda: shapes.REQUESTS["tool wide"](40_000),
    "a deep schema": lambda: shapes.REQUESTS["tool deep"](300),
    "a diamond of definitions": lambda: dict(shapes.expanding())["diamond 40"],
}


def cases() -> Iterator[tuple[str, str, str]]:
    """(path, dialect, target) of every surface with every target, and one that edits messages in its own dialect."""
    for path, (dialect, targets) in SURFACES.items():
        for target in targets:
            yield path, dialect, target


def test_every_chat_surface_is_asked() -> None:
    from penstock.server.surfaces import SURFACES as served

    chats = {surface.dialect.name for surface in served.values() if surface.about and surface.about.family == "chat"}
    assert chats <= {dialect for dialect, _ in SURFACES.values()} | {"cohere", "bedrock"}


@pytest.mark.parametrize("what", REQUESTS)
async def test_requests_of_one_client_are_no_wait_for_another(tmp_path, what):
    made = REQUESTS[what]()
    async with gateway(tmp_path) as waiting:
        for path, dialect, target in cases():
            if dialect in ("ollama_generate", "completions"):
                if what != "a huge text":
                    continue  # they have no turns and no tools
            try:
                body = body_of(made, dialect, target)
            except Exception:
                if dialect != "completions":
                    raise
                body = json.dumps({"model": target, "prompt": "hello, [world] " * 700_000}).encode()
            waiting.big.answer = told(target, SMALL)
            asked = f"{what}, {path} to {target}"
            refused = what in ("many tools", "too many tools", "a diamond of definitions")  # OpenAI takes 128
            answer = await waiting.ask(asked, path.format(model=target), body, (200, 400) if refused else (200,))
            if what == "a diamond of definitions" and target == "gemini":
                assert b"tools.0.schema" in answer and b"bytes" in answer, asked
            if what == "too many tools":
                assert b"tools" in answer and (b"10000" in answer or b"at most 128" in answer), asked
            elif not refused:
                assert b"hello" in answer, asked
                least = len(body) / (10 if "schema" in what else 3)  # the older Gemini takes less of a schema
                assert waiting.big.sizes[-1] > least, asked


async def test_ten_megabytes_with_300_000_messages(tmp_path):
    made = shapes.request(shapes.MESSAGES["turns"](150_000))
    async with gateway(tmp_path) as waiting:
        for path, dialect, target in (
            ("/v1/chat/completions", "openai_chat", "gemini"),
            ("/v1/chat/completions", "openai_chat", "openai_chat"),
            ("/v1/chat/completions", "openai_chat", "quirky"),
            ("/v1/messages", "anthropic", "openai_chat"),
        ):
            waiting.big.answer = told("openai_chat" if target == "quirky" else target, SMALL)
            body = body_of(made, dialect, target)
            assert len(body) > 10_000_000
            answer = await waiting.ask(f"{path} to {target}", path, body)
            assert b"hello" in answer and waiting.big.sizes[-1] > 7_000_000
        body = body_of(made, "anthropic", "openai_chat")
        answer = await waiting.ask("a count", "/v1/messages/count_tokens", body)
        assert json.loads(answer)["input_tokens"] > 1_000_000
        body = body[:-1] + b',"validate":true,"output_config":{"format":{"type":"json_schema","schema":{"type":"string"}}}}'
        waiting.big.answer = told("openai_chat", shapes.answer(Text('"hello"')))
        assert b"hello" in await waiting.ask("a check", "/v1/messages", body)
        waiting.big.answer = told("openai_chat", shapes.answer(Text("1")))
        assert b"does not conform" in await waiting.ask("a repair", "/v1/messages", body, (502,))
        assert waiting.big.sizes[-1] > 7_000_000, "asked again, with the whole conversation"


ANSWERS: dict[str, Callable[[], Response]] = {
    "a huge text": lambda: shapes.answer(Text("hello, [world] " * 500_000)),
    "many calls": lambda: shapes.RESPONSES["calls"](4_000),
    "many thoughts": lambda: shapes.RESPONSES["thoughts"](20_000),
    "many citations": lambda: shapes.answer(Text("hello", None, (shapes.CITED,) * 20_000)),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", ANSWERS)
async def test_answers_to_one_client_are_no_wait_for_another(tmp_path, what, stream):
    made = ANSWERS[what]()
    async with gateway(tmp_path) as waiting:
        for path, dialect, target in cases():
            if stream and dialect in ("gemini", "ollama_generate", "completions"):
                continue  # the field that asks for one is the same as in a sibling, or in the path
            waiting.big.answer = told(target, made, stream)
            asked = replace(shapes.request([shapes.user(shapes.HELLO)]), stream=stream)
            body: dict[str, Any] = {"model": target, "prompt": "hello", "max_tokens": 9}
            if dialect != "completions":
                body = msgspec.json.decode(body_of(asked, dialect, target))
            if dialect != "gemini":
                body["stream"] = stream
            answer = await waiting.ask(
                f"{what}, {path} to {target}", path.format(model=target), json.dumps(body).encode()
            )
            assert b"rror" not in answer[-300:], (path, target, answer[-300:])
            told_all = what == "a huge text" or dialect not in ("ollama_generate", "completions")
            assert len(answer) > 5_000 or not told_all or what == "many citations", (path, target, answer[-300:])


@pytest.mark.parametrize("target", ["openai_chat", "gemini"])
async def test_one_huge_event_of_a_stream(tmp_path, target):
    """The whole answer in one event, as some servers send it."""
    n = 30_000
    if target == "openai_chat":
        n = 4_000
        arguments = json.dumps({"a": [1] * 20})
        calls = [{"index": i, "id": f"c{i}", "function": {"name": "f", "arguments": arguments}} for i in range(n)]
        events: list[Any] = [{"id": "x", "choices": [{"index": 0, "delta": {"content": "hello", "tool_calls": calls}}]}]
        events.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    else:
        parts: list[Any] = [{"text": "hello"}, *[{"functionCall": {"name": "f", "args": {"a": i}}} for i in range(n)]]
        events = [{"candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}]}]
    data = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    if target == "openai_chat":
        data += b"data: [DONE]\n\n"
    async with gateway(tmp_path) as waiting:
        for path, dialect in (("/v1/messages", "anthropic"), ("/v1/responses", "openai_responses")):
            waiting.big.answer = ("text/event-stream", data)
            body = msgspec.json.decode(body_of(shapes.request([shapes.user(shapes.HELLO)]), dialect, target))
            answer = await waiting.ask(f"{path} from {target}", path, json.dumps({**body, "stream": True}).encode())
            end = b"message_stop" if dialect == "anthropic" else b"response.completed"
            assert answer.count(b'"f"') >= n and end in answer, (path, answer[-300:])


async def test_an_event_with_more_values_than_anybody_sends_is_the_upstream_s_fault(tmp_path):
    bad = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"a","x":[' + b"1," * 600_000 + b"1]}}]}\n\n"
    async with gateway(tmp_path) as waiting:
        waiting.big.answer = ("text/event-stream", bad)
        body = {"model": "openai_chat", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}
        answer = await waiting.ask("an event", "/v1/messages", json.dumps(body).encode(), (502,))
        assert b"more than 500000 values" in answer


async def test_a_stream_with_more_calls_than_anybody_sends_is_the_upstream_s_fault(tmp_path):
    async with gateway(tmp_path) as waiting:
        waiting.big.answer = told("openai_chat", shapes.RESPONSES["calls"](20_000), stream=True)
        body = {"model": "openai_chat", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}
        answer = await waiting.ask("calls", "/v1/messages", json.dumps(body).encode())
        assert b"more than 4096 blocks open" in answer[-1000:] and b"message_stop" not in answer


async def test_small_requests_need_no_other_process(tmp_path, monkeypatch):
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a small request left the loop")

    monkeypatch.setattr(apart, "run", never)
    made = shapes.request([Message("system", (Text("x" * 100_000),)), shapes.user(shapes.HELLO)])
    async with gateway(tmp_path) as waiting:
        waiting.big.answer = told("anthropic", SMALL)
        await waiting.ask("a small one", "/v1/chat/completions", body_of(made, "openai_chat", "anthropic"))


async def test_what_is_wrong_with_a_large_request_is_told_as_with_a_small_one(tmp_path):
    made = msgspec.json.decode(body_of(shapes.request(shapes.MESSAGES["turns"](30_000)), "openai_chat", "anthropic"))
    made["messages"][20_000]["role"] = "nobody"
    async with gateway(tmp_path) as waiting:
        answer = await waiting.ask("a bad one", "/v1/chat/completions", json.dumps(made).encode(), (400,))
        small = {**made, "messages": made["messages"][20_000:20_001]}
        expected = await waiting.ask("a small bad one", "/v1/chat/completions", json.dumps(small).encode(), (400,))
        assert answer == expected.replace(b"messages[0]", b"messages[20000]")


BOMBS = {
    "ten million empty messages": b'{"model":"openai_chat","messages":[' + b"{}," * 10_000_000 + b"{}]}",
    "four million fields": b"{%b" % b",".join(b'"%x":1' % n for n in range(2_500_000)) + b',"model":"openai_chat"}',
    "fifteen million numbers": b'{"model":"openai_chat","input":[' + b"1," * 15_000_000 + b"1]}",
    "white space": b'{"model":"openai_chat","max_tokens":9,' + b" " * 30_000_000 + b'"messages":[{"role":"user","content":"x"}]}',
    "media that are none": b'{"model":"anthropic","max_tokens":9,"messages":[{"role":"user","content":"base64 '
    + (b"a" * 1000 + b" ") * 25_000
    + b'"}]}',
}


@pytest.mark.parametrize("what", BOMBS)
async def test_bodies_that_would_fill_the_gateway_are_refused_or_served(tmp_path, what):
    async with gateway(tmp_path) as waiting:
        for path in ("/v1/embeddings",) if "numbers" in what else ("/v1/chat/completions", "/v1/messages"):
            waiting.big.answer = told("anthropic" if "media" in what else "openai_chat", SMALL)
            served = what in ("white space", "media that are none")
            answer = await waiting.ask(what, path, BOMBS[what], (200,) if served else (400,))
            assert served or (b"1500000 values" in answer or b"10000 are taken" in answer), answer[:300]
