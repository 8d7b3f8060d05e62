"""Migrations: from every earlier revision, on populated tables; side by side with other versions; several at once."""

from __future__ import annotations

import asyncio
import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from penstock.core.batches.kept import Total
from penstock.stores.base import Audited, Gone, Row, Spent
from penstock.stores.kinds import KINDS
from penstock.stores.sql import migrate
from penstock.stores.sql.address import read_address
from penstock.stores.sql.batch_store import SqlBatchStore
from penstock.stores.sql.daily import Day, rows_of
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory
from penstock.stores.sql.kept import SqlStore
from penstock.stores.sql.schema import ABOUT, DAILY, METADATA
from penstock.stores.sql.spend import SqlSpendStore
from tests import databases

SCRIPTS = ScriptDirectory.from_config(migrate.alembic_config())
REVISIONS = [script.revision for script in reversed(list(SCRIPTS.walk_revisions()))]


@pytest.fixture(params=databases.KINDS)
def database(request: pytest.FixtureRequest, tmp_path):
    url = f"sqlite:///{tmp_path}/p.db" if request.param == "sqlite" else request.getfixturevalue(request.param).fresh()
    made = Database(read_address(url))
    yield made
    made.close()


def differences(database: Database) -> list:
    """What Alembic would change in the database to make it what the tables say."""

    def compare(connection: sa.Connection) -> list:
        context = MigrationContext.configure(connection, opts={"version_table": migrate.VERSION_TABLE})
        return compare_metadata(context, METADATA)

    return database.read_now(compare)


def test_the_last_migration_is_the_one_that_is_named():
    assert SCRIPTS.get_heads() == [migrate.HEAD] and REVISIONS[-1] == migrate.HEAD
    assert len(REVISIONS) == migrate.LEVEL >= migrate.COMPATIBLE_FROM


def test_new_tables_are_what_all_migrations_make(database):
    assert migrate.upgrade(database) == "made" and migrate.upgrade(database) == ""
    assert differences(database) == []
    assert database.read_now(migrate.version) == migrate.HEAD


@pytest.mark.parametrize("revision", REVISIONS)
async def test_every_earlier_revision_becomes_the_newest_and_keeps_what_it_has(database, revision):
    await asyncio.to_thread(database.write_now, lambda c: migrate.migrate(c, revision))
    kept = await asyncio.to_thread(database.write_now, populate)
    del kept[ABOUT.name]  # where the upgrade writes what the tables are by then
    await asyncio.to_thread(migrate.upgrade, database)
    assert await asyncio.to_thread(differences, database) == []
    assert await asyncio.to_thread(database.read_now, lambda c: {name: count(c, name) for name in kept}) == kept
    await works(database)


def test_sums_of_all_requests_are_made_of_those_of_keys(database):
    database.write_now(lambda c: migrate.migrate(c, "0002"))

    def put(connection: sa.Connection) -> None:
        days = [Day("key", f"2026-11-{1 + n % 2:02}", f"k{n}", f"k{n}", f"m{n % 3}", "g", "p", 1, 0, 10**18 + n) for n in range(12)]
        days += [Day("team", "2026-11-01", "t", "k1", "m1", "g", "p", 1, 0, 5)]
        connection.execute(sa.insert(DAILY), rows_of(days))

    database.write_now(put)
    migrate.upgrade(database)
    store = SqlSpendStore(database)
    found = asyncio.run(store.daily("all", by=("day", "model", "group", "provider")))
    assert len(found) == 6 and sum(one.cost for one in found) == 12 * 10**18 + 66 and {one.requests for one in found} == {2}
    asyncio.run(store.append([Spent("c", 1793534400.0, 1.0, "x", key="k0", target="m0", group="g", provider="p", cost=1)], {}, {}))
    assert len(asyncio.run(store.daily("all", by=("day", "model", "group", "provider")))) == 6, "the same rows go on"


