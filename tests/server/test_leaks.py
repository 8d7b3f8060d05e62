"""Whoever leaves at whatever moment: nothing stays. No exchange, no upstream connection in use, no task, no client."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from dataclasses import replace

import pytest

from penstock.core.errors import GatewayError
from penstock.mock import Rule, Script, Step
from penstock.server.doors import quick
from tests.door import Door, busy, open_door

WORDS = "one two three four five six seven eight nine ten"
FOREVER = 60_000  # ms: nobody waits for it
CONFIG = """
model_list:
  - model_name: m
    litellm_params: {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-upstream-secret, timeout: 5}
  - model_name: dead
    litellm_params: {model: openai/real-model, api_base: "http://127.0.0.1:9/v1", api_key: sk-x}
  - model_name: falls
    litellm_params: {model: openai/real-model, api_base: "http://127.0.0.1:9/v1", api_key: sk-x}
  - model_name: impatient
    litellm_params:
      {model: openai/real-model, api_base: "{mock}/v1", api_key: sk-x, timeout: 0.05, stream_timeout: 0.05}
router_settings: {num_retries: 0, fallbacks: [{falls: [m]}]}
"""

# (who, stage): the mock's steps that bring it about. "upstream": the step itself is the fault. Else the step makes the
# answer hang at that stage, and the client or the gateway ends it there.
HANGS = {
    "before headers": [Step(latency_ms=FOREVER)],
    "within headers": [Step(header_drip_ms=20)],
    "after headers": [Step(ttft_ms=FOREVER)],
    "mid-body": [Step(stall_after_events=2, stall_after_bytes=40), Step(tokens_per_second=20), Step(body_drip_ms=5)],
    "end": [Step(), Step(keep_alive=False), Step(idle_close_ms=0)],
}
FAULTS = {
    "before headers": [
        Step(hangup="before_answer"),
        Step(hangup="before_answer", cut="close"),
        Step(status_line="nonsense"),
    ],
    "within headers": [Step(huge_header=300_000), Step(header_count=2_000)],
    "after headers": [
        Step(hangup="after_headers"),
        Step(hangup="after_headers", cut="close"),
        Step(malform=["empty_body"]),
    ],
    "mid-body": [Step(cut_after_events=2, cut_after_bytes=40, cut=cut) for cut in ("close", "rst", "end")]
    + [Step(malform=["bad_json"]), Step(bad_chunk=True, framing="chunked", split_bytes=30), Step(error_event_after=2)],
    "end": [
        Step(keep_alive=False),
        Step(idle_close_ms=0),
        Step(extra_bytes="HTTP/1.1 200 OK\r\n\r\n"),
        Step(wrong_length=30, keep_alive=False),
        Step(framing="close"),
        Step(status=429),
        Step(status=500),
    ],
}


class Round:
    """One request that ends badly. Everything about it is decided by its number."""

    def __init__(self, seed: int, number: int) -> None:
        draw = random.Random(f"{seed}:{number}")
        self.mark = f"round-{number}-mark"
        self.who = draw.choice(["upstream", "upstream", "client", "client", "client", "gateway"])
        self.stage = draw.choice(list(HANGS))
        self.stream = draw.random() < 0.5
        self.step = draw.choice((FAULTS if self.who == "upstream" else HANGS)[self.stage])
        self.model = draw.choice(["m", "m", "m", "falls", "impatient"])
        if draw.random() < 0.1:
            self.model = "dead"
        self.how = draw.choice(["fin", "rst", "half"])
        self.patience = draw.choice([0, 0, 0.01, 0.03])
        self.cut = (
            draw.choice(["request line", "body", "nothing", "nothing", "nothing"])
            if self.who == "client"
            else "nothing"
        )
        self.gateway_does = draw.choice(["cut off", "abort", "close"])
        self.twice = self.who != "gateway" and draw.random() < 0.2  # pipelines a second request behind the first

    def __repr__(self) -> str:
        return str(vars(self))

    def request(self) -> bytes:
        told = [{"role": "user", "content": f"{self.mark} {WORDS}"}]
        body = json.dumps({"model": self.model, "messages": told, "stream": self.stream}).encode()
        return b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )

    def played(self) -> Step:
        """The step as the mock gets it: a stream's faults come after some events, paced so that these leave."""
        step = self.step.over(Step(text=WORDS))
        if self.stream and (step.cut_after_bytes or step.stall_after_bytes):
            step = replace(step, cut_after_bytes=None, stall_after_bytes=None, tokens_per_second=300)
        return step

    async def run(self, door: Door) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        data = self.request() * (2 if self.twice else 1)
        data = {"request line": data[:20], "body": data[:-9], "nothing": data}[self.cut]
        writer.write(data)
        try:
            if self.who == "upstream":
                await self._read_to_the_end(reader, 2 if self.twice else 1)
            elif self.who == "client":
                await self._wait_for_stage(door, reader)
                self._leave(writer)
            else:
                await self._wait_for_stage(door, reader)
                self._end(door, writer.get_extra_info("sockname")[1])
                await self._read_to_the_end(reader, 1 if self.gateway_does == "cut off" else 99)
        except ConnectionError:
            pass
        finally:
            if self.how != "half" or self.who != "client":
                writer.close()
        if self.how == "half" and self.who == "client":
            await self._read_to_the_end(reader, 99)
            writer.close()

    async def _read_to_the_end(self, reader: asyncio.StreamReader, answers: int) -> None:
        """Until the connection closes, or so many answers are complete. Nothing hangs for long."""
        got = b""
        async with asyncio.timeout(8):
            while part := await reader.read(65536):
                got += part
                if complete_answers(got) >= answers:
                    return

    async def _wait_for_stage(self, door: Door, reader: asyncio.StreamReader) -> None:
        if self.cut != "nothing" or self.model == "dead":
            await asyncio.sleep(self.patience)
            return
        if self.stage == "end" or (self.stage == "mid-body" and self.stream):
            async with asyncio.timeout(8):
                await reader.read(1 if self.stage != "end" else 65536)
            return
        loop = asyncio.get_running_loop()
        # The impatient model may have given up before its request was out.
        end = loop.time() + (0.3 if self.model == "impatient" else 8)
        while not any(self.mark.encode() in got.body for got in door.mock.received):
            if loop.time() > end:
                assert self.model == "impatient", "the request never reached the upstream"
                return
            await asyncio.sleep(0.005)
        await asyncio.sleep(self.patience)

    def _leave(self, writer: asyncio.StreamWriter) -> None:
        if self.how == "half":
            writer.write_eof()  # says that nothing more comes; a client that only half-closes is treated as gone
        elif self.how == "rst":
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        else:
            writer.close()

    def _end(self, door: Door, port: int) -> None:
        for connection in list(door.state.connections):
            if connection.transport.get_extra_info("peername")[1] == port:
                active = connection.active
                if self.gateway_does == "cut off" and active is not None:
                    door.gateway.cut_off(active, GatewayError("draining", "The test ends this request."))
                elif self.gateway_does == "abort" and active is not None:
                    active.abort()
                else:
                    connection.transport.close()


