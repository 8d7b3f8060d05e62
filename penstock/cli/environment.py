"""What the command line takes from the environment: `.env` in the working directory, and option defaults."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import click


def environment() -> dict[str, str]:
    """Lay the process environment over the entries of `.env` in the working directory; no `.env` is no error.

    Raises click.ClickException when the file is there and cannot be read.
    """
    if not Path(".env").is_file():
        return dict(os.environ)
    from penstock.config.environ import load_dotenv

    try:
        return load_dotenv(Path.cwd(), os.environ)
    except OSError as error:
        raise click.ClickException(f"cannot read .env: {error.strerror}") from error


def defaults(params: list[click.Parameter], env: Mapping[str, str]) -> dict[str, str]:
    """Collect option defaults from `env`, for click's `default_map`: the first variable of each option that is set.

    click reads the process environment itself; this adds what only `.env` names.
    """
    found = {}
    for param in params:
        names = [param.envvar] if isinstance(param.envvar, str) else (param.envvar or ())
        value = next((env[name] for name in names if env.get(name)), None)
        if param.name and value is not None:
            found[param.name] = value
    return found
