"""Soak: everything on, for long. Does memory grow, and does the event loop ever stand still?

    python -m bench.soak [--minutes 60] [--rate 1000] [--report]

A gateway with a virtual key, budgets, limits, the ledger on SQLite, metrics, a sink and two guards answers so many
requests a second. Once a minute its memory is read, and from `/metrics` how late its event loop was at worst. The slope
of memory is that of a straight line through the second half of the minutes. `--report`: in every other minute a report
of two years is asked for again and again, and the times of both kinds of minutes stand side by side.

Prints a table, and keeps it as `bench/results/soak-DATE.md`. Exits with 1 where memory grows, the loop was late, a
request failed, or a report made requests slower than they may be.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import datetime
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench import paced, payloads, procs, tools
from bench.arms import ARMS, CHAT, Context, base_env
from bench.everything import STATE, Everything

MINUTE = 60.0
LATE_MS, GROWS_MB_PER_HOUR, SLOWER = 20.0, 6.0, 1.1
_MORE = """\
litellm_settings: {callbacks: [file]}
callback_settings: {file: {path: records.jsonl}}
guardrails:
  - {guardrail_name: secrets, litellm_params: {guardrail: hide-secrets, mode: [pre_call, post_call], default_on: true}}
  - {guardrail_name: words, litellm_params: {guardrail: banned_words, mode: pre_call, default_on: true,
     banned_words: [nobody-ever-says-this]}}
