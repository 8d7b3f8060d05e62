"""Management URLs of organisations and of who is in them. LiteLLM's paths, bodies and answers.

What an organisation may stands in a budget of its own, as LiteLLM keeps it, or in one that it shares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.admin import orgforms as forms
from penstock.admin.budgets import budget_step
from penstock.admin.desk import Step, told
from penstock.admin.forms import author, desk_of, given, misspelt, query_of, read
from penstock.admin.rows import (
    BUDGET_FIELDS,
    Spend,
    bodies,
    budget_told,
    check,
    need,
    own_id,
    post,
    row_of,
    tell,
    unknown,
)
from penstock.admin.scope import Scope
from penstock.admin.teamrows import check_within
from penstock.admin.teams import steps_away
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN
from penstock.runtime.ids import new_id
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
_OF_BUDGET = frozenset((*BUDGET_FIELDS, "temp_budget_increase", "temp_budget_expiry", "allowed_models"))
_IN_METADATA = ("model_rpm_limit", "model_tpm_limit")
_BLANK: Fields = {"organization_alias": None, "models": [], "metadata": {}, "object_permission": None}


async def new(gateway: Any, call: Call) -> Page:
    """Make an organization."""
    desk, form = desk_of(gateway), read(call, forms.NewOrganization)
    sent = {name: value for name, value in given(form).items() if value is not None}
    need("organization_alias", form.organization_alias)
    id_ = own_id("organization_id", sent.pop("organization_id", None))
    await desk.write(_steps(desk, id_, sent, None), author(call))
    return await tell(gateway, _warned(_told(gateway, desk, await row_of(desk, "organization", id_)), call))


async def update(gateway: Any, call: Call) -> Page:
    """Change an organization, named by `organization_id`. Fields that are not given stay; null takes one away."""
    desk_of(gateway)
    form = read(call, forms.ChangedOrganization)
    return await _update(gateway, call, need("organization_id", form.organization_id), form)


async def patch(gateway: Any, call: Call) -> Page:
    """Change an organization, named in the path. Fields that are not given stay; null takes one away."""
    desk_of(gateway)
    return await _update(gateway, call, call.params["organization_id"], read(call, forms.ChangedOrganization))


async def _update(gateway: Any, call: Call, id_: str, form: forms.ChangedOrganization) -> Page:
    desk, sent = desk_of(gateway), given(form)
    row = await row_of(desk, "organization", id_)
    if sent.pop("organization_id", id_) not in (id_, None):
        raise GatewayError(
            "bad_request", "organization_id is not that of the path: an id stays.", param="organization_id"
        )
    steps = _steps(desk, id_, sent, row)
    await _check_teams(desk, id_, steps)
    await desk.write(steps, author(call))
    return await tell(gateway, _warned(_told(gateway, desk, await row_of(desk, "organization", id_)), call))


def _steps(desk: Desk, id_: str, sent: Mapping[str, Any], row: Row | None) -> list[Step]:
    """Prepare an organisation's row, and its budget where limits are said. Raises "bad_request"."""
    before = {} if row is None else fields_of(row)
    limits = {name: value for name, value in sent.items() if name in _OF_BUDGET}
    body = {**before, **{name: value for name, value in sent.items() if name not in _OF_BUDGET}}
    metadata = dict(body.get("metadata") or {})
    for name in _IN_METADATA:
        if name in sent:
            body.pop(name)
            metadata.pop(name, None)
            if sent[name] is not None:
                metadata[name] = sent[name]
    body = {name: value for name, value in body.items() if value is not None}
    body |= {"organization_id": id_, "metadata": metadata}
    steps = []
    check(desk, "organization", id_, body)
    if limits or not body.get("budget_id"):
        budget = desk.keyring.row("budget", body["budget_id"]) if body.get("budget_id") else None
        name = body.setdefault("budget_id", new_id())
        steps.append(budget_step(desk, name, limits, budget))
    return [*steps, Step("organization", id_, body, row)]


async def _check_teams(desk: Desk, id_: str, steps: Sequence[Step]) -> None:
    """Refuse to give an organisation less than one of its teams has."""
    most: Fields = {}
    for step in steps:
        most.update(step.body or {})
    budget = desk.keyring.body("budget", str(most.get("budget_id"))) or {}
    for row in (await desk.find("team", {"organization_id": id_})).rows:
        try:
            check_within("organization", {**budget, **most}, fields_of(row))
        except GatewayError as error:
            text = f"The team {row.id[:80]!r} has more. {error.message}"
            raise GatewayError("bad_request", text, param=error.param) from None


