"""Management URLs that make, change and delete users. LiteLLM's paths, bodies and answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin import keyrows, keyrules, keys, passwords, userforms, userrows
from penstock.admin.desk import Desk, Step
from penstock.admin.forms import author, convert, desk_of, given, misspelt, page, read, refused
from penstock.admin.membership import member_of
from penstock.admin.scope import Scope
from penstock.admin.spending import put_right
from penstock.core.admit.access import MANAGEMENT
from penstock.core.admit.caller import ADMIN_VIEWER, INTERNAL_USER, MASTER, PROXY_ADMIN
from penstock.core.admit.holders import Bad
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN
from penstock.runtime.ids import new_id
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from penstock.config.managing import Managing
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
MOST_AT_ONCE = 500
_OF_KEY = (
    "key_alias duration models aliases config team_id agent_id max_parallel_requests metadata tpm_limit rpm_limit "
    "tpd_limit allowed_cache_controls permissions model_max_budget budget_limits guardrails policies tags "
    "object_permission"
).split()
_OWN = frozenset({"user_id", "user_alias", "password", "metadata"})  # what users change of themselves


# New users. -----------------------------------------------------------------------------------------------------------


async def new(gateway: Any, call: Call) -> Page:
    """Make a user, and a key for it. The key is shown in this answer, and never again."""
    desk, fields = desk_of(gateway), given(read(call, userforms.NewUser))
    scope, settings = Scope(call.caller, desk.keyring), gateway.state.managing
    await _check_maker(scope, fields)
    fields = _fill(fields, settings)
    id_ = fields["user_id"] = fields.get("user_id") or new_id()
    await _check_new(desk, id_, fields.get("user_email"))
    teams, organizations = _teams(desk, fields), fields.get("organizations") or ()
    _check_organizations(desk, organizations)
    body = {"user_id": id_, **await _changed(desk, id_, {}, fields)}
    steps = [Step("user", id_, body)]
    for team, (role, limits) in teams.items():
        member = member_of(desk, {**(desk.keyring.body("team", team) or {}), "team_id": team}, id_, role, limits)
        steps.append(Step("member", member["membership_id"], member))
    for one in dict.fromkeys(organizations):
        row = {"organization_id": one, "user_id": id_, "user_role": INTERNAL_USER}
        steps.append(Step("organization_member", f"{one}/{id_}", row))
    made = None
    if fields.get("auto_create_key") is not False:
        wanted = {name: fields[name] for name in _OF_KEY if fields.get(name) is not None} | {"user_id": id_}
        made = keys.prepare(gateway, desk, Scope(MASTER, desk.keyring), wanted, call.path)
        steps.append(Step("key", made.id, made.body))
    spend = keys.read_spend(gateway, fields["spend"]) if fields.get("spend") else 0
    await keys.write(desk, steps, author(call))
    if spend:
        await put_right(gateway, "user", id_, spend, author(call))
    told = await userrows.tell(gateway, desk, await _again(desk, id_))
    warnings = misspelt(call, userforms.NewUser)
    return page({**told, **await _with_key(gateway, desk, made), **({"warnings": warnings} if warnings else {})})


async def _with_key(gateway: Any, desk: Desk, made: keys.Made | None) -> Fields:
    if made is None:
        return {"key": ""}
    key = await keys.tell_new(gateway, desk, made.id, made.secret)
    return {name: key[name] for name in ("key", "key_name", "key_alias", "expires", "team_id")}


async def _check_maker(scope: Scope, fields: Mapping[str, Any]) -> None:
    """Raise "forbidden" for who may not make such a user: admins of an organisation may, within it, and none who may
    manage the gateway."""
    if scope.caller.admin:
        return
    organizations = fields.get("organizations") or ()
    if not organizations or not all(scope.runs_organization(one) for one in organizations):
        text = "Only proxy admin can be used to generate, delete, update info for new keys/users/teams."
        raise GatewayError("forbidden", f"{text} An organisation's admin names it in `organizations`.")
    role = fields.get("user_role")
    if role in (PROXY_ADMIN, ADMIN_VIEWER):
        text = f"Only proxy admins can create administrative users ({PROXY_ADMIN}, {ADMIN_VIEWER}). "
        raise GatewayError("forbidden", f"{text}Attempted to create user with role: {role}.", param="user_role")
    keyrules.check_wishes(scope, fields, {}, {})
    for name in ("teams", "team_id"):
        named = [fields[name]] if name == "team_id" and fields.get(name) else fields.get(name) or ()
        for one in named:
            team = one.get("team_id") if isinstance(one, Mapping) else one
            if not scope.runs_team(team):
                raise keyrules.no_team(str(team))


def _fill(fields: Mapping[str, Any], settings: Managing) -> Fields:
    """Return what a new user is given, with what the config says of new users under it."""
    filled = dict(fields)
    if filled.get("user_role") != PROXY_ADMIN:
        for name, value in settings.user_defaults.items():
            if filled.get(name) in (None, []) and name in userforms.NewUser.__struct_fields__:
                filled[name] = value
    if filled.get("user_role") is None:
        filled["user_role"] = INTERNAL_USER
    if filled["user_role"] == INTERNAL_USER:
        for name, value in (("max_budget", settings.user_budget), ("budget_duration", settings.user_period)):
            if filled.get(name) is None and value is not None:
                filled[name] = value
    return filled


async def _check_new(desk: Desk, id_: str, email: str | None) -> None:
    if await desk.row("user", id_) is not None:
        text = f"User with id {id_[:100]} already exists"
        raise GatewayError("exists", text, param="user_id", status=409)
    if email and (await desk.find("user", {"user_email": email.strip().lower()}, limit=1)).rows:
        text = f"User with email {email[:100]} already exists"
        raise GatewayError("exists", text, param="user_email", status=409)


def _teams(desk: Desk, fields: Mapping[str, Any]) -> dict[str, tuple[str, Fields]]:
    """Return in which teams a new user is a member, with role and limits."""
    named = [*(fields.get("teams") or ()), *([fields["team_id"]] if fields.get("team_id") else ())]
    found: dict[str, tuple[str, Fields]] = {}
    for one in named:
        entry = one if isinstance(one, Mapping) else {"team_id": one}
        team, role = entry.get("team_id"), entry.get("user_role") or "user"
        if not isinstance(team, str) or desk.keyring.body("team", team) is None:
            raise keyrules.no_team(str(team), True)
        if role not in ("user", "admin"):
            raise GatewayError("bad_request", f"teams: {role!r:.40} is no role in a team: user, admin.", param="teams")
        most = entry.get("max_budget_in_team")
        found.setdefault(team, (role, {} if most is None else {"max_budget": most}))
    return found


def _check_organizations(desk: Desk, organizations: Sequence[str]) -> None:
    for one in organizations:
        if desk.keyring.body("organization", one) is None:
            text = f"Organization not found for organization_id={one[:100]}"
            raise GatewayError("bad_request", text, param="organizations")


async def _changed(desk: Desk, id_: str, before: Mapping[str, Any], fields: Mapping[str, Any]) -> Fields:
    """Return a user's body with what a call gives; of a password what is kept of it. Raises what a client is told."""
    try:
        body = userrows.apply(before, fields)
        userrows.check(id_, body, desk.keyring)
    except Bad as error:
        raise refused(error) from None
    if fields.get("password") is not None:
        body["password"] = await passwords.derive(fields["password"])
    return body


