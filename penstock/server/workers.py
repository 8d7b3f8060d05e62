"""Several processes on one listening socket: started, watched, told, stopped."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from penstock.server.options import STOP_SIGNALS

if TYPE_CHECKING:
    from penstock.server.options import ServeOptions

RESTART_WAIT = 0.5  # seconds before a worker that died is replaced
LONGEST_WAIT = 30.0  # the same, after several that died at once
STEADY = 10.0  # seconds after which a worker's death is an accident and not a failed start


def supervise(options: ServeOptions, listener: socket.socket) -> int:
    """Runs ``options.workers`` workers until told to stop. SIGHUP and stop signals are passed on to each."""
    return _Supervisor(options, listener).run()


class _Supervisor:
    def __init__(self, options: ServeOptions, listener: socket.socket) -> None:
        self._options = options
        self._listener = listener
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
        options = self._options
        print(f"Penstock at http://{options.host}:{options.port}, {options.workers} workers", flush=True)
        self._workers = [self._start() for _ in range(options.workers)]
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

    def _start(self) -> subprocess.Popen[bytes]:
        options = self._options
        command = [sys.executable, "-m", "penstock", "serve", "--fd", str(self._listener.fileno())]
        command += ["--host", options.host, "--port", str(options.port), "--grace", str(options.grace)]
        if options.config is not None:
            command += ["--config", str(options.config)]
        if options.no_auth:
            command.append("--no-auth")
        if options.verbose:
            command.append("--verbose")
        if options.json_logs is not None:
            command += ["--log-format", "json" if options.json_logs else "text"]
        if options.max_body_mb is not None:
            command += ["--max-body-mb", str(options.max_body_mb)]
        worker = subprocess.Popen(command, pass_fds=(self._listener.fileno(),))
        self._born[worker.pid] = time.monotonic()
        return worker

    def _replace_dead(self) -> None:
        for at, worker in enumerate(self._workers):
            code = worker.poll()
            if code is not None and not self._stopping:
                print(f"worker {worker.pid} ended with code {code}; starting another", file=sys.stderr, flush=True)
                lived = time.monotonic() - self._born.get(worker.pid, 0.0)
                # One that cannot start (a config that broke meanwhile) is tried again ever more seldom.
                self._wait = RESTART_WAIT if lived > STEADY else min(self._wait * 2, LONGEST_WAIT)
                self._sleep(self._wait)
                if not self._stopping:
                    self._workers[at] = self._start()

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < end:
            time.sleep(0.1)

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)

    def _reload(self, number: int, frame: object) -> None:
        for worker in self._workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGHUP)
