"""Whether somebody wants an end: Ctrl-C, SIGTERM and a closed terminal, told to whoever waits."""

from __future__ import annotations

import queue
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Control:
    """The signals of one run. ``with`` it, they are caught; without, nobody asks for an end."""

    def __init__(self) -> None:
        self.signum: int | None = None
        self._count = 0
        # A put may interrupt a get of the same thread, which no other queue allows, nor an Event.
        self._told: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Control:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                # nohup: it is to outlive its terminal. A shell's `&` ignores SIGINT, which says nothing.
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.signum = self.signum or number
        self._count += 1
        self._told.put(number)

    def stopped(self) -> bool:
        """Tell whether an end is wanted."""
        return self.signum is not None

    def hurried(self) -> bool:
        """Tell whether an end was asked for twice: then nothing is given time any more."""
        return self._count > 1

    def wait(self, seconds: float) -> None:
        """Wait, at most until a signal comes."""
        try:
            self._told.get(timeout=max(0.001, seconds))
        except queue.Empty:
            return
