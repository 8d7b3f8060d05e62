"""Engines of a config: what is started for one, and what it wrote last."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Collection
from dataclasses import replace

from penstock.config.engines import EngineModel
from penstock.engines import ENGINES
from penstock.engines.environment import inherited
from penstock.engines.models import find_model
from penstock.engines.output import Output
from penstock.engines.planning import GRACE, Planned, Wanted, plan_engine
from penstock.engines.process import LINE_BYTES, Plan, Process
from penstock.engines.progress import Progress, read_bars
from penstock.engines.ready import is_taken
from penstock.engines.spec import EngineError, write_options

HOST = "127.0.0.1"
MOST_LINES = 2000
MOST_BYTES = 1 << 20


class Tail(Output):
    """The last lines of an engine's log, each with a number that grows. Written by the thread that reads the log."""

    def __init__(self, label: str) -> None:
        super().__init__()
        self._prefix = f"[{label}] "
        self._lines: deque[str] = deque()
        self._size = 0
        self._guard = threading.Lock()
        self.count = 0  # of all lines so far

    def _write(self, text: str, error: bool) -> None:
        line = text.removeprefix(self._prefix)[:LINE_BYTES]
        with self._guard:
            self._lines.append(line)
            self._size += len(line)
            self.count += 1
            while len(self._lines) > MOST_LINES or self._size > MOST_BYTES:
                self._size -= len(self._lines.popleft())

    def since(self, number: int) -> tuple[list[str], int]:
        """Return the lines behind the one of that number, as far as they are still there, and the last one's number."""
        with self._guard:
            left = min(self.count - number, len(self._lines))
            return ([] if left <= 0 else list(self._lines)[-left:]), self.count


class Hosted:
    """An engine that was started: its process, and how it tells that it is ready."""

    def __init__(self, model: EngineModel, tail: Tail, secrets: Collection[str] = ()) -> None:
        planned = plan_model(model)
        plan = replace(planned.plan, inherits=inherited(os.environ, secrets))
        try:
            taken = is_taken(HOST, model.port)
        except OSError as error:
            raise EngineError(f"{HOST}:{model.port} cannot be looked at: {error.strerror or error}") from error
        if taken:
            raise EngineError(f"port {model.port} is taken: give it another one with engines.models.{model.name}.port")
        reads = read_bars if model.command else ENGINES[model.backend].percent
        self.health = planned.health
        self.in_container = bool(planned.plan.after)  # its processes are docker's, and not ours to be measured
        self.progress = Progress(reads, time.monotonic())
        self.process = Process(plan, tail, self.progress)


def plan_model(model: EngineModel) -> Planned:
    """Plan the process of an engine. Raises ``EngineError`` where it is not installed, or its model is not there."""
    if model.command:
        words = tuple(word.replace("{port}", str(model.port)) for word in model.command)
        plan = Plan(label=model.name, command=words, environment=model.environment, grace=GRACE)
        return Planned(plan=plan, health=model.health, model_name=model.model)
    engine = ENGINES[model.backend]
    options = model.args if isinstance(model.args, tuple) else write_options(model.args, engine.dashes)
    if engine.naming:  # the last one counts
        options = (*options, engine.naming, model.served)
    planned = plan_engine(
        Wanted(
            engine=engine,
            model=find_model(model.model),
            host=HOST,
            port=model.port,
            options=options,
            runtime=model.runtime,
            binary=model.binary,
            version=model.version,
            image=model.image,
            environment=model.environment,
        )
    )
    return replace(planned, plan=replace(planned.plan, label=model.name, environment=model.environment))
