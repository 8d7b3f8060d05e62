"""Organisations: the list, forms that make and change one, and the page of one with its teams and members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.admin.rows import BUDGET_FIELDS
from penstock.admin.ui import editing
from penstock.admin.ui.editing import Form, check_kept, nothing_kept
from penstock.admin.ui.inner import Told, ask, need
from penstock.admin.ui.lists import PER_PAGE, asked_of, path_of, spent_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.teamfields import ORGANIZATION
from penstock.admin.ui.view import form_of, go, render
from penstock.runtime.gate import PAGE_ADMIN, PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
MOST_SHOWN = 200  # teams and members on a page
ROLES = ("internal_user", "internal_user_viewer", "org_admin")
_NEW = Form("New organisation", ORGANIZATION, "/organizations/new", "/organizations", "Create organisation")


async def show(gateway: Any, call: Call) -> Page:
    """List the organisations."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    asked = asked_of(call, ("search",))
    told = await ask(gateway, call, "GET", "/organization/list", org_alias=asked.given.get("search"))
    every = told.said if told.good else []
    shown = every[(asked.page - 1) * PER_PAGE : asked.page * PER_PAGE]
    return render(
        gateway, call, "access/organizations.html", asked=asked, rows=[_laid(one) for one in shown], total=len(every),
        pages=-(-len(every) // PER_PAGE), error=told.error, makes=call.caller.admin,
    )  # fmt: skip


def _laid(row: Fields) -> Fields:
    """Return an organisation with the limits that stand in its budget."""
    limits = row.get("litellm_budget_table") or {}
    id_ = row["organization_id"]
    return {
        **row,
        **{name: limits.get(name) for name in BUDGET_FIELDS},
        "name": row.get("organization_alias") or id_,
        "path": path_of("organizations", id_),
    }


async def _find(gateway: Any, call: Call) -> Fields:
    check_kept(gateway)
    return _laid(await need(gateway, call, "GET", "/organization/info", organization_id=call.params["id"]))


async def detail(gateway: Any, call: Call) -> Page:
    """Show one organisation: its limits, teams and members, and what it spent."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    row = await _find(gateway, call)
    spent = await spent_of(gateway, call, "model", organization_id=row["organization_id"])
    teams = [{**one, "path": path_of("teams", one["team_id"])} for one in row["teams"][:MOST_SHOWN]]
    return render(
        gateway, call, "access/organization.html", row=row, teams=teams, members=row["members"][:MOST_SHOWN],
        spent=spent, may=call.caller.admin, roles=ROLES,
    )  # fmt: skip


async def new(gateway: Any, call: Call) -> Page:
    """Show the form that makes an organisation."""
    return nothing_kept(gateway, call) or editing.show(gateway, call, _NEW)


async def create(gateway: Any, call: Call) -> Page:
    """Make an organisation."""
    check_kept(gateway)
    told = await editing.send(gateway, call, _NEW, "/organization/new", {})
    if not isinstance(told, Told):
        return told
    return go(call, path_of("organizations", told.said["organization_id"]), "The organisation is made.")


async def _form(gateway: Any, call: Call) -> Form:
    row = await _find(gateway, call)
    return Form(f"Edit {row['name']}", ORGANIZATION, row["path"] + "/edit", row["path"], "Save", row)


async def edit(gateway: Any, call: Call) -> Page:
    """Show the form that changes an organisation."""
    return editing.show(gateway, call, await _form(gateway, call))


async def change(gateway: Any, call: Call) -> Page:
    """Change an organisation."""
    made, more = await _form(gateway, call), {"organization_id": call.params["id"]}
    told = await editing.send(gateway, call, made, "/organization/update", more, "PATCH")
    return go(call, made.back, "The organisation is changed.") if isinstance(told, Told) else told


async def delete(gateway: Any, call: Call) -> Page:
    """Delete an organisation, with its teams and keys."""
    id_ = call.params["id"]
    told = await ask(gateway, call, "DELETE", "/organization/delete", {"organization_ids": [id_]})
    if not told.good:
        return go(call, path_of("organizations", id_), told.error, bad=True)
    return go(call, "/organizations", "The organisation, its teams and their keys are deleted.")


async def add_member(gateway: Any, call: Call) -> Page:
    """Add somebody to an organisation, by id or e-mail address."""
    id_, given = call.params["id"], form_of(call)
    who = given.get("who", "").strip()
    member = {"user_email" if "@" in who else "user_id": who, "role": given.get("role") or ROLES[0]}
    body = {"organization_id": id_, "member": member}
    told = await ask(gateway, call, "POST", "/organization/member_add", body)
    return go(call, path_of("organizations", id_), told.error or f"{who[:100]} is in it.", bad=not told.good)


async def remove_member(gateway: Any, call: Call) -> Page:
    """Take somebody out of an organisation."""
    id_ = call.params["id"]
    body = {"organization_id": id_, "user_id": form_of(call).get("user_id")}
    told = await ask(gateway, call, "DELETE", "/organization/member_delete", body)
    return go(call, path_of("organizations", id_), told.error or "The member is gone.", bad=not told.good)


ROUTES = (
    page("/organizations/new", new, PAGE_ADMIN),
    form("/organizations/new", create, PAGE_ADMIN),
    page("/organizations", show, PAGE_VIEW),
    page("/organizations/{id}", detail, PAGE_VIEW),
    page("/organizations/{id}/edit", edit, PAGE_ADMIN),
    form("/organizations/{id}/edit", change, PAGE_ADMIN),
    form("/organizations/{id}/delete", delete, PAGE_ADMIN),
    form("/organizations/{id}/add", add_member, PAGE_ADMIN),
    form("/organizations/{id}/remove", remove_member, PAGE_ADMIN),
)
