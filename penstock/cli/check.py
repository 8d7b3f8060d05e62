"""`penstock check FILE`: every problem of a config file at once, offline."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from penstock.cli.environment import environment


@click.command(epilog="More: docs/config.md.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Validate the config FILE without starting anything and without calling anyone.

    Prints every error and warning as `file:line: key.path: what is wrong and what would be right`, sorted. Exit code
    1 when there is an error, 0 when there are only warnings or nothing.
    """
    from penstock.config.load import load
    from penstock.config.text import report
    from penstock.core.providers.resolve import resolve

    loaded = load(file, environment(), resolve=resolve)
    click.echo(report(loaded))
    sys.exit(1 if loaded.errors else 0)
