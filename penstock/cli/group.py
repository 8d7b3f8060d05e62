"""The click group: which commands exist, and LiteLLM's spelling without a command."""

from __future__ import annotations

import difflib
from importlib import import_module

import click

from penstock import version_text
from penstock.cli.version import VERSION_FLAGS

# name -> (module, object in it, the line that `penstock --help` shows). A module is imported when its command runs,
# so that `--help` and `check` never pay for the server.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "serve": ("penstock.cli.serve", "serve", "Start the gateway."),
    "check": ("penstock.cli.check", "check", "Validate a config file without starting anything."),
    "mock": ("penstock.cli.mock", "mock", "Start a fake upstream that speaks the real protocol, for tests."),
    "run-server": ("penstock.cli.run_server", "run_server", "Run a local engine, and the gateway in front of it."),
    "providers": ("penstock.cli.providers", "providers", "List the known providers, their URLs and key variables."),
    "explain": ("penstock.cli.explain", "explain", "Tell where a request for a model would go, and why."),
    "db": ("penstock.cli.db", "db", "Look at the database of keys and spend; upgrade, copy or move it."),
    "batch": ("penstock.cli.batch", "batch", "Ask many requests of a file, with progress, and go on where it ended."),
    "spend": ("penstock.cli.spend", "spend", "Sum up what requests cost, write it out, compare it with a bill."),
    "import": ("penstock.cli.imports", "import_", "Copy keys, teams and spend from LiteLLM."),
    "completion": ("penstock.cli.completion", "completion", "Print the shell completion script."),
}

HELP = """One HTTP door in front of every LLM.

Clients speak OpenAI's API to http://127.0.0.1:4000/v1; Penstock calls the provider or local engine that
the requested model name stands for.

\b
Start here:
  penstock serve                          every provider with a key in the environment,
                                          every local engine that runs, and mock/echo
  penstock serve --config config.yaml     the models of a file (LiteLLM's format)
  penstock check config.yaml              what is wrong in it, with line numbers
\b
Then, from another terminal:
  curl http://127.0.0.1:4000/v1/models
  curl http://127.0.0.1:4000/v1/chat/completions -H 'Content-Type: application/json' \\
    -d '{"model": "mock/echo", "messages": [{"role": "user", "content": "Hello"}]}'

Without a command the options go to `serve`, as with LiteLLM: `penstock --config config.yaml --port 4000`.
"""

EPILOG = "More: `penstock COMMAND --help`; docs/cli.md, docs/config.md, docs/deploy.md, docs/security.md."


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports each one only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, _, help_line) in COMMANDS.items()])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else "--help"
        if first.startswith("-") and first not in ("--help", "-h", *VERSION_FLAGS):
            args = ["serve", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS:
            near = difflib.get_close_matches(name.lower(), COMMANDS, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else "The commands are: " + ", ".join(COMMANDS) + "."
            ctx.fail(f"No such command '{name}'. {hint}")
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    help=HELP,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(version_text(), *VERSION_FLAGS, message="penstock %(version)s")
def cli() -> None:
    """Do nothing by itself; see HELP."""
