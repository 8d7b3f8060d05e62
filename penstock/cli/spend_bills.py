"""`penstock spend reconcile`: the ledger beside a provider's bill, by day and model."""

from __future__ import annotations

import asyncio
import csv
import gzip
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.admin.spend_bills import Compared, added, compare
from penstock.cli.tables import print_table
from penstock.core.providers.bills import Bill, Billed, Unreadable, bill_of, read_pages, read_rows

if TYPE_CHECKING:
    from penstock.stores.sql.database import Database

MOST_BYTES = 256 * 1024 * 1024  # of a bill in JSON, which is read whole
_CENT = Decimal("0.01")


def read_bill(file: Path) -> tuple[Bill, list[Billed]]:
    """Read a file in one of the known forms: sums of each day and model. Raises ``ClickException``."""
    try:
        binary = gzip.open(file, "rb") if file.suffix == ".gz" else open(file, "rb")
        with binary:
            if (file.stem if file.suffix == ".gz" else file.name).endswith(".json"):
                data = binary.read(MOST_BYTES + 1)
                if len(data) > MOST_BYTES:
                    raise Unreadable(f"it has more than {MOST_BYTES:,} bytes")
                bill, rows = read_pages(json.loads(data))
                return bill, added(rows)
            lines = (line.decode("utf-8-sig") for line in binary)
            table = csv.DictReader(lines)
            bill = bill_of(table.fieldnames or ())
            return bill, added(read_rows(bill, table))
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, csv.Error) as error:  # whatever is wrong in a foreign file
        raise click.ClickException(f"{file}: {error}") from None


def reconcile(database: Database, bill: Bill, billed: Sequence[Billed], providers: tuple[str, ...]) -> list[Compared]:
    """Compare a bill with the ledger of its days. A bill that names no models is compared by day."""
    from penstock.stores.sql.spend import SqlSpendStore

    days = [one.day for one in billed]
    where: Mapping[str, object] = {"provider": providers or bill.providers}
    asked = SqlSpendStore(database).daily("key", where, min(days), max(days), ("day", "model"))
    return compare(billed, asyncio.run(asked), any(one.model for one in billed))


def show(rows: Sequence[Compared], all_rows: bool) -> None:
    """Print the rows that differ by a cent, or all, and the sums."""
    shown = [one for one in rows if all_rows or abs(one.difference) >= _CENT]
    header = ("day", "model", "bill in $", "ledger in $", "difference", "%", "requests", "counted here")
    table = [
        (one.day, one.model or "all", f"{one.billed:,.4f}", f"{one.ledger:,.4f}", f"{one.difference:+,.4f}",
         share(one.difference, one.billed), f"{one.requests:,}", f"{one.estimated:,}")
        for one in shown
    ]  # fmt: skip
    if table:
        print_table(header, table, right=range(2, len(header)))
        click.echo()
    billed, ledger = sum((one.billed for one in rows), Decimal()), sum((one.ledger for one in rows), Decimal())
    apart = f"{ledger - billed:+,.4f} $ ({share(ledger - billed, billed)} %)"
    click.echo(f"Bill {billed:,.4f} $, ledger {ledger:,.4f} $: {apart}, {len(shown)} of {len(rows)} lines shown.")


def share(difference: Decimal, of: Decimal) -> str:
    """Return a difference in percent of what it is of."""
    return f"{difference / of * 100:+.2f}" if of else "-"
