"""Management URLs of budgets: limits under a name, which keys, customers, members and organisations share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.admin import orgforms
from penstock.admin.desk import Step, told
from penstock.admin.forms import author, desk_of, given, misspelt, page, query_of, read
from penstock.admin.rows import BUDGET_FIELDS, check, need, post, reset_at, row_of
from penstock.core.admit.access import INFO
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN, VIEW
from penstock.runtime.ids import new_id
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import KINDS, fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
SETTINGS = {
    "max_budget": ("Float", "Requests fail once so many US dollars are spent in a window."),
    "soft_budget": ("Float", "Somebody is told once so many US dollars are spent."),
    "max_parallel_requests": ("Integer", "Requests at once."),
    "tpm_limit": ("Integer", "Tokens in a minute."),
    "rpm_limit": ("Integer", "Requests in a minute."),
    "tpd_limit": ("Integer", "Tokens in a day."),
    "budget_duration": ("String", "How long a window is, such as '30d'."),
    "model_max_budget": ("Object", "Budgets of single models."),
}
"""What ``/budget/settings`` tells: field -> type, and what it does."""


async def new(gateway: Any, call: Call) -> Page:
    """Make a budget."""
    desk, form = desk_of(gateway), read(call, orgforms.Budget)
    sent = {name: value for name, value in given(form).items() if value is not None}
    id_ = sent.get("budget_id") or new_id()
    step = budget_step(desk, id_, sent)
    await desk.write([step], author(call))
    return page(_warned(await _read(desk, id_), call))


async def update(gateway: Any, call: Call) -> Page:
    """Change a budget for all who have it. Fields that are not given stay; null takes one away."""
    desk, form = desk_of(gateway), read(call, orgforms.Budget)
    row = await row_of(desk, "budget", need("budget_id", form.budget_id))
    step = budget_step(desk, row.id, given(form), row)
    await desk.write([step], author(call))
    return page(_warned(await _read(desk, row.id), call))


def budget_step(desk: Desk, id_: str, sent: Mapping[str, Any], row: Row | None = None) -> Step:
    """Prepare a budget's row. Raises "bad_request" for limits that cannot be read."""
    before = fields_of(row) if row is not None else {}
    both = {**before, **{name: value for name, value in sent.items() if name != "budget_reset_at"}, "budget_id": id_}
    body = {name: value for name, value in both.items() if value is not None}
    check(desk, "budget", id_, {name: value for name, value in body.items() if name != "budget_id"})
    return Step("budget", id_, body, row)


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a budget that nobody has: whoever had it would have no limit any more."""
    desk, form = desk_of(gateway), read(call, orgforms.OneId)
    row = await row_of(desk, "budget", form.id)
    user = await _user_of(desk, row.id)
    if user:
        text = f"id: the {user} has this budget, and would have no limit without it; give it another one first."
        raise GatewayError("bad_request", text, param="id")
    await desk.remove(row, author(call))
    return page(_told(desk, row))


async def _user_of(desk: Desk, id_: str) -> str:
    """Name somebody who has a budget; "" for nobody."""
    for kind, about in KINDS.items():
        if "budget_id" in about.columns and kind != "budget":
            rows = (await desk.find(kind, {"budget_id": id_}, limit=1)).rows
            if rows:
                return f"{kind} {rows[0].id[:40]!r}"
    for kind in ("organization", "tag", "member", "organization_member", "project"):
        for row in desk.keyring.rows(kind):
            if fields_of(row).get("budget_id") == id_:
                return f"{kind.replace('_', ' ')} {row.id[:80]!r}"
    for row in desk.keyring.rows("team"):
        if (fields_of(row).get("metadata") or {}).get("team_member_budget_id") == id_:
            return f"team {row.id[:80]!r} (for its members)"
    return ""


async def info(gateway: Any, call: Call) -> Page:
    """Show budgets, by their ids."""
    desk, form = desk_of(gateway), read(call, orgforms.Budgets)
    if not form.budgets:
        raise GatewayError("bad_request", "budgets: name at least one id.", param="budgets")
    rows = [await desk.row("budget", id_) for id_ in dict.fromkeys(form.budgets)]
    return page([_told(desk, row) for row in rows if row is not None])


async def listed(gateway: Any, call: Call) -> Page:
    """List all budgets."""
    desk = desk_of(gateway)
    return page([_told(desk, row) for row in (await desk.find("budget")).rows])


async def settings(gateway: Any, call: Call) -> Page:
    """Show what a budget can say, and what one says."""
    desk = desk_of(gateway)
    row = await row_of(desk, "budget", need("budget_id", query_of(call).get("budget_id")))
    body = fields_of(row)
    return page(
        [
            {
                "field_name": name,
                "field_type": kind,
                "field_description": about,
                "field_value": body.get(name),
                "stored_in_db": body.get(name) is not None,
                "field_default_value": None,
            }
            for name, (kind, about) in SETTINGS.items()
        ]
    )


async def _read(desk: Desk, id_: str) -> Fields:
    return _told(desk, await row_of(desk, "budget", id_))


def _told(desk: Desk, row: Row) -> Fields:
    fields = told(row)
    return {**dict.fromkeys(BUDGET_FIELDS), **fields, "budget_reset_at": reset_at(fields, desk.clock())}


def _warned(answer: Fields, call: Call) -> Fields:
    warnings = misspelt(call, orgforms.Budget)
    return {**answer, "warnings": warnings} if warnings else answer


ROUTES = (
    post("/budget/new", new, orgforms.Budget, ADMIN),
    post("/budget/update", update, orgforms.Budget, ADMIN),
    post("/budget/delete", delete, orgforms.OneId, ADMIN),
    Route("/budget/info", info, methods=("POST",), role=VIEW, no_pages=True, family=INFO, body=orgforms.Budgets),
    Route("/budget/list", listed, role=VIEW),
    Route("/budget/settings", settings, role=VIEW),
)
