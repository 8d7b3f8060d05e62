"""The load shapes. Each takes a session, an arm and its running process, and returns its measures by name.

R1 added latency, R2 requests/s, R3 streams, R6 Messages to Chat streamed with tools, R2X Messages to Chat whole,
R7 body sizes, R8 (`everything.py`) all that a key brings, R9 (`outage.py`) an upstream killed, R11 import, start and
memory. docs/bench.md says how each is to be read.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from bench import load, payloads, procs, tools, verify
from bench.arms import CHAT, MESSAGES, Arm, base_env
from bench.everything import Everything
from bench.outage import r9
from bench.session import FULL, Session, ShapeFailed, wrong

Measures = dict[str, float]
SLOW = 300.0  # requests/s below which warm-up and run are longer
SLOW_STREAM_S = 0.02  # the same for streams: one of 64 chunks, alone, takes longer than this
PACED_US = 10_000
TTFT_US = 2_000
SIZES_KB = (1, 10, 100)


def r1(session: Session, arm: Arm, running: procs.Running) -> Measures:
    """One connection: p50 and p99, and what the arm adds to direct, measured in turns."""
    body = payloads.chat_body(payloads.ALIAS)
    seconds = session.settings.r1_s

    def once(arm: Arm, running: procs.Running, seconds: float) -> load.Load:
        with session.wrk(arm, running, body, 1) as wrk:
            time.sleep(seconds)
        return wrk.seen

    arm_runs: list[load.Load] = []
    direct_runs: list[load.Load] = []
    for _ in range(session.settings.r1_pairs):
        direct_runs.append(once(session.direct, session.upstream, seconds / 2))
        arm_runs.append(once(arm, running, seconds))
    p50 = statistics.median(r.p50_ms for r in arm_runs)
    p99 = statistics.median(r.p99_ms for r in arm_runs)
    out = {"r1_p50_ms": p50, "r1_p99_ms": p99}
    if arm.name != "direct":
        out["r1_added_p50_ms"] = p50 - statistics.median(r.p50_ms for r in direct_runs)
        out["r1_added_p99_ms"] = p99 - statistics.median(r.p99_ms for r in direct_runs)
    return out


class _Window:
    """What upstream, arm, load and cores did between two moments."""

    def __init__(self, session: Session, arm_pids: list[int], wrk_pid: int) -> None:
        self.at = time.perf_counter()
        self.answered = session.upstream_saw()
        self.arm_cpu = procs.cpu_seconds(arm_pids)
        self.load_cpu = procs.cpu_seconds([session.upstream.pid, wrk_pid])
        self.load_core = procs.core_busy(procs.LOAD_CORE)
        self.measured_core = procs.core_busy(procs.MEASURED_CORE)


def _full_load(
    session: Session, arm: Arm, running: procs.Running, body: bytes, seconds: float, slow_s: float, path: str = CHAT
) -> Measures:
    """64 connections: requests/s that the upstream answered in a window after the warm-up, and who used which core."""
    settings, pids = session.settings, running.pids()
    with session.wrk(arm, running, body, 64, path) as wrk:
        before = session.upstream_saw()
        time.sleep(settings.warm_s)
        if session.upstream_saw() - before < SLOW * settings.warm_s:  # one turn of 64 is a good part of a short run
            time.sleep(settings.slow_warm_s)
            seconds = max(seconds, slow_s)
        a = _Window(session, pids, wrk.pid)
        time.sleep(seconds)
        b = _Window(session, pids, wrk.pid)
    took, answered = b.at - a.at, b.answered - a.answered
    if not answered or wrk.seen.non_2xx == wrk.seen.requests:
        raise ShapeFailed(f"no good answer under load ({wrk.seen.requests} requests, {wrk.seen.non_2xx} not 2xx)")
    own, load_own = (b.arm_cpu - a.arm_cpu) / took, (b.load_cpu - a.load_cpu) / took
    if procs.can_pin():
        foreign = [(b.load_core - a.load_core) / took - load_own]
        if arm.name != "direct":
            foreign.append((b.measured_core - a.measured_core) / took - own)
        session.foreign = max(session.foreign, *foreign)
    return {
        "per_s": answered / took,
        "cpu_us": (b.arm_cpu - a.arm_cpu) * 1e6 / answered,
        "own_core": own,
        "load_core": load_own,
        "p99_ms": wrk.seen.p99_ms,
        "bad": wrk.seen.non_2xx + wrk.seen.errors,
    }


def r2(session: Session, arm: Arm, running: procs.Running) -> Measures:
    """Most requests per second at 64 connections, a short chat call answered with 700 bytes."""
    settings = session.settings
    seen = _full_load(session, arm, running, payloads.chat_body(payloads.ALIAS), settings.r2_s, settings.slow_s)
    if arm.name != "direct" and seen["own_core"] < 0.9 < seen["load_core"]:
        session.note(
            f"R2 {arm.name}: load and upstream were the limit, so its requests/s is a lower bound; "
            "compare by CPU per request"
        )
    return {f"r2_{name}": value for name, value in seen.items()}


def r7(session: Session, arm: Arm, running: procs.Running) -> Measures:
    """Requests per second at 64 connections with bodies of 1, 10 and 100 KB."""
    settings = session.settings
    out: Measures = {}
    for size in SIZES_KB:
        body = payloads.chat_body(payloads.ALIAS, size * 1024)
        seen = _full_load(session, arm, running, body, settings.r7_s, settings.slow_s / 2)
        out[f"r7_{size}k_per_s"] = seen["per_s"]
    return out


def r8(session: Session, arm: Arm) -> Measures:
    """As R2 with everything on: a virtual key, a team's budget, RPM and TPM, the ledger on SQLite, log lines; right
    after R2 without it. Once a run, on gateways of their own. ``stored``: all CPU until every entry is stored."""
    settings, body = session.settings, payloads.chat_body(payloads.ALIAS)
    with session.running(arm) as running:
        session.ask(arm, running, body)
        off = _full_load(session, arm, running, body, settings.r2_s, settings.slow_s)
    everything = Everything()
    with session.running(everything) as running:
        session.ask(everything, running, body)
        rss, pids = procs.rss_mb(running.pids()), running.pids()
        before, cpu = session.upstream_saw(), procs.cpu_seconds(pids)
        on = _full_load(session, everything, running, body, settings.r2_s, settings.slow_s)
        end = time.monotonic() + settings.r2_s  # what waits is stored by then
        while (used := procs.cpu_seconds(pids)) and time.monotonic() < end:
            time.sleep(0.5)
        stored = (used - cpu) * 1e6 / (session.upstream_saw() - before)
    return {
        "r8_per_s": on["per_s"],
        "r8_share": on["per_s"] / off["per_s"],
        "r8_cpu_us": on["cpu_us"],
        "r8_times_cpu": on["cpu_us"] / off["cpu_us"],
        "r8_stored_cpu_us": stored,
        "r8_p99_ms": on["p99_ms"],
        "r8_bad": on["bad"],
        "r8_first_200_s": running.first_200_s,
        "r8_rss_mb": rss,
    }


def r3(session: Session, arm: Arm, running: procs.Running) -> Measures:
    """Streams of 64 chunks: as fast as they come, then paced (64 streams, 10 ms), then time to first token."""
    settings = session.settings
    session.pace(0)
    began = time.perf_counter()
    session.ask(arm, running, payloads.chat_body(payloads.ALIAS, stream=True))
    slow = time.perf_counter() - began > SLOW_STREAM_S
    window = (settings.slow_s, 2 * settings.slow_warm_s) if slow else (settings.r3_s, settings.warm_s)
    fast = session.stream(arm, running, concurrency=64, seconds=window[0], warmup=window[1])
    if not fast.chunks:
        raise ShapeFailed(f"no chunk arrived: {fast.example[:200]}")
    session.pace(PACED_US)
    paced = session.stream(arm, running, concurrency=64, seconds=settings.r3_paced_s, warmup=0.7)
    session.pace(TTFT_US)
    near = session.stream(session.direct, session.upstream, concurrency=8, seconds=settings.r3_paced_s / 2)
    far = session.stream(arm, running, concurrency=8, seconds=settings.r3_paced_s)
    session.pace(0)
    faults = {**fast.faults, **paced.faults, **far.faults}
    if faults:
        session.note(f"R3 {arm.name}: differences seen in streams: {', '.join(sorted(faults))}")
    out = {
        "r3_streams_per_s": fast.streams_per_second,
        "r3_cpu_us_chunk": fast.cpu_us_per_chunk,
        "r3_cpu_us_chunk_paced": paced.cpu_us_per_chunk,
        "r3_ttft_p50_ms": far.ttft(0.5),
        "r3_ttft_p99_ms": far.ttft(0.99),
        "r3_streams": fast.streams + paced.streams + far.streams,
        "r3_wrong": wrong(fast) + wrong(paced) + wrong(far),
    }
    if arm.name != "direct":
        out["r3_ttft_added_p50_ms"] = far.ttft(0.5) - near.ttft(0.5)
        out["r3_ttft_added_p99_ms"] = far.ttft(0.99) - near.ttft(0.99)
    return out


def r6(session: Session, arm: Arm, running: procs.Running) -> Measures:
    """Messages in, Chat upstream, two tools called, streamed: streams/s, and every stream's meaning compared."""
    body = payloads.messages_body(payloads.ALIAS, stream=True, tools=True)
    session.ask(arm, running, body, MESSAGES)
    session.pace(0)
    seconds = session.settings.r3_s
    seen = session.stream(arm, running, concurrency=64, seconds=seconds, warmup=1.0, path=MESSAGES, body=body)
    if seen.faults:
        session.note(f"R6 {arm.name}: {seen.faults} in {seen.compared} streams; {' '.join(seen.example.split())[:200]}")
    return {
        "r6_streams_per_s": seen.streams_per_second,
        "r6_cpu_us_chunk": seen.cpu_us_per_chunk,
        "r6_compared": seen.compared,
        "r6_wrong": wrong(seen),
    }


