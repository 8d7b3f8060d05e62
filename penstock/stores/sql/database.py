"""One database, as all that is kept there uses it: reading and writing in transactions, on a thread of its own, with
errors that are told without secrets."""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc

from penstock.stores.sql.address import MYSQL, POSTGRES, SQLITE, Address
from penstock.stores.sql.thread import SqlThread

log = logging.getLogger("penstock")
T = TypeVar("T")
Work = Callable[[sa.Connection], T]
PAUSES = (0.01, 0.05, 0.2, 0.5)  # before a transaction that met another one is done again
_WRITES = "penstock_writes"
# Larger pages are fewer to write for a batch of the ledger's rows; a file that is there keeps the size that it has.
_SET_UP = (("page_size", "8192"), ("journal_mode", "WAL"), ("synchronous", "NORMAL"), ("trusted_schema", "OFF"))
_BUSY = 5.0  # seconds that SQLite waits for another process's transaction
# SQLSTATEs of PostgreSQL and error numbers of MySQL for transactions that met another one.
_MET = frozenset({"40001", "40P01", "55P03", "1205", "1213", "3572"})
EXTRAS = {POSTGRES: ("psycopg", "postgres"), MYSQL: ("pymysql", "mysql")}


class MissingDriver(OSError):
    """A database's driver is not installed."""


