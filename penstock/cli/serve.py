"""`penstock serve`: turn the command line into `ServeOptions` and run the server."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import click

from penstock.cli.environment import defaults, environment

_NOTES = "penstock.notes"
DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 4000

# Options of `litellm` that choose its own machinery. Start scripts carry them along, so they are accepted, with a word.
LITELLM_WITHOUT_EFFECT = (
    "--run_gunicorn",
    "--run_hypercorn",
    "--run_granian",
    "--use_prisma_db_push",
    "--use_queue",
    "--local",
)

# Options of `litellm` that would change what is served: they are refused, with the place where Penstock has it.
LITELLM_ELSEWHERE = {
    **dict.fromkeys(
        ("--model", "-m", "--alias", "--api_base", "--api_version", "--temperature", "--max_tokens", "--headers"),
        "Write it into a config file, under model_list.",
    ),
    **dict.fromkeys(
        ("--request_timeout", "--drop_params", "--add_function_to_prompt", "--max_budget"),
        "Write it into a config file, under litellm_settings.",
    ),
    **dict.fromkeys(
        ("--ssl_keyfile_path", "--ssl_certfile_path", "--ciphers"),
        "Penstock serves plain HTTP; docs/deploy.md shows TLS in front of it.",
    ),
    "--validate_config": "Use `penstock check FILE`.",
    "--health": "Ask a running gateway: curl http://127.0.0.1:4000/health.",
    "--test": "Ask a running gateway: curl http://127.0.0.1:4000/v1/models.",
}


class ServeCommand(click.Command):
    """`serve`, with `.env` as a source of option defaults and an answer for LiteLLM's other options."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: object
    ) -> click.Context:
        env = environment()
        values = defaults(self.params, env)
        # LiteLLM reads HOST. conda and csh export that name with other contents: it counts only as an address.
        if _is_address(env.get("HOST", "")):
            values.setdefault("host", env["HOST"])
        extra.setdefault("default_map", values)
        return super().make_context(info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if error.option_name in LITELLM_ELSEWHERE:
                ctx.fail(f"{error.option_name} is an option of litellm. {LITELLM_ELSEWHERE[error.option_name]}")
            raise


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return value == "localhost"
    return True


def _without_effect(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        note = f"{param.opts[0]} has no effect: Penstock has no counterpart of that part of litellm."
        ctx.meta[_NOTES] = (*ctx.meta.get(_NOTES, ()), note)


def _litellm_flags(command: click.Command) -> click.Command:
    for flag in LITELLM_WITHOUT_EFFECT:
        option = click.Option([flag], is_flag=True, hidden=True, expose_value=False, callback=_without_effect)
        command.params.append(option)
    return command


@click.command(cls=ServeCommand, epilog="More: docs/cli.md, docs/config.md, docs/security.md, docs/deploy.md.")
@click.option(
    "-c",
    "--config",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    envvar=["PENSTOCK_CONFIG", "CONFIG_FILE_PATH"],
    help="Config file in LiteLLM's YAML. Without one: every provider whose key is in the environment, every local "
    "engine that answers on its default port, and mock/echo.",
)
@click.option(
    "--host",
    default=DEFAULT_HOST,
    show_default=True,
    metavar="ADDRESS",
    envvar=["PENSTOCK_HOST"],
    help="Address to listen on. Without a master key only callers on this machine are served; see --no-auth.",
)
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    default=DEFAULT_PORT,
    show_default=True,
    envvar=["PENSTOCK_PORT", "PORT"],
    help="Port to listen on; when it is taken, Penstock says so and exits. 0: any free port.",
)
@click.option(
    "-w",
    "--workers",
    "--num_workers",
    type=click.IntRange(1, 512),
    metavar="N",
    default=1,
    show_default=True,
    envvar=["PENSTOCK_WORKERS", "NUM_WORKERS"],
    help="Processes that share the port.",
)
@click.option(
    "--grace",
    type=click.FloatRange(0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    envvar=["PENSTOCK_GRACE"],
    help="How long running answers may take to finish after SIGTERM.",
)
@click.option(
    "--no-auth",
    is_flag=True,
    envvar=["PENSTOCK_NO_AUTH"],
    help="Without a master key, serve everybody who can reach the address. Warns at every start.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    envvar=["PENSTOCK_LOG_FORMAT"],
    help="Form of the log lines. Default: JSON_LOGS or the config's json_logs, else text.",
)
@click.option("--json-logs", "--json_logs", is_flag=True, help="The same as --log-format json.")
@click.option(
    "--verbose",
    "--debug",
    "--detailed_debug",
    is_flag=True,
    help="Log each request's way; as set_verbose in the config, or LITELLM_LOG=DEBUG.",
)
@click.option(
    "--max-body-mb",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MB",
    envvar=["PENSTOCK_MAX_BODY_MB"],
    help="Largest request body; a larger one gets 413. Default: 32.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Where keys, teams and spend are kept (penstock.db), and the secret of the keys. Default: PENSTOCK_STATE_DIR, "
    "else ~/.local/state/penstock. It is used where a master key is set, or this option is given.",
)
@click.option("--fd", type=click.IntRange(0), hidden=True, help="An inherited listening socket.")
@click.option("--models-fd", type=click.IntRange(0), hidden=True, help="An inherited file of stored models.")
@click.option("--counts", hidden=True, help="Inherited files of what is counted.")
def serve(
    config: Path | None,
    host: str,
    port: int,
    workers: int,
    grace: float,
    no_auth: bool,
    log_format: str | None,
    json_logs: bool,
    verbose: bool,
    max_body_mb: float | None,
    state_dir: Path | None,
    fd: int | None,
    models_fd: int | None,
    counts: str | None,
) -> None:
    """Start the gateway.

    \b
    penstock serve
    penstock serve --config config.yaml
    penstock serve --config config.yaml --host 0.0.0.0 --workers 4
    """
    from penstock.server.options import ServeOptions
    from penstock.server.run import serve as run

    options = ServeOptions(
        config=config,
        host=host,
        port=port,
        workers=workers,
        grace=grace,
        no_auth=no_auth,
        json_logs=True if json_logs else None if log_format is None else log_format == "json",
        verbose=verbose,
        max_body_mb=max_body_mb,
        state_dir=state_dir,
        fd=fd,
        models_fd=models_fd,
        counts=counts,
        notes=click.get_current_context().meta.get(_NOTES, ()),
    )
    sys.exit(run(options))


_litellm_flags(serve)
