"""Budgets: limits under a name, which keys and customers share the words of, each with a window of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penstock.admin.ui import editing
from penstock.admin.ui.editing import Form, check_kept, nothing_kept
from penstock.admin.ui.inner import Told, ask, need
from penstock.admin.ui.lists import PER_PAGE, asked_of, path_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.teamfields import BUDGET
from penstock.admin.ui.view import go, render
from penstock.core.errors import GatewayError
from penstock.runtime.gate import PAGE_ADMIN, PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
_NEW = Form("New budget", BUDGET, "/budgets/new", "/budgets", "Create budget")


async def show(gateway: Any, call: Call) -> Page:
    """List the budgets, and how many keys have each."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    asked = asked_of(call, ("search",))
    told = await ask(gateway, call, "GET", "/budget/list")
    part = asked.given.get("search", "").lower()
    every = [one for one in (told.said if told.good else []) if part in one["budget_id"].lower()]
    shown = every[(asked.page - 1) * PER_PAGE : asked.page * PER_PAGE]
    counts = await asyncio.gather(
        *(ask(gateway, call, "GET", "/key/list", budget_id=one["budget_id"], size=1) for one in shown)
    )
    rows = [
        {
            **one,
            "path": path_of("budgets", one["budget_id"]),
            "key_count": count.said["total_count"] if count.good else None,
        }
        for one, count in zip(shown, counts, strict=True)
    ]
    return render(
        gateway, call, "access/budgets.html", asked=asked, rows=rows, total=len(every), error=told.error,
        pages=-(-len(every) // PER_PAGE), makes=call.caller.admin,
    )  # fmt: skip


async def _find(gateway: Any, call: Call) -> Fields:
    check_kept(gateway)
    id_ = call.params["id"]
    found = await need(gateway, call, "POST", "/budget/info", {"budgets": [id_]})
    if not found:
        raise GatewayError("no_object", f"There is no budget {id_[:120]!r} here.")
    return {**found[0], "path": path_of("budgets", id_)}


async def detail(gateway: Any, call: Call) -> Page:
    """Show one budget, and what each key that has it spent of it."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    row = await _find(gateway, call)
    asked = asked_of(call, ())
    told = await ask(gateway, call, "GET", "/key/list", budget_id=row["budget_id"], size=PER_PAGE, page=asked.page,
                     sort_by="spend", return_full_object="true")  # fmt: skip
    found: Fields = told.said if told.good else {"keys": [], "total_count": 0, "total_pages": 0}
    keys = [{**one, "path": path_of("keys", one["token"])} for one in found["keys"]]
    return render(
        gateway, call, "access/budget.html", row=row, keys=keys, total=found["total_count"], may=call.caller.admin,
        pages=found["total_pages"], asked=asked,
    )  # fmt: skip


async def new(gateway: Any, call: Call) -> Page:
    """Show the form that makes a budget."""
    return nothing_kept(gateway, call) or editing.show(gateway, call, _NEW)


async def create(gateway: Any, call: Call) -> Page:
    """Make a budget."""
    check_kept(gateway)
    told = await editing.send(gateway, call, _NEW, "/budget/new", {})
    if not isinstance(told, Told):
        return told
    return go(call, path_of("budgets", told.said["budget_id"]), "The budget is made. Keys choose it by its name.")


async def _form(gateway: Any, call: Call) -> Form:
    row = await _find(gateway, call)
    return Form(f"Edit {row['budget_id']}", BUDGET, row["path"] + "/edit", row["path"], "Save", row)


async def edit(gateway: Any, call: Call) -> Page:
    """Show the form that changes a budget."""
    return editing.show(gateway, call, await _form(gateway, call))


async def change(gateway: Any, call: Call) -> Page:
    """Change a budget, for all who have it."""
    made = await _form(gateway, call)
    told = await editing.send(gateway, call, made, "/budget/update", {"budget_id": call.params["id"]})
    return go(call, made.back, "The budget is changed, for all who have it.") if isinstance(told, Told) else told


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a budget that nobody has."""
    id_ = call.params["id"]
    told = await ask(gateway, call, "POST", "/budget/delete", {"id": id_})
    if not told.good:
        return go(call, path_of("budgets", id_), told.error, bad=True)
    return go(call, "/budgets", "The budget is deleted.")


ROUTES = (
    page("/budgets/new", new, PAGE_ADMIN),
    form("/budgets/new", create, PAGE_ADMIN),
    page("/budgets", show, PAGE_VIEW),
    page("/budgets/{id}", detail, PAGE_VIEW),
    page("/budgets/{id}/edit", edit, PAGE_ADMIN),
    form("/budgets/{id}/edit", change, PAGE_ADMIN),
    form("/budgets/{id}/delete", delete, PAGE_ADMIN),
)
