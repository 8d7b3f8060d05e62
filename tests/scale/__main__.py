"""``python -m tests.scale``: fills a database with ten million requests, starts a gateway on it, and measures what people
ask: lists, reports, exports, clean-ups. Exit 1 where a list or a report takes more than a second, or memory grows."""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import penstock
from penstock.stores.sql.address import Address, file_address, read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.spend import SqlSpendStore
from tests.e2e.serving import MASTER_KEY, ROOT, Served, clean_env, serving
from tests.scale.asking import LIMIT, Measured, ask, judge, memory_of, questions
from tests.scale.filling import DAY, SECRET, Size, fill, id_of

STEPS, STEP = 20, 1000  # of a clean-up
EXPORTED = (3, 60)  # days: memory must be the same for both
GROWTH = 1.25  # that memory may grow by between them
RESULTS = ROOT / "bench" / "results"


class Line(NamedTuple):
    """A line of the table. ``wrong``: "" for nothing."""

    what: str
    middle: str
    worst: str
    own: str
    size: str
    wrong: str


def measure(
    address: Address, url: str, folder: Path, size: Size, times: int, told: Callable[[str], None]
) -> list[Line]:
    """Start a gateway on a filled database, ask everything, and return the lines of the table."""
    began = time.monotonic()
    settings = f"general_settings:\n  master_key: {MASTER_KEY}\n  database_url: {url}\n"
    with serving(
        folder, f"model_list: []\n{settings}", "--state-dir", str(folder / "state"), PENSTOCK_SECRET_KEY=SECRET
    ) as served:
        started = time.monotonic() - began
        lines = [Line("start: first 200", "", f"{started:.2f} s", "", "", "")]
        lines += list_and_report(served, address, size, times, told)
        lines += clean_up(address, told)
    lines += commands(url, folder, told)
    return lines


def list_and_report(
    served: Served, address: Address, size: Size, times: int, told: Callable[[str], None], limit: float = LIMIT
) -> list[Line]:
    id_ = id_of(0)
    database = Database(address)
    [row] = asyncio.run(SqlSpendStore(database).rows({"key": id_}, limit=1)).rows
    database.close()
    before, lines, most = memory_of(served.pid), [], 0.0
    for asked in questions(size, id_, row.request_id, row.call_id):
        found = ask(served.port, asked, times, served.pid)
        lines.append(line_of(found, judge(asked, found, limit)))
        most = max(most, memory_of(served.pid))
        told("  ".join(lines[-1]))
    # Once more: what was asked once may be kept, and no more than that.
    first = memory_of(served.pid)
    for asked in questions(size, id_, row.request_id, row.call_id):
        ask(served.port, asked, 1)
    again = memory_of(served.pid)
    wrong = "grows" if again > first * GROWTH else ""
    return [
        *lines,
        Line(
            "memory of the gateway: begin, after, after once more",
            f"{before:.0f} MB",
            f"{first:.0f} MB",
            f"{again:.0f} MB",
            "",
            wrong,
        ),
    ]


def line_of(found: Measured, wrong: str) -> Line:
    status = "" if found.status == 200 else f" ({found.status}: {found.note[:60]})"
    return Line(
        found.name + status,
        f"{found.middle * 1000:.0f} ms",
        f"{found.worst * 1000:.0f} ms",
        f"{found.own * 1000:.0f} ms",
        f"{found.size / 1000:,.0f} kB",
        wrong,
    )


def clean_up(address: Address, told: Callable[[str], None], limit: float = LIMIT) -> list[Line]:
    """Delete the oldest requests as the retention does, while the gateway runs."""
    store, seconds = SqlSpendStore(Database(address)), []
    for _ in range(STEPS):
        began = time.perf_counter()
        asyncio.run(store.forget(time.time() - DAY, STEP))
        seconds.append(time.perf_counter() - began)
    found = Measured(f"clean-up: a step of {STEP:,} requests", seconds, 200, 0)
    told(f"clean-up {found.middle:.3f} s")
    return [line_of(found, "" if found.worst <= limit else f"{found.worst:.2f} s")]


