"""Files of requests and what they cost: CSV and Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.core.admit.amount import decimal

if TYPE_CHECKING:
    from penstock.stores.base import Spent

Write = Callable[[Sequence["Spent"]], None]
_PLAIN = (
    "call_id", "request_id", "kind", "key", "team", "user", "organization", "customer", "model", "group", "target",
    "target_id", "provider", "price_version", "input", "output", "cache_read", "cache_write", "reasoning", "estimated",
    "pending", "cache_hit", "stream", "status", "error", "tries", "ms", "first_ms", "session", "path",
)  # fmt: skip
COLUMNS = ("ended", "cost", "tags", *_PLAIN)


@contextmanager
def open_writer(file: Path) -> Iterator[Write]:
    """Open a file for requests; its name says in which form. One that is there is replaced at the end, and not at all
    where something goes wrong."""
    if str(file) == "-":
        yield _csv_writer(sys.stdout)
        return
    part = file.with_name(file.name + ".part")
    try:
        if file.suffix == ".parquet":
            with _parquet_writer(part) as write:
                yield write
        else:
            raw = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
            with raw, gzip.open(raw, "wb") if file.suffix == ".gz" else raw as binary:
                text = io.TextIOWrapper(binary, "utf-8", newline="")  # type: ignore[type-var]
                yield _csv_writer(text)
                text.flush()
                text.detach()
        os.replace(part, file)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror or error}") from None
    finally:
        part.unlink(missing_ok=True)


def _csv_writer(text: Any) -> Write:
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(COLUMNS)

    def write(rows: Sequence[Spent]) -> None:
        for one in rows:
            lines.writerow([_cell(value) for value in _values(one)])

    return write


def _values(one: Spent) -> list[Any]:
    return [_time(one.at), decimal(one.cost), list(one.tags), *(getattr(one, name) for name in _PLAIN)]


def _cell(value: Any) -> Any:
    """Return what stands in a cell. A text that begins with such a sign would be a formula to a spreadsheet: what
    clients send must not be one (OWASP, CSV injection)."""
    if isinstance(value, list):
        value = ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + value
    return f"{value:f}" if type(value).__name__ == "Decimal" else value


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def _parquet_writer(part: Path) -> Iterator[Write]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise click.ClickException("Parquet needs pyarrow: pip install 'penstock[parquet]'") from None
    schema = _parquet_schema(pyarrow)
    os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    with pyarrow.parquet.ParquetWriter(part, schema, compression="zstd") as writer:

        def write(rows: Sequence[Spent]) -> None:
            columns = zip(*(_parquet_values(one) for one in rows), strict=True)
            arrays = [pyarrow.array(list(column), field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_batch(pyarrow.record_batch(arrays, schema=schema))

        yield write


def _parquet_values(one: Spent) -> list[Any]:
    values = _values(one)
    values[0] = datetime.fromtimestamp(one.at, UTC)
    return values


def _parquet_schema(arrow: Any) -> Any:
    """Return the types of the columns: those of the ledger's entries."""
    from penstock.stores.base import Spent

    made = {"str": arrow.string(), "int": arrow.int64(), "bool": arrow.bool_(), "float": arrow.float64(),
            "float | None": arrow.float64()}  # fmt: skip
    fields = [
        ("ended", arrow.timestamp("us", "UTC")),
        ("cost", arrow.decimal128(38, 12)),
        ("tags", arrow.list_(arrow.string())),
    ]
    return arrow.schema([*fields, *((name, made[Spent.__annotations__[name]]) for name in _PLAIN)])
