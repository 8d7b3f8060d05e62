"""Run the transport, runtime, server and end-to-end tests with every CPython from 3.11 on that this machine has.

    python scripts/pythons.py [--list] [--but 3.11] [--share] [PYTEST OPTIONS]

Looks on PATH (python3, python3.11 and later) and among pyenv's versions. Each interpreter gets an environment of its
own below .cache/pythons, from the lock files. Prints which were found; exit 1 when a test failed, or when there is
none. Interpreters of the same version count once. What failed beside others is tried once more (run_tests.py).

With --share a file of tests runs with one of them only, the same one every time; ON_ALL with all of them.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from run_tests import PARTS, run_part

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache" / "pythons"
LOCKS = ("requirements.lock", "requirements-build.lock", "requirements-dev.lock")
# What depends on the interpreter: its asyncio, its C interfaces, its way to start programs. The pure core does not.
TESTS = ("tests/runtime", "tests/server", "tests/stores", "tests/e2e")
# What has failed with one interpreter alone, or stands closest to it: never shared.
ON_ALL = (
    "tests/runtime/http/",
    "tests/runtime/test_children.py",
    "tests/server/test_asgi.py",
    "tests/server/test_circles.py",
    "tests/server/test_leaks.py",
    "tests/server/test_life.py",
    "tests/server/test_quick.py",
    "tests/server/test_threads.py",
)
_ASK = "import sys; print(sys.implementation.name, '.'.join(map(str, sys.version_info[:3])))"


def candidates() -> list[Path]:
    """List what may be a CPython 3.11 or later, by name."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders += sorted(path / "bin" for path in root.glob("versions/*"))
    name = re.compile(r"python3(?:\.(?:1[1-9]|[2-9]\d))?")
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return [path for path in paths if name.fullmatch(path.name)]


def found() -> dict[str, Path]:
    """Map the versions that this machine has to an interpreter of each, the oldest first."""
    pythons: dict[str, Path] = {}
    for path in candidates():
        try:
            said = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            continue
        words = said.stdout.split()
        if said.returncode == 0 and words[0] == "cpython" and _numbers(words[1]) >= (3, 11):
            pythons.setdefault(words[1], path)
    return dict(sorted(pythons.items(), key=lambda item: _numbers(item[0])))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def environment(version: str, python: Path) -> Path:
    """Make the environment of an interpreter, unless it is there; return its own interpreter."""
    folder = CACHE / version
    made, stamp = folder / "bin" / "python", folder / "installed.txt"
    locks = [ROOT / name for name in LOCKS]
    wanted = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest() + f" {ROOT}"
    if stamp.is_file() and stamp.read_text() == wanted:
        return made
    print(f"==> Python {version}: making {folder.relative_to(ROOT)}", flush=True)
    subprocess.run([python, "-m", "venv", "--clear", folder], check=True)
    pip = [made, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-input", "install"]
    # The runtime's lock goes last: it is what users run with.
    for lock in reversed(locks):
        subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", lock], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], check=True)
    stamp.write_text(wanted)
    return made


def share(number: int, of: int, root: Path = ROOT) -> list[str]:
    """Choose the files of tests that one of so many interpreters runs. A file's place is by its name: another file
    more or less moves no other."""
    paths = [path for folder in TESTS for path in sorted((root / folder).rglob("test_*.py"))]
    files = [path.relative_to(root).as_posix() for path in paths]
    return [file for file in files if file.startswith(ON_ALL) or _draw(file) % of == number]


def _draw(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")


def _test(version: str, python: Path, files: Sequence[str], rest: Sequence[str]) -> tuple[int, str]:
    """Run the tests with one interpreter; return pytest's exit code and what to tell."""
    began = time.monotonic()
    made = environment(version, python)
    print(f"==> Python {version}: tests", flush=True)
    code = run_part(made, [*PARTS["tests, in parallel"], *files, *rest])
    return code, f"{version} {'passed' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - began:.0f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="only print what was found")
    parser.add_argument("--but", action="append", default=[], metavar="3.N", help="leave this version out")
    parser.add_argument("--share", action="store_true", help="every file with one of them, a few with all")
    options, rest = parser.parse_known_args()
    pythons = found()
    print("==> CPython 3.11 or later on this machine:", ", ".join(pythons) or "none", flush=True)
    if options.list or not pythons:
        return 0 if pythons else 1
    told = [f"{version} left out (--but)" for version in pythons if version.rpartition(".")[0] in options.but]
    chosen = {version: path for version, path in pythons.items() if version.rpartition(".")[0] not in options.but}
    failed = False
    for number, (version, python) in enumerate(chosen.items()):
        files = share(number, len(chosen)) if options.share else TESTS
        code, said = _test(version, python, files, rest)
        failed |= code != 0
        told.append(said)
    print("==> make pythons:", "; ".join(told), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
