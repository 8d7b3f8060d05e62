"""Copies all that a database has: into another one, into a file, and back. Each table has a checksum, which what was
copied must have as well; a copy is made whole or not at all."""

from __future__ import annotations

import gzip
import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import msgspec
import sqlalchemy as sa

from penstock.stores.sql.migrate import HEAD, version
from penstock.stores.sql.schema import ABOUT, METADATA, REVISION

BATCH = 500
_OWN = (ABOUT, REVISION)  # a database that is empty has rows there
Told = Callable[[int], None]
"""Is told of how many rows were copied since the last time."""


class Wrong(Exception):
    """A copy cannot be made, or is not what it was made from; the message says why. Nothing was changed."""


class Sum(NamedTuple):
    """What a table holds: its rows, and a digest of them that does not depend on their order."""

    rows: int
    checksum: str


class _Adder:
    """Adds rows up."""

    def __init__(self) -> None:
        self.rows, self._sum = 0, 0

    def add(self, row: Sequence[Any]) -> None:
        self.rows += 1
        self._sum += int.from_bytes(hashlib.sha256(msgspec.json.encode([_told(value) for value in row])).digest())

    @property
    def sum(self) -> Sum:
        return Sum(self.rows, f"{self._sum % 2**256:064x}")


def tables() -> Mapping[str, sa.Table]:
    """Return the tables that are copied, by name."""
    return {str(name): table for name, table in sorted(METADATA.tables.items())}


def count_rows(connection: sa.Connection) -> dict[str, int]:
    """Count the rows of each table."""
    counts = {name: sa.select(sa.func.count()).select_from(table) for name, table in tables().items()}
    return {name: connection.execute(count).scalar_one() for name, count in counts.items()}


def copy_all(source: sa.Connection, target: sa.Connection, told: Told) -> dict[str, Sum]:
    """Copy all rows into a database without any. Raises ``Wrong``."""
    _check_version(source, "the database that is copied")
    _make_room(target)
    sums = {}
    for name, table in tables().items():
        adder = _Adder()
        _insert(target, table, _rows(source, table), adder, told)
        sums[name] = adder.sum
    _check(target, sums)
    return sums


def write_file(source: sa.Connection, path: Path, told: Told) -> dict[str, Sum]:
    """Write all rows into a file, as lines of JSON; compressed where its name ends with ``.gz``. It has its name once
    it is whole, and only its owner reads it. Raises ``Wrong`` and ``OSError``."""
    _check_version(source, "the database")
    new = path.with_name(f".{path.name}-{os.getpid()}")
    sums = {}
    try:
        with _create(new, path.suffix == ".gz") as file:
            _write(file, {"penstock": "export", "migration": HEAD})
            for name, table in tables().items():
                adder = _Adder()
                _write(file, {"table": name, "columns": [str(column.name) for column in table.columns]})
                for row in _rows(source, table):
                    adder.add(row)
                    _write(file, [_told(value) for value in row])
                    if adder.rows % BATCH == 0:
                        told(BATCH)
                told(adder.rows % BATCH)
                sums[name] = adder.sum
                _write(file, {"table": name, **sums[name]._asdict()})
            _write(file, {"end": True})
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
    return sums


def read_file(path: Path, target: sa.Connection, told: Told) -> dict[str, Sum]:
    """Read a file that ``write_file`` made into a database without any rows. Raises ``Wrong`` and ``OSError``."""
    _make_room(target)
    sums = {}
    try:
        with _open(path) as file:
            lines = _Lines(file)
            lines.check_head()
            while (head := lines.next_table()) is not None:
                table, columns = head
                adder = _Adder()
                _insert(target, table, lines.rows(table, columns), adder, told)
                sums[str(table.name)] = adder.sum
                lines.check_end(str(table.name), adder.sum)
    except (msgspec.MsgspecError, EOFError, gzip.BadGzipFile, KeyError, TypeError, ValueError) as error:
        raise Wrong(f"{path} is no whole export of Penstock: {error}") from None
    missing = sorted(set(tables()) - set(sums))
    if missing:
        raise Wrong(f"{path} lacks tables: {', '.join(missing)}")
    _check(target, sums)
    return sums


