"""What pages of lists and details have in common: what their address asks for, and where this gateway is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec

from penstock.admin.ui.inner import ask
from penstock.admin.ui.menu import MENU
from penstock.admin.ui.view import base_of

if TYPE_CHECKING:
    from penstock.runtime.call import Call

PER_PAGE = 50
NOTHING_KEPT = (
    "This gateway keeps nothing, so there are no keys, teams, users or budgets. Set general_settings.master_key in its "
    "config (or start it with --state-dir), and restart it."
)
_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]{1,260}")


class Asked(msgspec.Struct, frozen=True):
    """What the address of a list asks for. ``given``: filters that are set."""

    given: Mapping[str, str]
    sort: str
    order: str
    page: int

    @property
    def query(self) -> str:
        """Return the filters, as a part of an address."""
        return urlencode(self.given)

    @property
    def whole(self) -> str:
        """Return filters and order, as a part of an address."""
        return urlencode({**self.given, "sort": self.sort, "order": self.order})


def asked_of(call: Call, filters: tuple[str, ...], sorts: tuple[str, ...] = ("created_at",)) -> Asked:
    """Read what an address asks for; what it cannot mean is left out. The first of ``sorts`` is the usual one."""
    query = query_of(call)
    given = {name: query[name].strip()[:256] for name in filters if query.get(name, "").strip()}
    sort = query.get("sort", "")
    number = query.get("page", "")
    page = int(number) if number.isascii() and number.isdigit() and len(number) < 8 else 1
    order = query.get("order") if query.get("order") in ("asc", "desc") else "desc"
    return Asked(given, sort if sort in sorts else sorts[0], order or "desc", max(1, page))


def query_of(call: Call) -> dict[str, str]:
    """Read the query of a page's address."""
    return dict(parse_qsl(call.exchange.query.decode("latin-1"), keep_blank_values=True, max_num_fields=100))


def keeps(gateway: Any) -> bool:
    """Tell whether keys, teams and users are kept at all."""
    return getattr(gateway, "desk", None) is not None


def address_of(call: Call) -> str:
    """Return the address of this gateway, as the browser that asks reaches it."""
    headers = call.exchange.headers
    host = headers.get(b"host", b"").decode("latin-1")
    scheme = "https" if headers.get(b"x-forwarded-proto", b"").lower() == b"https" else "http"
    return f"{scheme}://{host if _HOST.fullmatch(host) else 'localhost'}{base_of(call).removesuffix('/ui')}"


def path_of(*parts: str) -> str:
    """Return the path of a page, of parts that may hold anything."""
    return "".join(f"/{quote(one, safe='')}" for one in parts)


def has_page(path: str) -> bool:
    """Tell whether there is a page."""
    return any(one.path == path for _, rows in MENU for one in rows)


async def names_of_teams(gateway: Any, call: Call) -> list[tuple[str, str]]:
    """Return id and name of the teams that the caller sees, the first hundred: for a choice."""
    told = await ask(gateway, call, "GET", "/v2/team/list", page_size=100, sort_by="team_alias",
                     user_id=None if call.caller.views else call.caller.user)  # fmt: skip
    teams = told.said["teams"] if told.good and isinstance(told.said, dict) else []
    return [(one["team_id"], one.get("team_alias") or one["team_id"]) for one in teams]


async def changes_of(gateway: Any, call: Call, id_: str, table: str) -> list[dict[str, Any]] | None:
    """Return the last changes of a row, each with the names of the fields that it changed; None for who may not see
    them."""
    if not call.caller.views:
        return None
    told = await ask(gateway, call, "GET", "/audit", object_id=id_, table_name=table, page_size=20)
    if not told.good:
        return None
    return [{**one, "fields": _changed(one)} for one in told.said["audit_logs"]]


def _changed(one: Mapping[str, Any]) -> str:
    before, after = one.get("before_value") or {}, one.get("updated_values") or {}
    if not before or not after:
        return ""
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(sorted(names)[:12])


async def spent_of(gateway: Any, call: Call, by: str, days: int = 30, **whose: str) -> dict[str, Any] | None:
    """Return what somebody spent in the last days, see ``/spend/summary``; None where that cannot be told."""
    today = datetime.now(UTC).date()
    since = (today - timedelta(days=days - 1)).isoformat()
    told = await ask(gateway, call, "GET", "/spend/summary", group_by=by, start_date=since,
                     end_date=today.isoformat(), **whose)  # fmt: skip
    return told.said if told.good else None
