"""Management URLs of teams. LiteLLM's paths, bodies and answers; members are in ``members``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.admin import callbacks, members, teamforms, teamlists
from penstock.admin.desk import Step
from penstock.admin.forms import author, desk_of, given, misspelt, query_of, read
from penstock.admin.keyshares import check_promise
from penstock.admin.membership import MOST_MEMBERS, join
from penstock.admin.rows import need, own_id, post, row_of, tell, unknown
from penstock.admin.scope import Scope
from penstock.admin.teamrows import info_told, lay, tell_team
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
MEMBER_ROUTES = (
    "/key/generate /key/update /key/delete /key/regenerate /key/info /key/list /key/block /key/unblock "
    "/key/aliases /key/health /key/bulk_update /key/service-account/generate /key/{key}/regenerate "
    "/team/daily/activity"
).split()
"""What a team may open to its members."""
OF_TEAM_ADMIN = frozenset(
    """team_id team_alias team_member_permissions team_member_budget team_member_budget_duration
    team_member_rpm_limit team_member_tpm_limit team_member_model_max_budget team_member_key_duration
    default_team_member_models""".split()
)
"""What an admin of a team may change of it. What the team itself may is not his affair: else no limit would hold."""


async def new(gateway: Any, call: Call) -> Page:
    """Make a team. Whoever makes it is its admin, unless it is the master key."""
    desk, form = desk_of(gateway), read(call, teamforms.NewTeam)
    scope, sent = Scope(call.caller, desk.keyring), given(form)
    if not (call.caller.admin or scope.runs_organization(form.organization_id)):
        text = "Only proxy admins may make teams, and admins of an organization in that (organization_id)."
        raise GatewayError("forbidden", text)
    for name in ("admins", "members", "members_with_roles"):
        sent.pop(name, None)
    id_ = own_id("team_id", sent.pop("team_id", None))
    said = {name: value for name, value in sent.items() if value is not None}
    _check_permissions(said.get("team_member_permissions"))
    laid = lay(desk, id_, {}, {**gateway.state.managing.team_defaults, **said})
    await check_promise(desk, "team", id_, laid.body)
    whos = _first_members(call, form)
    joined = [await join(desk, gateway, laid.body, who, {}) for who in whos]
    steps = [*laid.steps, Step("team", id_, laid.body), *(step for one in joined for step in one.steps)]
    await desk.write(steps, author(call))
    return await tell(gateway, _warned(await tell_team(gateway, desk, id_), call, teamforms.NewTeam))


def _first_members(call: Call, form: teamforms.NewTeam) -> list[teamforms.Who]:
    """List who is in a new team."""
    whos = [*(form.members_with_roles or [])]
    whos += [teamforms.Who(user_id=user, role="admin") for user in form.admins or []]
    whos += [teamforms.Who(user_id=user, role="user") for user in form.members or []]
    if call.caller.user:
        whos.append(teamforms.Who(user_id=call.caller.user, role="admin"))
    first: dict[object, teamforms.Who] = {}
    for who in whos:
        first.setdefault(who.user_id or who.user_email, who)
    if len(first) > MOST_MEMBERS:
        text = f"members_with_roles: {len(first)} are more than the {MOST_MEMBERS} of one call."
        raise GatewayError("bad_request", text, param="members_with_roles")
    return list(first.values())


def _warned(answer: Fields, call: Call, form: type[teamforms.TeamFields]) -> Fields:
    warnings = misspelt(call, form)
    return {**answer, "warnings": warnings} if warnings else answer


async def update(gateway: Any, call: Call) -> Page:
    """Change a team, named by `team_id`. Fields that are not given stay; null takes one away."""
    desk_of(gateway)
    form = read(call, teamforms.ChangedTeam)
    return await _update(gateway, call, need("team_id", form.team_id), form)


async def patch(gateway: Any, call: Call) -> Page:
    """Change a team, named in the path. Fields that are not given stay; null takes one away."""
    desk_of(gateway)
    form = read(call, teamforms.ChangedTeam)
    if form.team_id not in (call.params["team_id"], teamforms.UNSET, None):
        raise GatewayError("bad_request", "team_id is not that of the path: an id stays.", param="team_id")
    return await _update(gateway, call, call.params["team_id"], form)


async def _update(gateway: Any, call: Call, id_: str, form: teamforms.ChangedTeam) -> Page:
    desk, sent = desk_of(gateway), given(form)
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", id_, scope.sees_team)
    before = fields_of(row)
    if not scope.changes_team(before):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the team, may change it.")
    if not _runs_above(scope, before):
        for name in sent.keys() - OF_TEAM_ADMIN:
            text = f"{name}: only proxy admins, and admins of the team's organization, may change this of a team."
            raise GatewayError("forbidden", text, param=name)
    sent.pop("team_id", None)
    organization = sent.get("organization_id")
    if "organization_id" in sent and not organization and before.get("organization_id") and not call.caller.admin:
        text = "organization_id: only proxy admins may take a team out of its organization."
        raise GatewayError("forbidden", text, param="organization_id")
    if organization and organization != before.get("organization_id"):
        await _check_move(desk, scope, id_, organization)
    _check_permissions(sent.get("team_member_permissions"))
    laid = lay(desk, id_, before, sent)
    await check_promise(desk, "team", id_, laid.body)
    await desk.write([*laid.steps, Step("team", id_, laid.body, row)], author(call))
    answer = await tell_team(gateway, desk, id_)
    return await tell(gateway, _warned({"team_id": id_, "data": answer, **answer}, call, teamforms.ChangedTeam))


def _runs_above(scope: Scope, team: Mapping[str, Any]) -> bool:
    """Tell whether a caller has a say about what a team may."""
    return scope.caller.admin or scope.runs_organization(team.get("organization_id"))


async def _check_move(desk: Desk, scope: Scope, id_: str, organization: str) -> None:
    """Refuse to move a team to an organisation that the caller does not run, or that its members are not in."""
    if not scope.changes_organization(organization):
        text = "organization_id: only proxy admins, and admins of that organization, may move a team to it."
        raise GatewayError("forbidden", text, param="organization_id")
    for row in (await desk.find("member", {"team_id": id_})).rows:
        user = fields_of(row)["user_id"]
        if desk.keyring.row("organization_member", f"{organization}/{user}") is None:
            text = f"organization_id: {user[:120]!r}, who is in the team, is not in {organization[:120]!r}."
            raise GatewayError("bad_request", text, param="organization_id")


def _check_permissions(named: object) -> None:
    for one in named if isinstance(named, list) else ():
        if one not in MEMBER_ROUTES:
            text = f"team_member_permissions: {one!r:.120} is none; there are: {', '.join(MEMBER_ROUTES)}."
            raise GatewayError("bad_request", text, param="team_member_permissions")


async def delete(gateway: Any, call: Call) -> Page:
    """Delete teams, their keys and their memberships, all at once."""
    desk, form = desk_of(gateway), read(call, teamforms.Teams)
    scope = Scope(call.caller, desk.keyring)
    rows, gone = [], []
    for id_ in dict.fromkeys(form.team_ids):
        row = await desk.row("team", id_)
        if row is None or not scope.sees_team(fields_of(row)):
            gone.append(id_)
        elif not _runs_above(scope, fields_of(row)):
            raise GatewayError("forbidden", "Only proxy admins, and admins of its organization, may delete a team.")
        else:
            rows.append(row)
    if gone:
        raise unknown("team", gone)
    await desk.write([step for row in rows for step in await steps_away(desk, row)], author(call))
    return await tell(gateway, {"deleted_teams": [row.id for row in rows]})


async def steps_away(desk: Desk, team: Row) -> list[Step]:
    """Prepare that a team goes, with what hangs on it: its keys, its memberships and the budget of its members."""
    rows = [team]
    for kind in ("member", "key"):
        rows += (await desk.find(kind, {"team_id": team.id})).rows
    budget = desk.keyring.row("budget", str((fields_of(team).get("metadata") or {}).get("team_member_budget_id")))
    if budget is not None and budget.id.startswith(f"team-{team.id}-member-"):
        rows.append(budget)
    return [Step(row.kind, row.id, None, row) for row in rows]


async def info(gateway: Any, call: Call) -> Page:
    """Show a team, its keys and its members."""
    desk = desk_of(gateway)
    id_ = query_of(call).get("team_id") or call.caller.team
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", need("team_id", id_), scope.sees_team)
    return await tell(gateway, await info_told(gateway, desk, row, scope))


async def block(gateway: Any, call: Call) -> Page:
    """Block a team: none of its keys opens any more."""
    return await _block(gateway, call, True)


async def unblock(gateway: Any, call: Call) -> Page:
    """Unblock a team: its keys open again."""
    return await _block(gateway, call, False)


async def _block(gateway: Any, call: Call, blocked: bool) -> Page:
    desk, form = desk_of(gateway), read(call, teamforms.OneTeam)
    row = await _team_above(desk, call, form.team_id)
    await desk.change(row, {**fields_of(row), "blocked": blocked}, author(call), "blocked" if blocked else "unblocked")
    return await tell(gateway, await tell_team(gateway, desk, row.id))


async def add_models(gateway: Any, call: Call) -> Page:
    """Add models to those that a team may call."""
    desk, form = desk_of(gateway), read(call, teamforms.TeamModels)
    row = await _team_above(desk, call, form.team_id)
    had = fields_of(row).get("models") or []
    return await _set_models(gateway, desk, call, row, list(dict.fromkeys([*had, *form.models])))


async def delete_models(gateway: Any, call: Call) -> Page:
    """Delete models from those that a team may call. The last one stays: a team without a list may call all."""
    desk, form = desk_of(gateway), read(call, teamforms.TeamModels)
    row = await _team_above(desk, call, form.team_id)
    had = fields_of(row).get("models") or []
    left = [model for model in had if model not in form.models]
    if had and not left:
        text = "models: a team without any may call all models; to bar it from all, set ['no-default-models']."
        raise GatewayError("bad_request", text, param="models")
    return await _set_models(gateway, desk, call, row, left)


async def _set_models(gateway: Any, desk: Desk, call: Call, row: Row, models: list[str]) -> Page:
    laid = lay(desk, row.id, fields_of(row), {"models": models})
    await desk.write([*laid.steps, Step("team", row.id, laid.body, row)], author(call))
    return await tell(gateway, await tell_team(gateway, desk, row.id))


async def _team_above(desk: Desk, call: Call, id_: str) -> Row:
    """Find a team, for whoever has a say about what it may."""
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", id_, scope.sees_team)
    if not _runs_above(scope, fields_of(row)):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the team's organization, may do this.")
    return row


async def permissions(gateway: Any, call: Call) -> Page:
    """Show what a team has opened to its members."""
    desk, id_ = desk_of(gateway), need("team_id", query_of(call).get("team_id"))
    scope = Scope(call.caller, desk.keyring)
    return await tell(gateway, _permissions(await row_of(desk, "team", id_, scope.sees_team)))


async def set_permissions(gateway: Any, call: Call) -> Page:
    """Change what a team has opened to its members."""
    desk, form = desk_of(gateway), read(call, teamforms.Permissions)
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", form.team_id, scope.sees_team)
    if not scope.changes_team(fields_of(row)):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the team, may change this.")
    _check_permissions(form.team_member_permissions)
    body = {**fields_of(row), "team_member_permissions": form.team_member_permissions}
    await desk.change(row, body, author(call))
    return await tell(gateway, await tell_team(gateway, desk, row.id))


def _permissions(row: Row) -> Fields:
    named = fields_of(row).get("team_member_permissions") or []
    return {"team_id": row.id, "team_member_permissions": named, "all_available_permissions": MEMBER_ROUTES}


ROUTES = (
    post("/team/new", new, teamforms.NewTeam),
    post("/team/update", update, teamforms.ChangedTeam),
    post("/team/delete", delete, teamforms.Teams),
    post("/team/block", block, teamforms.OneTeam),
    post("/team/unblock", unblock, teamforms.OneTeam),
    post("/team/model/add", add_models, teamforms.TeamModels),
    post("/team/model/delete", delete_models, teamforms.TeamModels),
    post("/team/permissions_update", set_permissions, teamforms.Permissions),
    Route("/team/permissions_list", permissions),
    Route("/team/info", info),
    *teamlists.ROUTES,
    *members.ROUTES,
    *callbacks.ROUTES,
    post("/team/{team_id}", patch, teamforms.ChangedTeam, method="PATCH"),
)
