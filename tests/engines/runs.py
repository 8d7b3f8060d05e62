"""Runs `penstock run-server` and finds whatever it leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.serving import clean_env, free_port

ROOT = Path(__file__).resolve().parents[2]
STANDIN = Path(__file__).resolve().parent / "standin.py"
DOCKER = Path(__file__).resolve().parent / "fakedocker.py"
SECONDS = 40.0


def write_program(folder: Path, name: str, script: Path, *words: str) -> Path:
    """A program on a PATH of the test's own."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" {" ".join(words)} "$@"\n')
    path.chmod(0o755)
    return path


def make_model(folder: Path, name: str = "GLM-FP8") -> Path:
    """A folder that looks like a model with safetensors."""
    model = folder / name
    model.mkdir()
    (model / "config.json").write_text('{"architectures": ["Glm4ForCausalLM"]}')
    return model


class Run:
    """One `run-server` in the background."""

    def __init__(self, folder: Path, *arguments: str, command: tuple[str, ...] = (), **env: str) -> None:
        self.mark = uuid.uuid4().hex
        self.log = folder / f"run-{self.mark}.log"
        path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        whole = {**clean_env(folder), "PATH": path, "TMPDIR": str(folder), "TEST_RUN_MARK": self.mark, **env}
        first = command or (sys.executable, "-m", "penstock", "run-server")
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*first, *arguments], cwd=folder, env=whole, stdout=output, stderr=subprocess.STDOUT
            )

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, seconds: float = SECONDS) -> None:
        end = time.monotonic() + seconds
        while text not in self.output():
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"never said {text!r} (exit code {self.process.poll()}):\n{self.output()}")
            time.sleep(0.02)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, seconds: float = SECONDS) -> int:
        return self.process.wait(seconds)

    def left(self) -> list[str]:
        """The processes that carry this run's mark, as their command lines."""
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if self.mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def pids(self, word: str) -> list[int]:
        """The processes of this run that have a word as their argument."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                marked = entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes()
                if marked and word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    def assert_gone(self, seconds: float = 0.0) -> None:
        end = time.monotonic() + seconds
        while (left := self.left()) and time.monotonic() < end:
            time.sleep(0.05)
        assert left == [], self.output()


@contextmanager
def running(folder: Path, *arguments: str, command: tuple[str, ...] = (), **env: str) -> Iterator[Run]:
    run = Run(folder, *arguments, command=command, **env)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            run.signal(signal.SIGTERM)
            try:
                run.wait(20)
            except subprocess.TimeoutExpired:
                run.process.kill()
                run.wait()


def ask(url: str, body: object | None = None) -> Any:
    """The decoded answer to a GET, or to a POST of a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
        return json.load(answer)


def is_up(port: int) -> bool:
    try:
        ask(f"http://127.0.0.1:{port}/health")
    except (OSError, urllib.error.URLError, ValueError):
        return False
    return True


__all__ = ["DOCKER", "ROOT", "STANDIN", "Run", "ask", "free_port", "is_up", "make_model", "running", "write_program"]
