"""What all shapes use: the mock upstream of the run, one checked request, wrk and the stream client."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from bench import load, payloads, procs, streams, tools, verify
from bench.arms import ARMS, CHAT, MESSAGES, Arm, Context, base_env
from bench.load import Wrk


class ShapeFailed(Exception):
    """A shape could not be measured on an arm; the message goes under the table."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long everything takes. Seconds, unless named otherwise."""

    rounds: int = 3
    r1_pairs: int = 3
    r1_s: float = 1.5
    r2_s: float = 4.0
    warm_s: float = 1.0
    slow_warm_s: float = 2.0
    slow_s: float = 10.0
    r3_s: float = 4.0
    r3_paced_s: float = 2.0
    r7_s: float = 2.0
    r9_s: float = 8.0
    imports: int = 20
    starts: int = 5
    rss_requests: int = 50_000
    rss_cap_s: int = 15


FULL = Settings()
QUICK = Settings(
    warm_s=0.5,
    slow_warm_s=1.0,
    rounds=1,
    r1_pairs=1,
    r1_s=1.5,
    r2_s=1.5,
    slow_s=3.0,
    r3_s=1.0,
    r3_paced_s=0.8,
    r7_s=0.7,
    r9_s=4.0,
    imports=5,
    starts=2,
    rss_cap_s=2,
)


class Session:
    """The upstream is up, and `ask`, `wrk` and `stream` reach any started arm."""

    def __init__(self, context: Context, upstream: procs.Running, settings: Settings, notes: list[str]) -> None:
        self.context = context
        self.upstream = upstream
        self.settings = settings
        self.notes = notes
        self.foreign = 0.0  # the largest share of a core that processes of others took during a run

    def note(self, text: str) -> None:
        if text not in self.notes:
            tools.say(f"  note: {text}")
            self.notes.append(text)

    def stderr_of(self, name: str) -> str:
        """The end of what the arm wrote to stderr, for a reason; empty when it wrote nothing."""
        log = self.context.folder / f"{name}.stderr"
        text = " ".join(log.read_text(errors="replace").split()) if log.exists() else ""
        return f"; stderr: ...{text[-300:]}" if text else ""

    @contextmanager
    def running(self, arm: Arm) -> Iterator[procs.Running]:
        """The arm, started and stopped; for `direct` the upstream that is up anyway."""
        if arm.name == "direct":
            yield self.upstream
            return
        started = arm.start(self.context)
        try:
            yield started
        finally:
            started.stop()

    def pace(self, interval_us: int) -> None:
        """Set the upstream's pause between chunks."""
        procs.get(self.upstream.port, f"/_mock/interval/{interval_us}", "PUT")

    def upstream_saw(self) -> int:
        """Requests that the upstream has answered, whole and streamed."""
        seen = json.loads(procs.get(self.upstream.port, "/_mock/counters")[1])
        return int(seen["whole"]) + int(seen["streams"])

    def ask(self, arm: Arm, running: procs.Running, body: bytes, path: str = CHAT) -> bytes:
        """One POST; its whole answer. Raises ShapeFailed when the answer is not a 200."""
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
        try:
            connection.request("POST", path, body, arm.headers(self.context))
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException) as exc:
            raise ShapeFailed(f"POST {path}: {exc!r}") from exc
        finally:
            connection.close()
        if answer.status != 200:
            raise ShapeFailed(f"POST {path} answered {answer.status}: {data[:200].decode(errors='replace')}")
        return data

    def check(self, arm: Arm, running: procs.Running) -> None:
        """Is the arm's answer the upstream's? Raises ShapeFailed when text is lost; other differences are notes."""
        before = self.upstream_saw()
        whole = verify.chat_whole(self.ask(arm, running, payloads.chat_body(payloads.ALIAS)), arm.model)
        body = payloads.chat_body(payloads.ALIAS, stream=True)
        streamed = verify.chat_stream(self.ask(arm, running, body), arm.model)
        for kind, faults in (("whole", whole), ("streamed", streamed)):
            if {"json", "text"} & set(faults):
                raise ShapeFailed(f"the {kind} answer is not the upstream's: {', '.join(faults)}")
            if faults:
                self.note(f"{arm.name}: the {kind} answer differs from the upstream's in: {', '.join(faults)}")
        if self.upstream_saw() - before != 2:
            raise ShapeFailed("the upstream did not see each request once")

    @contextmanager
    def wrk(self, arm: Arm, running: procs.Running, body: bytes, connections: int, path: str = CHAT) -> Iterator[Wrk]:
        """wrk against the arm for as long as the block runs; what went wrong is noted, `wrk.seen` has the result."""
        script = load.script(self.context.folder, f"{arm.name}-{len(body)}", body, arm.headers(self.context))
        before = self.upstream_saw()
        wrk = Wrk(f"http://127.0.0.1:{running.port}{path}", script, connections=connections)
        try:
            yield wrk
        finally:
            seen = wrk.stop()
        if not seen.requests:
            raise ShapeFailed(f"no answer at all under load ({seen.errors} socket errors)")
        if seen.non_2xx or seen.errors:
            self.note(f"{arm.name}: {seen.non_2xx} non-2xx and {seen.errors} socket errors of {seen.requests} in wrk")
        if self.upstream_saw() - before < seen.requests - seen.non_2xx:
            self.note(f"{arm.name}: the upstream saw fewer requests than were answered")

    def stream(
        self,
        arm: Arm,
        running: procs.Running,
        *,
        concurrency: int,
        seconds: float,
        warmup: float = 0.5,
        path: str = CHAT,
        body: bytes = b"",
    ) -> streams.Result:
        """The stream client against the arm, in a process of its own on the load core."""
        spec = streams.Spec(
            port=running.port,
            path=path,
            headers=arm.headers(self.context),
            body=(body or payloads.chat_body(payloads.ALIAS, stream=True)).decode(),
            kind="messages" if path == MESSAGES else "chat",
            model=arm.model,
            concurrency=concurrency,
            seconds=seconds,
            warmup=warmup,
            cpu_pid=running.pid,
        )
        try:
            done = subprocess.run(
                procs.pinned(procs.LOAD_CORE, [sys.executable, "-m", "bench.streams"]),
                input=json.dumps(asdict(spec)),
                capture_output=True,
                text=True,
                cwd=tools.ROOT,
                env=base_env(),
                timeout=seconds + warmup + spec.drain + 60,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise ShapeFailed("the stream client did not come to an end") from exc
        if done.returncode:
            raise ShapeFailed(f"stream client: {done.stderr[-300:]}")
        result = streams.Result(**json.loads(done.stdout))
        if result.http_errors:
            self.note(f"{arm.name}: {result.http_errors} streams got no 200: {result.example[:200]}")
        return result

    @property
    def direct(self) -> Arm:
        return ARMS["direct"]


def wrong(result: streams.Result) -> int:
    """Streams that were refused, cut off or compared unequal."""
    return result.wrong + result.http_errors
