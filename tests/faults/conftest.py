"""The table of a long run: printed at its end, and kept beside the benchmarks' results."""

from __future__ import annotations

import datetime
import os
import time

import pytest

import penstock
from tests.e2e.serving import ROOT
from tests.faults.table import Row, render

ROWS = pytest.StashKey[list[Row]]()
BEGAN = time.monotonic()


@pytest.fixture(scope="session")
def rows(pytestconfig: pytest.Config) -> list[Row]:
    """What the long run has found so far."""
    return pytestconfig.stash.setdefault(ROWS, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(ROWS, [])
    if not found:
        return
    now = datetime.datetime.now(datetime.UTC)
    load = f"{os.getloadavg()[1]:.1f}, its own included"
    about = {"Penstock": penstock.__version__, "seconds": round(time.monotonic() - BEGAN), "load average": load}
    text = render(found, now.strftime("%Y-%m-%d %H:%M UTC"), about)
    terminalreporter.write(f"\n{text}")
    if os.environ.get("PENSTOCK_FAULTS_KEEP") == "1":
        file = ROOT / "bench" / "results" / f"faults-{now:%Y-%m-%d-%H%M}.md"
        file.write_text(text, encoding="utf-8")
        terminalreporter.write(f"\nkept as {file.relative_to(ROOT)}\n")
