"""What was spent: by day, model, key, team, user, tag or provider, of some days and of whomever; and a provider's bill
beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from penstock.admin.ui.editing import nothing_kept
from penstock.admin.ui.inner import ask
from penstock.admin.ui.lists import path_of, query_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import file_of, form_of, render
from penstock.runtime.gate import PAGE_VIEW
from penstock.runtime.route import Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call

Fields = dict[str, Any]
RANGES = (("today", "Today"), ("yesterday", "Yesterday"), ("7d", "7 days"), ("30d", "30 days"), ("90d", "90 days"))
_USUAL = "30d"
GROUPS = (
    ("day", "Day"),
    ("model", "Model"),
    ("model_group", "Public name"),
    ("provider", "Provider"),
    ("key", "Key"),
    ("team", "Team"),
    ("user", "User"),
    ("tag", "Tag"),
    ("customer", "End user"),
)
_OF_ALL = frozenset(("team", "user", "tag", "customer"))  # groups that only who sees everything asks for
FILTERS: Mapping[str, str] = {
    "key": "api_key",
    "team": "team_id",
    "user": "user_id",
    "organization": "organization_id",
    "model": "model",
    "provider": "provider",
    "tag": "tag",
}
"""Filters of the page, and what the API calls them."""
_PAGES = {"key": "keys", "team": "teams", "user": "users"}
_CSV_HEAD = b"text/csv; charset=utf-8\r\ncontent-disposition: attachment; filename=penstock-spend.csv"


class Wanted(NamedTuple):
    """What an address asks for. ``range``: of ``RANGES``, or "own"."""

    range: str
    since: str
    until: str
    group: str
    filters: dict[str, str]

    @property
    def query(self) -> Fields:
        """Return the query of the API."""
        named = {FILTERS[name]: value for name, value in self.filters.items()}
        return {"start_date": self.since, "end_date": self.until, "group_by": self.group, **named}

    def link(self, **other: str) -> str:
        """Return the address of the same with something else."""
        own = {"since": self.since, "until": self.until} if self.range == "own" else {}
        kept = {"range": self.range, **own, "by": self.group, **self.filters}
        if "range" in other:
            kept = {name: value for name, value in kept.items() if name not in ("since", "until")}
        return urlencode({name: value for name, value in {**kept, **other}.items() if value})


def _wanted(call: Call) -> Wanted:
    query, today = query_of(call), datetime.now(UTC).date()
    filters = {name: query[name].strip()[:256] for name in FILTERS if query.get(name, "").strip()}
    group = query.get("by", "")
    group = group if any(group == name for name, _ in GROUPS) else "model"
    since, until = _day(query.get("since", "")), _day(query.get("until", ""))
    if since and until and query.get("range", "own") == "own":
        return Wanted("own", min(since, until), max(since, until), group, filters)
    name = query.get("range", "")
    name = name if any(name == one for one, _ in RANGES) else _USUAL
    if name == "yesterday":
        day = (today - timedelta(days=1)).isoformat()
        return Wanted(name, day, day, group, filters)
    count = 1 if name == "today" else int(name[:-1])
    first = (today - timedelta(days=count - 1)).isoformat()
    return Wanted(name, first, today.isoformat(), group, filters)


def _day(text: str) -> str:
    try:
        return date.fromisoformat(text.strip()[:10]).isoformat()
    except ValueError:
        return ""


async def show(gateway: Any, call: Call) -> Page:
    """Show what was spent: a chart, and a row for each of what it is grouped by."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    wanted = _wanted(call)
    told = await ask(gateway, call, "GET", "/spend/summary", limit=200, **wanted.query)
    groups = [one for one in GROUPS if call.caller.views or one[0] not in _OF_ALL]
    found = told.said if told.good else None
    rows = [{**one, "path": _path(wanted, one["name"])} for one in found["results"]] if found else []
    return render(
        gateway, call, "access/spend.html", wanted=wanted, spent=found, rows=rows, error=told.error, ranges=RANGES,
        groups=groups, filters=_named(gateway, wanted), chart=_chart(found) if found else None,
    )  # fmt: skip


