"""Brings the tables of a database to what this version wants, under a lock: several processes may start at once.

Versions run side by side: a migration only adds (expand), and what older versions need goes in a later one (contract),
which then says so by a higher ``compatible_from``. A newer database is used as it is, unless its ``compatible_from`` is
over this version's ``LEVEL``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from penstock.stores.sql.address import MYSQL, POSTGRES
from penstock.stores.sql.daily import day_of, even_out
from penstock.stores.sql.database import Database
from penstock.stores.sql.schema import ABOUT, PREFIX, REVISION, make_all

if TYPE_CHECKING:
    from alembic.config import Config

LEVEL = 7
"""How many migrations there are."""
COMPATIBLE_FROM = 1
"""The lowest level of a version that can work with the tables of this one."""
HEAD = "0007"
VERSION_TABLE = PREFIX + "migrations"
FOLDER = Path(__file__).parent / "migrations"
_LOCK = int.from_bytes(hashlib.sha256(b"penstock migrations").digest()[:7])
_CHECK = "secret_check"
_BESIDE = 3 * 86_400.0  # seconds in which versions may run side by side
_PATIENCE = 120  # seconds to wait for another process's migration, on MySQL
_VERSION = sa.Table(
    VERSION_TABLE, sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True, nullable=False)
)


class Unusable(Exception):
    """The database is there, and this process cannot work with it; the message says why."""


def prepare(database: Database, check: str) -> str:
    """Make or upgrade the tables, and see that they are of this gateway. ``check``: a value that only who has the
    secret of the keys can make. Return what was done, "" for nothing. Raises ``OSError`` and ``Unusable``."""
    done = upgrade(database)
    database.write_now(_even_out)
    kept = database.read_now(_kept_check)
    if not kept:
        database.write_now(lambda connection: _keep_check(connection, check))
        kept = database.read_now(_kept_check)
    if kept != check:
        raise Unusable(
            "its keys were digested with another secret, so none of them would open: start with the "
            "PENSTOCK_SECRET_KEY (or LITELLM_SALT_KEY, or the file 'secret' of the state directory) it was made with"
        )
    return done


def _even_out(connection: sa.Connection) -> None:
    """Add to the sums of all requests what an older version, which does not know them, has written since the upgrade:
    it stops when the last of its processes is replaced by one of this version."""
    with _locked(connection):
        even_out(connection, day_of(time.time() - _BESIDE))


def _kept_check(connection: sa.Connection) -> str:
    return connection.execute(sa.select(ABOUT.c.value).where(ABOUT.c.name == _CHECK)).scalar() or ""


def _keep_check(connection: sa.Connection, check: str) -> None:
    if not _kept_check(connection):  # else another process was faster, which the primary key may tell, too
        connection.execute(sa.insert(ABOUT).values(name=_CHECK, value=check))


def upgrade(database: Database) -> str:
    """Make or upgrade the tables. Return what was done, "" for nothing. Raises ``OSError`` and ``Unusable``."""
    if database.read_now(version) == HEAD:
        return ""
    return database.write_now(lambda connection: _upgrade(connection, database.address.schema))


def version(connection: sa.Connection) -> str:
    """Return the migration that a database has seen last, "" for none."""
    if not sa.inspect(connection).has_table(VERSION_TABLE, schema=_schema(connection)):
        return ""
    return connection.execute(sa.select(_VERSION.c.version_num)).scalar() or ""


def _schema(connection: sa.Connection) -> str | None:
    names = connection.get_execution_options().get("schema_translate_map") or {}
    return names.get(None)


def _upgrade(connection: sa.Connection, schema: str) -> str:
    with _locked(connection):
        if schema:
            connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
        now = version(connection)
        if now == HEAD:
            return ""  # another process was faster
        if now:
            if _is_newer(connection):
                return ""
            migrate(connection, HEAD)
        else:
            # What all migrations together make; so a new gateway need not load what carries them out.
            make_all(connection)
            _VERSION.create(connection)
            connection.execute(sa.insert(_VERSION).values(version_num=HEAD))
            connection.execute(sa.insert(REVISION).values(id=1, value=0))
        for name, value in (("level", LEVEL), ("compatible_from", COMPATIBLE_FROM)):
            connection.execute(sa.delete(ABOUT).where(ABOUT.c.name == name))
            connection.execute(sa.insert(ABOUT).values(name=name, value=str(value)))
        return f"upgraded from {now} to {HEAD}" if now else "made"


def _is_newer(connection: sa.Connection) -> bool:
    """Tell whether a newer version of Penstock made the tables. Raises ``Unusable`` where this one cannot use them."""
    found = dict(connection.execute(sa.select(ABOUT.c.name, ABOUT.c.value)).all())
    level, least = int(found.get("level", 0)), int(found.get("compatible_from", 0))
    if level <= LEVEL:
        return False
    if least > LEVEL:
        raise Unusable(
            f"it was made by a newer version of Penstock (level {level}), whose tables need one of level {least} or "
            f"more; this one has {LEVEL}. Run the newer version."
        )
    return True


def migrate(connection: sa.Connection, to: str) -> None:
    """Carry out the migrations up to one."""
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return config


@contextmanager
def _locked(connection: sa.Connection) -> Iterator[None]:
    """Let no other process migrate meanwhile. SQLite's transaction has the file for itself already."""
    kind = connection.dialect.name
    if kind == POSTGRES:  # until the transaction's end: a pooler may give the next one another session
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    if kind != MYSQL:
        yield
        return
    name = f"{PREFIX}{_LOCK}"
    if connection.execute(sa.select(sa.func.get_lock(name, _PATIENCE))).scalar() != 1:
        raise TimeoutError(f"another process migrates the database for more than {_PATIENCE} s")
    try:
        yield
        connection.exec_driver_sql("COMMIT")  # else whoever has the lock next would not see what was done
    finally:
        connection.execute(sa.select(sa.func.release_lock(name)))
