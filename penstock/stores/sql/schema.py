"""The tables, as this version of Penstock has them; ``migrations/`` brings older ones there.

Names begin with ``penstock_``, so that they stand beside LiteLLM's in one database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Index, MetaData, Table

from penstock.stores.kinds import KINDS
from penstock.stores.sql.types import BYTES, COUNT, FLAG, LONG, TIME, Name, Said, Whole

PREFIX = "penstock_"
_FLAGS = frozenset({"blocked"})  # columns of rows that are no text
METADATA = MetaData()
_MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_row_format": "DYNAMIC"}


def _table(name: str, *parts: Column[Any] | Index) -> Table:
    return Table(PREFIX + name, METADATA, *parts)


def make_all(connection: Connection) -> None:
    """Make all tables in an empty database."""
    if connection.dialect.name == "mysql":  # said only there: it imports all that is MySQL's
        for table in METADATA.tables.values():
            table.dialect_kwargs.update(_MYSQL)
    METADATA.create_all(connection)


def _index(table: str, *columns: str, unique: bool = False) -> Index:
    return Index(f"ix_{PREFIX}{table}_{'_'.join(columns)}", *columns, unique=unique)


def _rows(kind: str) -> Table:
    """Make the table of a kind of rows."""
    row = KINDS[kind]
    return _table(
        row.table,
        Column("id", Name(), primary_key=True),
        Column("version", COUNT, nullable=False),
        Column("revision", COUNT, nullable=False),
        Column("body", LONG, nullable=False),
        *(Column(name, FLAG if name in _FLAGS else Said()) for name in row.columns if name != "id"),
        Column("created_at", TIME, nullable=False),
        Column("created_by", LONG, nullable=False),
        Column("updated_at", TIME, nullable=False),
        Column("updated_by", LONG, nullable=False),
        _index(row.table, "revision"),
        *(_index(row.table, name, unique=name in row.unique) for name in row.columns if name not in _FLAGS),
    )


ROWS = {kind: _rows(kind) for kind in KINDS}

REVISION = _table("revision", Column("id", COUNT, primary_key=True, autoincrement=False),
                  Column("value", COUNT, nullable=False))  # fmt: skip

GONE = _table(
    "gone",
    Column("kind", Name(40), primary_key=True),
    Column("id", Name(), primary_key=True),
    Column("version", COUNT, nullable=False),
    Column("revision", COUNT, nullable=False),
    _index("gone", "revision"),
)

AUDIT = _table(
    "audit",
    Column("id", Name(64), primary_key=True),
    Column("revision", COUNT, nullable=False),
    Column("number", COUNT, nullable=False),  # within its revision
    Column("at", TIME, nullable=False),
    Column("who", Name(), nullable=False),
    Column("action", Name(40), nullable=False),
    Column("kind", Name(40), nullable=False),
    Column("row", Name(), nullable=False),
    Column("before", LONG, nullable=False),
    Column("after", LONG, nullable=False),
    _index("audit", "revision", "number"),
    _index("audit", "kind", "row"),
    _index("audit", "who"),
)

# What a request cost: the fields of ``stores.base.Spent``.
SPEND = _table(
    "spend",
    Column("call_id", Name(), primary_key=True),
    Column("at", TIME, nullable=False),
    Column("began", TIME, nullable=False),
    *(Column(name, Name(), nullable=False) for name in
      "kind key team user organization customer model group target target_id provider price_version cache_key error "
      "request_id client path session".split()),
    *(Column(name, LONG, nullable=False) for name in "tags address message usage metadata accounts".split()),
    *(Column(name, COUNT, nullable=False) for name in
      "cost input output cache_read cache_write reasoning status tries".split()),
    *(Column(name, FLAG, nullable=False) for name in "estimated pending cache_hit stream".split()),
    Column("ms", TIME, nullable=False),
    Column("first_ms", TIME),
    Column("way", LONG),  # NULL in rows of before there was one
    _index("spend", "at"),
    *(_index("spend", name, "at") for name in "key team user organization customer".split()),
    _index("spend", "request_id"),
    _index("spend", "session"),
)  # fmt: skip

# What requests asked and were answered, of those of which that is kept.
TEXTS = _table(
    "texts",
    Column("call_id", Name(), primary_key=True),
    Column("request", LONG, nullable=False),
    Column("response", LONG, nullable=False),
)

# Sums per day. ``dimension``: whose they are ("key": every request once; "team", "user", "organization", "customer",
# "tag"), ``name``: its id. ``id``: a digest of what makes a row one of a kind, as no index takes all of it.
DAILY_NAMES = ("dimension", "name", "key", "model", "group", "provider")
DAILY_SUMS = (
    "requests", "failed", "cost", "input", "output", "cache_read", "cache_write", "reasoning", "cache_hits",
    "estimated",
)  # fmt: skip
DAILY = _table(
    "daily",
    Column("id", Name(64), primary_key=True),
    Column("day", Name(10), nullable=False),
    *(Column(name, Name(40 if name == "dimension" else 255), nullable=False) for name in DAILY_NAMES),
    *(Column(name, Whole() if name == "cost" else COUNT, nullable=False) for name in DAILY_SUMS),
    _index("daily", "dimension", "name", "day"),
    _index("daily", "dimension", "day"),
)

# What an account has spent in a window of time, see ``stores.base.Total``.
ACCOUNT = 600  # characters of an account's name, a model's among them
TOTALS = _table(
    "totals",
    Column("account", Name(ACCOUNT), primary_key=True),
    Column("period", Name(20), primary_key=True),
    Column("start", TIME, primary_key=True),
    Column("amount", Whole(), nullable=False),
)

# What each process was granted of a cap that several share, see ``stores.base.Pot``; process "": what was spent before.
SHARES = _table(
    "shares",
    Column("account", Name(ACCOUNT), primary_key=True),
    Column("period", Name(20), primary_key=True),
    Column("start", TIME, primary_key=True),
    Column("process", Name(80), primary_key=True),
    Column("granted", COUNT, nullable=False),
    Column("spent", COUNT, nullable=False),
    Column("mark", Name(), nullable=False),
    Column("until", TIME, nullable=False),
    _index("shares", "process"),
    _index("shares", "until"),
)

MARKS = _table("journal_marks", Column("journal", Name(), primary_key=True), Column("position", COUNT, nullable=False))

# Small values, see ``stores.base.Store``. ``id``: a digest of the key, which may be of any length.
KEPT = _table(
    "kept",
    Column("id", Name(64), primary_key=True),
    Column("value", BYTES, nullable=False),
    Column("until", TIME),
    _index("kept", "until"),
)

# Files and batches, see ``stores.batch_base``. ``runner``, ``until``: who runs a batch, and how long that holds.
FILES = _table(
    "files",
    Column("id", Name(64), primary_key=True),
    Column("owner", Name(), nullable=False),
    Column("created", TIME, nullable=False),
    Column("purpose", Name(40), nullable=False),
    Column("expires", TIME),
    Column("body", LONG, nullable=False),
    Column("team", Name()),
    Column("bytes", COUNT),  # on the gateway's own disk; NULL where a provider has the file
    _index("files", "owner", "created"),
    _index("files", "created"),
    _index("files", "expires"),
    _index("files", "team"),
)
BATCHES = _table(
    "batches",
    Column("id", Name(64), primary_key=True),
    Column("owner", Name(), nullable=False),
    Column("form", Name(20), nullable=False),
    Column("created", TIME, nullable=False),
    Column("status", Name(20), nullable=False),
    Column("version", COUNT, nullable=False),
    Column("runner", Name(80), nullable=False),
    Column("until", TIME, nullable=False),
    Column("body", LONG, nullable=False),
    _index("batches", "owner", "created"),
    _index("batches", "created"),
    _index("batches", "status"),
)

# What is to be known of the database itself.
ABOUT = _table("about", Column("name", Name(40), primary_key=True), Column("value", Name(), nullable=False))
