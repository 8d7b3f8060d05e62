"""The stream client: N streams at once for T seconds, counted, timed and checked.

    python -m bench.streams < spec.json

The specification is `Spec` as JSON (the run's key is in it: that is why it comes on stdin), the answer `Result`.
A stream counts as complete when its transfer ended in order and it holds 64 chunks and `[DONE]`; every 16th, the first
of each connection, and every one that looks unusual is parsed and compared with what the upstream said.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import cast

from bench import payloads, procs, verify
from bench.upstream import loop_factory, read_chunked

_SAMPLE = 16


@dataclass(slots=True)
class Spec:
    """What to run. `kind`: chat or messages. `cpu_pid`: the process tree whose CPU time the window is charged with."""

    port: int
    path: str
    headers: dict[str, str]
    body: str
    kind: str = "chat"
    model: str = payloads.ALIAS
    concurrency: int = 64
    seconds: float = 4.0
    warmup: float = 0.5
    drain: float = 30.0
    cpu_pid: int = 0


@dataclass(slots=True)
class Result:
    """What came. `chunks` and `cpu_s` belong to the window of `seconds`; streams are counted to their end.

    `relayed` is the chunks of the streams that ended well, `complete` their number: an arm that merges two chunks into
    one is still charged for the 64 that it got. `wrong`: streams cut off, or with a difference that matters.
    """

    seconds: float = 0.0
    chunks: int = 0
    cpu_s: float = 0.0
    streams: int = 0
    complete: int = 0
    relayed: int = 0
    compared: int = 0
    wrong: int = 0
    http_errors: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    example: str = ""
    ttft_ms: list[float] = field(default_factory=list)

    @property
    def streams_per_second(self) -> float:
        """Chunks per second over chunks per stream: exact also where one stream outlasts the window."""
        if not self.relayed or not self.seconds:
            return 0.0
        return self.chunks / self.seconds / (self.relayed / self.complete)

    @property
    def cpu_us_per_chunk(self) -> float:
        """CPU time per chunk that the upstream sent."""
        sent = self.streams_per_second * payloads.CHUNKS * self.seconds
        return self.cpu_s * 1e6 / sent if sent else 0.0

    def ttft(self, quantile: float) -> float:
        """A quantile of the time to the first chunk, in ms; 0.0 when no stream began."""
        ordered = sorted(self.ttft_ms)
        return ordered[min(len(ordered) - 1, int(len(ordered) * quantile))] if ordered else 0.0


def body_of(raw: bytes, at: int, *, chunked: bool) -> bytes | None:
    """The body behind the head, or None when the transfer was cut off."""
    if not chunked:
        return raw[at:]
    found = read_chunked(raw, at)
    return found[0] if found else None


class _Run:
    """What the connections of one run share."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.result = Result()
        self.faults: Counter[str] = Counter()
        self.marker = b"data: {" if spec.kind == "chat" else b"event: content_block_delta"
        self.counting = self.stopping = False
        self.open = 0
        self.idle = asyncio.Event()
        self.tasks: set[asyncio.Task[None]] = set()
        head = [f"POST {spec.path} HTTP/1.1", f"Host: 127.0.0.1:{spec.port}", f"Content-Length: {len(spec.body)}"]
        head += [f"{k}: {v}" for k, v in spec.headers.items()]
        self.request = ("\r\n".join(head) + "\r\n\r\n" + spec.body).encode()

    def reconnect(self) -> None:
        task = asyncio.get_running_loop().create_task(connect(self))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def finished(self, raw: bytes, at: int, status: int, *, chunked: bool, whole: bool, sample: bool) -> None:
        """Account for one stream that has ended."""
        result = self.result
        result.streams += 1
        if status != 200:
            result.http_errors += 1
            result.example = result.example or raw[:300].decode(errors="replace")
            return
        chat = self.spec.kind == "chat"
        chunks = raw.count(self.marker)
        if whole and chat and not sample and chunks == payloads.CHUNKS and b"data: [DONE]" in raw[-64:]:
            result.complete += 1
            result.relayed += chunks
            return
        body = body_of(raw, at, chunked=chunked) if whole else None
        if body is None:
            faults = ["truncated"]
        else:
            faults = verify.chat_stream(body, self.spec.model) if chat else verify.messages_stream(body)
        result.compared += 1
        if "truncated" not in faults and "done" not in faults:
            result.complete += 1
            result.relayed += chunks
        self.faults.update(faults)
        if not verify.TOLERATED.issuperset(faults):
            result.wrong += 1
            result.example = result.example or f"{faults}: ...{raw[-200:].decode(errors='replace')}"


