"""Teams: the list, forms that make and change one, and the page of one with its members."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penstock.admin.scope import Scope
from penstock.admin.teamforms import FOR_MEMBERS
from penstock.admin.ui import editing
from penstock.admin.ui.editing import Form, check_kept, nothing_kept
from penstock.admin.ui.inner import Told, ask, need
from penstock.admin.ui.lists import PER_PAGE, asked_of, changes_of, path_of, spent_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.teamfields import TEAM
from penstock.admin.ui.view import form_of, go, render

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
SORTS = ("created_at", "team_alias", "max_budget")
MOST_MEMBERS = 200  # that the page of a team shows
MEMBER_ROLES = ("user", "admin")


async def show(gateway: Any, call: Call) -> Page:
    """List the teams that the caller sees."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    asked = asked_of(call, ("search", "organization"), SORTS)
    given = asked.given
    told = await ask(
        gateway, call, "GET", "/v2/team/list", page=asked.page, page_size=PER_PAGE, team_alias=given.get("search"),
        organization_id=given.get("organization"), sort_by=asked.sort, sort_order=asked.order,
    )  # fmt: skip
    found: Fields = told.said if told.good else {"teams": [], "total": 0, "total_pages": 0}
    teams = [{**one, "path": path_of("teams", one["team_id"])} for one in found["teams"]]
    return render(
        gateway, call, "access/teams.html", asked=asked, teams=teams, total=found["total"], pages=found["total_pages"],
        error=told.error, makes=call.caller.admin,
    )  # fmt: skip


async def _find(gateway: Any, call: Call) -> tuple[Fields, Fields]:
    """Return a team, named in the path, with what each member may spend in it; and what is beside it."""
    check_kept(gateway)
    told = await need(gateway, call, "GET", "/team/info", team_id=call.params["id"])
    team = told["team_info"]
    limits = team.get("team_member_budget_table") or {}
    team |= {name: limits.get(field) for name, field in FOR_MEMBERS.items()}
    name = team.get("team_alias") or told["team_id"]
    return {**team, "path": path_of("teams", told["team_id"]), "name": name}, told


async def detail(gateway: Any, call: Call) -> Page:
    """Show one team: its limits, members, keys and what it spent."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    team, told = await _find(gateway, call)
    id_ = team["team_id"]
    keys, spent, changes = await asyncio.gather(
        ask(gateway, call, "GET", "/key/list", team_id=id_, size=20, sort_by="spend", return_full_object="true"),
        spent_of(gateway, call, "model", team_id=id_),
        changes_of(gateway, call, id_, "LiteLLM_TeamTable"),
    )  # fmt: skip
    scope = Scope(call.caller, gateway.desk.keyring)
    emails = {one["user_id"]: one.get("user_email") for one in team["members_with_roles"]}
    members = [{**one, "user_email": emails.get(one["user_id"])} for one in told["team_memberships"]]
    listed: Fields = keys.said if keys.good else {"keys": [], "total_count": 0}
    return render(
        gateway, call, "access/team.html", team=team, members=members[:MOST_MEMBERS], count=len(members),
        keys=[{**one, "path": path_of("keys", one["token"])} for one in listed["keys"]], total=listed["total_count"],
        spent=spent, changes=changes, changes_it=scope.changes_team(team), removes=call.caller.admin,
        roles=MEMBER_ROLES,
    )  # fmt: skip


async def new(gateway: Any, call: Call) -> Page:
    """Show the form that makes a team."""
    return nothing_kept(gateway, call) or editing.show(gateway, call, _NEW)


_NEW = Form("New team", TEAM, "/teams/new", "/teams", "Create team")


async def create(gateway: Any, call: Call) -> Page:
    """Make a team."""
    check_kept(gateway)
    told = await editing.send(gateway, call, _NEW, "/team/new", {})
    if not isinstance(told, Told):
        return told
    return go(call, path_of("teams", told.said["team_id"]), "The team is made. Add its members here.")


async def _form(gateway: Any, call: Call) -> Form:
    team, _ = await _find(gateway, call)
    return Form(f"Edit {team['name']}", TEAM, team["path"] + "/edit", team["path"], "Save", team)


async def edit(gateway: Any, call: Call) -> Page:
    """Show the form that changes a team."""
    return editing.show(gateway, call, await _form(gateway, call))


async def change(gateway: Any, call: Call) -> Page:
    """Change a team."""
    made = await _form(gateway, call)
    told = await editing.send(gateway, call, made, "/team/update", {"team_id": call.params["id"]})
    return go(call, made.back, "The team is changed: it holds from now on.") if isinstance(told, Told) else told


async def _do(gateway: Any, call: Call, path: str, body: Fields, said: str) -> Page:
    id_ = call.params["id"]
    told = await ask(gateway, call, "POST", path, {"team_id": id_, **body})
    return go(call, path_of("teams", id_), told.error or said, bad=not told.good)


async def block(gateway: Any, call: Call) -> Page:
    """Block a team, or unblock it."""
    on = form_of(call).get("on") == "true"
    said = "The team is blocked: none of its keys opens anything." if on else "The keys of the team open again."
    return await _do(gateway, call, "/team/block" if on else "/team/unblock", {}, said)


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a team, with its keys."""
    id_ = call.params["id"]
    told = await ask(gateway, call, "POST", "/team/delete", {"team_ids": [id_]})
    if not told.good:
        return go(call, path_of("teams", id_), told.error, bad=True)
    return go(call, "/teams", "The team and its keys are deleted. What they spent stays in the reports.")


async def add_member(gateway: Any, call: Call) -> Page:
    """Add somebody to a team, by id or e-mail address."""
    given = form_of(call)
    who = given.get("who", "").strip()
    member = {"user_email" if "@" in who else "user_id": who, "role": given.get("role") or "user"}
    body: Fields = {"member": member}
    if given.get("max_budget_in_team", "").strip():
        body["max_budget_in_team"] = given["max_budget_in_team"].strip().lstrip("$")
    return await _do(gateway, call, "/team/member_add", body, f"{who[:100]} is in the team.")


async def change_member(gateway: Any, call: Call) -> Page:
    """Change what a member is, and may spend, in a team."""
    given = form_of(call)
    budget = given.get("max_budget_in_team", "").strip().lstrip("$")
    body = {"user_id": given.get("user_id"), "role": given.get("role"), "max_budget_in_team": budget or None}
    return await _do(gateway, call, "/team/member_update", body, "The member is changed.")


async def remove_member(gateway: Any, call: Call) -> Page:
    """Take somebody out of a team."""
    body = {"user_id": form_of(call).get("user_id")}
    return await _do(gateway, call, "/team/member_delete", body, "The member, and his keys of the team, are gone.")


ROUTES = (
    page("/teams/new", new),
    form("/teams/new", create),
    page("/teams", show),
    page("/teams/{id}", detail),
    page("/teams/{id}/edit", edit),
    form("/teams/{id}/edit", change),
    form("/teams/{id}/block", block),
    form("/teams/{id}/delete", delete),
    form("/teams/{id}/add", add_member),
    form("/teams/{id}/member", change_member),
    form("/teams/{id}/remove", remove_member),
)
