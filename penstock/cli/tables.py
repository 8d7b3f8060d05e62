"""Tables of text, for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import click

WIDEST = 60  # characters of a column; a longer cell moves the rest of its own row


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> None:
    """Print rows under their header; ``right``: the columns whose cells end at the same place, as figures do."""
    widths = [min(WIDEST, max(len(row[at]) for row in (header, *rows))) for at in range(len(header))]
    click.secho(_line(header, widths, right), bold=True)
    for row in rows:
        click.echo(_line(row, widths, right))


def _line(cells: Sequence[str], widths: Sequence[int], right: Collection[int]) -> str:
    placed = (
        cell.rjust(width) if at in right else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join(placed).rstrip()
