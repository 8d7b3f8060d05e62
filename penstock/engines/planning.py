"""From what was asked to what is started: the engine as a process of this machine where it is installed, else in a
container."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from penstock.engines.docker import build_engine_command, name_engine, remove_container
from penstock.engines.models import Model
from penstock.engines.process import Plan
from penstock.engines.spec import Engine, EngineError, Launch, Way

AUTO, NATIVE, CONTAINER = RUNTIMES = ("auto", "native", "docker")
GRACE = 15.0  # seconds that an engine may take to end after SIGTERM
# -P: what lies in the working folder, such as a checkout of the engine, is not taken for the installed package.
MODULE = ("-P", "-m")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """One engine, as it was asked for. ``options``: further ones of the engine's own; ``binary``: its program, where it
    is not on PATH; ``version`` and ``image``: of its container; ``environment``: variables that the container is given
    from those of the process."""

    engine: Engine
    model: Model
    host: str = "127.0.0.1"
    port: int = 8000
    options: tuple[str, ...] = ()
    runtime: str = AUTO
    binary: str = ""
    version: str = ""
    image: str = ""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What is started, where it says that it is ready, and the name by which it knows its model."""

    plan: Plan
    health: str
    model_name: str


def plan_engine(wanted: Wanted) -> Planned:
    """Plan one engine. Raises ``EngineError`` where it is not installed, and nothing can run its container."""
    if wanted.runtime != CONTAINER:
        found = _find_way(wanted)
        if found is not None:
            return _natively(wanted, *found)
        if wanted.runtime == NATIVE:
            raise EngineError(f"{wanted.engine.title} is not installed ({_looked_for(wanted.engine)}). {_help(wanted)}")
    if shutil.which("docker") is None:
        where = "" if wanted.runtime == CONTAINER else f" ({_looked_for(wanted.engine)})"
        raise EngineError(f"neither {wanted.engine.title}{where} nor docker is installed. {_help(wanted)}")
    words, launch = build_engine_command(
        wanted.engine,
        wanted.model,
        wanted.host,
        wanted.port,
        wanted.options,
        wanted.version,
        wanted.image,
        wanted.environment,
    )
    after = (remove_container(name_engine(wanted.engine, wanted.port)),)
    plan = Plan(label=wanted.engine.title, command=tuple(words), after=after, grace=GRACE)
    return Planned(plan=plan, health=wanted.engine.image.health, model_name=launch.model)


def _find_way(wanted: Wanted) -> tuple[Way, list[str]] | None:
    """Find how the engine runs here, and the first words of that command."""
    if wanted.binary:
        program = shutil.which(wanted.binary)
        if program is None:
            raise EngineError(f"{wanted.binary} is no program that can be run")
        return next(way for way in wanted.engine.ways if way.program or way.module), [program]
    for way in wanted.engine.ways:
        if way.program and (program := _which(way.program)) is not None:
            return way, [program]
        if way.module and _has_module(way.module):
            return way, [sys.executable, *MODULE, way.module]
    return None


def _which(program: str) -> str | None:
    """Find a program on PATH, or beside this Python: an environment need not be activated."""
    return shutil.which(program) or shutil.which(program, path=str(Path(sys.executable).parent))


def _has_module(module: str) -> bool:
    """Tell whether this Python has the package of a module; the package is not imported, which may take a minute."""
    return find_spec(module.split(".")[0]) is not None


def _natively(wanted: Wanted, way: Way, first: list[str]) -> Planned:
    model = wanted.model
    launch = Launch(
        model=model.name if model.path is None else str(model.path),
        host=wanted.host,
        port=wanted.port,
        remote=model.path is None,
        projector="" if model.projector is None else str(model.projector),
        options=wanted.options,
    )
    plan = Plan(label=wanted.engine.title, command=(*first, *way.arguments(launch)), grace=GRACE)
    return Planned(plan=plan, health=way.health, model_name=launch.model)


def _looked_for(engine: Engine) -> str:
    names = [f"{way.program} on PATH" for way in engine.ways if way.program]
    names += [f"the Python package {way.module.split('.')[0]}" for way in engine.ways if way.module]
    return "looked for " + " and ".join(names)


def _help(wanted: Wanted) -> str:
    return f"Install it ({wanted.engine.install}), name its program with --binary, or install docker."
