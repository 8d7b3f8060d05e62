"""Users: the list, forms that invite and change one, and the page of one. An invitation's link is shown once, to
whoever made it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from penstock.admin.ui import editing
from penstock.admin.ui.editing import Form, check_kept, nothing_kept
from penstock.admin.ui.inner import Told, ask, need
from penstock.admin.ui.lists import PER_PAGE, address_of, asked_of, changes_of, path_of, spent_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.teamfields import ROLES, USER
from penstock.admin.ui.view import go, render
from penstock.runtime.gate import PAGE_ADMIN, PAGE_VIEW

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
SORTS = ("created_at", "user_email", "user_role")
_SHORT = {name: text.partition(":")[0] for name, text in ROLES}
_NEW = Form("Invite somebody", USER, "/users/new", "/users", "Invite")


async def show(gateway: Any, call: Call) -> Page:
    """List the users."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    asked = asked_of(call, ("search", "role"), SORTS)
    told = await ask(
        gateway, call, "GET", "/user/list", page=asked.page, page_size=PER_PAGE, search=asked.given.get("search"),
        role=asked.given.get("role"), sort_by=asked.sort, sort_order=asked.order,
    )  # fmt: skip
    found: Fields = told.said if told.good else {"users": [], "total": 0, "total_pages": 0}
    return render(
        gateway, call, "access/users.html", asked=asked, users=[_named(one) for one in found["users"]],
        total=found["total"], pages=found["total_pages"], error=told.error, roles=tuple(_SHORT.items()),
        makes=call.caller.admin,
    )  # fmt: skip


def _named(user: Fields) -> Fields:
    return {
        **user,
        "name": user.get("user_email") or user.get("user_alias") or user["user_id"],
        "role_name": _SHORT.get(user.get("user_role") or "", user.get("user_role") or "–"),
        "path": path_of("users", user["user_id"]),
    }


async def _find(gateway: Any, call: Call) -> Fields:
    check_kept(gateway)
    return _named(await need(gateway, call, "GET", "/v2/user/info", user_id=call.params["id"]))


async def detail(gateway: Any, call: Call) -> Page:
    """Show one user: role, budget, teams, keys and what was spent."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    user = await _find(gateway, call)
    id_ = user["user_id"]
    keys, spent, changes = await asyncio.gather(
        ask(gateway, call, "GET", "/key/list", user_id=id_, size=20, sort_by="spend", return_full_object="true"),
        spent_of(gateway, call, "model", user_id=id_),
        changes_of(gateway, call, id_, "LiteLLM_UserTable"),
    )  # fmt: skip
    listed: Fields = keys.said if keys.good else {"keys": [], "total_count": 0}
    keyring = gateway.desk.keyring
    teams = [
        ((keyring.body("team", one) or {}).get("team_alias") or one, path_of("teams", one)) for one in user["teams"]
    ]
    return render(
        gateway, call, "access/user.html", user=user, teams=teams, spent=spent, changes=changes,
        keys=[{**one, "path": path_of("keys", one["token"])} for one in listed["keys"]], total=listed["total_count"],
        may=call.caller.admin,
    )  # fmt: skip


async def new(gateway: Any, call: Call) -> Page:
    """Show the form that invites somebody."""
    return nothing_kept(gateway, call) or editing.show(gateway, call, _NEW)


async def create(gateway: Any, call: Call) -> Page:
    """Make a user, and show the link by which it sets its password."""
    check_kept(gateway)
    told = await editing.send(gateway, call, _NEW, "/user/new", {"auto_create_key": False})
    return await _invited(gateway, call, told.said) if isinstance(told, Told) else told


async def invite(gateway: Any, call: Call) -> Page:
    """Make another link by which a user sets a password, and show it."""
    return await _invited(gateway, call, await _find(gateway, call))


async def _invited(gateway: Any, call: Call, user: Fields) -> Page:
    made = await need(gateway, call, "POST", "/invitation/new", {"user_id": user["user_id"]})
    link = f"{address_of(call)}/ui/invitation?id={quote(made['id'], safe='')}"
    return render(gateway, call, "access/invited.html", user=_named(user), link=link, until=made["expires_at"])


async def _form(gateway: Any, call: Call) -> Form:
    user = await _find(gateway, call)
    return Form(f"Edit {user['name']}", USER, user["path"] + "/edit", user["path"], "Save", {**user, "password": None})


async def edit(gateway: Any, call: Call) -> Page:
    """Show the form that changes a user."""
    return editing.show(gateway, call, await _form(gateway, call))


async def change(gateway: Any, call: Call) -> Page:
    """Change a user."""
    made = await _form(gateway, call)
    told = await editing.send(gateway, call, made, "/user/update", {"user_id": call.params["id"]})
    return go(call, made.back, "The user is changed: it holds from now on.") if isinstance(told, Told) else told


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a user, with the keys and memberships."""
    id_ = call.params["id"]
    told = await ask(gateway, call, "POST", "/user/delete", {"user_ids": [id_]})
    if not told.good:
        return go(call, path_of("users", id_), told.error, bad=True)
    return go(call, "/users", "The user and the keys are deleted. What they spent stays in the reports.")


ROUTES = (
    page("/users/new", new, PAGE_ADMIN),
    form("/users/new", create, PAGE_ADMIN),
    page("/users", show, PAGE_VIEW),
    page("/users/{id}", detail, PAGE_VIEW),
    page("/users/{id}/edit", edit, PAGE_ADMIN),
    form("/users/{id}/edit", change, PAGE_ADMIN),
    form("/users/{id}/invite", invite, PAGE_ADMIN),
    form("/users/{id}/delete", delete, PAGE_ADMIN),
)
