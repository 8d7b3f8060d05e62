"""Several processes on one listening socket: started, watched, told, stopped."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING

from penstock.server.lines import tell
from penstock.server.options import STOP_SIGNALS
from penstock.server.signals import hold_all, let_all, let_reloads
from penstock.stores.counts import make_counts_file
from penstock.stores.models import make_shared_file

if TYPE_CHECKING:
    from penstock.server.options import ServeOptions

RESTART_WAIT = 0.5  # seconds before a worker that died is replaced
LONGEST_WAIT = 30.0  # the same, after several that died at once
STEADY = 10.0  # seconds after which a worker's death is an accident and not a failed start


# Fields of ``ServeOptions`` that a worker is not told, and why. All others are handed on.
NOT_HANDED_ON = {
    "notes": "they are said once",
    "fd": "each is told the number that the socket has for it",
    "models_fd": "each is told the number that the file has for it",
    "counts": "each is told which of the files is its own",
}
# Fields whose option has another name, or other words for its values.
_SPELLED = {"json_logs": ("--log-format", {True: "json", False: "text"})}


def worker_arguments(options: ServeOptions) -> list[str]:
    """Return the command line of a worker: every option as its parent has it, also those that came from variables."""
    words = []
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name in NOT_HANDED_ON or value is None:
            continue
        flag, spelled = _SPELLED.get(field.name, (f"--{field.name.replace('_', '-')}", {}))
        if value in spelled:
            words += [flag, spelled[value]]
        elif not isinstance(value, bool):
            words += [flag, str(value)]
        elif value:
            words.append(flag)
    return words


def supervise(options: ServeOptions, listener: socket.socket, json_lines: bool = False) -> int:
    """Run ``options.workers`` workers until told to stop. SIGHUP and stop signals are passed on to each."""
    return _Supervisor(options, listener, json_lines).run()


class _Supervisor:
    def __init__(self, options: ServeOptions, listener: socket.socket, json_lines: bool) -> None:
        self._options = options
        self._json_lines = json_lines
        self._listener = listener
        self._models = make_shared_file()
        # One for each place, and not for each process: who takes the place of a dead worker goes on counting in it.
        self._counts = [make_counts_file() for _ in range(options.workers)]
        self._stopping = False
        self._workers: list[subprocess.Popen[bytes]] = []
        self._born: dict[int, float] = {}
        self._wait = RESTART_WAIT

    def run(self) -> int:
        self._listener.set_inheritable(True)
        for number in STOP_SIGNALS:
            signal.signal(number, self._stop)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._reload)
        let_reloads()
        options = self._options
        text = f"Penstock at http://{options.host}:{options.port}, {options.workers} workers"
        tell(text, self._json_lines, stream=sys.stdout)
        for at in range(options.workers):
            self._start(at)
        while not self._stopping:
            time.sleep(0.1)
            self._replace_dead()
        end = time.monotonic() + options.grace + 10
        for worker in self._workers:
            try:
                worker.wait(max(0.1, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                worker.kill()
        return 0

    def _start(self, at: int) -> None:
        """Make a worker, the ``at``-th. No signal comes between its birth and its place in the list: it would not be
        passed on, and one that a worker gets before its handlers are set waits there."""
        fds = (self._listener.fileno(), self._models, *self._counts)
        counts = f"{at}:{','.join(map(str, self._counts))}"
        inherited = ["--fd", str(fds[0]), "--models-fd", str(fds[1]), "--counts", counts]
        command = [sys.executable, "-m", "penstock", "serve", *inherited, *worker_arguments(self._options)]
        hold_all()
        try:
            if not self._stopping:
                worker = subprocess.Popen(command, pass_fds=fds)
                self._born[worker.pid] = time.monotonic()
                self._workers[at : at + 1] = [worker]
        finally:
            let_all()

    def _replace_dead(self) -> None:
        for at, worker in enumerate(self._workers):
            code = worker.poll()
            if code is not None and not self._stopping:
                text = f"worker {worker.pid} ended with code {code}; starting another"
                tell(text, self._json_lines, "WARNING")
                lived = time.monotonic() - self._born[worker.pid]
                # One that cannot start (a config that broke meanwhile) is tried again ever more seldom.
                self._wait = RESTART_WAIT if lived > STEADY else min(self._wait * 2, LONGEST_WAIT)
                self._sleep(self._wait)
                del self._born[worker.pid]
                self._start(at)

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end:
            time.sleep(0.1)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(number)

    def _reload(self, number: int, frame: object) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGHUP)