class StreamConnection(asyncio.Protocol):
    """One connection that asks for one stream after the other."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.parts: list[bytes] = []
        self.status = self.streams = 0
        self.asked_at = 0.0
        self.chunked = self.began = self.busy = self.closes = False
        self.length: int | None = None
        self.body_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.run.open += 1
        self.ask()

    def ask(self) -> None:
        self.parts = []
        self.status, self.began, self.busy = 0, False, True
        self.transport.write(self.run.request)
        self.asked_at = time.perf_counter()

    def data_received(self, data: bytes) -> None:
        run = self.run
        self.parts.append(data)
        if not self.status and not self.read_head():
            return
        if not self.began:
            if b"data:" not in (data if len(self.parts) == 1 else b"".join(self.parts)):
                return self.end_if_complete(data)
            self.began = True
            if run.counting:
                run.result.ttft_ms.append(round((time.perf_counter() - self.asked_at) * 1e3, 4))
        if run.counting:
            run.result.chunks += data.count(run.marker)
        self.end_if_complete(data)

    def read_head(self) -> bool:
        raw = b"".join(self.parts)
        end = raw.find(b"\r\n\r\n")
        if end < 0:
            return False
        self.parts = [raw]
        self.body_at = end + 4
        head = raw[:end].lower()
        self.status = int(head[9:12])
        self.chunked = b"\r\ntransfer-encoding: chunked" in head
        length = re.search(rb"\r\ncontent-length: *(\d+)", head)
        self.length = int(length.group(1)) if length else None
        self.closes = b"\r\nconnection: close" in head
        return True

    def end_if_complete(self, data: bytes) -> None:
        if self.chunked:
            tail = data if len(data) >= 5 else b"".join(self.parts[-5:])
            ended = tail.endswith(b"0\r\n\r\n")
        else:
            ended = self.length is not None and sum(map(len, self.parts)) >= self.body_at + self.length
        if ended:
            self.end(whole=True)
            if self.closes or self.run.stopping:
                self.transport.close()
            else:
                self.ask()

    def end(self, *, whole: bool) -> None:
        self.busy = False
        sample = self.streams % _SAMPLE == 0
        self.streams += 1
        raw = b"".join(self.parts)
        self.run.finished(raw, self.body_at, self.status, chunked=self.chunked, whole=whole, sample=sample)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.busy:
            by_close = self.status == 200 and not self.chunked and self.length is None
            self.end(whole=by_close)
        self.run.open -= 1
        if not self.run.stopping:
            self.run.reconnect()
        elif not self.run.open:
            self.run.idle.set()


async def connect(run: _Run) -> None:
    """One more connection; a refused one counts as an HTTP error, and the run goes on with the others."""
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: StreamConnection(run), "127.0.0.1", run.spec.port)
    except OSError as exc:
        run.result.http_errors += 1
        run.result.example = run.result.example or f"cannot connect: {exc}"


async def measure(spec: Spec) -> Result:
    """Warm up, count for `seconds`, then let the open streams come to their end for at most `drain` seconds."""
    run = _Run(spec)
    for _ in range(spec.concurrency):
        await connect(run)
    await asyncio.sleep(spec.warmup)
    pids = procs.tree(spec.cpu_pid) if spec.cpu_pid else []
    cpu, began = procs.cpu_seconds(pids), time.perf_counter()
    run.counting = True
    await asyncio.sleep(spec.seconds)
    run.counting = False
    run.result.seconds = time.perf_counter() - began
    run.result.cpu_s = procs.cpu_seconds(pids) - cpu
    run.stopping = True
    if run.open:
        try:
            await asyncio.wait_for(run.idle.wait(), spec.drain)
        except TimeoutError:
            run.faults["unfinished"] += run.open
            run.result.wrong += run.open
    run.result.faults = dict(run.faults)
    return run.result


def main() -> None:
    spec = Spec(**json.loads(sys.stdin.read()))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        result = runner.run(measure(spec))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