def r2x(session: Session, arm: Arm, running: procs.Running) -> Measures:
    """Messages in, Chat upstream, whole, with tools: requests per second at 64 connections."""
    settings = session.settings
    body = payloads.messages_body(payloads.ALIAS, stream=False, tools=True)
    faults = verify.messages_whole(session.ask(arm, running, body, MESSAGES))
    if faults:
        session.note(f"R2X {arm.name}: the whole answer differs in: {', '.join(faults)}")
    seen = _full_load(session, arm, running, body, settings.r2_s, settings.slow_s, MESSAGES)
    return {"r2x_per_s": seen["per_s"], "r2x_cpu_us": seen["cpu_us"], "r2x_wrong": len(faults)}


def r11(session: Session, arm: Arm) -> Measures:
    """A fresh process: time to its first 200, memory idle and under load, import time of Python arms. Once a run."""
    settings = session.settings
    out: Measures = {}
    if arm.name == "penstock":
        out["r11_import_s"] = _import_s(
            [sys.executable], "penstock", str(session.context.penstock_root), settings.imports
        )
        firsts = []
        for _ in range(settings.starts):
            with session.running(arm) as started:
                firsts.append(started.first_200_s)
        out["r11_first_200_s"] = statistics.median(firsts)
    elif arm.name == "litellm" and settings.imports >= FULL.imports:  # seconds each
        python = str(tools.litellm()[0] / "bin" / "python")
        out["r11_import_s"] = _import_s([python], "litellm", "", 2)
    with session.running(arm) as running:
        out.setdefault("r11_first_200_s", running.first_200_s)
        time.sleep(1.0)
        out["r11_rss_idle_mb"] = procs.rss_mb(running.pids())
        body = payloads.chat_body(payloads.ALIAS)
        before, began = session.upstream_saw(), time.monotonic()
        requests, took = 0, 0.0
        with session.wrk(arm, running, body, 64):
            while took < settings.rss_cap_s and (requests < settings.rss_requests or took < settings.rss_cap_s / 3):
                time.sleep(1.0)
                out.setdefault("r11_rss_warm_mb", procs.rss_mb(running.pids()))
                requests, took = session.upstream_saw() - before, time.monotonic() - began
        out["r11_rss_after_mb"] = procs.rss_mb(running.pids())
        out["r11_requests"] = requests
    return out


