"""Run every test: in parallel, then those that measure, one by one. What fails beside others is tried once more, alone.

    python scripts/run_tests.py [PYTEST OPTIONS]

Where at most five tests of a part failed, exactly those run again, without others beside them; the names of those that
pass then are printed. One that fails alone, too, fails the run, and so does everything that is no failed test: an error
in a file, a crash, an interrupt. With -x, --maxfail or --stepwise nothing is tried again, for not all of it has run.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST = 5
# More than there are processors: about half of a process's time is waiting. Files begin in tests/conftest.py's order.
WORKERS = 2 * min(os.cpu_count() or 1, 8)
SPREAD = ["-n", str(WORKERS), "--dist", "loadfile", "--no-loadscope-reorder"]
PARTS = {
    "tests, in parallel": [*SPREAD, "-m", "not serial and not faults"],
    "tests that measure, one by one": ["-m", "serial"],
}
# pytest's exit codes, https://docs.pytest.org/en/stable/reference/exit-codes.html
PASSED, FAILED, NOTHING = 0, 1, 5
_STOPS = re.compile(r"-[a-z]*x[a-z]*|--exitfirst|--maxfail.*|--(?:sw|stepwise).*")


def run_part(python: str | Path, options: Sequence[str], root: Path = ROOT) -> int:
    """Run pytest with these options, and what failed once more, alone. Return its exit code: 0 when all passed, be it
    the second time."""
    code, failed = _run(python, options, root)
    if code != FAILED or not 0 < len(failed) <= MOST or any(map(_STOPS.fullmatch, options)):
        return code
    print(f"==> once more, alone: {', '.join(failed)}", flush=True)
    code, still = _run(python, failed, root)
    passed = [name for name in failed if name not in still]
    if code in (PASSED, FAILED) and passed:
        print(f"==> passed alone, failed beside others: {', '.join(passed)}", flush=True)
    if still:
        print(f"==> failed alone, too: {', '.join(still)}", flush=True)
    return code


def _run(python: str | Path, options: Sequence[str], root: Path) -> tuple[int, list[str]]:
    """Run pytest once; return its exit code and the names of the tests that failed."""
    with tempfile.TemporaryDirectory() as folder:
        # A cache of its own: the usual one still knows what failed before.
        command = [python, "-m", "pytest", "-q", "-o", f"cache_dir={folder}", *options]
        # Without byte code each process compiles all files anew, and so does every gateway that a test starts.
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        code = subprocess.run(command, cwd=root, env=environ).returncode
        file = Path(folder) / "v" / "cache" / "lastfailed"
        return code, list(json.loads(file.read_text())) if file.is_file() else []


def main() -> int:
    """Run the parts, the second one also when a test of the first failed."""
    codes = []
    for name, options in PARTS.items():
        print(f"==> {name}", flush=True)
        codes.append(run_part(sys.executable, [*options, *sys.argv[1:]]))
        if codes[-1] not in (PASSED, FAILED, NOTHING):
            return codes[-1]
    if PASSED in codes and FAILED not in codes:  # PYTEST_ARGS may well choose tests of one part only
        return PASSED
    return FAILED if FAILED in codes else NOTHING


if __name__ == "__main__":
    sys.exit(main())
