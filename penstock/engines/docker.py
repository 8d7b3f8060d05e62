"""Command lines for docker: an engine's container, and the gateway's."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from penstock.engines.models import Model
from penstock.engines.spec import Engine, EngineError, Launch

LITELLM_VERSION = "1.56.5"
LITELLM_IMAGE = "ghcr.io/berriai/litellm"
LITELLM_NAME = "litellm-proxy"
MODELS = "/models"  # where a container sees the model
# Of the environment; the values never stand in a command line, which everybody on the machine can read.
_PASSED = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_ENDPOINT")


def build_litellm_docker_cmd(
    config_path: Path,
    port: int = 4000,
    version: str = LITELLM_VERSION,
    image: str = LITELLM_IMAGE,
    name: str = LITELLM_NAME,
) -> list[str]:
    """Build the command that runs the gateway in a container, with the host's network: there it reaches the engine."""
    words = ["docker", "run", "--rm", "--network", "host", "-v", f"{_mountable(config_path)}:/app/config.yaml:ro"]
    words += ["--name", name, f"{image}:{version}"]
    return [*words, "--config", "/app/config.yaml", "--port", str(port), "--host", "0.0.0.0"]


def name_gateway(port: int) -> str:
    """Return the name of the gateway's container: two of them on one machine have two ports."""
    return LITELLM_NAME if port == 4000 else f"{LITELLM_NAME}-{port}"


def name_engine(engine: Engine, port: int) -> str:
    """Return the name of an engine's container."""
    return f"penstock-{engine.name}-{port}"


def remove_container(name: str) -> tuple[str, ...]:
    """Return the command that removes a container, running or not."""
    return ("docker", "rm", "--force", name)


def has_gpu() -> bool:
    """Tell whether this machine has an NVIDIA GPU that containers can be given."""
    return shutil.which("nvidia-smi") is not None


def build_engine_command(
    engine: Engine,
    model: Model,
    host: str,
    port: int,
    options: tuple[str, ...],
    version: str = "",
    image: str = "",
    environment: Iterable[str] = (),
) -> tuple[list[str], Launch]:
    """Build the command that runs an engine in a container, and return what the engine is told in it, too.
    ``environment``: variables of docker's that it is given."""
    gpu = has_gpu()
    words = ["docker", "run", "--rm", "--network", "host", "--name", name_engine(engine, port)]
    words += ["--gpus", "all"] if gpu else []
    words += engine.image.flags
    mounts, launch = _inside(model, host, port, options)
    for outside, inside in mounts:
        words += ["-v", f"{_mountable(outside)}:{inside}"]
    for variable in dict.fromkeys((*(name for name in _PASSED if name in os.environ), *environment)):
        words += ["-e", variable]
    words.append(f"{image or engine.image.name}:{engine.image.tag(version, gpu)}")
    return [*words, *engine.image.command, *engine.image.arguments(launch)], launch


def _inside(model: Model, host: str, port: int, options: tuple[str, ...]) -> tuple[list[tuple[Path, str]], Launch]:
    """Find what of this machine the container must see, and the model's name as it sees it."""
    if model.path is None:
        home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache/huggingface")
        launch = Launch(model=model.name, host=host, port=port, remote=True, options=options)
        return [(home, "/root/.cache/huggingface")], launch
    # A file is seen with its folder: its other shards and its projector are there.
    folder = model.path if model.path.is_dir() else model.path.parent
    mounts = [(folder, f"{MODELS}/{folder.name}:ro" if model.path.is_dir() else f"{MODELS}:ro")]
    name = f"{MODELS}/{model.path.name}"
    projector = ""
    if model.projector is not None:
        if model.projector.parent != folder:
            mounts.append((model.projector.parent, "/projector:ro"))
        projector = f"{MODELS if model.projector.parent == folder else '/projector'}/{model.projector.name}"
    return mounts, Launch(model=name, host=host, port=port, projector=projector, options=options)


def _mountable(path: Path) -> str:
    text = str(path)
    if ":" in text:
        raise EngineError(f"docker cannot mount {text}: a colon parts the two sides of -v; use a link without one")
    return text
