"""``python -m tests.mutants [WORD]``: plants each fault (whose name has WORD) in a copy of the tree and runs its tests.

Prints a table; exit 1 when a fault went unnoticed, 2 when the tests fail without any.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).parent.parent.parent
_SKIPPED = shutil.ignore_patterns("__pycache__", "e2e", "node_modules", ".hypothesis")


def run(tree: Path, tests: Iterable[str]) -> int:
    """pytest's exit code: 0 all passed, 1 some failed, more for anything else."""
    # Bytecode is not written: a file that is changed and put back within a second would run stale.
    env = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    env.setdefault("PENSTOCK_LAWS", "100")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        *(f"tests/{test}" for test in tests),
    ]
    return subprocess.run(command, cwd=tree, env=env, capture_output=True, check=False).returncode


def plant(tree: Path, fault: Fault) -> int:
    """The tests' exit code with the fault in place."""
    path = tree / fault.file
    sound = path.read_text()
    path.write_text(sound.replace(fault.old, fault.new))
    try:
        return run(tree, fault.tests)
    finally:
        path.write_text(sound)


def main(word: str) -> int:
    faults = [fault for fault in FAULTS if word in fault.name]
    with tempfile.TemporaryDirectory() as made:
        tree = Path(made)
        for name in ("penstock", "tests"):
            shutil.copytree(ROOT / name, tree / name, ignore=_SKIPPED)
        shutil.copy(ROOT / "pyproject.toml", tree)
        if run(tree, sorted({test for fault in faults for test in fault.tests})) != 0:
            print("The tests fail without any fault planted.", file=sys.stderr)
            return 2
        missed = 0
        for fault in faults:
            began = time.monotonic()
            code = plant(tree, fault)
            missed += code != 1
            told = {0: "MISSED", 1: "caught"}.get(code, f"pytest says {code}")
            print(f"{told:8} {fault.name:26} {time.monotonic() - began:5.1f} s  {fault.incident}", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
