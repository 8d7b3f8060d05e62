"""Keeps SIGHUP waiting while nobody can act on it: a reload that is asked for during a start comes right after it."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterable

from penstock.server.options import STOP_SIGNALS

RELOAD = getattr(signal, "SIGHUP", None)


def call_on(loop: asyncio.AbstractEventLoop, number: int, call: Callable[[], object]) -> None:
    """Call something on a loop when a signal comes. (The loops of Windows have no handlers of signals.)"""
    try:
        loop.add_signal_handler(number, call)
    except NotImplementedError:
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(call))


def hold_reloads() -> None:
    """Let SIGHUP wait. Its default ends the process; ignored, it would leave a file in use that was read too soon."""
    _block(RELOAD)
    # A worker is started with its stop signals waiting, too, so that none is lost between two processes.
    _unblock(STOP_SIGNALS)


def let_reloads() -> None:
    """Let SIGHUP come, also one that waits. To be called when its handler is set."""
    if RELOAD is not None:
        _unblock((RELOAD,))


def hold_all() -> None:
    """Let SIGHUP and the stop signals wait: for the moment in which a worker is made."""
    _block(RELOAD, *STOP_SIGNALS)


def let_all() -> None:
    """Let SIGHUP and the stop signals come again."""
    let_reloads()
    _unblock(STOP_SIGNALS)


def _block(*numbers: int | None) -> None:
    if _can():
        signal.pthread_sigmask(signal.SIG_BLOCK, {number for number in numbers if number is not None})


def _unblock(numbers: Iterable[int]) -> None:
    if _can():
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(numbers))


def _can() -> bool:
    return hasattr(signal, "pthread_sigmask") and threading.current_thread() is threading.main_thread()
