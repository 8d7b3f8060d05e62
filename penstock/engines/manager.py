"""One engine or one gateway from its start to its end, for programs that want to have one run."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

from penstock.engines.control import Control
from penstock.engines.docker import LITELLM_IMAGE, LITELLM_VERSION
from penstock.engines.environment import inherited
from penstock.engines.gateway import plan_gateway
from penstock.engines.output import Output
from penstock.engines.planning import Planned, Wanted, plan_engine
from penstock.engines.process import Plan, Process
from penstock.engines.progress import Progress, read_bars
from penstock.engines.ready import ask_health, is_taken, wait_ready
from penstock.engines.spec import EngineError

START_SECONDS = 1800.0  # large weights from a slow disk, and an image that is fetched first
GATEWAY_SECONDS = 60.0


class Manager:
    """Runs one server at a time. ``port``: where an engine is started if nothing else is said. ``control``: who may
    want an end while it is waited for. Without a ``stop`` the server ends with this process."""

    def __init__(self, port: int = 8000, *, control: Control | None = None, output: Output | None = None) -> None:
        self.port = port
        self.model_name = ""
        self._control = control or Control()
        self._output = output or Output()
        self._process: Process | None = None
        self._label = ""

    def start_backend(self, wanted: Wanted, timeout: float = START_SECONDS) -> bool:
        """Start an engine and wait until it is ready. Returns whether it is; why not is written to standard error."""
        try:
            planned: Planned = plan_engine(wanted)
            self.model_name = planned.model_name
            progress = Progress(wanted.engine.percent, time.monotonic())
            plan = replace(planned.plan, inherits=inherited(os.environ))
            self._start(plan, wanted.host, wanted.port, planned.health, timeout, progress, "--port")
        except EngineError as error:
            return self._fail(error)
        return True

    def start_litellm_proxy(
        self,
        config_path: Path,
        port: int = 4000,
        version: str = LITELLM_VERSION,
        image: str = LITELLM_IMAGE,
        timeout: float = GATEWAY_SECONDS,
        *,
        host: str = "127.0.0.1",
        remove: tuple[str, ...] = (),
    ) -> bool:
        """Start the gateway and wait until it is ready: this installation for the version ``local``, else a container.

        ``host``: where this installation listens. ``remove``: files that are deleted when it has ended. Returns whether
        it is ready; why not is written to standard error."""
        try:
            plan = plan_gateway(Path(config_path), host, port, version, image, remove)
            progress = Progress(read_bars, time.monotonic())
            self._start(plan, host, port, "/health", timeout, progress, "--litellm-port")
        except EngineError as error:
            return self._fail(error)
        return True

    def _start(
        self, plan: Plan, host: str, port: int, health: str, timeout: float, progress: Progress, option: str
    ) -> None:
        """Start what is planned and wait for its health URL. Raises ``EngineError``, with nothing left of it."""
        if self._process is not None and self._process.code is None:
            raise EngineError(f"{self._label} already runs under this manager: stop it first, or take another one")
        try:
            taken = is_taken(host, port)
        except OSError as error:
            raise EngineError(f"{host} is no address of this machine: {error}") from error
        if taken:
            raise EngineError(f"port {port} is taken: give {plan.label} another one with {option}")
        self._label = plan.label
        process = self._process = Process(plan, self._output, progress)

        def ended() -> bool:
            return process.code is not None or self._control.stopped()

        def pause(seconds: float) -> None:
            self._control.wait(seconds)
            if news := progress.news(time.monotonic()):
                self._output.say(f"[{plan.label}] {news}")

        asked = _reachable(host)
        if wait_ready(asked, port, health, timeout, ended=ended, pause=pause):
            return
        if self._control.stopped():
            raise EngineError(f"{plan.label} was stopped before it was ready")
        if process.code is None:
            status = ask_health(asked, port, health)
            said = "nothing answers" if status is None else f"it answers {status}"
            why = f"was not ready within {timeout:g} s ({said} at http://{asked}:{port}{health})" + process.last_lines()
        else:
            why = process.describe_end()
        self.stop()
        raise EngineError(f"{plan.label} {why}")

    def _fail(self, error: EngineError) -> bool:
        if not self._control.stopped():
            self._output.complain(f"error: {error}")
        return False

    def check(self) -> None:
        """Raise ``EngineError`` if what was started has ended by itself."""
        if self._process is not None and self._process.code is not None:
            raise EngineError(f"{self._label} {self._process.describe_end()}")

    def stop(self) -> None:
        """Stop what was started, and wait until nothing of it is left. May be called again."""
        if self._process is not None:
            if self._process.code is None:
                self._output.say(f"stopping {self._label}")
            self._process.stop(self._control.hurried)


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches a server that listens on all addresses."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
