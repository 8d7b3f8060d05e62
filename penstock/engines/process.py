"""An engine or a gateway as a process: started below a keeper, its log streamed, stopped without a trace."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from penstock.engines import keeper
from penstock.engines.output import Output, plain
from penstock.engines.progress import Progress

LAST_LINES = 20
LINE_BYTES = 8192  # a longer line is shown in parts
_KEEPER_SECONDS = 60.0  # beyond the grace: what the keeper takes to sweep, and to remove a container


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is started. ``after``: commands that remove what the process leaves behind; ``remove``: files that are its
    own. ``grace``: seconds between SIGTERM and SIGKILL. ``inherits``: what it is given of the environment, None: all of
    it; ``environment`` is laid over that."""

    label: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inherits: Mapping[str, str] | None = field(default=None, repr=False)
    after: tuple[tuple[str, ...], ...] = ()
    remove: tuple[str, ...] = ()
    grace: float = 10.0


class Process:
    """A started plan, until it has ended. ``progress`` reads its log along."""

    def __init__(self, plan: Plan, output: Output, progress: Progress | None = None) -> None:
        self.plan = plan
        self._output = output
        self._progress = progress
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        told = {"command": plan.command, "grace": plan.grace, "after": plan.after, "remove": plan.remove}
        # A session of its own: Ctrl-C in a terminal goes to us alone, and we decide who ends first.
        given = os.environ if plan.inherits is None else plan.inherits
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**given, "PYTHONUNBUFFERED": "1", **plan.environment},
            start_new_session=True,
        )
        self.pid = self._keeper.pid
        self._reader = threading.Thread(target=self._read, name=f"log of {plan.label}", daemon=True)
        self._reader.start()

    @property
    def code(self) -> int | None:
        """Return the exit code, None while it runs; 128 + N where signal N ended it."""
        code = self._keeper.poll()
        return code if code is None or code >= 0 else 128 - code

    def describe_end(self) -> str:
        """Tell how it ended and what it wrote last, for whoever has to mend it."""
        return self.how_it_ended() + self.last_lines()

    def how_it_ended(self) -> str:
        """Tell how it ended."""
        code = self.code
        how = "ended by itself" if code == 0 else f"ended with exit code {code}"
        if code is not None and code > 128:
            with contextlib.suppress(ValueError):
                how = f"was ended by {signal.Signals(code - 128).name}"
        return how

    def last_lines(self) -> str:
        """Return the last lines of the log, to be put behind a message."""
        self._reader.join(0.5)  # what it wrote with its last breath may still be on its way
        if not self._lines:
            return "; it wrote nothing"
        return ". Its last lines:\n" + "\n".join(f"    {line}" for line in tuple(self._lines))

    def stop(self, hurry: Callable[[], bool] = lambda: False) -> None:
        """End it and all that it started, and wait until they are gone. ``hurry`` is asked all the while: once it says
        so, there is no grace any more."""
        self._tell(b"s")
        hurried = False
        end = time.monotonic() + self.plan.grace + _KEEPER_SECONDS
        while self._keeper.poll() is None and time.monotonic() < end:
            if not hurried and hurry():
                hurried = True
                self._tell(b"k")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._keeper.wait(0.1)
        if self._keeper.poll() is None:  # the engine dies with its keeper, and a container keeps its name: say so
            self._output.complain(f"{self.plan.label} does not end; killing it")
            self._keeper.kill()
            self._keeper.wait()
        if self._keeper.stdin is not None:
            with contextlib.suppress(OSError):
                self._keeper.stdin.close()
        self._reader.join(1.0)

    def _tell(self, word: bytes) -> None:
        stdin = self._keeper.stdin
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(OSError):
                stdin.write(word)
                stdin.flush()

    def _read(self) -> None:
        """Stream the log to the output, line by line: the life of a thread."""
        stream = self._keeper.stdout
        assert stream is not None
        rest = b""
        while chunk := os.read(stream.fileno(), 65536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._take(line)
            if rest and self._progress is not None:
                self._progress.feed(_decode(rest.rsplit(b"\r", 1)[-1]))
            while len(rest) > LINE_BYTES:
                self._take(rest[:LINE_BYTES])
                rest = rest[LINE_BYTES:]
        if rest:
            self._take(rest)
        stream.close()

    def _take(self, line: bytes) -> None:
        """Show one line. Of one that was written over and over, as progress bars are, only the last state is shown."""
        last = _decode(line.rstrip(b"\r").rsplit(b"\r", 1)[-1])
        for start in range(0, max(len(last), 1), LINE_BYTES):
            text = last[start : start + LINE_BYTES]
            if self._progress is not None:
                self._progress.feed(text)
            if text.strip():
                self._lines.append(text)
            self._output.say(f"[{self.plan.label}] {text}")


def _decode(line: bytes) -> str:
    return plain(line.decode("utf-8", "replace")).rstrip()