async def _again(desk: Desk, id_: str) -> Row:
    row = await desk.row("user", id_)
    if row is None:
        raise GatewayError("outdated", "Somebody has deleted this user meanwhile.")
    return row


# Changes. -------------------------------------------------------------------------------------------------------------


async def update(gateway: Any, call: Call) -> Page:
    """Change a user, named by `user_id` or `user_email`. Fields that are not sent stay; null takes one away."""
    desk, fields = desk_of(gateway), given(read(call, userforms.ChangedUser))
    row = await _update(gateway, desk, call, fields)
    warnings = misspelt(call, userforms.ChangedUser)
    told = {"user_id": row.id, "data": await userrows.tell(gateway, desk, row)}
    return page({**told, **({"warnings": warnings} if warnings else {})})


async def _update(gateway: Any, desk: Desk, call: Call, fields: Fields) -> Row:
    row = await _named(desk, Scope(call.caller, desk.keyring), fields)
    before = msgspec.json.decode(row.body)
    body = await _changed(desk, row.id, before, fields)
    if not call.caller.admin:
        _check_own(fields, before, body)
    spend = None if fields.get("spend") is None else keys.read_spend(gateway, fields["spend"])
    await desk.write([Step("user", row.id, {**body, "user_id": row.id}, row)], author(call))
    if spend is not None:
        await put_right(gateway, "user", row.id, spend, author(call))
    return await _again(desk, row.id)


async def _named(desk: Desk, scope: Scope, fields: Mapping[str, Any]) -> Row:
    """Find the user that a body names. Raises "no_object" for none, and for one that the caller may not see."""
    id_, email = fields.get("user_id"), fields.get("user_email")
    if not id_ and not email:
        raise GatewayError("bad_request", "Either user_id or user_email must be provided", param="user_id")
    if id_:
        row = await desk.row("user", id_)
    else:
        row = next(iter((await desk.find("user", {"user_email": email.strip().lower()}, limit=1)).rows), None)  # type: ignore[union-attr]
    if row is None or not scope.sees_user(row.id):
        raise no_user(str(id_ or email))
    if not scope.caller.admin and scope.caller.user != row.id:
        text = "User does not have permission to update this user. Only PROXY_ADMIN can update other users."
        raise GatewayError("forbidden", text)
    return row


