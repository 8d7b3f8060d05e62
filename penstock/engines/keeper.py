"""A small process between us and an engine: it starts the engine, and ends it when we tell it to or are gone.

Whoever is killed with `kill -9` cannot stop what it has started. So the engine's parent is this program, which waits
for two things: its child's end, and the end of the pipe that its own parent holds. It runs alone (`python -I -S
keeper.py PLAN`), imports nothing of ours, and the plan is a JSON object:

    command  the engine's command line
    grace    seconds between SIGTERM and SIGKILL
    after    command lines that run when the engine has ended: they remove its container
    remove   files, and folders that are empty by then, to be deleted at the end

On its standard input `s` stops the engine, `k` kills it, and the end of the input stops it, too. Its exit code is the
engine's; 128 + N where signal N ended it.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

NOT_STARTED = 127
# docker run: nothing was started, for instance because the name is another container's, which is not ours to remove.
CONTAINER_NOT_STARTED = 125
_SET_DEATH_SIGNAL, _SET_SUBREAPER = 1, 36  # of prctl(2)
_LEFT_SECONDS = 3.0  # for what the engine has started to end by itself: some of it unlinks shared memory


class Child:
    """The engine: the leader of a session and process group of its own."""

    def __init__(self, command: list[str]) -> None:
        libc = _libc()
        if libc is not None:
            # Processes that leave the group become children of this one, so none can get away.
            libc.prctl(_SET_SUBREAPER, 1, 0, 0, 0)
        self._process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_dying_with_us(libc)
        )
        self.pid = self._process.pid
        self.code: int | None = None

    def reap(self) -> bool:
        """Collect who has ended, and tell whether anybody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                self.code = self._process.returncode = code if code >= 0 else 128 - code

    def signal(self, number: int) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def sweep(self) -> None:
        """Kill what is left of the engine once it has ended, inside of its group and outside."""
        end = time.monotonic() + _LEFT_SECONDS
        while (left := self.reap() or self._has_group()) and time.monotonic() < end:
            time.sleep(0.02)
        end = time.monotonic() + _LEFT_SECONDS
        while left and time.monotonic() < end:
            self.signal(signal.SIGKILL)
            for pid in _children():
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            left = self.reap() or self._has_group()

    def _has_group(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def _dying_with_us(libc: ctypes.CDLL | None) -> Callable[[], None] | None:
    """Return what a child does first so that it ends when this process is killed; None where the system has no such."""
    if libc is None:
        return None

    def die_with_us() -> None:
        libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)

    return die_with_us


def _children() -> Iterator[int]:
    """Find the processes whose parent this one is, where the system shows them."""
    us = str(os.getpid())
    names = os.listdir("/proc") if os.path.isdir("/proc") else []
    for name in names:
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError:
            continue
        if len(fields) > 1 and fields[1] == us:
            yield int(name)


def _wake_pipe() -> int:
    """Make signals readable: a child's end and SIGTERM both wake the loop below. Returns what to read from."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    return read


def _notice(number: int, frame: FrameType | None) -> None:
    """Do nothing: the wake-up pipe has the number. Unlike SIG_IGN, a handler is not inherited by the engine."""


def watch(child: Child, wake: int, grace: float) -> None:
    """Wait until the engine has ended, by itself or because it was told to."""
    deadline: float | None = None
    reads = [0, wake]
    while child.reap() and child.code is None:
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(reads, [], [], wait)
        words = b""
        if 0 in ready:
            words = os.read(0, 64)
            if not words:
                reads, words = [wake], b"s"
        if wake in ready:
            with contextlib.suppress(BlockingIOError):
                told = os.read(wake, 64)
                words += b"s" if set(told) & {signal.SIGTERM, signal.SIGINT, signal.SIGHUP} else b""
        now = time.monotonic()
        if b"k" in words or (deadline is not None and now >= deadline):
            child.signal(signal.SIGKILL)
            deadline = now + 1.0
        elif b"s" in words and deadline is None:
            child.signal(signal.SIGTERM)
            deadline = now + grace


def clear(after: Sequence[Sequence[str]], remove: Sequence[str]) -> None:
    """Remove the container and the files of this start."""
    for command in after:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=20
            )
    for path in remove:
        with contextlib.suppress(OSError):
            os.rmdir(path) if os.path.isdir(path) else os.unlink(path)


def main(plan: dict[str, object]) -> int:
    """Run one engine to its end and return its exit code."""
    command, grace, after, remove = (plan[key] for key in ("command", "grace", "after", "remove"))
    assert isinstance(command, list) and isinstance(after, list) and isinstance(remove, list)
    assert isinstance(grace, int | float)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _notice)
    wake = _wake_pipe()
    try:
        child = Child(command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror or error}", file=sys.stderr, flush=True)
        clear([], remove)
        return NOT_STARTED
    watch(child, wake, grace)
    child.sweep()
    clear([] if child.code == CONTAINER_NOT_STARTED else after, remove)
    return 1 if child.code is None else child.code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
