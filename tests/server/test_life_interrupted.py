"""Ctrl-C while a stream is under way, with a real process: the stream has its end, and the ledger its cost."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from penstock.mock import Mock, Script
from tests.e2e.serving import serving
from tests.server.test_life import WORDS, Asked, config

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the workers in /proc"),
]


def priced(url: str) -> str:
    return config(url).replace("api_key:", "input_cost_per_token: 0.001, output_cost_per_token: 0.01, api_key:")


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("ends", ["by itself", "by the grace period"])
def test_ctrl_c_leaves_no_stream_without_its_end_nor_its_cost(tmp_path, ends, workers):
    stalls = ends == "by the grace period"
    script = Script.always(stall_after_events=3) if stalls else Script.always(text=WORDS, tokens_per_second=12)
    folder = tmp_path / "state"
    more = ("--workers", workers, "--grace", "0.5" if stalls else "5", "--state-dir", str(folder))
    with Mock.thread() as mock:
        mock.script = script
        with serving(tmp_path, priced(mock.url), *more) as gateway:
            stream = Asked(gateway, stream=True)
            stream.until(b"data: ")
            group = [pid for pid in _family(gateway.pid) if pid != gateway.pid]
            gateway.send(signal.SIGINT)
            for pid in group:  # a terminal's Ctrl-C goes to all of them
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            told = stream.until(b"")
            assert gateway.process.wait(10) == 0, gateway.output()
    assert told.endswith(b"\n\n\r\n0\r\n\r\n"), "the stream has its end"
    assert (b"[DONE]" in told) is not stalls and (b"shutting down" in told) is stalls
    with closing(sqlite3.connect(next(folder.glob("*.db")))) as database:
        rows = database.execute("SELECT status, cost, error FROM penstock_spend").fetchall()
    assert len(rows) == 1 and rows[0][1] > 0, f"what it used is written down: {rows}"
    assert (rows[0][2] == "draining") is stalls


def _family(root: int) -> list[int]:
    """A process and those that it started."""
    found = [root]
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            if int((entry / "stat").read_text().rpartition(") ")[2].split()[1]) == root:
                found.append(int(entry.name))
    return found
