"""Command-line clients as processes: their own home, nothing of the developer's environment, a hard end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.serving import clean_env

SECONDS = 60.0


@dataclass
class Done:
    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- out\n{self.out[-3000:]}\n--- err\n{self.err[-3000:]}"


def run(command: Sequence[str | Path], folder: Path, seconds: float = SECONDS, **env: str) -> Done:
    """Runs a client in ``folder`` with ``folder/home`` as its home. Ends it and what it started after ``seconds``."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    settings = {**clean_env(home), "NO_PROXY": "*", "no_proxy": "*", "IS_SANDBOX": "1", **env}
    del settings["PYTHONPATH"]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
        raise AssertionError(f"not done after {seconds} s: {Done(-9, out, err)}") from None
    return Done(process.returncode, out, err)
