"""Management URLs of who is in an organisation, and what he is there. LiteLLM's paths, bodies and answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from penstock.admin import orgforms as forms
from penstock.admin.desk import Step
from penstock.admin.forms import author, desk_of, missing, page, read
from penstock.admin.membership import MOST_MEMBERS, find_user, limits_of, user_of
from penstock.admin.rows import budget_told, check, post, row_of
from penstock.admin.scope import Scope
from penstock.core.admit.caller import INTERNAL_USER, INTERNAL_VIEWER
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
ROLES = ("org_admin", INTERNAL_USER, INTERNAL_VIEWER)


async def add(gateway: Any, call: Call) -> Page:
    """Add members to an organization. One that is no user yet is made one; either all of them are added or none."""
    desk, form = desk_of(gateway), read(call, forms.OrganizationJoining)
    await _check_runs(desk, call, form.organization_id)
    whos = form.member if isinstance(form.member, list) else [form.member]
    if not 0 < len(whos) <= MOST_MEMBERS:
        text = f"member: {len(whos)} are given; one call takes 1 to {MOST_MEMBERS}."
        raise GatewayError("bad_request", text, param="member")
    limits = {k: v for k, v in limits_of(form.max_budget_in_organization).items() if v is not None}
    steps: list[Step] = []
    users, rows = [], []
    for who in whos:
        role = _role(who.role)
        user, made = await user_of(desk, gateway, who)
        id_ = f"{form.organization_id}/{user['user_id']}"
        if desk.keyring.row("organization_member", id_) is not None or any(step.id == id_ for step in steps):
            text = f"User={user['user_id'][:120]} is already a member of the organization."
            raise GatewayError("exists", text, param="user_id")
        body = {"membership_id": id_, "organization_id": form.organization_id, "user_id": user["user_id"]}
        body |= {"user_role": role, **limits}
        check(desk, "organization_member", id_, body)
        steps += [*made, Step("organization_member", id_, body)]
        users.append({name: user.get(name) for name in ("user_id", "user_email", "user_role")})
        rows.append(body)
    await desk.write(steps, author(call))
    answer = {"organization_id": form.organization_id, "updated_users": users}
    return page({**answer, "updated_organization_memberships": [_told(desk, body) for body in rows]})


async def update(gateway: Any, call: Call) -> Page:
    """Change what somebody is in an organization."""
    desk, form = desk_of(gateway), read(call, forms.ChangedOrganizationMember)
    await _check_runs(desk, call, form.organization_id)
    row = await _row(desk, form)
    body = {**fields_of(row), **limits_of(form.max_budget_in_organization)}
    if form.role:
        body["user_role"] = _role(form.role)
    body = {name: value for name, value in body.items() if value is not None}
    check(desk, "organization_member", row.id, body)
    await desk.change(row, body, author(call))
    return page(_told(desk, body))


async def delete(gateway: Any, call: Call) -> Page:
    """Delete somebody from an organization, and his keys of it with him."""
    desk, form = desk_of(gateway), read(call, forms.OrganizationLeaving)
    await _check_runs(desk, call, form.organization_id)
    row = await _row(desk, form)
    body = fields_of(row)
    where = {"organization_id": form.organization_id, "user_id": body["user_id"]}
    keys = (await desk.find("key", where)).rows
    await desk.write([Step(one.kind, one.id, None, one) for one in (row, *keys)], author(call))
    return page(_told(desk, body))


async def _check_runs(desk: Desk, call: Call, organization: str) -> None:
    """Refuse who is no admin of an organisation. Raises "no_object", "forbidden"."""
    scope = Scope(call.caller, desk.keyring)
    await row_of(desk, "organization", organization, lambda body: scope.sees_organization(organization))
    if not scope.changes_organization(organization):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the organization, may change its members.")


async def _row(desk: Desk, form: forms.OrganizationLeaving) -> Row:
    user_id = form.user_id or ""
    if not user_id:
        if form.user_email in (UNSET, None, ""):
            text = "Either user_id or user_email must be given."
            raise GatewayError("bad_request", text, param="user_id", status=422)
        user = await find_user(desk, "", str(form.user_email))
        user_id = user.id if user is not None else ""
    row = await desk.row("organization_member", f"{form.organization_id}/{user_id}") if user_id else None
    if row is None:
        raise missing("member", str(form.user_id or form.user_email))
    return row


def _role(role: object) -> str:
    if role in (UNSET, None, ""):
        return INTERNAL_USER
    if role not in ROLES:
        text = f"role: {role!r:.60} is no role in an organization; there are: {', '.join(ROLES)}."
        raise GatewayError("bad_request", text, param="role", status=422)
    return str(role)


def _told(desk: Desk, body: Fields) -> Fields:
    return {**body, "litellm_budget_table": budget_told(desk, body)}


ROUTES = (
    post("/organization/member_add", add, forms.OrganizationJoining),
    post("/organization/member_update", update, forms.ChangedOrganizationMember, method="PATCH"),
    post("/organization/member_delete", delete, forms.OrganizationLeaving, method="DELETE"),
)
