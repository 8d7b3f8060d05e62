"""Starts a local engine for a model, and with --with-litellm the gateway in front of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import click
from server_manager import ServerManager

from penstock.cli.run_server import read_options, run_server
from penstock.engines.planning import Wanted
from penstock.engines.supervise import run

CONFIG = Path(__file__).resolve().parent.parent / "config" / "models.yaml"
STARTS = {"vllm": "start_vllm", "llama": "start_gguf_backend", "trtllm": "start_trtllm", "sglang": "start_sglang"}


def parse_args(argv: Sequence[str] | None = None) -> SimpleNamespace:
    """Read the options; where one is missing, `config/models.yaml` has the default."""
    defaults = {"config": str(CONFIG)} if CONFIG.is_file() else {}
    args = list(sys.argv[1:] if argv is None else argv)
    context = run_server.make_context("run_server.py", args, default_map=defaults)
    return SimpleNamespace(**context.params)


def start_backend(manager: ServerManager, wanted: Wanted, timeout: float) -> bool:
    """Start the engine that is wanted with the manager's own method for it."""
    start = getattr(manager, STARTS[wanted.engine.name])
    ready: bool = start(
        wanted.model.name,
        port=wanted.port,
        host=wanted.host,
        options=wanted.options,
        runtime=wanted.runtime,
        binary=wanted.binary,
        version=wanted.version,
        image=wanted.image,
        timeout=timeout,
    )
    return ready


def main(argv: Sequence[str] | None = None) -> int:
    """Run until a signal comes, or something ends by itself. Returns the exit code."""
    try:
        args = parse_args(argv)
        wanted, front = read_options(vars(args))
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return run(wanted, front, args.timeout, make=ServerManager, start=start_backend)


if __name__ == "__main__":
    sys.exit(main())
