"""SGLang: `python -m sglang.launch_server --model-path MODEL`, docs.sglang.ai/advanced_features/server_arguments."""

from __future__ import annotations

from penstock.engines.spec import Engine, Image, Launch, Way, tag_or_latest


def _arguments(launch: Launch) -> list[str]:
    words = ["--model-path", launch.model, "--served-model-name", launch.model]
    return [*words, "--host", launch.host, "--port", str(launch.port), *launch.options]


SGLANG = Engine(
    name="sglang",
    title="SGLang",
    ways=(Way(module="sglang.launch_server", arguments=_arguments),),
    image=Image(
        name="lmsysorg/sglang",
        tag=tag_or_latest,
        arguments=_arguments,
        command=("python3", "-m", "sglang.launch_server"),
        flags=("--ipc=host",),
    ),
    naming="--served-model-name",
    install="pip install sglang",
)