def _path(wanted: Wanted, name: str) -> str:
    """Return the page of a key, team or user; "" for what has none."""
    return path_of(_PAGES[wanted.group], name) if wanted.group in _PAGES and name else ""


def _named(gateway: Any, wanted: Wanted) -> list[tuple[str, str, str]]:
    """Return the filters that are set: the name, what it is called, and the address without it."""
    found = []
    for name, value in wanted.filters.items():
        row = gateway.desk.keyring.body(name, value) if name in ("key", "team", "user", "organization") else None
        called = (row or {}).get(f"{name}_alias") or (row or {}).get("user_email") or value
        found.append((name, str(called), wanted.link(**{name: ""})))
    return found


def _chart(found: Fields) -> Fields | None:
    """Return the chart of some days: of each that cost most, or of all together; None for a single day."""
    days = found["days"]
    if len(days) < 2:
        return None
    times = [datetime.fromisoformat(one["date"]).replace(tzinfo=UTC).timestamp() for one in days]
    series = [{"name": one["alias"] or one["name"], "values": one["spend"]} for one in found["series"]]
    if not series:
        series = [{"name": "spent", "values": [one["spend"] for one in days]}]
    return {"times": times, "series": series}


async def export(gateway: Any, call: Call) -> Page:
    """Send the same as CSV."""
    wanted = _wanted(call)
    told = await ask(gateway, call, "GET", "/spend/summary", limit=1000, format="csv", **wanted.query)
    if not told.good:
        return Page(told.status, b"text/plain; charset=utf-8", told.error.encode())
    text = told.said if isinstance(told.said, str) else ""
    return Page(200, _CSV_HEAD + b"\r\nx-content-type-options: nosniff\r\ncache-control: no-store", text.encode())


# A provider's bill. ---------------------------------------------------------------------------------------------------


def bill(gateway: Any, call: Call) -> Page:
    """Show where a provider's bill is uploaded."""
    return nothing_kept(gateway, call) or _bill(gateway, call, None, "", "", 200)


def _bill(gateway: Any, call: Call, found: Fields | None, error: str, provider: str, status: int) -> Page:
    rows = found["results"] if found else []
    for one in rows:
        one["apart"] = abs(one["difference"]) / one["billed"] if one["billed"] else None
    chart = None
    if found and found["start_date"] < found["end_date"]:
        days = sorted({one["date"] for one in rows})
        sums = {
            name: [sum(one[name] for one in rows if one["date"] == day) for day in days]
            for name in ("billed", "ledger")
        }
        times = [datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() for day in days]
        chart = {
            "times": times,
            "series": [{"name": "bill", "values": sums["billed"]}, {"name": "ledger", "values": sums["ledger"]}],
        }
    return render(
        gateway, call, "access/reconcile.html", status, found=found, rows=rows, error=error, provider=provider,
        chart=chart,
    )  # fmt: skip


async def compare(gateway: Any, call: Call) -> Page:
    """Set a provider's bill beside what was counted here."""
    given = form_of(call)
    file, provider = file_of(call, "bill"), given.get("provider", "").strip()[:100]
    try:
        text = given.get("text", "") if file is None else file[1].decode("utf-8-sig")
    except UnicodeDecodeError:
        error = "The file is no text: choose the CSV or JSON that the provider's page exports."
        return _bill(gateway, call, None, error, provider, 400)
    if not text.strip():
        return _bill(
            gateway, call, None, "Choose the file that the provider's page exports, or paste it.", provider, 400
        )
    body: Fields = {"bill": text, **({"provider": [provider]} if provider else {})}
    told = await ask(gateway, call, "POST", "/spend/reconcile", body)
    return _bill(gateway, call, told.said if told.good else None, told.error, provider, told.status)


ROUTES = (
    page("/spend", show),
    page("/spend/export", export),
    page("/reconcile", bill, PAGE_VIEW),
    form("/reconcile", compare, PAGE_VIEW),
)
