"""Two gateways in two threads of one process, each with a loop of its own, and clients that ask both: nothing of one
loop's reaches the other."""

from __future__ import annotations

import asyncio
import http.client
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from penstock.mock import Mock, Rule, Script, Step
from penstock.runtime.http.connection import Connection
from penstock.server.doors.quick import QuickProtocol
from tests.door import Door, busy, open_door

try:
    import uvloop
except ImportError:  # no wheel for this platform: plain asyncio is what runs there, too
    uvloop = None  # type: ignore[assignment]

LOOPS: list[Callable[[], asyncio.AbstractEventLoop]] = [
    asyncio.new_event_loop if uvloop is None else uvloop.new_event_loop,
    asyncio.new_event_loop,
]
CONFIG = """
model_list:
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{upstream}/v1", api_key: sk-upstream-secret, timeout: 10}
router_settings: {num_retries: 0}
"""
SECONDS = 5.0  # of asking
CLIENTS = 8
PATIENCE = 10.0
HANGS, STALLS = "it-hangs", "it-stalls"  # in a question: no answer ever, one that stops in the middle


class Running:
    """A gateway in a thread with a loop. ``told``: what reached the loop's exception handler."""

    def __init__(self, folder: Path, upstream: str, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        folder.mkdir()
        self.folder, self.upstream, self.new_loop = folder, upstream, new_loop
        self.told: list[dict[str, Any]] = []
        self.ready, self.stop = threading.Event(), threading.Event()
        self.left: list[str] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        assert self.ready.wait(PATIENCE)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.told.append(context))
        before = asyncio.all_tasks()
        async with open_door(self.folder, CONFIG.replace("{upstream}", self.upstream)) as self.door:
            self.ready.set()
            while not self.stop.is_set():
                await asyncio.sleep(0.02)
            end = time.monotonic() + PATIENCE
            while (left := self._left(self.door, before)) and time.monotonic() < end:
                await asyncio.sleep(0.01)
            self.left = left

    def _left(self, door: Door, before: set[asyncio.Task[Any]]) -> list[str]:
        tasks = [task for task in asyncio.all_tasks() - before if "_Performance" not in repr(task.get_coro())]
        found = [*door.gateway.active, *tasks, *door.state.connections]
        return [repr(one) for one in found] + ["busy upstream connections"] * busy(door.pool)

    def close(self) -> None:
        self.stop.set()
        self.thread.join(2 * PATIENCE)
        assert not self.thread.is_alive(), "its loop hangs"


