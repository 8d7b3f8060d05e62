"""Real clients that are no dependency of ours: each in a folder of its own below `.cache/clients`, installed by the tests.

npm packages, and Python packages that are heavy or want other versions than ours: those get an environment each, from a
lock file with hashes in `python/` (`make lock` renews it).

A stamp names what is installed, so a second run costs nothing. Where no package index can be reached the tests that
need the client are skipped, and say why; any other failure of an install is a failure of the test.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
CACHE = ROOT / ".cache" / "clients"
INSTALL_SECONDS = 900
QUICK = ("--fetch-retry-mintimeout=2000", "--fetch-retry-maxtimeout=10000")  # an index that is not there is soon given up

NODE_CLIENTS: Mapping[str, Mapping[str, str]] = {
    "node-sdks": {"openai": "6.49.0", "@anthropic-ai/sdk": "1.10.0"},
    "claude-code": {"@anthropic-ai/claude-code": "2.1.197"},
    "codex": {"@openai/codex": "0.169.0"},
    "browser": {"playwright-core": "1.65.1", "axe-core": "4.14.1"},
    "identity-provider": {"oidc-provider": "9.13.3"},
}
"""Folder -> npm packages and their exact versions: a client that changes overnight must not turn a build red."""

AFTERWARDS: Mapping[str, tuple[str, ...]] = {
    # npm is told to run no scripts of packages; this one puts the binary in its place.
    "claude-code": ("node", "node_modules/@anthropic-ai/claude-code/install.cjs"),
}


def node_client(name: str) -> Path:
    """The folder of a row of ``NODE_CLIENTS``, installed. Skips the test without Node or without an index."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on PATH: the client {name} needs it")
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    stamp = folder / "installed.json"
    wanted = json.dumps(dict(NODE_CLIENTS[name]), sort_keys=True)
    with _alone(folder):
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            _install(name, folder)
            stamp.write_text(wanted, encoding="utf-8")
    return folder


PYTHON = Path(__file__).parent / "python"
PIP = ("--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "10")


def python_client(name: str) -> Path:
    """The interpreter that has what `python/NAME.lock` lists. Skips the test without an index."""
    # By interpreter: `make pythons` runs these tests with several, one after the other.
    folder = CACHE / f"python-{name}-{sys.version_info[0]}.{sys.version_info[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    lock, stamp = PYTHON / f"{name}.lock", folder / "installed.txt"
    python = folder / "venv" / "bin" / "python"
    wanted = f"{sys.version} {hashlib.sha256(lock.read_bytes()).hexdigest()}"
    with _alone(folder):
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            _install_python(name, lock, folder / "venv", python)
            stamp.write_text(wanted, encoding="utf-8")
    return python


def _install_python(name: str, lock: Path, venv: Path, python: Path) -> None:
    # The lock file is complete, so nothing is resolved: LiteLLM's own list cannot be, see overrides.txt.
    whole = ["--no-deps", "--require-hashes", "-r", str(lock)]
    made = _run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(venv)], CACHE)
    assert made.returncode == 0, made.stderr
    uv = shutil.which("uv")  # a second instead of twenty, where it is there and finds the index
    if uv and _run([uv, "pip", "install", "--quiet", "--python", str(python), *whole], CACHE).returncode == 0:
        return
    pip = [sys.executable, "-m", "pip"]
    done = _run([*pip, "--python", str(python), "install", "--quiet", "--no-compile", *PIP, *whole], CACHE)
    if done.returncode:
        said = f"{name} could not be installed:\n{done.stderr.strip()[-3000:]}"
        if os.environ.get("CI") or _index_answers():
            pytest.fail(said)
        pytest.skip(f"no package index is reachable: {said[-300:]}")


def _index_answers() -> bool:
    """Whether pip can fetch a package that is sure to exist."""
    probe = CACHE / "probe"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", *PIP, "-d", str(probe)]
    return _run([*command, "msgspec"], CACHE).returncode == 0


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Test processes side by side install once."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(name: str, folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    packages = [f"{package}@{version}" for package, version in NODE_CLIENTS[name].items()]
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--save-exact", *QUICK, *packages]
    done = _run(command, folder)
    if done.returncode:
        if _run(["npm", "ping", *QUICK], folder).returncode:
            pytest.skip(f"{name}: no npm registry is reachable: {done.stderr.strip()[-300:]}")
        pytest.fail(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    if after := AFTERWARDS.get(name):
        done = _run(list(after), folder)
        assert done.returncode == 0, f"{' '.join(after)}:\n{done.stdout[-1000:]}{done.stderr[-1000:]}"


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=dict(os.environ), capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
    )
