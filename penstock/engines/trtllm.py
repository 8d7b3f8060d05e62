"""TensorRT-LLM: `trtllm-serve MODEL`, nvidia.github.io/TensorRT-LLM/commands/trtllm-serve, options with underscores."""

from __future__ import annotations

from penstock.engines.spec import Engine, Image, Launch, Way, tag_or_latest


def _arguments(launch: Launch) -> list[str]:
    return [launch.model, "--host", launch.host, "--port", str(launch.port), *launch.options]


TRTLLM = Engine(
    name="trtllm",
    title="TensorRT-LLM",
    ways=(
        Way(program="trtllm-serve", arguments=_arguments),
        Way(module="tensorrt_llm.commands.serve", arguments=_arguments),
    ),
    image=Image(
        name="nvcr.io/nvidia/tensorrt-llm/release",
        tag=tag_or_latest,
        arguments=_arguments,
        command=("trtllm-serve",),
        flags=("--ipc=host", "--ulimit", "memlock=-1", "--ulimit", "stack=67108864"),
    ),
    dashes=False,
    install="pip install tensorrt_llm",
)