"""


def fill(database: Path) -> None:
    """Write two years of sums into a database: of forty keys, three models each."""
    from penstock.stores.sql.address import file_address
    from penstock.stores.sql.daily import Day
    from penstock.stores.sql.database import Database
    from penstock.stores.sql.spend import SqlSpendStore

    async def put() -> None:
        opened = Database(file_address(database))
        store, today = SqlSpendStore(opened), datetime.datetime.now(datetime.UTC).date()
        for back in range(730):
            day = (today - datetime.timedelta(days=back)).isoformat()
            await store.put_sums(
                [
                    Day("key", day, f"key{key}", f"key{key}", model, model, "openai", 900, 3, 10**9, 70_000, 9_000)
                    for key in range(40)
                    for model in ("gpt-4o", "gpt-4o-mini", "claude")
                ]
            )
        opened.close()

    asyncio.run(put())


class Guarded(Everything):
    """Everything, with a sink and two guards. ``filled``: two years have been spent before."""

    name = "soak"

    def __init__(self, filled: bool = False) -> None:
        self.filled = filled

    def command(self, context: Context, port: int) -> list[str]:
        made = super().command(context, port)
        config = Path(made[made.index("--config") + 1])
        config.write_text(config.read_text() + _MORE)
        if self.filled:
            fill(context.folder / STATE / "penstock.db")
        return made


@dataclasses.dataclass(slots=True)
class Minute:
    """What a minute came to. ``late_ms``: how late the loop was at worst; ``report``: reports were asked for."""

    rss_mb: float
    late_ms: float
    p99_ms: float
    sent: int
    errors: int
    report: bool


def slope(values: list[float]) -> float:
    """Return by how much values grow from one to the next: the straight line of least squares."""
    count = len(values)
    if count < 2:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    return sum((x - middle) * (y - mean) for x, y in enumerate(values)) / sum((x - middle) ** 2 for x in range(count))


def _one(running: procs.Running, arm: Guarded, context: Context, rate: float, seconds: float) -> paced.Result:
    spec = paced.Spec(
        port=running.port, path=CHAT, headers=arm.headers(context), body=payloads.chat_body(payloads.ALIAS).decode(),
        rate=rate, seconds=seconds, kill_at=seconds,
    )  # fmt: skip
    done = subprocess.run(
        procs.pinned(procs.LOAD_CORE, [sys.executable, "-m", "bench.paced"]),
        input=json.dumps(dataclasses.asdict(spec)), capture_output=True, text=True, cwd=tools.ROOT, env=base_env(),
        timeout=seconds + 60, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the client failed: {done.stderr[-500:]}")
    return paced.Result(**json.loads(done.stdout))


def _ask(running: procs.Running, path: str, key: str) -> bytes:
    import urllib.request

    asked = urllib.request.Request(f"http://127.0.0.1:{running.port}{path}", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        found: bytes = answer.read()
        return found


def late_ms(text: str) -> float:
    """Read from a scrape how late the loop was at worst in the last minute."""
    for line in text.splitlines():
        if line.startswith("penstock_event_loop_lag_seconds"):
            return float(line.rpartition(" ")[2]) * 1000
    raise SystemExit("/metrics does not tell how late the event loop was")


@contextmanager
def _reports(running: procs.Running, key: str, on: bool) -> Iterator[None]:
    """Ask for reports of two years, one after the other, until the block ends."""
    over = threading.Event()
    today = datetime.datetime.now(datetime.UTC).date()
    path = f"/global/spend/report?group_by=api_key&start_date={today - datetime.timedelta(days=730)}&end_date={today}"

    def ask() -> None:
        while not over.is_set():
            _ask(running, path, key)
            over.wait(0.2)

    thread = threading.Thread(target=ask, daemon=True)
    if on:
        thread.start()
    try:
        yield
    finally:
        over.set()
        if on:
            thread.join(60)


def table(minutes: list[Minute], rate: float) -> tuple[str, list[str]]:
    """Write down what came of it; and a sentence for each bound that is missed."""
    half = [one.rss_mb for one in minutes[len(minutes) // 2 :]]
    grows = slope(half) * 60
    late = sorted(one.late_ms for one in minutes)
    worst = late[-1] if late else 0.0
    errors, sent = sum(one.errors for one in minutes), sum(one.sent for one in minutes)
    lines = [
        f"# Soak: {len(minutes)} minutes at {rate:g} requests/s, everything on",
        "",
        "| minute | RSS MB | loop late at worst, ms | p99 ms | sent | errors | reports |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {number} | {one.rss_mb:.1f} | {one.late_ms:.1f} | {one.p99_ms:.2f} | {one.sent} | {one.errors} "
            f"| {'yes' if one.report else ''} |"
            for number, one in enumerate(minutes, 1)
        ),
        "",
        f"RSS grows by {grows:+.2f} MB an hour (second half); the loop was {worst:.1f} ms late at worst; "
        f"{errors} of {sent} requests failed.",
    ]
    missed = []
    if grows > GROWS_MB_PER_HOUR:
        missed.append(f"memory grows by {grows:.1f} MB an hour")
    if worst > LATE_MS:
        missed.append(f"the loop was {worst:.1f} ms late")
    if errors:
        missed.append(f"{errors} requests failed")
    asked, plain = ([one.p99_ms for one in minutes if one.report is kind] for kind in (True, False))
    if asked and plain:
        ratio = median(asked) / median(plain)
        lines.append(f"p99 while reports of two years are asked for: {median(asked):.2f} ms, {ratio:.2f} times.")
        if ratio > SLOWER:
            missed.append(f"reports make the slowest percent {ratio:.2f} times slower")
    return "\n".join(lines) + "\n", missed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests a second (default 1000)")
    parser.add_argument("--report", action="store_true", help="ask for reports in every other minute")
    parser.add_argument("--seconds", type=float, default=MINUTE, help="of a minute, for a quick look")
    parser.add_argument("--pure", action="store_true", help="these sources without compiled modules")
    options = parser.parse_args()
    notes: list[str] = []
    tree = tools.ROOT if options.pure else tools.compiled_tree(notes)
    minutes: list[Minute] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        context = Context(Path(folder), 0, tree)
        upstream = ARMS["direct"].start(context, procs.LOAD_CORE)
        stack.callback(upstream.stop)
        arm, context = Guarded(options.report), dataclasses.replace(context, upstream_port=upstream.port)
        running = arm.start(context)
        stack.callback(running.stop)
        for number in range(options.minutes):
            asks = options.report and number % 2 == 1
            with _reports(running, context.key, asks):
                seen = _one(running, arm, context, options.rate, options.seconds)
            late = late_ms(_ask(running, "/metrics", context.key).decode())
            made = Minute(procs.rss_mb(running.pids()), late, seen.before_p99_ms, seen.sent, seen.errors, asks)
            minutes.append(made)
            tools.say(f"minute {number + 1}: {made}")
    text, missed = table(minutes, options.rate)
    print(text, *missed, sep="\n")
    stamp = time.strftime("%Y-%m-%d-%H%M", time.gmtime())
    told = text + "".join(f"\nMissed: {one}." for one in missed)
    (tools.ROOT / "bench" / "results" / f"soak-{stamp}.md").write_text(told)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
