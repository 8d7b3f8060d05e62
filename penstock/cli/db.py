"""`penstock db`: what a gateway keeps, looked at, upgraded, copied and moved."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.databases import opened, progress, which_database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.stores.sql.copying import Sum

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group(epilog="More: docs/database.md.")
def db() -> None:
    """Look at the database of keys, teams and spend, upgrade, copy or move it.

    Without options the database is the one that `penstock serve` would use here: DATABASE_URL, else SQLite in the state
    directory.

    \b
    penstock db status
    penstock db export backup.jsonl.gz
    penstock db move --to postgresql://penstock:PASSWORD@db.example.com/penstock
    """


@db.command()
@which_database
def status(**which: Any) -> None:
    """Tell where the database is, whether it answers, and how much it holds.

    Changes nothing. Exit code 1 where it does not answer, or its tables are not those of this version.
    """
    from penstock.stores.sql import copying, migrate

    with opened(which) as database:
        click.echo(f"Database: {database.address.where}")
        found = database.read_now(migrate.version)
        if found != migrate.HEAD:
            state = f"at migration {found}, this version is at {migrate.HEAD}" if found else "none of Penstock's"
            raise click.ClickException(f"the tables are {state}: `penstock db upgrade`")
        click.echo(f"Tables:   at migration {found}, the newest")
        for name, count in database.read_now(copying.count_rows).items():
            click.echo(f"  {name:<32} {count:>12,}")


@db.command()
@which_database
def upgrade(**which: Any) -> None:
    """Make the tables, or bring them to this version.

    `penstock serve` does the same at each start. It is done under a lock, so running gateways may go on; older versions
    go on working beside a newer one until one says that they cannot.
    """
    from penstock.stores.sql.migrate import upgrade as bring

    with opened(which, makes=True) as database:
        done = bring(database)
        click.echo(f"{database.address.where}: {done or 'nothing to do'}")


@db.command()
@click.argument("file", type=_FILE)
@which_database
def export(file: Path, **which: Any) -> None:
    """Write all that the database holds into FILE, as lines of JSON.

    It is compressed where its name ends with .gz, and only its owner may read it: it has credentials (encrypted) and
    digests of keys. What it holds is of one moment, also while a gateway runs. To use the keys elsewhere, the secret
    (PENSTOCK_SECRET_KEY, or the file `secret` of the state directory) must go with it: it is not in there.
    """
    from penstock.stores.sql.copying import count_rows, write_file

    with opened(which) as database:
        rows = sum(database.read_now(count_rows).values())
        with progress(rows, "Exporting") as told:
            sums = database.read_now(lambda source: write_file(source, file, told))
    _show(sums, f"Exported from {database.address.where} to {file}.")


@db.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@which_database
def import_(file: Path, **which: Any) -> None:
    """Read FILE, which `penstock db export` wrote, into an empty database.

    All or nothing: it is one transaction, the checksum of every table is compared, and whatever goes wrong leaves the
    database empty. A database that has rows is refused.
    """
    from penstock.stores.sql import migrate
    from penstock.stores.sql.copying import read_file

    with opened(which, makes=True) as database:
        migrate.upgrade(database)
        with progress(0, "Importing") as told:
            sums = database.write_now(lambda target: read_file(file, target, told))
    _show(sums, f"Imported from {file} into {database.address.where}.")


@db.command()
@click.option("--to", required=True, metavar="URL", help="The database that is to be filled. It must be empty.")
@which_database
def move(to: str, **which: Any) -> None:
    """Copy all that the database holds into an empty one, such as from SQLite to PostgreSQL.

    All or nothing: it is one transaction over there, the checksum of every table is compared, and whatever goes wrong
    leaves the new database empty; then begin again. The old one is only read: delete it when you like. Stop the gateway
    first: what it writes meanwhile would stay behind. Then set DATABASE_URL to the new one, and PENSTOCK_SECRET_KEY to
    the secret of the old (the file `secret` of its state directory).
    """
    from penstock.stores.sql import migrate
    from penstock.stores.sql.copying import copy_all, count_rows

    with opened(which) as source, opened({"url": to}, makes=True) as target:
        if source.address == target.address:
            raise click.ClickException(f"{source.address.where} is both the old and the new one")
        migrate.upgrade(source)
        rows = sum(source.read_now(count_rows).values())
        migrate.upgrade(target)
        with progress(rows, "Moving") as told:
            sums = source.read_now(lambda old: target.write_now(lambda new: copy_all(old, new, told)))
    _show(sums, f"Moved from {source.address.where} to {target.address.where}.")


def _show(sums: Mapping[str, Sum], text: str) -> None:
    for name, found in sums.items():
        click.echo(f"  {name:<32} {found.rows:>12,}  {found.checksum[:16]}")
    click.echo(text)
