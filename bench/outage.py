"""R9: one of three upstreams is killed under load. What do clients see of it?"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from contextlib import ExitStack

from bench import paced, payloads, procs, tools
from bench.arms import ARMS, CHAT, Arm, base_env
from bench.session import Session, ShapeFailed

# Requests/s. LiteLLM's proxy answers some 150 on one core: a rate beyond that would measure its queue.
RATES = {"penstock": 2000.0, "litellm": 50.0}


def r9(session: Session, arm: Arm) -> dict[str, float]:
    """Three deployments and two retries, so many requests a second; in mid-run one upstream gets SIGKILL."""
    context, settings = session.context, session.settings
    with ExitStack() as stack:
        ports = []
        for _ in range(2):
            upstream = ARMS["direct"].start(context, procs.LOAD_CORE)
            stack.callback(upstream.stop)
            ports.append(upstream.port)
        started = arm.start(dataclasses.replace(context, more_ports=tuple(ports)))
        stack.callback(started.stop)
        for _ in range(6):
            session.ask(arm, started, payloads.chat_body(payloads.ALIAS))
        spec = paced.Spec(
            port=started.port,
            path=CHAT,
            headers=arm.headers(context),
            body=payloads.chat_body(payloads.ALIAS).decode(),
            rate=RATES[arm.name],
            seconds=settings.r9_s,
            kill_pid=upstream.pid,
            kill_at=settings.r9_s / 2,
        )
        seen = _run(spec)
    if seen.errors:
        session.note(f"R9 {arm.name}: {seen.errors} errors, e.g. {' '.join(seen.example.split())[:200]}")
    return {
        "r9_per_s": spec.rate,
        "r9_sent": seen.sent,
        "r9_errors": seen.errors,
        "r9_p99_ms": seen.before_p99_ms,
        "r9_added_p99_ms": seen.during_p99_ms - seen.before_p99_ms,
    }


def _run(spec: paced.Spec) -> paced.Result:
    """The paced client in a process of its own, on the load core."""
    done = subprocess.run(
        procs.pinned(procs.LOAD_CORE, [sys.executable, "-m", "bench.paced"]),
        input=json.dumps(dataclasses.asdict(spec)),
        capture_output=True,
        text=True,
        cwd=tools.ROOT,
        env=base_env(),
        timeout=spec.warmup + spec.seconds + spec.patience + 30,
        check=False,
    )
    if done.returncode:
        raise ShapeFailed(f"paced client: {done.stderr[-300:]}")
    return paced.Result(**json.loads(done.stdout))
