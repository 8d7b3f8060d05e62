"""Which database a command works on, how it is opened, and how far a long command is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.environment import environment

if TYPE_CHECKING:
    from penstock.stores.sql.database import Database


def which_database(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take the options that say which database is meant."""
    options = (
        click.option("-c", "--config", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE",
                     envvar=["PENSTOCK_CONFIG", "CONFIG_FILE_PATH"], help="The database of this config file."),
        click.option("--state-dir", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
                     help="The SQLite file in this state directory."),
        click.option("--url", metavar="URL", help="This database: postgresql://..., mysql://... or sqlite:///FILE."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@contextmanager
def opened(which: Mapping[str, Any], makes: bool = False) -> Iterator[Database]:
    """Open the database that somebody means, and tell what is wrong in one line. ``makes``: it may be a new file."""
    from penstock.server.options import Refused
    from penstock.stores.sql.copying import Wrong
    from penstock.stores.sql.database import Database
    from penstock.stores.sql.migrate import Unusable

    try:
        address = address_of(which)
        if address.kind == "sqlite" and not Path(address.database).exists():
            if not makes:
                raise click.ClickException(f"there is no file {address.database}: `penstock serve` makes it")
            Path(address.database).parent.mkdir(0o700, parents=True, exist_ok=True)
        database = Database(address)
        try:
            yield database
        finally:
            database.close()
    except (Refused, Wrong, Unusable, ValueError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from None


def address_of(which: Mapping[str, Any]) -> Any:
    from penstock.stores.sql.address import file_address, read_address

    if which.get("url"):
        try:
            return read_address(which["url"])
        except ValueError as error:
            raise ValueError(f"--url {error}" if "state_dir" in which else f"--to {error}") from None
    from penstock.server import statedir
    from penstock.server.options import ServeOptions
    from penstock.server.sources.base import gather
    from penstock.server.sources.registered import sources_of
    from penstock.server.storage import database_address

    config, problems = asyncio.run(gather(sources_of(which["config"], environment)[:1]))
    if config is None:
        for problem in problems:
            click.echo(f"{problem.level}: {problem}", err=True)
        raise click.ClickException(f"{which['config']} cannot be read")
    address, _ = database_address(config, ServeOptions(state_dir=which["state_dir"]))
    # Without a master key, `serve` has none; whoever asks for it by this command means the one that it would have.
    folder = statedir.state_folder(which["state_dir"], config.environment)
    return address or file_address(folder / statedir.DATABASE)


@contextmanager
def progress(rows: int, label: str) -> Iterator[Callable[[int], None]]:
    if not rows or not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=rows, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar.update
