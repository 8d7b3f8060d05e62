"""A database as callers meet it: how it is named, what its thread does, and what happens when it is away or slow."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from penstock.stores.base import Row, Spent
from penstock.stores.sql.address import read_address
from penstock.stores.sql.database import Database
from penstock.stores.sql.directory import SqlDirectory
from penstock.stores.sql.migrate import upgrade
from penstock.stores.sql.spend import SqlSpendStore
from penstock.stores.sql.thread import SqlThread
from tests.databases import PASSWORD, Running, free_port, install
from tests.relay import Relay

GOOD = {
    "postgresql://u:p%40w@h:1234/n": ("PostgreSQL, h:1234/n", "p@w", {}),
    "postgres://u@h/n?sslmode=require&application_name=x": ("PostgreSQL, h/n", "", {"sslmode": "require", "application_name": "x"}),
    "postgresql+psycopg2://u:p@[::1]:5/n": ("PostgreSQL, ::1:5/n", "p", {}),
    "postgresql://u:p@h/n?pgbouncer=true&connection_limit=1&pool_timeout=0": ("PostgreSQL, h/n", "p", {}),
    "postgresql:///n?host=/var/run/postgresql": ("PostgreSQL, /var/run/postgresql/n", "", {}),
    "postgresql://u:p@h/n?sslcert=/ca.pem": ("PostgreSQL, h/n", "p", {"sslrootcert": "/ca.pem"}),
    "postgresql://u:p@h/n?sslcert=/c.pem&sslkey=/k.pem": ("PostgreSQL, h/n", "p", {"sslcert": "/c.pem", "sslkey": "/k.pem"}),
    "mysql://u:p@h/n?sslaccept=strict": ("MySQL, h/n", "p", {"ssl_verify_cert": True, "ssl_verify_identity": True}),
    "mysql+pymysql://u:p@h:3306/n?ssl-mode=DISABLED": ("MySQL, h:3306/n", "p", {"ssl_disabled": True}),
    "mariadb://u@h/n": ("MySQL, h/n", "", {}),
    "sqlite:////var/lib/p.db": ("SQLite, /var/lib/p.db", "", {}),
    "file:/var/lib/p.db": ("SQLite, /var/lib/p.db", "", {}),
}
BAD = {
    "": "no database address",
    "nonsense": "no database address",
    "mongodb://u:secret-pw@h/n": "'mongodb' is no kind of database: write postgresql://",
    "postgresql://u:secret-pw@h": "names no database",
    "postgresql://u:secret-pw@h:port/n": "host or port",
    "postgresql://u:secret#pw@h/n": "%23",
    "postgresql://u:p@h/n?wrong=secret-pw": "parameter 'wrong' is not known for PostgreSQL",
    "postgresql://u:p@h/n?connect_timeout=soon": "connect_timeout='soon' is no number of seconds",
    "mysql://u:secret-pw@h/n?schema=x": "parameter 'schema' is not known for MySQL",
    "mysql://u:secret-pw@h/n?sslmode=maybe": "known are disable",
    "sqlite://": "names no file",
    "sqlite:///:memory:": "names no file",
}


@pytest.mark.parametrize("text", GOOD)
def test_addresses_as_people_write_them(text: str):
    address = read_address(text)
    assert (address.where, address.password, dict(address.arguments)) == GOOD[text]
    assert "password" not in repr(address) and "p@w" not in repr(address)


def test_times_and_schema_of_an_address():
    address = read_address("postgresql://h/n?schema=s&connect_timeout=3&socket_timeout=0", {"connect_timeout": 4})
    assert (address.schema, address.connect_seconds, address.query_seconds) == ("s", 4, 86400)


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_address_is_told_without_its_password(text: str):
    with pytest.raises(ValueError) as told:
        read_address(text)
    assert BAD[text] in str(told.value) and "secret" not in str(told.value)


# The thread. ----------------------------------------------------------------------------------------------------------


async def test_jobs_are_done_in_their_order_in_one_thread():
    thread, done = SqlThread(), []
    seen = await asyncio.gather(*(thread.run(lambda n=n: (done.append(n), threading.current_thread().name)[1]) for n in range(9)))
    assert done == list(range(9)) and set(seen) == {"penstock-sql"}
    with pytest.raises(KeyError):
        await thread.run(lambda: {}["no"])
    thread.close()
    with pytest.raises(OSError, match="closed"):
        await thread.run(lambda: 1)


async def test_a_slow_job_holds_up_nobody_and_too_many_are_refused():
    thread, go, done = SqlThread(most=2), threading.Event(), []
    slow = asyncio.create_task(thread.run(go.wait))
    await asyncio.sleep(0.05)  # it runs
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="longer than 0.05 s"):
        await thread.run(lambda: done.append("late"), 0.05)
    waiting = asyncio.create_task(thread.run(lambda: done.append("in time")))
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="2 jobs wait"):
        await thread.run(lambda: done.append("too many"))
    assert time.monotonic() - began < 1.0
    go.set()
    await slow
    await waiting
    assert done == ["in time"], "what nobody waited for any more when its turn came is not done"
    thread.close()


def test_a_job_that_hangs_does_not_keep_the_process(monkeypatch):
    monkeypatch.setattr("penstock.stores.sql.thread._END", 0.05)
    thread, never = SqlThread(), threading.Event()
    thread._submit(never.wait)
    began = time.monotonic()
    thread.close()
    assert time.monotonic() - began < 1.0
    never.set()


# Errors. --------------------------------------------------------------------------------------------------------------


async def test_errors_are_os_errors_without_the_statement_and_its_values(tmp_path: Path):
    database = Database(read_address(f"sqlite:///{tmp_path}/p.db"))
    with pytest.raises(OSError) as told:
        await database.read(lambda c: c.execute(sa.text("SELECT :v FROM nothing_there"), {"v": "a-secret-value"}))
    assert "nothing_there" in str(told.value) and "a-secret-value" not in str(told.value) and "SELECT" not in str(told.value)
    with pytest.raises(OSError, match="larger than"):
        await database.read(lambda c: c.execute(sa.text("SELECT :v"), {"v": 2**70}))
    with pytest.raises(ZeroDivisionError):
        await database.write(lambda c: 1 // 0)
    database.close()
    missing = Database(read_address(f"sqlite:///{tmp_path}/none/p.db"))
    with pytest.raises(OSError, match="No such file"):
        await missing.read(lambda c: None)
    missing.close()


async def test_a_file_that_is_no_database_and_one_that_is_full_are_told(tmp_path: Path):
    (tmp_path / "p.db").write_bytes(b"something else\n" * 100)
    database = Database(read_address(f"sqlite:///{tmp_path}/p.db"))
    with pytest.raises(OSError, match="not a database"):
        await database.read(lambda c: None)
    database.close()
    full = Database(read_address(f"sqlite:///{tmp_path}/full.db"))
    await asyncio.to_thread(upgrade, full)
    await full.read(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={_pages(c)}"))
    directory = SqlDirectory(full)
    with pytest.raises(OSError, match="full"):
        await directory.write([Row("key", f"k{n}", b'{"a":"' + b"x" * 10_000 + b'"}') for n in range(50)])
    assert await directory.revision() == 0 and (await directory.find("key")).total == 0, "nothing of it is there"
    full.close()


def _pages(connection: sa.Connection) -> int:
    return int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())


async def test_a_password_that_is_wrong_is_not_told(postgres: Running, mariadb: Running):
    for running in (postgres, mariadb):
        url = running.server.address(running.port, "none").replace(PASSWORD, "another-pw-5512")
        database = Database(read_address(url))
        with pytest.raises(OSError) as told:
            await database.read(lambda c: None)
        assert "another-pw-5512" not in str(told.value) and "tests" in str(told.value)
        database.close()


# Away, slow, and behind a pooler. -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
async def test_a_connection_that_is_cut_is_made_anew(kind: str, request: pytest.FixtureRequest):
    running: Running = request.getfixturevalue(kind)
    url = request.getfixturevalue(f"empty_{kind}")
    relay = Relay(running.port)
    database = Database(read_address(url.replace(f":{running.port}/", f":{relay.port}/")))
    directory = SqlDirectory(database)
    try:
        await directory.write([Row("key", "a", b"{}")])
        relay.cut()  # the server was started anew
        assert await directory.revision() == 1
        relay.away = True
        relay.cut()
        with pytest.raises(OSError):
            await directory.write([Row("key", "b", b"{}")])
        relay.away = False
        assert await directory.write([Row("key", "c", b"{}")]) == 2
        assert [row.id for row in (await directory.find("key")).rows] == ["a", "c"]
    finally:
        database.close()
        relay.close()


@pytest.mark.parametrize("kind", ["postgres", "mariadb"])
async def test_a_database_that_takes_too_long_is_an_error_and_holds_up_no_loop(kind: str, request: pytest.FixtureRequest):
    running: Running = request.getfixturevalue(kind)
    url = request.getfixturevalue(f"empty_{kind}")
    relay = Relay(running.port)
    address = read_address(f"{url.replace(f':{running.port}/', f':{relay.port}/')}?socket_timeout=1&connect_timeout=1")
    database = Database(address)
    directory = SqlDirectory(database)
    try:
        await directory.revision()
        relay.slow = 30.0
        asked = asyncio.create_task(directory.revision())
        longest, before, end = 0.0, time.perf_counter(), time.monotonic() + 0.5
        while time.monotonic() < end:
            await asyncio.sleep(0.01)
            now = time.perf_counter()
            longest, before = max(longest, now - before), now
        assert longest < 0.3 and not asked.done()
        with pytest.raises(OSError):
            await asked
    finally:
        relay.close()
        database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
async def test_many_processes_write_at_once_without_deadlocks(kind: str, request: pytest.FixtureRequest):
    """The same rows, in batches that name them in different orders."""
    address = read_address(request.getfixturevalue(f"empty_{kind}"))
    every = [Database(address) for _ in range(4)]
    stores = [SqlSpendStore(one) for one in every]
    accounts = [f"key:k{n}" for n in range(12)]

    async def work(at: int) -> None:
        for turn in range(5):
            order = accounts[at:] + accounts[:at] if turn % 2 else accounts[::-1]
            batch = [Spent(f"{at}-{turn}-{n}", 1e9, 1e9, "acompletion", key=name[4:], cost=1, accounts=(name, "team:t"))
                     for n, name in enumerate(order)]  # fmt: skip
            await stores[at].append(batch, {}, {f"j{at}": turn})

    try:
        await asyncio.gather(*(work(at) for at in range(4)))
        totals = await stores[0].totals([(name, "", 0.0) for name in [*accounts, "team:t"]])
        assert [total.amount for total in totals] == [20] * 12 + [240]
    finally:
        for one in every:
            one.close()


async def test_it_works_behind_a_transaction_pooler(postgres: Running, tmp_path: Path):
    """One session for all: whatever were prepared, or left in a session, would meet another's."""
    url = postgres.fresh()
    with pooler(postgres, tmp_path) as port:
        address = read_address(f"{url.replace(f':{postgres.port}/', f':{port}/')}?pgbouncer=true&connection_limit=1&schema=s")
        every = [Database(address) for _ in range(4)]
        directories = [SqlDirectory(one) for one in every]
        try:
            assert sorted(await asyncio.gather(*(asyncio.to_thread(upgrade, one) for one in every))) == ["", "", "", "made"]
            for turn in range(5):
                await asyncio.gather(*(one.write([Row("key", f"{at}-{turn}", b"{}")]) for at, one in enumerate(directories)))
                found = await asyncio.gather(*(one.since(0) for one in directories))
                assert [(one.revision, len(one.rows)) for one in found] == [(4 * turn + 4, 4 * turn + 4)] * 4
            for at, one in enumerate(every):
                await SqlSpendStore(one).append([Spent(f"{at}", 1e9, 1e9, "acompletion", accounts=("key:k",), cost=1)], {}, {})
            assert (await SqlSpendStore(every[0]).totals([("key:k", "", 0.0)]))[0].amount == 4
        finally:
            for one in every:
                one.close()


