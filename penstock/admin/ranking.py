"""``/gateway/top``: which models, keys and teams spend most; without a database what this process has counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from penstock.admin.forms import number_of, page, query_of
from penstock.admin.spend_asked import Asking, last_days, spend, tokens
from penstock.core.admit.access import MANAGEMENT
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.runtime.tally import COST, INPUT, OUTPUT, REQUESTS

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.stores.sql.daily import Day

Fields = dict[str, Any]
MOST_DAYS = 92
_BY = {"models": ("model", ""), "keys": ("key", ""), "teams": ("name", "team")}


async def top(gateway: Any, call: Call) -> Page:
    """List the models, keys and teams that spend most, of the last days (`days`, 7 by default)."""
    query = query_of(call)
    days, most = number_of(query, "days", 7, 1, MOST_DAYS), number_of(query, "most", 5, 1, 50)
    if getattr(gateway, "storage", None) is None:
        if not call.caller.views:
            raise GatewayError("forbidden", "Without a database only admins see what this process has counted.")
        return page({"days": None, **_counted(gateway, most)})
    asking = Asking(gateway, call)
    whose, told = asking.mine(), dict[str, Any](days=days)
    for name, (field, per) in _BY.items():
        if per and whose:  # of a user's teams no sums are kept
            told[name] = []
            continue
        found = await asking.sums(
            whose, last_days(days - 1), (field,), per, order="cost", descending=True, limit=most + 1
        )
        told[name] = [_told(asking, one, field, per) for one in found if getattr(one, field)][:most]
    return page(told)


def _told(asking: Asking, one: Day, field: str, per: str) -> Fields:
    id_ = str(getattr(one, field))
    alias = asking.alias_of(per or field, id_) if field != "model" else None
    return {
        "id": id_, "name": alias or id_, "spend": spend(one), "requests": one.requests, "failed": one.failed,
        "tokens": tokens(one),
    }  # fmt: skip


def _counted(gateway: Any, most: int) -> Fields:
    """Sum up what this process has counted since it began."""
    gateway.tally.fold()
    return {
        "models": _sums(gateway.tally.cells.values(), "model", "model", most),
        "keys": _sums(gateway.tally.cells.values(), "key", "alias", most),
        "teams": _sums(gateway.tally.cells.values(), "team", "team", most),
    }


def _sums(cells: Iterable[Any], field: str, alias: str, most: int) -> list[Fields]:
    found: dict[str, Fields] = {}
    for cell in cells:
        labels, values = cell.labels, cell.values
        id_ = getattr(labels, field)
        if not id_:
            continue
        one = found.setdefault(
            id_,
            {"id": id_, "name": getattr(labels, alias) or id_, "spend": 0.0, "requests": 0, "failed": 0, "tokens": 0},
        )
        one["spend"] += float(values[COST])
        one["requests"] += values[REQUESTS]
        one["failed"] += values[REQUESTS] if labels.error else 0
        one["tokens"] += values[INPUT] + values[OUTPUT]
    return sorted(found.values(), key=lambda one: (-one["spend"], -one["requests"]))[:most]


ROUTES = (Route("/gateway/top", top, family=MANAGEMENT),)
