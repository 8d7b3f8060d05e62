"""Runs Penstock as on a system that is not Unix: without uvloop, ``fcntl``, ``fork``, handlers of signals on loops.

    python -m tests.seeds.other_system serve ...
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import types

locked: set[tuple[int, int]] = set()
MISSING_MODULES = ("uvloop", "fcntl", "resource", "pwd", "grp", "termios", "pty", "tty")
MISSING_CALLS = ("fork", "pread", "pwrite", "fdatasync", "sysconf", "register_at_fork", "memfd_create", "getuid", "geteuid", "O_CLOEXEC")


def locking(fd: int, mode: int, size: int) -> None:
    """Lock a byte of a file, as Windows does: at the place where the descriptor stands."""
    place = os.stat(fd).st_ino, os.lseek(fd, 0, os.SEEK_CUR)
    if place in locked:
        raise OSError(36, "Resource deadlock avoided")
    locked.add(place)


def take_away() -> None:
    for name in MISSING_MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # then its import fails
    for name in MISSING_CALLS:
        if hasattr(os, name):
            delattr(os, name)
    for name in ("SIGHUP", "pthread_sigmask"):
        delattr(signal, name)
    windows = types.ModuleType("msvcrt")
    windows.locking, windows.LK_NBLCK = locking, 2  # type: ignore[attr-defined]
    sys.modules["msvcrt"] = windows

    def refuse(self: object, *args: object) -> None:
        raise NotImplementedError

    asyncio.unix_events._UnixSelectorEventLoop.add_signal_handler = refuse  # type: ignore[attr-defined]


if __name__ == "__main__":
    take_away()
    from penstock.cli.main import main

    main()
