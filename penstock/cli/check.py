"""`penstock check FILE`: every problem of a config file at once, offline."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from penstock.cli.environment import environment

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="More: docs/config.md.")
@click.argument("file", type=_FILE, required=False)
@click.option("-c", "--config", type=_FILE, metavar="FILE", help="The same as FILE, as `serve` has it.")
def check(file: Path | None, config: Path | None) -> None:
    """Validate the config FILE without starting anything and without calling anyone.

    Prints every error and warning as `file:line: key.path: error: what is wrong and what would be right`, sorted. Exit
    code 1 when there is an error, 0 when there are only warnings or nothing.
    """
    from penstock.config.load import load
    from penstock.config.redis import shared_redis
    from penstock.config.text import report
    from penstock.core.providers.resolve import resolve
    from penstock.runtime.review import review
    from penstock.server.sources.mock import STARTED

    if (file is None) == (config is None):
        raise click.UsageError("Missing argument 'FILE'." if file is None else "Give FILE once.")
    path = file or config
    assert path is not None
    loaded = load(path, environment(), resolve=resolve)
    if loaded.config is not None:
        found = (*loaded.problems, *review(loaded.config, {**STARTED, **loaded.config.environment}))
        in_order = sorted(found, key=lambda one: (one.file, one.line, one.path, one.level))
        loaded = replace(loaded, problems=tuple(in_order))
    if loaded.config is not None and (settings := shared_redis(loaded.config).settings) is not None:
        click.echo(f"Processes share their state through Redis at {settings.place} ({settings.source}).")
    click.echo(report(loaded))
    sys.exit(1 if loaded.errors else 0)
