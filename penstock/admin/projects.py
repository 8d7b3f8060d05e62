"""Management URLs of projects: what some keys of a team are for, with limits of its own. LiteLLM's paths, bodies,
answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from penstock.admin import orgforms
from penstock.admin.desk import Step, told
from penstock.admin.forms import author, desk_of, given, misspelt, query_of, read
from penstock.admin.rows import Spend, budget_told, check, need, post, row_of, tell, unknown
from penstock.admin.scope import Scope
from penstock.admin.teamrows import check_within
from penstock.core.errors import GatewayError
from penstock.runtime.ids import new_id
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
_IN_METADATA = ("model_rpm_limit", "model_tpm_limit", "tags")
_BLANK: Fields = {
    **dict.fromkeys(("project_alias", "description", "team_id", "budget_id", "object_permission")),
    "models": [],
    "metadata": {},
    "blocked": False,
}


async def new(gateway: Any, call: Call) -> Page:
    """Make a project of a team."""
    desk, form = desk_of(gateway), read(call, orgforms.NewProject)
    await _check_changes(desk, call, need("team_id", form.team_id))
    sent = {name: value for name, value in given(form).items() if value is not None}
    id_ = sent.pop("project_id", None) or new_id()
    await desk.write([_step(desk, id_, sent, None)], author(call))
    return await tell(gateway, _warned(await _read(gateway, desk, id_), call))


async def update(gateway: Any, call: Call) -> Page:
    """Change a project. Fields that are not given stay; null takes one away."""
    desk, form = desk_of(gateway), read(call, orgforms.ChangedProject)
    row = await _visible(desk, call, need("project_id", form.project_id))
    await _check_changes(desk, call, fields_of(row)["team_id"])
    sent = given(form)
    if sent.get("team_id"):
        await _check_changes(desk, call, sent["team_id"])
    else:
        sent.pop("team_id", None)
    await desk.write([_step(desk, row.id, sent, row)], author(call))
    return await tell(gateway, _warned(await _read(gateway, desk, row.id), call))


def _step(desk: Desk, id_: str, sent: Mapping[str, Any], row: Row | None) -> Step:
    """Prepare a project's row. Raises "bad_request" for limits that cannot be read, and for more than the team has."""
    body = {**({} if row is None else fields_of(row)), **sent}
    metadata = dict(body.get("metadata") or {})
    for name in _IN_METADATA:
        if name in sent:
            body.pop(name)
            metadata.pop(name, None)
            if sent[name] is not None:
                metadata[name] = sent[name]
    body = {name: value for name, value in body.items() if value is not None}
    body |= {"project_id": id_, "metadata": metadata}
    check(desk, "project", id_, body)
    team = desk.keyring.body("team", body["team_id"])
    if team is not None:
        check_within(f"team {body['team_id']}", team, body)
    return Step("project", id_, body, row)


async def delete(gateway: Any, call: Call) -> Page:
    """Delete projects that have no keys any more."""
    desk, form = desk_of(gateway), read(call, orgforms.Projects)
    rows, gone = [], []
    for id_ in dict.fromkeys(form.project_ids):
        try:
            rows.append(await _visible(desk, call, id_))
        except GatewayError:
            gone.append(id_)
    if gone:
        raise unknown("project", gone)
    for row in rows:
        await _check_changes(desk, call, fields_of(row)["team_id"])
        keys = (await desk.find("key", {"project_id": row.id}, limit=1)).total
        if keys:
            text = f"project_ids: {row.id[:120]!r} has {keys} keys, which would lose its limits; delete them first."
            raise GatewayError("bad_request", text, param="project_ids")
    answer = [_told(gateway, desk, row) for row in rows]
    await desk.write([Step(row.kind, row.id, None, row) for row in rows], author(call))
    return await tell(gateway, answer)


async def info(gateway: Any, call: Call) -> Page:
    """Show a project."""
    desk = desk_of(gateway)
    return await tell(
        gateway, _told(gateway, desk, await _visible(desk, call, need("project_id", query_of(call).get("project_id"))))
    )


async def listed(gateway: Any, call: Call) -> Page:
    """List the projects of the teams that a caller may see."""
    desk = desk_of(gateway)
    scope = Scope(call.caller, desk.keyring)
    rows = (await desk.find("project")).rows
    return await tell(gateway, [_told(gateway, desk, row) for row in rows if _sees(desk, scope, fields_of(row))])


def _sees(desk: Desk, scope: Scope, project: Mapping[str, Any]) -> bool:
    team = desk.keyring.body("team", project["team_id"])
    return scope.caller.views or (team is not None and scope.sees_team(team))


async def _visible(desk: Desk, call: Call, id_: str) -> Row:
    scope = Scope(call.caller, desk.keyring)
    return await row_of(desk, "project", id_, lambda body: _sees(desk, scope, body))


async def _check_changes(desk: Desk, call: Call, team: str) -> None:
    """Refuse who may not change a team. Raises "no_object", "forbidden"."""
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", team, scope.sees_team)
    if not scope.changes_team(fields_of(row)):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the team, may change its projects.")


async def _read(gateway: Any, desk: Desk, id_: str) -> Fields:
    return _told(gateway, desk, await row_of(desk, "project", id_))


def _told(gateway: Any, desk: Desk, row: Row) -> Fields:
    fields = {**_BLANK, **told(row)}
    return {
        **fields,
        "spend": Spend("project", row.id),
        "litellm_budget_table": budget_told(desk, fields),
    }


def _warned(answer: Fields, call: Call) -> Fields:
    warnings = misspelt(call, orgforms.ChangedProject)
    return {**answer, "warnings": warnings} if warnings else answer


ROUTES = (
    post("/project/new", new, orgforms.NewProject),
    post("/project/update", update, orgforms.ChangedProject),
    post("/project/delete", delete, orgforms.Projects, method="DELETE"),
    Route("/project/info", info),
    Route("/project/list", listed),
)
