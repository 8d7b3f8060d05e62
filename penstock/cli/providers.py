"""`penstock providers`: the table of who can be called, and which of them have a key here."""

from __future__ import annotations

from collections.abc import Mapping

import click

from penstock.cli.environment import environment
from penstock.core.providers import PROVIDERS
from penstock.core.providers.spec import Provider

HEADER = ("provider", "here", "dialects", "key variable", "base URL")
WIDEST = 44  # a longer cell moves the rest of its own row, not of all rows


@click.command(epilog="More: docs/config.md.")
def providers() -> None:
    """List the known providers.

    The name is the part of a model before its first slash: `groq/llama-3.3-70b`. `here` says whether a key is set
    in the environment or in .env; local engines need none.
    """
    env = environment()
    rows = [_row(PROVIDERS[name], env) for name in sorted(PROVIDERS)]
    widths = [min(WIDEST, max(map(len, column))) for column in zip(HEADER, *rows, strict=True)]
    for row in (HEADER, *rows):
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    ready = sum(row[1] == "key set" for row in rows)
    click.echo(f"\n{len(rows)} providers, {ready} with a key here.")


def _row(provider: Provider, env: Mapping[str, str]) -> tuple[str, ...]:
    """One line. A base URL that only the environment knows shows as its variable."""
    base = provider.base or (f"${provider.bases[0]}" if provider.bases else "(set api_base)")
    keys = " or ".join(provider.keys) or "-"
    here = "key set" if any(env.get(key) for key in provider.keys) else "local" if provider.local else "-"
    return provider.name, here, ", ".join(provider.dialects) or "-", keys, base
