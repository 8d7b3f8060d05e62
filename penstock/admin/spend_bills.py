"""``/spend/reconcile``: a provider's bill beside the ledger, by day and model. `penstock spend reconcile` does the same
with files of any size."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
from msgspec import UNSET, UnsetType

from penstock.admin.forms import convert, page
from penstock.admin.spend_asked import ALL, Asking, Days
from penstock.core.admit.access import INFO
from penstock.core.admit.amount import decimal
from penstock.core.envelope import read_as
from penstock.core.errors import GatewayError
from penstock.core.providers.bills import Bill, Billed, Unreadable, bill_of, read_pages, read_rows, same_name
from penstock.runtime.gate import VIEW
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.stores.sql.daily import Day

MOST_BYTES = 8 * 1024 * 1024  # of a bill that is sent; the command reads larger ones


class Compared(NamedTuple):
    """What a bill and the ledger say of one day and model."""

    day: str
    model: str
    billed: Decimal
    ledger: Decimal
    requests: int
    estimated: int

    @property
    def difference(self) -> Decimal:
        return self.ledger - self.billed


class Sent(msgspec.Struct, kw_only=True):
    """The body of ``/spend/reconcile``. ``bill``: the text of the file; ``provider``: whose requests are meant, where
    the bill's own provider is not what the ledger calls it."""

    bill: str
    provider: list[str] | UnsetType | None = UNSET


def read_text(text: str) -> tuple[Bill, list[Billed]]:
    """Read a bill in one of the known forms: sums of each day and model. Raises ``Unreadable``."""
    try:
        if text.lstrip()[:1] in ("{", "["):
            bill, rows = read_pages(json.loads(text))
            return bill, added(rows)
        table = csv.DictReader(io.StringIO(text.lstrip("\ufeff")))
        bill = bill_of(table.fieldnames or ())
        return bill, added(read_rows(bill, table))
    except RecursionError:
        raise Unreadable("it is nested too deeply") from None
    except Unreadable:
        raise
    except (ValueError, KeyError, TypeError, csv.Error) as error:  # whatever is wrong in a foreign file
        raise Unreadable(str(error)) from None


def added(rows: Iterable[Billed]) -> list[Billed]:
    """Add up what rows say of the same day and model."""
    sums: dict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for one in rows:
        sums[one.day, one.model] += one.cost
    return [Billed(day, model, cost) for (day, model), cost in sums.items()]


def compare(billed: Sequence[Billed], ledger: Sequence[Day], by_model: bool) -> list[Compared]:
    """Set the two beside each other, where they name the same model, and in the order of days."""
    found: dict[tuple[str, str], list[Any]] = {}

    def of(day: str, model: str) -> list[Any]:
        key = day, same_name(model) if by_model else ""
        return found.setdefault(key, [model if by_model else "", Decimal(), Decimal(), 0, 0])

    for one in billed:
        of(one.day, one.model)[1] += one.cost
    for sums in ledger:
        row = of(sums.day, sums.model)
        row[2] += decimal(sums.cost)
        row[3] += sums.requests
        row[4] += sums.estimated
    return [Compared(day, *row) for (day, _), row in sorted(found.items())]


async def reconcile(gateway: Any, call: Call) -> Page:
    """Show how a provider's bill and the ledger differ, by day and model."""
    asking = Asking(gateway, call)
    form = convert(read_as(call.exchange.body or b"{}", dict[str, Any], MOST_BYTES), Sent)
    try:
        bill, billed = await asyncio.to_thread(read_text, form.bill)
    except Unreadable as error:
        raise GatewayError("bad_request", f"bill: {error}.", param="bill") from None
    if not billed:
        raise GatewayError("bad_request", f"bill: {bill.name} has nothing that cost anything.", param="bill")
    days = Days(min(one.day for one in billed), max(one.day for one in billed))
    where: Mapping[str, object] = {"provider": tuple(form.provider or ()) or bill.providers}
    ledger = await asking.sums(ALL, days, ("day", "model"), where=where)
    rows = compare(billed, ledger, any(one.model for one in billed))
    sums = [sum((getattr(one, name) for one in rows), Decimal()) for name in ("billed", "ledger")]
    return page(
        {
            "bill": bill.name,
            "providers": list(where["provider"]),  # type: ignore[call-overload]
            "start_date": days.since,
            "end_date": days.until,
            "total": {"billed": float(sums[0]), "ledger": float(sums[1]), "difference": float(sums[1] - sums[0])},
            "results": [
                {
                    "date": one.day,
                    "model": one.model,
                    "billed": float(one.billed),
                    "ledger": float(one.ledger),
                    "difference": float(one.difference),
                    "requests": one.requests,
                    "estimated_requests": one.estimated,
                }
                for one in rows
            ],
        }
    )


ROUTES = (Route("/spend/reconcile", reconcile, methods=("POST",), role=VIEW, no_pages=True, family=INFO, body=Sent),)