def _import_s(python: list[str], module: str, path: str, times: int) -> float:
    """Median seconds of `import module` in fresh processes on the measured core, the first one not counted."""
    code = f"import sys, time; sys.path[:0] = [p for p in [{path!r}] if p]; t = time.perf_counter(); import {module}; "
    code += "print(time.perf_counter() - t)"
    seen = []
    for _ in range(times + 1):
        done = subprocess.run(
            procs.pinned(procs.MEASURED_CORE, [*python, "-c", code]),
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=base_env(),
        )
        if done.returncode:
            raise ShapeFailed(f"import {module}: {done.stderr[-200:]}")
        seen.append(float(done.stdout.split()[-1]))
    return statistics.median(seen[1:])


PER_ROUND: dict[str, Callable[[Session, Arm, procs.Running], Measures]] = {
    "R1": r1,
    "R2": r2,
    "R3": r3,
    "R7": r7,
    "R6": r6,
    "R2X": r2x,
}
TRANSLATED = ("R6", "R2X")
# Once a run, on an arm that the shape starts itself.
ONCE: dict[str, Callable[[Session, Arm], Measures]] = {"R8": r8, "R9": r9, "R11": r11}
DEFAULT = ("R1", "R2", "R3", "R7", "R8", "R9", "R11")
ALL = (*PER_ROUND, *ONCE)
