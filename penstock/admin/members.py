"""Management URLs of a team's members: who joins, who leaves, what each may spend. LiteLLM's paths, bodies, answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from penstock.admin import teamforms as forms
from penstock.admin.desk import Step
from penstock.admin.forms import author, desk_of, given, missing, read
from penstock.admin.membership import (
    MOST_MEMBERS,
    Joined,
    join,
    keys_of_member,
    limits_of,
    member_row,
    membership_id,
    membership_told,
)
from penstock.admin.rows import Spend, budget_told, check, post, row_of, tell
from penstock.admin.scope import Scope
from penstock.admin.teamrows import tell_team
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of, shown

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call

Fields = dict[str, Any]


async def add(gateway: Any, call: Call) -> Page:
    """Add members to a team. One that is no user yet is made one; either all of them are added or none."""
    desk, form = desk_of(gateway), read(call, forms.Joining)
    team = await _team(desk, call, form.team_id, open_to_all=not isinstance(form.member, list))
    whos = form.member if isinstance(form.member, list) else [form.member]
    if not 0 < len(whos) <= MOST_MEMBERS:
        text = f"member: {len(whos)} are given; one call takes 1 to {MOST_MEMBERS}."
        raise GatewayError("bad_request", text, param="member")
    _check_own_way_in(desk, gateway, call, team, whos, form)
    limits = _limits(form)
    joined = [await join(desk, gateway, team, who, limits) for who in _distinct(whos)]
    await desk.write([step for one in joined for step in one.steps], author(call))
    answer = await tell_team(gateway, desk, team["team_id"])
    return await tell(gateway, {**answer, **_joined_told(gateway, desk, call, joined)})


async def add_many(gateway: Any, call: Call) -> Page:
    """Add many members to a team, each by itself: the answer tells what became of whom."""
    desk, form = desk_of(gateway), read(call, forms.JoiningMany)
    team = await _team(desk, call, form.team_id)
    if form.all_users is True:
        if not call.caller.admin:
            raise GatewayError("forbidden", "Only proxy admins may add all users to a team.")
        users = (await desk.find("user")).rows
        inside = desk.keyring
        whos = [forms.Who(user_id=row.id) for row in users]
        whos = [who for who in whos if inside.row("member", membership_id(form.team_id, str(who.user_id))) is None]
    else:
        whos = _distinct(form.members or [])
        if len(whos) > MOST_MEMBERS:
            text = f"members: {len(whos)} are more than the {MOST_MEMBERS} of one call."
            raise GatewayError("bad_request", text, param="members")
    if not whos and form.all_users is not True:
        raise GatewayError("bad_request", "Give members, or all_users: true.", param="members")
    limits, results = _limits(form), []
    for who in whos:
        results.append(await _add_one(desk, gateway, call, team, who, limits))
    good = sum(result["success"] is True for result in results)
    return await tell(
        gateway,
        {
            "team_id": form.team_id,
            "results": results,
            "total_requested": len(results),
            "successful_additions": good,
            "failed_additions": len(results) - good,
            "updated_team": await tell_team(gateway, desk, form.team_id),
        },
    )


async def _add_one(
    desk: Desk, gateway: Any, call: Call, team: Fields, who: forms.Who, limits: Fields
) -> dict[str, object]:
    result: dict[str, object] = {"user_id": who.user_id or None, "user_email": who.user_email or None}
    try:
        joined = await join(desk, gateway, team, who, limits)
        await desk.write(joined.steps, author(call))
    except GatewayError as error:
        return {**result, "success": False, "error": error.message}
    told = _joined_told(gateway, desk, call, [joined])
    return {
        **result,
        "user_id": joined.user["user_id"],
        "success": True,
        "error": None,
        "updated_user": told["updated_users"][0],
        "updated_team_membership": told["updated_team_memberships"][0],
    }


async def update(gateway: Any, call: Call) -> Page:
    """Change what a member is in a team, and what he may spend and ask in it."""
    desk, form = desk_of(gateway), read(call, forms.ChangedMember)
    await _team(desk, call, form.team_id)
    row = await member_row(desk, form.team_id, form.user_id, form.user_email)
    before = fields_of(row)
    if form.role and form.role not in ("admin", "user"):
        text = f"role: {form.role!r:.60} is no role of a team's member; there are: admin, user."
        raise GatewayError("bad_request", text, param="role", status=422)
    sent = given(form)
    for name in ("team_id", "user_id", "user_email"):
        sent.pop(name, None)
    if "max_budget_in_team" in sent:
        sent["max_budget"] = sent.pop("max_budget_in_team")
    if sent.get("role") is None:
        sent.pop("role", None)
    body = {name: value for name, value in {**before, **sent}.items() if value is not None}
    check(desk, "member", row.id, body)
    await desk.change(row, body, author(call))
    user = desk.keyring.body("user", before["user_id"]) or {}
    limits = budget_told(desk, body) or {}
    return await tell(
        gateway,
        {
            "team_id": form.team_id,
            "user_id": before["user_id"],
            "user_email": user.get("user_email"),
            "role": body["role"],
            "max_budget_in_team": limits.get("max_budget"),
            **{name: limits.get(name) for name in ("budget_duration", "tpm_limit", "rpm_limit", "model_max_budget")},
            "allowed_models": body.get("allowed_models"),
        },
    )


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a member from a team, and his keys of it with him."""
    desk, form = desk_of(gateway), read(call, forms.Leaving)
    await _team(desk, call, form.team_id)
    row = await member_row(desk, form.team_id, form.user_id, form.user_email)
    keys = await keys_of_member(desk, form.team_id, fields_of(row)["user_id"])
    await desk.write([Step(one.kind, one.id, None, one) for one in (row, *keys)], author(call))
    return await tell(gateway, await tell_team(gateway, desk, form.team_id))