class Client:
    """A thread that asks both gateways, on connections that stay, until ``until``. ``dead``: calls whose answer was not
    whole and right, or did not come."""

    def __init__(self, number: int, gateways: list[Running], until: float) -> None:
        self.draw = random.Random(number)
        self.number, self.gateways, self.until = number, gateways, until
        self.asked = [0] * len(gateways)  # calls
        self.broken_off = [0] * len(gateways)
        self.hasty = [0] * len(gateways)  # streams of the SDK, which is gone with "[DONE]", before the answer's end
        self.ids: list[str] = []
        self.dead: list[str] = []

    def run(self) -> Client:
        count = 0
        connections = [self._connect(one) for one in self.gateways]
        sdks = [OpenAI(base_url=one.door.url + "/v1", api_key="sk-x", max_retries=0, timeout=PATIENCE) for one in self.gateways]
        while time.monotonic() < self.until:
            at = self.draw.randrange(len(self.gateways))
            count += 1
            mark = f"client-{self.number}-call-{count}-end"
            what = self.draw.random()
            self.asked[at] += 1
            try:
                if what < 0.03:
                    self.broken_off[at] += 1
                    self._break_off(connections[at], mark, self.draw.random() < 0.5)
                    connections[at] = self._connect(self.gateways[at])
                elif what < 0.1:
                    self.hasty[at] += what < 0.06
                    self._with_the_sdk(sdks[at], mark, what < 0.06)
                else:
                    self._ask(connections[at], mark, what < 0.5)
            except Exception as error:  # whatever it is, this call died of it
                self.dead.append(f"{mark} at {at}: {error!r}")
                connections[at].close()
                connections[at] = self._connect(self.gateways[at])
        for connection in connections:
            connection.close()
        for sdk in sdks:
            sdk.close()
        return self

    def _connect(self, gateway: Running) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", gateway.door.port, timeout=PATIENCE)

    def _send(self, connection: http.client.HTTPConnection, text: str, stream: bool) -> http.client.HTTPResponse:
        body = {"model": "m", "stream": stream, "messages": [{"role": "user", "content": text}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
        return connection.getresponse()

    def _ask(self, connection: http.client.HTTPConnection, mark: str, stream: bool) -> None:
        answer = self._send(connection, mark, stream)
        self.ids.append(answer.headers["x-litellm-call-id"])
        data = answer.read()
        assert answer.status == 200, data
        self._check(told_by(data) if stream else json.loads(data)["choices"][0]["message"]["content"], mark)

    def _with_the_sdk(self, sdk: OpenAI, mark: str, stream: bool) -> None:
        messages: Any = [{"role": "user", "content": mark}]
        if stream:
            chunks = sdk.chat.completions.create(model="m", messages=messages, stream=True)
            self.ids.append(chunks.response.headers["x-litellm-call-id"])
            self._check("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), mark)
        else:
            raw = sdk.chat.completions.with_raw_response.create(model="m", messages=messages)
            self.ids.append(raw.headers["x-litellm-call-id"])
            self._check(raw.parse().choices[0].message.content or "", mark)

    def _check(self, text: str, mark: str) -> None:
        assert mark in text and text.count("-end") == 1, f"an answer to another question: {text!r}"

    def _break_off(self, connection: http.client.HTTPConnection, text: str, stream: bool) -> None:
        """Goes in the middle: of a stream's body, or of waiting for an answer."""
        if stream:
            answer = self._send(connection, f"{text} {STALLS}", True)
            self.ids.append(answer.headers["x-litellm-call-id"])
            assert answer.read(20)
        else:
            body = {"model": "m", "messages": [{"role": "user", "content": f"{text} {HANGS}"}]}
            connection.request("POST", "/v1/chat/completions", json.dumps(body), {"content-type": "application/json"})
            time.sleep(self.draw.random() * 0.005)
        connection.close()


def told_by(stream: bytes) -> str:
    """The text of a whole stream."""
    events = stream.removesuffix(b"\n\n").split(b"\n\n")
    assert events[-1] == b"data: [DONE]", f"cut off: {stream[-200:]!r}"
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


class Guarded:
    """A transport that notes who writes to it from another thread than its loop's."""

    def __init__(self, transport: Any, strangers: list[str]) -> None:
        self._transport, self._strangers, self._home = transport, strangers, threading.get_ident()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if threading.get_ident() != self._home:
            self._strangers.append(f"{threading.current_thread().name}: {bytes(data[:60])!r}")
        self._transport.write(data)


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Writes by the other loop's thread. They need not be lost: a loop that is awake soon after sends them by chance."""
    found: list[str] = []
    for protocol in (QuickProtocol, Connection):
        made = protocol.connection_made

        def guarded(self: Any, transport: Any, made: Any = made) -> None:
            made(self, Guarded(transport, found))

        monkeypatch.setattr(protocol, "connection_made", guarded)
    return found


@pytest.fixture
def switching() -> Iterator[None]:
    """Threads take turns in the middle of everything: by itself Python lets one run for 5 ms, which is many requests."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(20e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.serial
@pytest.mark.usefixtures("switching")
def test_two_gateways_in_two_threads_share_nothing(tmp_path, strangers):
    hangs = Rule(contains=HANGS, step=Step(latency_ms=60_000))
    stalls = Rule(contains=STALLS, step=Step(text="one two three four five six", stall_after_events=3))
    with Mock.thread(script=Script(rules=[hangs, stalls])) as upstream:
        gateways = [Running(tmp_path / str(at), upstream.url, new_loop) for at, new_loop in enumerate(LOOPS)]
        try:
            until = time.monotonic() + SECONDS
            with ThreadPoolExecutor(CLIENTS) as threads:
                clients = list(threads.map(lambda number: Client(number, gateways, until).run(), range(CLIENTS)))
        finally:
            for gateway in gateways:
                gateway.close()
    dead = [line for client in clients for line in client.dead]
    asked = sum(sum(client.asked) for client in clients)
    told = [context for gateway in gateways for context in gateway.told]
    print(f"{asked} calls, {len(dead)} died, {len(told)} errors in the loops, {len(strangers)} writes by the other loop")
    assert not dead and not told, f"{len(dead)} of {asked} calls died: {dead[:5]} {told[:5]}"
    assert not strangers, f"{len(strangers)} writes by the other loop: {strangers[:5]}"
    assert asked > 1000 and min(map(sum, zip(*(client.asked for client in clients), strict=True))) > 300
    for at, gateway in enumerate(gateways):
        assert not gateway.left, "nothing is under way any more"
        records = gateway.door.records
        ids = Counter(record.call_id for record in records)
        assert max(ids.values()) == 1
        good, gone = (sum(record.status == status for record in records) for status in (200, 499))
        left = sum(client.broken_off[at] for client in clients)
        hasty = sum(client.hasty[at] for client in clients)
        wanted = sum(client.asked[at] for client in clients)
        # Who left while the request was still on its way to the gateway never called.
        assert wanted - left <= len(records) <= wanted and good + gone == len(records)
        assert wanted - left - hasty <= good <= wanted - left and gone >= left * 0.8
    ids = [record.call_id for gateway in gateways for record in gateway.door.records]
    seen = [one for client in clients for one in client.ids]
    assert len(set(ids)) == len(ids) and len(set(seen)) == len(seen) and set(seen) <= set(ids)
