"""The paced client: so many requests a second, whether or not answers come, and a process that is killed meanwhile.

A request's time counts from the moment when it was due: one that waits for a free connection is late, too. Reads a
`Spec` as JSON from stdin and prints a `Result` as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from typing import cast

from bench.upstream import loop_factory

TICK = 0.001


@dataclass(slots=True)
class Spec:
    """What to send, and when which process dies: `kill_at` seconds after the warm-up. `seconds`: in all, likewise."""

    port: int
    path: str
    headers: dict[str, str]
    body: str
    rate: float = 2000.0
    seconds: float = 6.0
    warmup: float = 1.0
    connections: int = 64
    kill_pid: int = 0
    kill_at: float = 3.0
    patience: float = 10.0


@dataclass(slots=True)
class Result:
    """What came of it, before the kill and from then on. `errors`: answers other than 200, broken off, or missing at
    the end."""

    sent: int = 0
    errors: int = 0
    before_p99_ms: float = 0.0
    during_p99_ms: float = 0.0
    example: str = ""


class _Connection(asyncio.Protocol):
    """One connection; `due` is when its request was, 0.0 while it is free."""

    def __init__(self, run: _Run) -> None:
        self.run = run
        self.due = 0.0
        self.data = b""
        self.need = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.run.free.append(self)

    def ask(self, due: float) -> None:
        self.due, self.data, self.need = due, b"", 0
        self.transport.write(self.run.request)

    def data_received(self, data: bytes) -> None:
        self.data = self.data + data if self.data else data
        if not self.need:
            end = self.data.find(b"\r\n\r\n")
            if end < 0:
                return
            length = self.data[:end].lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
            self.need = end + 4 + int(length or 0)
        if len(self.data) >= self.need:
            self._ended(self.data[9:12] == b"200")
            self.run.free.append(self)

    def _ended(self, good: bool) -> None:
        due, self.due = self.due, 0.0
        self.run.ended(due, good, self.data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.due:
            self._ended(False)
        elif self in self.run.free:
            self.run.free.remove(self)
        self.run.reconnect()


class _Run:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        head = [f"POST {spec.path} HTTP/1.1", f"Host: 127.0.0.1:{spec.port}", f"Content-Length: {len(spec.body)}"]
        head += [f"{name}: {value}" for name, value in spec.headers.items()]
        self.request = ("\r\n".join(head) + "\r\n\r\n" + spec.body).encode()
        self.free: deque[_Connection] = deque()
        self.result = Result()
        self.before: list[float] = []
        self.during: list[float] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.open = 0
        self.killed_at = float("inf")
        self.counted_from = 0.0
        self.over = False

    def reconnect(self) -> None:
        if not self.over:
            task = asyncio.get_running_loop().create_task(self._connect())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: _Connection(self), "127.0.0.1", self.spec.port)
        except OSError:
            await asyncio.sleep(0.01)
            self.reconnect()

    def ended(self, due: float, good: bool, data: bytes) -> None:
        self.open -= 1
        if due < self.counted_from:
            return
        if good:
            (self.during if due >= self.killed_at else self.before).append((time.perf_counter() - due) * 1e3)
            return
        self.result.errors += 1
        self.result.example = self.result.example or data[:300].decode(errors="replace")

    async def main(self) -> Result:
        spec, waiting = self.spec, deque[float]()
        for _ in range(spec.connections):
            self.reconnect()
        while len(self.free) < spec.connections:
            await asyncio.sleep(0.01)
        following = began = time.perf_counter()
        self.counted_from = began + spec.warmup
        kill_at, end = self.counted_from + spec.kill_at, self.counted_from + spec.seconds
        while (now := time.perf_counter()) < end:
            if now >= kill_at and self.killed_at > now:
                self.killed_at = now
                if spec.kill_pid:
                    os.kill(spec.kill_pid, signal.SIGKILL)
            while following <= now:
                waiting.append(following)
                following += 1 / spec.rate
            while waiting and self.free:
                due = waiting.popleft()
                self.open += 1
                self.result.sent += due >= self.counted_from
                self.free.popleft().ask(due)
            await asyncio.sleep(TICK)
        end += spec.patience
        while self.open and time.perf_counter() < end:
            await asyncio.sleep(0.01)
        self.over = True
        self.result.errors += self.open + len(waiting)
        self.result.before_p99_ms, self.result.during_p99_ms = _p99(self.before), _p99(self.during)
        return self.result


def _p99(ms: list[float]) -> float:
    ordered = sorted(ms)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] if ordered else 0.0


async def measure(spec: Spec) -> Result:
    """Send at the wanted rate, kill what is to be killed, and tell what came of it."""
    return await _Run(spec).main()


def main() -> None:
    spec = Spec(**json.loads(sys.stdin.read()))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        result = runner.run(measure(spec))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
