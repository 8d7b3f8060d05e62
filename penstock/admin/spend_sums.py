"""``/spend/summary``: what was spent within some days, by whatever one asks: sums, a row for each day, and the days of
those that cost most. As JSON, or as CSV to take along."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.admin.forms import number_of, page
from penstock.admin.spend_asked import Asking, spend, tokens
from penstock.core.admit import amount
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from penstock.admin.spend_asked import Days
    from penstock.runtime.call import Call
    from penstock.stores.sql.daily import Day

Fields = dict[str, Any]
MOST_NAMES = 1000  # of one answer; what cost most comes first
MOST_SERIES = 6  # that are told by day
MOST_DAYS = 400
_CSV = b"text/csv; charset=utf-8\r\ncontent-disposition: attachment; filename=%b"


class Group(NamedTuple):
    """What sums are made by. ``field``: of a sum; ``per``: the dimension that has it by name, "" for all requests."""

    field: str
    per: str = ""


GROUPS: Mapping[str, Group] = {
    "day": Group("day"),
    "model": Group("model"),
    "model_group": Group("group"),
    "provider": Group("provider"),
    "key": Group("key"),
    "team": Group("name", "team"),
    "user": Group("name", "user"),
    "organization": Group("name", "organization"),
    "customer": Group("name", "customer"),
    "tag": Group("name", "tag"),
}
_ALIASES = {"key": "key_alias", "team": "team_alias", "user": "user_email", "organization": "organization_alias"}
_FILTERS = {"model": "model", "model_group": "group", "provider": "provider"}
_FIGURES = (
    "spend requests failed_requests prompt_tokens completion_tokens cache_read_input_tokens "
    "cache_creation_input_tokens cache_hits estimated_requests"
).split()


async def summary(gateway: Any, call: Call) -> Page:
    """Report what was spent within some days, by day, model, provider, key, team, user or tag."""
    asking = Asking(gateway, call)
    query, days = asking.query, asking.days_or_last()
    name = query.get("group_by") or "model"
    group = GROUPS.get(name)
    if group is None:
        text = f"group_by: {name[:40]!r} is none of {', '.join(GROUPS)}."
        raise GatewayError("bad_request", text, param="group_by")
    if (date.fromisoformat(days.until) - date.fromisoformat(days.since)).days >= MOST_DAYS:
        raise GatewayError("bad_request", f"start_date: {MOST_DAYS} days are told at most.", param="start_date")
    where: Fields = {field: query[given] for given, field in _FILTERS.items() if query.get(given)}
    if query.get("tag"):
        where["name"] = query["tag"]
    limit = number_of(query, "limit", 100, 1, MOST_NAMES)
    found = await _sums(asking, days, group, where, limit)
    if query.get("format") == "csv":
        return _as_csv(asking, name, group, found, days)
    return page(await _told(asking, name, group, found, days, where))


async def _sums(asking: Asking, days: Days, group: Group, where: Fields, limit: int) -> list[Day]:
    order, per = ("day" if group.field == "day" else "cost"), _per(asking, group)
    return await asking.sums(asking.named(), days, (group.field,), per, where=where, order=order,
                             descending=order == "cost", limit=limit)  # fmt: skip


def _per(asking: Asking, group: Group) -> str:
    """Return the dimension to sum up: a tag that is named is one, whatever is asked by."""
    tagged = bool(asking.query.get("tag"))
    if tagged and group.per not in ("", "tag"):
        text = "Sums are kept of a tag's models, keys and days, not of its teams and users: leave tag out."
        raise GatewayError("bad_request", text, param="tag")
    return "tag" if tagged else group.per


async def _told(asking: Asking, name: str, group: Group, found: Sequence[Day], days: Days, where: Fields) -> Fields:
    whose, per = asking.named(), "tag" if asking.query.get("tag") else ""
    totals = await asking.sums(whose, days, ("day",), per, where=where)
    by_day = {one.day: one for one in totals}
    every = _every_day(days)
    told: Fields = {
        "group_by": name,
        "start_date": days.since,
        "end_date": days.until,
        "total": _figures(totals),
        "results": [_row(asking, name, group, one) for one in found],
        "days": [{"date": day, **_figures([by_day[day]] if day in by_day else [])} for day in every],
        "series": [],
    }
    names = tuple(value for one in found[:MOST_SERIES] if (value := getattr(one, group.field)))
    if group.field == "day" or not names:
        return told
    narrowed = {**where, group.field: names}
    sums = await asking.sums(whose, days, ("day", group.field), _per(asking, group), where=narrowed)
    amounts = {(one.day, getattr(one, group.field)): spend(one) for one in sums}
    told["series"] = [
        {"name": one, "alias": _alias(asking, name, one), "spend": [amounts.get((day, one), 0.0) for day in every]}
        for one in names
    ]
    return told


def _every_day(days: Days) -> list[str]:
    first, last = date.fromisoformat(days.since), date.fromisoformat(days.until)
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def _row(asking: Asking, name: str, group: Group, one: Day) -> Fields:
    value = getattr(one, group.field)
    return {"name": value, "alias": _alias(asking, name, value), **_figures([one])}


def _alias(asking: Asking, name: str, id_: str) -> str | None:
    """Return what people call a key, team or user; None for what has no such name."""
    field = _ALIASES.get(name)
    body = asking.keyring.body(name, id_) if field and id_ else None
    found = (body or {}).get(field or "") or (body or {}).get("user_alias")
    return found if isinstance(found, str) and found else None


def _figures(found: Sequence[Day]) -> Fields:
    values = (
        amount.dollars(sum(one.cost for one in found)),
        sum(one.requests for one in found),
        sum(one.failed for one in found),
        sum(one.input for one in found),
        sum(one.output for one in found),
        sum(one.cache_read for one in found),
        sum(one.cache_write for one in found),
        sum(one.cache_hits for one in found),
        sum(one.estimated for one in found),
    )
    return {**dict(zip(_FIGURES, values, strict=True)), "total_tokens": sum(map(tokens, found))}


def _as_csv(asking: Asking, name: str, group: Group, found: Sequence[Day], days: Days) -> Page:
    """Write sums as a table that a spreadsheet reads, and in which nothing is a formula of it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow((name, "alias", *_FIGURES, "total_tokens"))
    for one in found:
        row = _row(asking, name, group, one)
        writer.writerow([_plain(row["name"]), _plain(row["alias"] or ""), *list(row.values())[2:]])
    file = f"spend-by-{name}-{days.since}-{days.until}.csv"
    return Page(200, _CSV % file.encode(), text.getvalue().encode())


def _plain(value: str) -> str:
    return f"'{value}" if value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


ROUTES = (Route("/spend/summary", summary),)