def test_files_that_were_kept_before_count_in_quotas(database):
    database.write_now(lambda c: migrate.migrate(c, "0005"))

    def put(connection: sa.Connection) -> None:
        columns = ("id", "owner", "created", "purpose", "body")
        table = sa.table("penstock_files", *map(sa.column, columns))
        for number in range(1203):
            body = '{"id":"f","bytes":2,"filename":"x","provider":"' + ("" if number % 3 else "openai") + '","shown":"{}"}'
            row = dict(zip(columns, (f"f{number}", "key a", 1.0, "batch", body if number else "none"), strict=True))
            connection.execute(sa.insert(table).values(row))

    database.write_now(put)
    migrate.upgrade(database)
    assert asyncio.run(SqlBatchStore(database).taken_by("key a", ""))[0] == Total(802, 1604)


def count(connection: sa.Connection, name: str) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(sa.table(name))).scalar_one()


def populate(connection: sa.Connection) -> dict[str, int]:
    """Put two rows into every table that there is, whatever its columns are at that revision; how many each has."""
    found = sa.MetaData()
    found.reflect(connection)
    for table in found.tables.values():
        if table.name == migrate.VERSION_TABLE or count(connection, table.name):
            continue
        rows = [{column.name: _value(column, number) for column in table.columns} for number in (1, 2)]
        connection.execute(sa.insert(table), rows)
    return {name: count(connection, name) for name in found.tables if name != migrate.VERSION_TABLE}


def _value(column: sa.Column, number: int) -> object:
    kind = column.type.python_type
    return {str: f"{number}", bytes: b"x", bool: True}.get(kind, kind(number))


async def works(database: Database) -> None:
    """The stores can be used as of today."""
    directory, spend, kept = SqlDirectory(database), SqlSpendStore(database), SqlStore(database)
    for kind in KINDS:
        await directory.write([Row(kind, "new", b"{}")], [Audited(f"of {kind}", 1.0, "me", "created", kind, "new")])
        await directory.write([Gone(kind, "new", 1)])
    await spend.append([Spent("new", 1.0, 0.5, "acompletion", accounts=("key:k",))], {}, {"j": 1})
    assert await spend.get("new") is not None
    await kept.put("k", b"v", 5)
    assert await kept.get("k") == b"v"


async def test_several_processes_may_start_at_once(database):
    others = [Database(database.address) for _ in range(4)]
    done: list[str] = []
    threads = [threading.Thread(target=lambda one=one: done.append(migrate.prepare(one, "check"))) for one in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    for one in others:
        one.close()
    assert sorted(done) == ["", "", "", "made"]
    await works(database)


def test_a_newer_database_is_used_as_long_as_it_says_that_it_may_be(database):
    migrate.upgrade(database)

    def become_newer(connection: sa.Connection, compatible_from: int) -> None:
        connection.execute(sa.text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = 'newer'"))
        for name, value in (("level", migrate.LEVEL + 2), ("compatible_from", compatible_from)):
            connection.execute(sa.update(ABOUT).where(ABOUT.c.name == name).values(value=str(value)))

    database.write_now(lambda c: become_newer(c, migrate.LEVEL))
    assert migrate.upgrade(database) == "" and database.read_now(migrate.version) == "newer"
    asyncio.run(works(database))
    database.write_now(lambda c: become_newer(c, migrate.LEVEL + 1))
    with pytest.raises(migrate.Unusable, match=f"newer version.*level {migrate.LEVEL + 2}.*this one has {migrate.LEVEL}"):
        migrate.upgrade(database)


def test_a_schema_of_its_own_is_made_and_used(postgres):
    url = postgres.fresh()
    database = Database(read_address(f"{url}?schema=other_place"))
    try:
        assert migrate.upgrade(database) == "made" and migrate.upgrade(database) == ""
        asyncio.run(works(database))
        tables = database.read_now(lambda c: sa.inspect(c).get_table_names(schema="other_place"))
        assert "penstock_keys" in tables and migrate.VERSION_TABLE in tables
        assert database.read_now(lambda c: sa.inspect(c).get_table_names(schema="public")) == []
        database.write_now(lambda c: c.exec_driver_sql('DROP SCHEMA other_place CASCADE'))
        database.write_now(lambda c: c.execute(sa.schema.CreateSchema("other_place")))
        database.write_now(lambda c: migrate.migrate(c, migrate.HEAD))
        asyncio.run(works(database))
    finally:
        database.close()
