"""`penstock run-server`: a local engine, and the gateway in front of it, as one command."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from penstock.engines.planning import Wanted
    from penstock.engines.supervise import Front

BACKENDS = ("vllm", "llama", "trtllm", "sglang")
GROUP = "LiteLLM proxy options"
PORT = click.IntRange(1, 65535)


class RunServerCommand(click.Command):
    """`run-server`, whose help shows the gateway's options as a group of their own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        records: dict[bool, list[tuple[str, str]]] = {True: [], False: []}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None:
                records["litellm" in (param.name or "")].append(record)
        for title, ours in (("Options", False), (GROUP, True)):
            with formatter.section(title):
                formatter.write_dl(records[ours])


def _use_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """Take the gateway's port and alias from the file, where no option gives them."""
    from penstock.engines import EngineError
    from penstock.engines.defaults import load_defaults, read_gateway

    try:
        found = read_gateway(load_defaults(value))
    except EngineError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    ctx.default_map = {**(ctx.default_map or {}), "litellm_port": found.port, "litellm_alias": found.alias}
    return value


@click.command(
    "run-server",
    cls=RunServerCommand,
    short_help="Run a local engine, and the gateway in front of it.",
    epilog="More: docs/engines.md.",
)
@click.option("--model", metavar="PATH", help="Folder or .gguf file of the model, or its name on Hugging Face.")
@click.option(
    "--backend",
    type=click.Choice(BACKENDS),
    help="Which engine. Default: llama for GGUF, trtllm for TensorRT engines, vllm for all else.",
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where the engine listens.")
@click.option("--port", type=PORT, default=8000, show_default=True, help="The engine's port.")
@click.option(
    "--runtime",
    type=click.Choice(("auto", "native", "docker")),
    default="auto",
    show_default=True,
    help="How the engine runs. auto: as a program of this machine where it is installed, else in a container.",
)
@click.option("--binary", default="", metavar="FILE", help="The engine's program, where it is not on PATH.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=1800.0,
    show_default=True,
    metavar="SECONDS",
    help="How long the engine may take until it is ready.",
)
@click.option(
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    is_eager=True,
    callback=_use_config,
    help="A models.yaml: defaults.backends has each engine's version, image and args, and the gateway's defaults.",
)
@click.option("--with-litellm", is_flag=True, help="Run LiteLLM proxy in front of backend for normalized API")
@click.option("--litellm-port", type=PORT, default=4000, help="Port for LiteLLM proxy (default: 4000)")
@click.option(
    "--litellm-alias",
    default="local-model",
    metavar="NAME",
    help="Model alias exposed by LiteLLM (default: local-model)",
)
@click.option("--litellm-version", metavar="V", help="LiteLLM Docker image version (default: from config)")
@click.option(
    "--litellm-host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="Where the gateway listens, unless it is a container (default: 127.0.0.1)",
)
@click.argument("engine_options", nargs=-1, metavar="[-- OPTIONS]")
def run_server(**given: Any) -> None:
    """Start a local engine for a model and wait until it is ready; with --with-litellm, then the gateway in front of
    it, which speaks the APIs of OpenAI and Anthropic. Both end together. What follows -- goes to the engine.

    \b
    penstock run-server --model ~/models/qwen.gguf --with-litellm
    penstock run-server --model ~/models/GLM-FP8 --backend vllm --with-litellm -- --max-model-len 8192
    """
    from penstock.engines.supervise import run

    wanted, front = read_options(given)
    sys.exit(run(wanted, front, given["timeout"]))


def read_options(given: dict[str, Any]) -> tuple[Wanted, Front | None]:
    """Make of the options what is to be run. Raises ``click.ClickException`` for what cannot be."""
    from penstock.engines import ENGINES, EngineError
    from penstock.engines.defaults import find_unknown, load_defaults, read_engine, read_gateway
    from penstock.engines.models import find_model
    from penstock.engines.planning import Wanted
    from penstock.engines.supervise import Front

    if not given["model"]:
        raise click.UsageError("Missing option '--model': the model's folder or file, or its name on Hugging Face.")
    if given["with_litellm"] and given["port"] == given["litellm_port"]:
        raise click.UsageError("--port and --litellm-port are the same: the engine and the gateway need one each.")
    try:
        config = load_defaults(given["config"])
        model = find_model(given["model"])
        engine = ENGINES[given["backend"] or model.engine]
        said, gateway = read_engine(config, engine), read_gateway(config)
        for line in find_unknown(config, engine):
            click.echo(f"{given['config']}: {line}", err=True)
    except EngineError as error:
        raise click.ClickException(str(error)) from error
    options = (*said.options, *given["engine_options"])
    wanted = Wanted(
        engine=engine,
        model=model,
        host=given["host"],
        port=given["port"],
        options=options,
        runtime=given["runtime"],
        binary=given["binary"],
        version=said.version,
        image=said.image,
    )
    if not given["with_litellm"]:
        return wanted, None
    front = Front(
        port=given["litellm_port"],
        alias=given["litellm_alias"],
        version=given["litellm_version"] or gateway.version,
        image=gateway.image,
        host=given["litellm_host"],
    )
    return wanted, front