def find_pooler() -> str | None:
    return shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def pooler(postgres: Running, folder: Path) -> Iterator[int]:
    """A PgBouncer that has one connection to the server for everybody, for the length of a transaction."""
    if why := install("pgbouncer", find_pooler, ["pgbouncer"]):
        pytest.skip(why)
    port = free_port()
    (folder / "pooler.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={postgres.port} user=tests password={PASSWORD}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n"
        "pool_mode = transaction\ndefault_pool_size = 1\n"
    )
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(folder / "pooler.ini", place)
        more = {}
        if os.geteuid() == 0:  # it does not run as root
            for path in (Path(place), Path(place, "pooler.ini")):
                shutil.chown(path, "postgres")
            more = {"user": "postgres"}
        process = subprocess.Popen([str(find_pooler()), "-q", f"{place}/pooler.ini"], cwd=place, **more)
        try:
            end = time.monotonic() + 20
            while True:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    assert process.poll() is None and time.monotonic() < end
                    time.sleep(0.05)
            yield port
        finally:
            process.terminate()
            process.wait(10)


def test_an_sqlite_imports_nothing_of_other_databases():
    """4 MB, and as many more of start as a tenth of a second."""
    code = "import sys\nfor name in ('schema', 'upsert', 'spend', 'directory', 'migrate', 'database', 'kept', 'pot'):\n"
    code += "    __import__(f'penstock.stores.sql.{name}')\n"
    code += "print([name for name in sys.modules if name.startswith(('sqlalchemy.dialects.', 'alembic'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
