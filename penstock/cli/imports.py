"""`penstock import`: what another gateway knows is copied into this one's database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.databases import address_of, opened, progress, which_database
from penstock.cli.environment import environment
from penstock.cli.tables import print_table

if TYPE_CHECKING:
    from penstock.stores.litellm.reading import Import
    from penstock.stores.sql.database import Database

_SHOWN = 20  # sentences about what could not be taken as it is


@click.group("import", epilog="More: docs/from-litellm.md.")
def import_() -> None:
    """Copy keys, teams, users, budgets and spend from another gateway.

    \b
    penstock import litellm --database-url postgresql://... --dry-run
    """


@import_.command()
@click.option("--database-url", required=True, metavar="URL", envvar="LITELLM_DATABASE_URL",
              help="LiteLLM's PostgreSQL. It is only read.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Tell what would be done, and change nothing.")
@click.option("--models", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write models and credentials into this config file (mode 600) instead.")  # fmt: skip
@click.option("--salt-key", envvar="LITELLM_SALT_KEY", metavar="KEY",
              help="LiteLLM's LITELLM_SALT_KEY, or its master key where it has none: opens them.")  # fmt: skip
@which_database
def litellm(database_url: str, dry_run: bool, models: Path | None, salt_key: str | None, **which: Any) -> None:
    """Copy what LiteLLM keeps in its PostgreSQL into the database of this gateway.

    Keys work at once, as they are: LiteLLM has their SHA-256, which is replaced by a digest of our own at their first
    use. Users, teams and their members, organisations, projects, budgets, customers, tags, access groups and the sums
    of spend per day come along, and what each budget has spent so far. Run it again whenever you like: what is here
    already, or was deleted here, stays as it is; sums per day are brought up to date.

    Models and credentials come along where the salt key is given: sealed with the secret of this gateway, or with
    --models FILE into a config file.
    """
    from penstock.stores.litellm.reading import Import, NotLiteLLM

    if models is not None and not salt_key:
        raise click.UsageError("--models needs --salt-key (or LITELLM_SALT_KEY): credentials are sealed with it")
    if models is not None and models.exists() and not dry_run:
        raise click.UsageError(f"--models {models}: there is such a file; name a new one")
    try:
        with opened({"url": database_url}) as source, _target(which, dry_run) as target:
            if source.address.kind != "postgresql":
                raise click.ClickException("--database-url: LiteLLM keeps its data in PostgreSQL: postgresql://...")
            with progress(0 if dry_run else _rows(source), "Importing") as step:
                done = Import(source, target, dry_run, step)
                done.run()
            written = ""
            if models is not None:
                written = _write_models(source, models, salt_key or "", dry_run, done)
            elif salt_key:
                _store_models(source, target, salt_key, dry_run, done, which)
    except NotLiteLLM as error:
        raise click.ClickException(f"--database-url: {error}") from None
    _show(done, dry_run, target.address.where)
    if written:
        click.echo(written)


@contextmanager
def _target(which: dict[str, Any], dry: bool) -> Iterator[Database]:
    """Open the database that is to be filled. A dry run makes none: one that is not there yet is an empty one."""
    from penstock.stores.sql import migrate

    if not dry:
        with opened(which, makes=True) as target:
            migrate.upgrade(target)
            yield target
        return
    address = address_of(which)
    if address.kind != "sqlite" or Path(address.database).exists():
        with opened(which) as target:
            found = target.read_now(migrate.version)
            if found == migrate.HEAD:
                yield target
                return
        if found:
            raise click.ClickException("its tables are not those of this version: `penstock db upgrade`")
    with TemporaryDirectory() as folder, opened({"url": f"sqlite:///{folder}/empty.db"}, makes=True) as target:
        migrate.upgrade(target)
        yield target


def _rows(source: Database) -> int:
    """Guess how many rows there are: for the bar that shows how far it is."""
    import sqlalchemy as sa

    guess = sa.text("SELECT SUM(GREATEST(reltuples, 1)) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'LiteLLM_%'")
    return int(source.read_now(lambda connection: connection.execute(guess).scalar()) or 0)


def _write_models(source: Database, file: Path, salt_key: str, dry: bool, done: Import) -> str:
    import yaml

    from penstock.stores.litellm.models import read_models
    from penstock.stores.litellm.sealed import Missing

    try:
        found = read_models(source, salt_key, done.told.append)
    except Missing as error:
        raise click.ClickException(str(error)) from None
    counts = " and ".join(f"{len(rows):,} of {name}" for name, rows in found.items()) or "no models"
    if dry:
        return f"{file} would get {counts}."
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as text:
        yaml.safe_dump(found, text, sort_keys=False, allow_unicode=True)
    return f"{file} has {counts}: name it with --config, or under `include` of your config file."


def _store_models(
    source: Database, target: Database, salt_key: str, dry: bool, done: Import, which: dict[str, Any]
) -> None:
    """Keep models and credentials in the database, sealed with the secret of the gateway that serves from it."""
    from penstock.runtime.ids import new_id
    from penstock.server import statedir
    from penstock.server.storage import check_of
    from penstock.stores.litellm.models import read_models
    from penstock.stores.litellm.reading import Counts
    from penstock.stores.litellm.sealed import Missing
    from penstock.stores.litellm.storing import store_models
    from penstock.stores.sealing import MISSING, Sealer, can_seal
    from penstock.stores.sql.directory import SqlDirectory
    from penstock.stores.sql.migrate import prepare

    try:
        found = read_models(source, salt_key, done.told.append)
    except Missing as error:
        raise click.ClickException(str(error)) from None
    if not found:
        return
    if not can_seal():
        raise click.ClickException(f"models and credentials cannot be kept: {MISSING}. Or write a file: --models")
    env = environment()
    secret = b"of a dry run, which keeps nothing"
    if not dry:
        secret = statedir.read_secret(env, statedir.state_folder(which["state_dir"], env))
        prepare(target, check_of(secret))
    counts = asyncio.run(store_models(SqlDirectory(target), Sealer(secret), found, dry, new_id))
    done.counts |= {kind: Counts(*one) for kind, one in counts.items()}
    for name in _unreadable(found, counts):
        done.told.append(f"model {name}: it is kept, and served once general_settings.stored_models_may_read allows it")


def _unreadable(found: Mapping[str, Any], counts: Mapping[str, Any]) -> list[str]:
    """Name the models whose parameters read variables of the environment, which stored ones may not by themselves."""
    from penstock.config.environ import variables_in

    return [
        row["model_name"]
        for row in found.get("model_list", ())
        if counts["model"].made
        if any(isinstance(value, str) and any(variables_in(value)) for value in row["litellm_params"].values())
    ]


def _show(done: Import, dry: bool, where: str) -> None:
    rows = [
        (kind, f"{one.found:,}", f"{one.made:,}", f"{one.there:,}", f"{one.found - one.made - one.there:,}")
        for kind, one in done.counts.items()
    ]
    print_table(
        ("", "in LiteLLM", "would be new" if dry else "new", "there already", "left out"), rows, right=range(1, 5)
    )
    click.echo(f"{done.sums:,} sums per day.")
    for text in done.told[:_SHOWN]:
        click.echo(f"note: {text}", err=True)
    if (more := len(done.told) - _SHOWN + done.more) > 0:
        click.echo(f"note: and {more:,} more of this kind", err=True)
    click.echo("Nothing was changed: this was a dry run." if dry else f"Imported into {where}.")