def complete_answers(got: bytes) -> int:
    """How many whole HTTP answers these bytes are."""
    count = 0
    while got:
        head, found, body = got.partition(b"\r\n\r\n")
        if not found:
            break
        if b"transfer-encoding: chunked" in head:
            _, found, got = body.partition(b"\r\n0\r\n\r\n")
            if not found:
                break
        else:
            length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
            if len(body) < length:
                break
            got = body[length:]
        count += 1
    return count


async def nothing_stays(door: Door, baseline: set[asyncio.Task], seconds: float = 3.0) -> None:
    """Waits until everything is as it was before, or fails with what is left."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        left = {
            "exchanges": [(e.path, e.responded) for e in door.gateway.active],
            "busy upstream connections": busy(door.pool),
            "waiting": [row for row in door.pool.stats().values() if row["connecting"] or row["waiting"]],
            "tasks": [task for task in asyncio.all_tasks() - baseline if not of_the_mock(task)],
            "clients": len(door.state.connections),
            "answers of the mock under way": sum(c.current is not None for c in door.mock.connections.values()),
        }
        if not any(left.values()):
            return
        if loop.time() > end:
            raise AssertionError(f"left behind: { {name: found for name, found in left.items() if found} }")
        await asyncio.sleep(0.01)


def of_the_mock(task: asyncio.Task) -> bool:
    return "_Performance" in repr(task.get_coro()) and task.done()


@pytest.mark.serial
@pytest.mark.parametrize("seed", range(5))
async def test_forty_bad_ends_at_once_leave_nothing(seed, tmp_path):
    rounds = [Round(seed, number) for number in range(40)]
    async with open_door(tmp_path, CONFIG) as door:
        door.mock.script = Script(rules=[Rule(contains=one.mark + " ", step=one.played()) for one in rounds])
        baseline = asyncio.all_tasks()
        results = await asyncio.gather(*(one.run(door) for one in rounds), return_exceptions=True)
        failed = [(one, result) for one, result in zip(rounds, results, strict=True) if result is not None]
        assert not failed, failed
        await nothing_stays(door, baseline)
        ids = [record.call_id for record in door.records]
        assert len(ids) == len(set(ids)), "one record per request"
        assert 20 <= len(ids) <= 80
        assert not [record for record in door.records if record.error == "gateway_bug"]
        door.mock.script = Script()
        status, _, _ = await door.post({"model": "m", "messages": [{"role": "user", "content": "still there?"}]})
        assert status == 200


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("who", ["upstream", "client", "gateway"])
@pytest.mark.parametrize("stage", HANGS)
async def test_every_stage_once_alone(stage, who, stream, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        baseline = asyncio.all_tasks()
        for at, step in enumerate((FAULTS if who == "upstream" else HANGS)[stage]):
            one = Round(0, at)
            one.who, one.stage, one.stream, one.step, one.model, one.cut, one.twice = (
                who,
                stage,
                stream,
                step,
                "m",
                "nothing",
                False,
            )
            door.mock.script = Script(default=one.played())
            await one.run(door)
            await nothing_stays(door, baseline)
        assert door.records, "what happened is on record"


async def test_the_record_says_who_ended_it(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        for number, (who, does, status, fault) in enumerate(
            [("client", "", 499, "nobody"), ("gateway", "cut off", 503, "gateway"), ("gateway", "close", 499, "nobody")]
        ):
            for stream in (False, True):
                one = Round(1, number)
                one.who, one.gateway_does, one.stream, one.stage, one.model = who, does, stream, "mid-body", "m"
                one.step, one.cut, one.twice, one.how = (
                    Step(stall_after_events=2, stall_after_bytes=40),
                    "nothing",
                    False,
                    "fin",
                )
                door.mock.script = Script(default=one.played())
                await one.run(door)
                await door.settle()
                record = door.records[-1]
                assert (record.status, record.fault, record.stream) == (status, fault, stream), (who, does)
                if stream:
                    assert record.usage is not None and record.usage.output > 0, "what was streamed is accounted for"


async def test_the_pool_goes_on_with_what_is_left(tmp_path):
    """After a hundred cancelled calls a hundred good ones get through, on connections that are whole."""
    async with open_door(tmp_path, CONFIG) as door:
        door.mock.script = Script(rules=[Rule(contains="hang", step=Step(latency_ms=FOREVER))])

        async def cancelled() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
            body = b'{"model":"m","messages":[{"role":"user","content":"hang"}]}'
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
                % (len(body), body)
            )
            await asyncio.sleep(0.05)
            writer.close()

        await asyncio.gather(*(cancelled() for _ in range(100)))
        await door.settle()

        async def good(number: int) -> None:
            ask = {"model": "m", "messages": [{"role": "user", "content": f"good-{number}-end"}]}
            status, _, body = await door.post(ask)
            assert status == 200 and f"good-{number}-end" in body.decode()

        await asyncio.gather(*(good(number) for number in range(100)))
        await door.settle()
        assert sum(record.status == 499 for record in door.records) == 100


# Clients that do not read ---------------------------------------------------------------------------------------------

BIG = 24 * 1024 * 1024


class SlowReader:
    """A client with a small window that asks for ``BIG`` bytes as a stream and reads when it pleases."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.setblocking(False)
        self.port = port

    async def ask(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self.socket, ("127.0.0.1", self.port))
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"much"}]}'
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
        )
        await loop.sock_sendall(self.socket, head % len(body) + body)

    async def read(self) -> tuple[int, bytes]:
        """Everything there is by now and to the end, in a hurry: how much, and the last of it."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        loop = asyncio.get_running_loop()
        got, tail = 0, b""
        while part := await loop.sock_recv(self.socket, 1 << 20):
            got, tail = got + len(part), (tail + part)[-2000:]
        self.socket.close()
        return got, tail


async def plateau(door: Door) -> int:
    """What the mock could send until nothing moved for a while."""
    await door.mock.wait_for(1)
    last, still = -1, 0
    while still < 15:
        await asyncio.sleep(0.02)
        now = door.mock.received[0].sent_bytes
        still = still + 1 if now == last else 0
        last = now
    return last


@pytest.mark.serial
async def test_a_client_that_does_not_read_holds_its_upstream_back(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        baseline = asyncio.all_tasks()
        door.mock.script = Script.always(text="x" * BIG, chunk_size=16_384)
        client = SlowReader(door.port)
        await client.ask()
        sent = await plateau(door)
        # Kernel buffers of two connections hold some megabytes; the rest must still be with the upstream.
        assert 0 < sent < BIG // 2, sent
        [connection] = door.state.connections
        assert connection.transport.get_write_buffer_size() < 1024 * 1024, "and little of it is in our memory"
        got, tail = await client.read()
        assert got > BIG and tail.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        await nothing_stays(door, baseline)
        assert door.records[0].status == 200


@pytest.mark.serial
async def test_a_client_that_leaves_without_having_read_frees_its_upstream(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        baseline = asyncio.all_tasks()
        door.mock.script = Script.always(text="x" * BIG, chunk_size=16_384)
        client = SlowReader(door.port)
        await client.ask()
        await plateau(door)
        client.socket.close()
        await nothing_stays(door, baseline)
        assert door.mock.received[0].closed_early and door.records[0].status == 499


@pytest.mark.serial
async def test_a_client_that_never_reads_is_cut_off(tmp_path, monkeypatch):
    monkeypatch.setattr(quick, "CLIENT_STALL", 0.2)
    async with open_door(tmp_path, CONFIG) as door:
        door.mock.script = Script.always(text="x" * BIG, chunk_size=16_384)
        client = SlowReader(door.port)
        await client.ask()
        await plateau(door)
        loop = asyncio.get_running_loop()
        for connection in list(door.state.connections):
            connection.sweep(loop.time())
        await door.settle()
        assert not door.state.connections and door.records[0].status == 499
        client.socket.close()


@pytest.mark.serial
async def test_the_upstreams_death_behind_a_slow_reader_is_told_to_it(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        baseline = asyncio.all_tasks()
        door.mock.script = Script.always(
            text="x" * BIG, chunk_size=16_384, cut_after_bytes=18 * 1024 * 1024, cut="close"
        )
        client = SlowReader(door.port)
        await client.ask()
        await plateau(door)
        _, tail = await client.read()
        assert b'"error"' in tail and b"[DONE]" not in tail and tail.endswith(b"0\r\n\r\n")
        await nothing_stays(door, baseline)