def commands(url: str, folder: Path, told: Callable[[str], None]) -> list[Line]:
    lines, peaks = [], []
    for words in (
        [],
        ["--by", "day"],
        ["--by", "key", "--since", "7d"],
        ["--by", "team"],
        ["--by", "provider", "--since", "730d"],
    ):
        seconds, _ = _command(["spend", "report", *words], url, folder)
        lines.append(Line(f"penstock spend report {' '.join(words)}", "", f"{seconds:.2f} s", "", "", ""))
    for days in EXPORTED:
        seconds, peak = _command(["spend", "export", str(folder / "out.csv"), "--since", f"{days}d"], url, folder)
        peaks.append(peak)
        lines.append(Line(f"penstock spend export, {days} days", "", f"{seconds:.1f} s", "", f"{peak:.0f} MB", ""))
        told("  ".join(lines[-1]))
    if peaks[-1] > peaks[0] * GROWTH:
        lines[-1] = lines[-1]._replace(wrong="memory grows")
    return lines


def _command(words: list[str], url: str, folder: Path) -> tuple[float, float]:
    """Run a command; seconds, and its megabytes at most."""
    began = time.monotonic()
    script = "import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
    script += "print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(code)"
    command = [sys.executable, "-c", script, sys.executable, "-m", "penstock", *words, "--url", url]
    done = subprocess.run(
        command, cwd=folder, env=clean_env(folder, PENSTOCK_SECRET_KEY=SECRET), capture_output=True, text=True
    )
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr[-1000:]
    return seconds, int(done.stderr.rsplit("peak ", 1)[1]) / 1024


def render(lines: list[Line], size: Size, where: str, seconds: float, date: str) -> str:
    """The whole page."""
    wrong = sum(bool(line.wrong) for line in lines)
    head = [
        f"# Scale, {date}",
        "",
        f"{size.requests:,} requests of {size.days} days, {size.teams:,} teams, {size.keys:,} keys, {size.teams * 2:,} users; {where}. "
        f"{'All within a second' if not wrong else f'{wrong} NOT as they must be'}. Penstock {penstock.__version__}, Python "
        f"{platform.python_version()}, {os.cpu_count()} cores, load average {os.getloadavg()[1]:.1f}, {seconds:.0f} s in all.",
        "",
        "The worst of its own: without what the gateway waited for a processor that others had.",
        "",
        "| what | p50 | worst | worst of its own | size | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    return "\n".join([*head, *(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)]) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make scale ARGS=...", description=__doc__)
    parser.add_argument(
        "--url", default="", help="an empty PostgreSQL, instead of an SQLite file in a temporary folder"
    )
    parser.add_argument("--file", type=Path, help="an SQLite file that is kept: made where it is not there, else asked")
    parser.add_argument("--requests", type=int, default=Size().requests)
    parser.add_argument("--teams", type=int, default=Size().teams)
    parser.add_argument("--filled", action="store_true", help="the database of --url is filled already")
    given = parser.parse_args()
    size, began = (
        Size(requests=given.requests, teams=given.teams, active=min(Size().active, given.teams)),
        time.monotonic(),
    )
    folder = Path(tempfile.mkdtemp(prefix="penstock-scale-"))
    try:
        path = given.file or folder / "penstock.db"
        there = given.filled or (given.file is not None and path.exists())
        address = read_address(given.url) if given.url else file_address(path)
        url = given.url or f"sqlite:///{path.absolute()}"
        if not there:
            database = Database(address)
            fill(database, size, print)
            database.close()
        lines = measure(address, url, folder, size, 5, print)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    now = datetime.datetime.now(datetime.UTC)
    where = f"SQLite {sqlite3.sqlite_version}" if not given.url else address.kind
    text = render(lines, size, where, time.monotonic() - began, now.strftime("%Y-%m-%d %H:%M UTC"))
    file = RESULTS / f"scale-{address.kind}-{now:%Y-%m-%d-%H%M}.md"
    file.write_text(text, encoding="utf-8")
    print(
        f"\n{text}\nkept as {file.relative_to(ROOT)}; this process had {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB"
    )
    return int(any(line.wrong for line in lines))


if __name__ == "__main__":
    sys.exit(main())