def no_user(id_: str) -> GatewayError:
    """Make the error for a user who does not exist, or not for who asks."""
    return GatewayError("no_object", f"User {id_[:100]} not found", param="user_id")


def _check_own(fields: Mapping[str, Any], before: Fields, after: Fields) -> None:
    """Raise "forbidden" for what users may not change of themselves: what they may spend, and who they are."""
    wrong = [name for name in fields if name not in _OWN]
    one, other = before.get("metadata") or {}, after.get("metadata") or {}
    wrong += [f"metadata.{name}" for name in keyrows.IN_METADATA if one.get(name) != other.get(name)]
    if wrong:
        text = f"Non-admin users cannot modify '{wrong[0]}' on their own record. Contact your proxy admin."
        raise GatewayError("forbidden", text, param=wrong[0])


async def bulk_update(gateway: Any, call: Call) -> Page:
    """Change several users, each as `/user/update` does, or all of them in one way."""
    desk, form = desk_of(gateway), read(call, userforms.BulkUsers)
    if form.all_users and form.user_updates:
        if form.user_updates.get("password"):
            text = "user_updates: one password for all users is none."
            raise GatewayError("bad_request", text, param="user_updates.password")
        updates = {name: value for name, value in form.user_updates.items() if name not in ("user_id", "user_email")}
        items = [{**updates, "user_id": row.id} for row in (await desk.find("user")).rows]
    elif form.users:
        items = form.users
    else:
        text = "Must specify either 'users' for individual updates or 'all_users=True' with 'user_updates'"
        raise GatewayError("bad_request", text, param="users")
    if not form.all_users and len(items) > MOST_AT_ONCE:
        text = f"Maximum {MOST_AT_ONCE} users can be updated at once. Found {len(items)} users."
        raise GatewayError("bad_request", text, param="users")
    results = [await _try(gateway, desk, call, item) for item in items]
    good = sum(one["success"] for one in results)
    counts = {"total_requested": len(items), "successful_updates": good, "failed_updates": len(items) - good}
    return page({"results": results, **counts})


async def _try(gateway: Any, desk: Desk, call: Call, item: Mapping[str, Any]) -> Fields:
    named = {"user_id": item.get("user_id"), "user_email": item.get("user_email")}
    try:
        row = await _update(gateway, desk, call, given(convert(item, userforms.ChangedUser)))
    except GatewayError as error:
        return {**named, "success": False, "error": error.message, "updated_user": None}
    told = await userrows.tell(gateway, desk, row)
    return {"user_id": row.id, "user_email": told["user_email"], "success": True, "error": None, "updated_user": told}


async def delete(gateway: Any, call: Call) -> Page:
    """Delete users, their keys and their places in teams and organisations: all of it, or nothing."""
    desk, ids = desk_of(gateway), list(dict.fromkeys(read(call, userforms.Users).user_ids))
    scope = Scope(call.caller, desk.keyring)
    if not ids:
        raise GatewayError("bad_request", "No user id passed in", param="user_ids")
    if len(ids) > MOST_AT_ONCE:
        raise GatewayError("bad_request", f"user_ids: {MOST_AT_ONCE} are deleted at once at most.", param="user_ids")
    steps = []
    for id_ in ids:
        row = await desk.row("user", id_)
        places = (await desk.find("organization_member", {"user_id": id_})).rows
        run = [scope.runs_organization(msgspec.json.decode(one.body)["organization_id"]) for one in places]
        if row is None or not (scope.sees_user(id_) or any(run)):
            raise no_user(id_)
        if not (scope.caller.admin or (run and all(run) and not _manages(row))):
            text = f"User {id_[:100]} is not within your admin scope. Only PROXY_ADMIN may delete users outside your "
            raise GatewayError("forbidden", f"{text}administered organizations.", param="user_ids")
        steps += [Step(one.kind, one.id, None, one) for one in (row, *places)]
        for kind in ("key", "member"):
            steps += [Step(kind, one.id, None, one) for one in (await desk.find(kind, {"user_id": id_})).rows]
    await desk.write(steps, author(call))
    return page(len(ids))


def _manages(row: Row) -> bool:
    return msgspec.json.decode(row.body).get("user_role") in (PROXY_ADMIN, ADMIN_VIEWER)


def _post(path: str, handler: Any, body: type[msgspec.Struct]) -> Route:
    return Route(path, handler, methods=("POST",), no_pages=True, family=MANAGEMENT, body=body)


ROUTES = (
    _post("/user/new", new, userforms.NewUser),
    _post("/user/update", update, userforms.ChangedUser),
    _post("/user/bulk_update", bulk_update, userforms.BulkUsers)._replace(role=ADMIN),
    _post("/user/delete", delete, userforms.Users),
)
