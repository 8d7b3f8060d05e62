"""Real clients that are no Python packages: each in a folder of its own below `.cache/clients`, installed by the tests.

A stamp names what is installed, so a second run costs nothing. Where no package index can be reached the tests that
need the client are skipped, and say why; any other failure of an install is a failure of the test.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
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
