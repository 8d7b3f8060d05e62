"""`penstock completion SHELL`: click's own completion script, printed."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    bash   penstock completion bash >> ~/.bashrc
    zsh    penstock completion zsh >> ~/.zshrc
    fish   penstock completion fish > ~/.config/fish/completions/penstock.fish
    """
    from penstock.cli.group import cli

    complete = get_completion_class(shell)
    assert complete is not None  # the three of SHELLS come with click
    click.echo(complete(cli, {}, "penstock", "_PENSTOCK_COMPLETE").source())