async def own(gateway: Any, call: Call) -> Page:
    """Show a caller what he is and has in a team."""
    desk, team = desk_of(gateway), call.params["team_id"]
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", team, scope.sees_team)
    name = membership_id(team, call.caller.user)
    member = desk.keyring.body("member", name) if call.caller.user else None
    if member is None:
        raise missing("member", call.caller.user)
    user = desk.keyring.body("user", call.caller.user) or {}
    return await tell(
        gateway,
        {
            **membership_told(gateway, desk, member),
            "team_alias": fields_of(row).get("team_alias"),
            "user_email": user.get("user_email"),
            "spend": Spend("member", name),
        },
    )


async def _team(desk: Desk, call: Call, id_: str, open_to_all: bool = False) -> Fields:
    """Find a team whose members the caller may change; ``open_to_all``: or one that everybody may join."""
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", id_, None if open_to_all else scope.sees_team)
    team = fields_of(row)
    if not (open_to_all or scope.changes_team(team)):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the team, may change its members.")
    return team


def _check_own_way_in(
    desk: Desk, gateway: Any, call: Call, team: Fields, whos: list[forms.Who], form: forms.Joining
) -> None:
    """Refuse who is no admin of a team, but for a user who joins by himself one that is open to all users."""
    scope = Scope(call.caller, desk.keyring)
    if scope.changes_team(team):
        return
    if not scope.sees_team(team) and team["team_id"] not in open_teams(gateway):
        raise missing("team", team["team_id"])
    me, plain = call.caller.user, form.max_budget_in_team is UNSET and form.allowed_models is UNSET
    himself = len(whos) == 1 and me and whos[0].user_id == me and (whos[0].role or "user") == "user"
    if not (himself and plain and team["team_id"] in open_teams(gateway)):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the team, may change its members.")


def open_teams(gateway: Any) -> list[str]:
    """List the ids of teams that every user may join by himself, as the config has them."""
    return list(gateway.state.managing.user_defaults.get("available_teams") or ())


def _limits(form: forms.Joining | forms.JoiningMany) -> Fields:
    return limits_of(form.max_budget_in_team, budget_duration=form.budget_duration, allowed_models=form.allowed_models)


def _distinct(whos: list[forms.Who]) -> list[forms.Who]:
    """Leave out who is named a second time."""
    return list({(who.user_id or "", who.user_email or "" if not who.user_id else ""): who for who in whos}.values())


def _joined_told(gateway: Any, desk: Desk, call: Call, joined: list[Joined]) -> dict[str, list[Fields]]:
    """Tell who joined. Of a user's row an admin of a team learns no more than who it is: anybody's id can be added."""
    names = ("user_id", "user_email", "user_alias", "user_role")
    users = [shown("user", one.user) for one in joined]
    if not call.caller.views:
        users = [{name: user.get(name) for name in names} for user in users]
    return {
        "updated_users": users,
        "updated_team_memberships": [membership_told(gateway, desk, one.member) for one in joined],
    }


ROUTES = (
    post("/team/member_add", add, forms.Joining),
    post("/team/bulk_member_add", add_many, forms.JoiningMany),
    post("/team/member_update", update, forms.ChangedMember),
    post("/team/member_delete", delete, forms.Leaving),
    Route("/team/{team_id}/members/me", own),
)
