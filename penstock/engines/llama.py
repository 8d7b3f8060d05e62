"""llama.cpp: `llama-server -m FILE`, tools/server/README.md in its repository; or the server of llama-cpp-python."""

from __future__ import annotations

from penstock.engines.progress import read_dots
from penstock.engines.spec import Engine, EngineError, Image, Launch, Way


def _server(launch: Launch) -> list[str]:
    words = ["-hf" if launch.remote else "-m", launch.model]
    if launch.projector:
        words += ["--mmproj", launch.projector]
    # --jinja: the model's own chat template, without which there are no tool calls.
    return [*words, "--host", launch.host, "--port", str(launch.port), "--jinja", *launch.options]


def _python(launch: Launch) -> list[str]:
    if launch.remote:
        raise EngineError(f"llama-cpp-python's server loads files: download {launch.model}, or install llama-server")
    words = ["--model", launch.model]
    if launch.projector:
        words += ["--clip_model_path", launch.projector]
    return [*words, "--host", launch.host, "--port", str(launch.port), *launch.options]


def _tag(version: str, gpu: bool) -> str:
    """Return the tag of the server's image: `server`, `server-cuda`, `server-b7349`, `server-cuda-b7349`."""
    if version.startswith("server"):
        return version
    return "-".join(word for word in ("server", "cuda" if gpu else "", version) if word)


LLAMA = Engine(
    name="llama",
    title="llama.cpp",
    ways=(
        Way(program="llama-server", arguments=_server),
        # It has no health URL, and answers nothing before the model is loaded.
        Way(module="llama_cpp.server", arguments=_python, health="/v1/models"),
    ),
    image=Image(name="ghcr.io/ggml-org/llama.cpp", tag=_tag, arguments=_server),
    install="brew install llama.cpp, winget install llama.cpp, or a release of github.com/ggml-org/llama.cpp",
    percent=read_dots,
)
