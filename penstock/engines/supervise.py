"""An engine with the gateway in front of it: started in this order, watched, and stopped in the other one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.engines.control import Control
from penstock.engines.docker import LITELLM_IMAGE
from penstock.engines.gateway import LOCAL, write_config
from penstock.engines.keeper import clear
from penstock.engines.manager import GATEWAY_SECONDS, START_SECONDS, Manager
from penstock.engines.output import Output
from penstock.engines.planning import Wanted
from penstock.engines.spec import EngineError

LOOK_SECONDS = 0.25  # between two looks at whether both still run


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The gateway that is wanted in front of the engine."""

    port: int = 4000
    alias: str = "local-model"
    version: str = LOCAL
    image: str = LITELLM_IMAGE
    host: str = "127.0.0.1"
    timeout: float = GATEWAY_SECONDS


# What starts the engine below a manager, and returns whether it is ready.
Start = Callable[[Any, Wanted, float], bool]


def run(
    wanted: Wanted,
    front: Front | None,
    timeout: float = START_SECONDS,
    *,
    make: Callable[..., Any] = Manager,
    start: Start = Manager.start_backend,
) -> int:
    """Run an engine, and the gateway where one is wanted, until a signal comes or one of them ends.

    Returns the exit code: 128 + N after signal N, 1 where something did not start, or ended by itself. ``make`` makes
    what runs each of the two."""
    output = Output()
    with Control() as control:
        backend = make(port=wanted.port, control=control)
        gateway: Any = None
        config_path: Path | None = None
        try:
            if not start(backend, wanted, timeout):
                raise EngineError(f"{wanted.engine.title} did not start")
            output.say(f"{wanted.engine.title} ready at http://{name_host(wanted.host)}:{wanted.port}")
            if front is not None:
                name, host = backend.model_name or wanted.model.name, name_host(wanted.host)
                config_path = write_config(wanted.engine.name, wanted.port, front.alias, name, host)
                gateway = make(port=front.port, control=control)
                _start_gateway(gateway, front, config_path)
                output.say(f"LiteLLM proxy ready at http://localhost:{front.port}")
                output.say(f"Model alias: {front.alias}")
            while not control.stopped():
                backend.check()
                if gateway is not None:
                    gateway.check()
                control.wait(LOOK_SECONDS)
        except EngineError as error:
            if not control.stopped():
                output.complain(f"error: {error}")
        finally:
            # Whatever happens to the gateway's end, the engine's comes behind it.
            try:
                if gateway is not None:
                    gateway.stop()
            finally:
                backend.stop()
                if config_path is not None:  # the keeper has done it, unless the gateway was never started
                    clear([], _files(config_path))
        return 1 if control.signum is None else 128 + control.signum


def name_host(host: str) -> str:
    """Return the name under which the gateway reaches an engine that listens on an address: localhost where it can."""
    if host in ("127.0.0.1", "0.0.0.0", "localhost"):
        return "localhost"
    host = "::1" if host == "::" else host
    return f"[{host}]" if ":" in host else host


def _files(config_path: Path) -> tuple[str, ...]:
    return str(config_path), str(config_path.parent)


def _start_gateway(gateway: Any, front: Front, config_path: Path) -> None:
    ready = gateway.start_litellm_proxy(
        config_path=config_path,
        port=front.port,
        version=front.version,
        image=front.image,
        timeout=front.timeout,
        host=front.host,
        remove=_files(config_path),
    )
    if not ready:
        raise EngineError("LiteLLM proxy did not start")