class _Lines:
    """The lines of an exported file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._last: Any = None

    def check_head(self) -> None:
        head = self._next()
        if not isinstance(head, dict) or head.get("penstock") != "export":
            raise ValueError("its first line says something else")
        if head.get("migration") != HEAD:
            raise Wrong(
                f"the file was written at migration {head.get('migration')!r}, this version is at {HEAD}: export and "
                "import with the same version of Penstock, and upgrade then"
            )

    def next_table(self) -> tuple[sa.Table, list[str]] | None:
        line = self._next()
        if line == {"end": True}:
            return None
        table = tables()[line["table"]]
        columns = line["columns"]
        if sorted(columns) != sorted(column.name for column in table.columns):
            raise ValueError(f"{table.name} has other columns")
        return table, columns

    def rows(self, table: sa.Table, columns: Sequence[str]) -> Iterator[Sequence[Any]]:
        places = [columns.index(column.name) for column in table.columns]
        while isinstance(line := self._next(), list):
            values = [line[place] for place in places]
            yield [_read(value) for value in values]
        self._last = line

    def check_end(self, name: str, found: Sum) -> None:
        if self._last != {"table": name, **found._asdict()}:
            raise ValueError(f"the rows of {name} are not those that were exported")

    def _next(self) -> Any:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise EOFError("it ends in the middle")
        return msgspec.json.decode(line)


def _check_version(connection: sa.Connection, what: str) -> None:
    found = version(connection)
    if found != HEAD:
        told = f"at migration {found}, and not at {HEAD}" if found else "no database of Penstock's"
        raise Wrong(f"{what} is {told}: `penstock db upgrade` makes it one")


def _make_room(target: sa.Connection) -> None:
    """Refuse a database that has rows, and delete what a new one has."""
    filled = {name: count for name, count in count_rows(target).items() if count and tables()[name] not in _OWN}
    if filled:
        told = ", ".join(f"{name} {count}" for name, count in filled.items())
        raise Wrong(f"the database that is to be filled has rows already ({told}): name an empty one")
    for table in _OWN:
        target.execute(sa.delete(table))


def _rows(source: sa.Connection, table: sa.Table) -> Iterator[Sequence[Any]]:
    with source.execution_options(yield_per=BATCH).execute(sa.select(table)) as found:
        yield from found


def _insert(
    target: sa.Connection, table: sa.Table, rows: Iterator[Sequence[Any]], adder: _Adder, told: Told
) -> None:
    names = [column.name for column in table.columns]
    batch: list[dict[str, Any]] = []

    def flush() -> None:
        if batch:
            target.execute(sa.insert(table), batch)
            told(len(batch))
            batch.clear()

    for row in rows:
        adder.add(row)
        batch.append(dict(zip(names, row, strict=True)))
        if len(batch) == BATCH:
            flush()
    flush()


def _check(target: sa.Connection, sums: Mapping[str, Sum]) -> None:
    """Read back what was copied."""
    for name, table in tables().items():
        adder = _Adder()
        for row in _rows(target, table):
            adder.add(row)
        if adder.sum != sums[name]:
            raise Wrong(f"{name} is not what it was copied from: {adder.rows} rows of {sums[name].rows}, or other ones")


def _told(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, bytes):
        return {"b64": b64encode(value).decode()}
    if isinstance(value, int) and abs(value) >= 2**63:
        return {"int": str(value)}
    return value


def _read(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return int(value["int"]) if "int" in value else b64decode(value["b64"])


def _create(path: Path, packed: bool) -> IO[bytes]:
    file = open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    return cast(IO[bytes], _Packed(file)) if packed else file


def _open(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else open(path, "rb")


class _Packed(gzip.GzipFile):
    """A compressed file that closes what it writes to."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(fileobj=file, mode="wb", compresslevel=6)
        self._under = file

    def close(self) -> None:
        super().close()
        self._under.close()


def _write(file: IO[bytes], line: Any) -> None:
    file.write(msgspec.json.encode(line) + b"\n")
