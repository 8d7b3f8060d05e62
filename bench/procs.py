"""Processes under measurement: started on one core, asked about CPU and memory through /proc, stopped by id."""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

LOAD_CORE = 0
MEASURED_CORE = 1
_TICKS = os.sysconf("SC_CLK_TCK")


class StartFailed(Exception):
    """A process ended, or did not answer in time; the message says which."""


def can_pin() -> bool:
    return shutil.which("taskset") is not None and (os.cpu_count() or 1) > 1


def pinned(core: int, command: list[str]) -> list[str]:
    """`command` bound to one core. taskset replaces itself, so the process id stays the command's."""
    return ["taskset", "-c", str(core), *command] if can_pin() else command


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        current = queue.pop()
        found.append(current)
        queue += children.get(current, [])
    return found


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/PID/stat from the state on (field 3 of proc(5)), or None if the process is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of the processes and of their children that have ended, in seconds."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            ticks += sum(int(fields[i]) for i in (11, 12, 13, 14))
    return ticks / _TICKS


def rss_mb(pids: list[int]) -> float:
    """Resident memory in MB (1,000,000 bytes), summed over the processes."""
    total = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def get(port: int, path: str, method: str = "GET", timeout: float = 10.0) -> tuple[int, bytes]:
    """One request without a body on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Running:
    """A started server: its port, and the seconds from exec to its first 200."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, first_200_s: float) -> None:
        self.process = process
        self.port = port
        self.first_200_s = first_200_s

    @property
    def pid(self) -> int:
        return self.process.pid

    def pids(self) -> list[int]:
        return tree(self.pid)

    def alive(self) -> bool:
        return self.process.poll() is None

    def stop(self) -> None:
        """SIGTERM to the process, then SIGKILL to what is left of its tree."""
        pids = self.pids()
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        for pid in pids[1:]:
            if _stat(pid):
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue


def start(
    command: list[str],
    port: int,
    ready: str,
    *,
    core: int,
    env: Mapping[str, str],
    cwd: Path,
    errors: Path,
    wait_s: float = 120,
) -> Running:
    """Start `command` on `core` and ask for `ready` every 2 ms until it answers 200.

    stdout goes to /dev/null, the same for every arm, so that no log is cheaper than another. `errors` takes stderr.
    Raises StartFailed.
    """
    with errors.open("wb") as log:
        began = time.perf_counter()
        process = subprocess.Popen(
            pinned(core, command),
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
        )
    while True:
        if process.poll() is not None:
            raise StartFailed(f"exited with {process.returncode} before its first 200")
        try:
            status, _ = get(port, ready, timeout=2.0)
        except (OSError, http.client.HTTPException):
            status = 0
        took = time.perf_counter() - began
        if status == 200:
            return Running(process, port, took)
        if took > wait_s:
            running = Running(process, port, took)
            running.stop()
            raise StartFailed(f"no 200 from {ready} within {wait_s:.0f} s")
        time.sleep(0.002)


def core_busy(core: int) -> float:
    """Seconds since boot in which a core did not idle; time stolen by the hypervisor counts as busy."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            ticks = [int(t) for t in line.split()[1:9]]
            return (sum(ticks) - ticks[3] - ticks[4]) / _TICKS
    return 0.0