async def delete(gateway: Any, call: Call) -> Page:
    """Delete organizations with their teams, keys and memberships, all at once."""
    desk, form = desk_of(gateway), read(call, forms.Organizations)
    rows, gone = [], []
    for id_ in dict.fromkeys(form.organization_ids):
        row = await desk.row("organization", id_)
        gone += [id_] if row is None else []
        rows += [] if row is None else [row]
    if gone:
        raise unknown("organization", gone)
    steps: dict[tuple[str, str], Step] = {}
    for row in rows:
        for team in (await desk.find("team", {"organization_id": row.id})).rows:
            steps |= {(step.kind, step.id): step for step in await steps_away(desk, team)}
        for kind in ("organization_member", "key"):
            for one in (await desk.find(kind, {"organization_id": row.id})).rows:
                steps[kind, one.id] = Step(kind, one.id, None, one)
        steps["organization", row.id] = Step("organization", row.id, None, row)
    answer = [_told(gateway, desk, row) for row in rows]
    await desk.write(list(steps.values()), author(call))
    return await tell(gateway, answer)


async def info(gateway: Any, call: Call) -> Page:
    """Show an organization, its members and its teams."""
    desk = desk_of(gateway)
    id_ = need("organization_id", query_of(call).get("organization_id"))
    return await tell(gateway, await _info(gateway, desk, id_, Scope(call.caller, desk.keyring)))


async def infos(gateway: Any, call: Call) -> Page:
    """Show several organizations, by their ids."""
    desk, form = desk_of(gateway), read(call, forms.OrganizationsAsked)
    scope = Scope(call.caller, desk.keyring)
    return await tell(gateway, [await _info(gateway, desk, id_, scope) for id_ in dict.fromkeys(form.organizations)])


async def _info(gateway: Any, desk: Desk, id_: str, scope: Scope) -> Fields:
    row = await row_of(desk, "organization", id_, lambda body: scope.sees_organization(body["organization_id"]))
    runs = scope.caller.views or scope.runs_organization(id_)
    members = (await desk.find("organization_member", {"organization_id": id_})).rows if runs else ()
    teams = bodies((await desk.find("team", {"organization_id": id_})).rows)
    return {
        **_told(gateway, desk, row),
        "members": [_member_told(desk, fields_of(one)) for one in members],
        "teams": [team for team in teams if scope.sees_team(team)],
    }


async def listed(gateway: Any, call: Call) -> Page:
    """List the organizations that a caller may see, with their members and teams."""
    desk, query = desk_of(gateway), query_of(call)
    scope = Scope(call.caller, desk.keyring)
    wanted, alias = query.get("org_id") or query.get("organization_id"), query.get("org_alias", "").lower()
    found = []
    for row in (await desk.find("organization")).rows:
        named = str(fields_of(row).get("organization_alias") or "").lower()
        if scope.sees_organization(row.id) and wanted in (None, "", row.id) and alias in named:
            found.append(await _info(gateway, desk, row.id, scope))
    return await tell(gateway, found)


def _told(gateway: Any, desk: Desk, row: Row) -> Fields:
    fields = {**_BLANK, **told(row)}
    return {
        **fields,
        "spend": Spend("organization", row.id),
        "litellm_budget_table": budget_told(desk, fields),
    }


def _member_told(desk: Desk, body: Mapping[str, Any]) -> Fields:
    user = desk.keyring.body("user", body["user_id"]) or {}
    return {
        "user_id": body["user_id"],
        "organization_id": body["organization_id"],
        "user_role": body.get("user_role"),
        "user_email": user.get("user_email"),
        "budget_id": body.get("budget_id"),
        "litellm_budget_table": budget_told(desk, body),
    }


def _warned(answer: Fields, call: Call) -> Fields:
    warnings = misspelt(call, forms.ChangedOrganization)
    return {**answer, "warnings": warnings} if warnings else answer


ROUTES = (
    post("/organization/new", new, forms.NewOrganization, ADMIN),
    post("/organization/update", update, forms.ChangedOrganization, ADMIN, method="PATCH"),
    post("/organization/delete", delete, forms.Organizations, ADMIN, method="DELETE"),
    Route("/organization/list", listed),
    Route("/organization/info", info),
    Route("/organization/info", infos, methods=("POST",), no_pages=True, body=forms.OrganizationsAsked),
    post("/v2/organization/{organization_id}", patch, forms.ChangedOrganization, ADMIN, method="PATCH"),
)