class Database:
    """A database. Each of ``read`` and ``write`` is a transaction: ``work`` does all its SQL, and what it raises rolls
    it back. One that met another is done again, so ``work`` changes nothing else. Raise ``OSError``, and whatever
    ``work`` raises. Reports have a connection and a thread of their own, which cannot write: what is written down of
    requests never waits for one."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._thread, self._reports = SqlThread(), SqlThread()
        self._engine: sa.Engine | None = None
        self._reader: sa.Engine | None = None
        if address.kind != SQLITE:  # and not by the first question: somebody waits for that, and not for long
            import_module(f"sqlalchemy.dialects.{address.kind}")

    async def read(self, work: Work[T], steady: bool = False) -> T:
        """Return what reads. ``steady``: all that it reads is of one moment."""
        return await self._thread.run(lambda: self._do(work, False, steady), self._patience)

    async def write(self, work: Work[T]) -> T:
        return await self._thread.run(lambda: self._do(work, True), self._patience)

    async def report(self, work: Work[T]) -> T:
        """Return what reads much, of one moment: lists and sums for people."""
        return await self._reports.run(lambda: self._do(work, False, True, self._reading), self._patience)

    def read_now(self, work: Work[T]) -> T:
        """Do as ``read`` does, for callers that may wait."""
        return self._thread.run_now(lambda: self._do(work, False, True))

    def write_now(self, work: Work[T]) -> T:
        return self._thread.run_now(lambda: self._do(work, True))

    def close(self) -> None:
        self._reports.close(self._dispose_reader)
        self._thread.close(self._dispose)

    @property
    def _patience(self) -> float:
        return self.address.query_seconds + self.address.connect_seconds

    def _dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _dispose_reader(self) -> None:
        if self._reader is not None:
            self._reader.dispose()
            self._reader = None

    def _do(
        self, work: Work[T], writes: bool, steady: bool = False, engine: Callable[[], sa.Engine] | None = None
    ) -> T:
        for pause in (*PAUSES, None):
            try:
                with self._connect(writes, steady, engine or self._usual) as connection, connection.begin():
                    return work(connection)
            except exc.SQLAlchemyError as error:
                if pause is None or not _met_another(error):
                    raise told(error, self.address.password) from None
                time.sleep(pause)
            except OverflowError:  # SQLite's driver: of a number of more than 64 bits
                raise OSError(errno.ERANGE, "a number is larger than the database takes") from None
        raise AssertionError("the last pause is None")

    def _usual(self) -> sa.Engine:
        if self._engine is None:
            self._engine = make_engine(self.address)
        return self._engine

    def _reading(self) -> sa.Engine:
        if self._reader is None:
            made = make_engine(self.address)
            sa.event.listen(made, "connect", partial(_only_reads, self.address.kind))
            self._reader = made.execution_options(postgresql_readonly=True)
        return self._reader

    def _connect(self, writes: bool, steady: bool, engine: Callable[[], sa.Engine]) -> sa.Connection:
        connection = engine().connect()
        if self.address.kind == SQLITE:
            return connection.execution_options(**{_WRITES: writes})
        if self.address.kind == POSTGRES and steady:
            return connection.execution_options(isolation_level="REPEATABLE READ")
        return connection


def make_engine(address: Address) -> sa.Engine:
    """Open a database: nothing is connected yet. Raises ``MissingDriver``."""
    if address.kind == SQLITE:
        return _sqlite_engine(address)
    module, extra = EXTRAS[address.kind]
    try:
        __import__(module)
    except ImportError:
        text = f"its driver is not installed: pip install 'penstock[{extra}]'"
        raise MissingDriver(errno.ENOPKG, text) from None
    url = sa.URL.create(
        f"{address.kind}+{module}", address.user or None, address.password or None, address.host or None,
        address.port, address.database,
    )  # fmt: skip
    arguments = postgres_arguments(address) if address.kind == POSTGRES else _mysql_arguments(address)
    # One thread has one connection. A server may have closed it meanwhile: it is asked before each use.
    engine = sa.create_engine(
        url, connect_args={**arguments, **address.arguments}, pool_size=1, max_overflow=0, pool_pre_ping=True
    )
    return engine.execution_options(schema_translate_map={None: address.schema}) if address.schema else engine


def postgres_arguments(address: Address) -> dict[str, Any]:
    """Return what psycopg is told of a connection beside where it goes."""
    # A transaction pooler gives each transaction another session: nothing may be left in one.
    milliseconds = max(1, int(address.query_seconds * 1000))
    return {
        "prepare_threshold": None,
        "connect_timeout": max(1, round(address.connect_seconds)),
        "tcp_user_timeout": min(milliseconds, 2**31 - 1),
    }


def _mysql_arguments(address: Address) -> dict[str, Any]:
    seconds = max(1, round(address.query_seconds))
    return {
        "charset": "utf8mb4",
        "connect_timeout": max(1, round(address.connect_seconds)),
        "read_timeout": seconds,
        "write_timeout": seconds,
    }


def _sqlite_engine(address: Address) -> sa.Engine:
    url = sa.URL.create("sqlite", database=address.database)
    engine = sa.create_engine(url, connect_args={"timeout": _BUSY})

    @sa.event.listens_for(engine, "do_connect")
    def make(dialect: Any, record: Any, args: Any, kwargs: Any) -> None:
        # Keys' digests and credentials are nobody else's: neither here nor in the files that SQLite lays beside it.
        try:
            os.close(os.open(address.database, os.O_RDWR | os.O_CREAT, 0o600))
        except OSError as error:
            raise sqlite3.OperationalError(f"{error.strerror}: {address.database}") from None

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # else the driver begins transactions when it likes
        connection.create_function("lower", 1, _lower, deterministic=True)  # SQLite's own knows ASCII alone
        for name, value in _SET_UP:
            connection.execute(f"PRAGMA {name}={value}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # One that begins as a reader and writes later would fail where another process wrote meanwhile.
        writes = connection.get_execution_options().get(_WRITES, True)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _only_reads(kind: str, connection: Any, record: Any) -> None:
    """Forbid a connection to write; of PostgreSQL each transaction says so itself."""
    if kind == SQLITE:
        connection.execute("PRAGMA query_only=ON")
    elif kind == MYSQL:
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION TRANSACTION READ ONLY")


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _met_another(error: exc.SQLAlchemyError) -> bool:
    """Tell whether a transaction failed because of another one, and may go well the next time."""
    if isinstance(error, exc.IntegrityError):
        return True  # of a row that another one made meanwhile
    original = getattr(error, "orig", None)
    state = getattr(original, "sqlstate", None) or (original.args[0] if original and original.args else "")
    return str(state) in _MET


def told(error: BaseException, password: str = "") -> OSError:
    """Make the error that callers see: what the driver said, without the statement and its values, which may be
    secrets."""
    original = getattr(error, "orig", None if isinstance(error, exc.SQLAlchemyError) else error)
    text = str(original.args[-1] if original is not None and original.args else type(error).__name__)
    text = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)[:300]
    if password:
        text = text.replace(password, "***")
    return OSError(errno.EIO, text)
