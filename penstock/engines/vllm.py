"""vLLM: `vllm serve MODEL`, docs.vllm.ai/en/latest/cli/serve. Its image takes the options of `vllm serve`."""

from __future__ import annotations

from penstock.engines.spec import Engine, Image, Launch, Way, tag_or_latest


def _address(launch: Launch) -> list[str]:
    # The name it answers to is the model's path anyway; said here, a symbolic link or a cache cannot change it.
    return ["--host", launch.host, "--port", str(launch.port), "--served-model-name", launch.model, *launch.options]


def _serve(launch: Launch) -> list[str]:
    return ["serve", launch.model, *_address(launch)]


def _named(launch: Launch) -> list[str]:
    return ["--model", launch.model, *_address(launch)]


VLLM = Engine(
    name="vllm",
    title="vLLM",
    ways=(
        Way(program="vllm", arguments=_serve),
        Way(module="vllm.entrypoints.openai.api_server", arguments=_named),
    ),
    # Its processes share tensors through /dev/shm, of which a container has 64 MB: hence the host's.
    image=Image(name="vllm/vllm-openai", tag=tag_or_latest, arguments=_named, flags=("--ipc=host",)),
    naming="--served-model-name",
    install="pip install vllm",
)
