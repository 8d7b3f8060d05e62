"""`penstock check FILE`: every problem of a config file at once, offline."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.environment import environment

if TYPE_CHECKING:
    from penstock.config import Config, Problem


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

    env = environment()
    loaded = load(file, env, resolve=resolve)
    if loaded.config is not None:
        loaded = replace(loaded, problems=(*loaded.problems, *_unlent(loaded.config)))
    click.echo(report(loaded))
    sys.exit(1 if loaded.errors else 0)


def _unlent(config: Config) -> Iterator[Problem]:
    """Yield a warning for each entry whose address does not get the key of the environment."""
    from penstock.config import Problem
    from penstock.core.providers import get
    from penstock.core.providers.lending import withheld, withheld_message
    from penstock.runtime.building import address_of

    for deployment in config.deployments:
        provider = get(deployment.provider)
        if provider is None or deployment.api_key is not None:
            continue
        address = address_of(deployment, provider)
        if address and (names := withheld(provider, address, config.environment)):
            text = withheld_message(provider, deployment.model_name, address, names)
            yield Problem(deployment.file, deployment.line, "", text, "warning")
