"""Management URLs that make, change and delete virtual keys. LiteLLM's paths, bodies and answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin import keyforms, keyrows, keyrules, modelinfo
from penstock.admin.callbackrows import take_logging
from penstock.admin.desk import Desk, Step
from penstock.admin.forms import author, convert, desk_of, given, misspelt, page, read, refused
from penstock.admin.keyshares import check_promise
from penstock.admin.rotation import ENABLED, GRACE, is_enabled
from penstock.admin.scope import Scope
from penstock.admin.spending import need_ledger, put_right, spent
from penstock.core.admit import amount
from penstock.core.admit.access import MANAGEMENT
from penstock.core.admit.holders import Bad
from penstock.core.admit.periods import text_of
from penstock.core.errors import GatewayError
from penstock.runtime.gate import ADMIN
from penstock.runtime.ids import new_id
from penstock.runtime.keyring import masked
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from penstock.admin.keyrules import Groups
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
MOST_AT_ONCE = 500
_NO_ROUNDS = f"auto_rotate: nothing rotates keys by itself here, unless {ENABLED}=true is set; use /key/regenerate."


class Made(msgspec.Struct, frozen=True):
    """A key that is not kept yet: its id, its row, the key itself, and what its owner spent before."""

    id: str
    body: Fields
    secret: str
    spend: int = 0


# New keys. ------------------------------------------------------------------------------------------------------------


async def generate(gateway: Any, call: Call) -> Page:
    """Make a key. It is shown in this answer, and never again."""
    return await _generate(gateway, call, given(read(call, keyforms.NewKey)), "/key/generate")


async def generate_service(gateway: Any, call: Call) -> Page:
    """Make a key for a team that is no user's: for a program."""
    fields = given(read(call, keyforms.NewKey))
    if not fields.get("team_id"):
        text = "team_id is required for service account keys. Please specify `team_id` in the request body."
        raise GatewayError("bad_request", text, param="team_id")
    metadata = fields.get("metadata") or {}
    fields["metadata"] = {"service_account_id": fields.get("key_alias") or new_id(), **metadata}
    fields["user_id"] = None
    return await _generate(gateway, call, fields, "/key/service-account/generate")


async def _generate(gateway: Any, call: Call, fields: Fields, route: str) -> Page:
    desk = desk_of(gateway)
    made = prepare(gateway, desk, Scope(call.caller, desk.keyring), fields, route)
    await gateway.key_hooks.check_new(fields, made.body)
    await check_promise(desk, "key", made.id, made.body)
    await write(desk, [Step("key", made.id, made.body)], author(call))
    await settle(gateway, made, author(call))
    told = await tell_new(gateway, desk, made.id, made.secret)
    return page({**told, **_warned(gateway, call, keyforms.NewKey, fields)})


def prepare(gateway: Any, desk: Desk, scope: Scope, fields: Mapping[str, Any], route: str) -> Made:
    """Make a key as it is to be kept, checked against whoever asks for it, its team and the config. Raises what a
    client is told."""
    settings, now, keyring = gateway.state.managing, desk.clock(), desk.keyring
    try:
        keyrules.check_wishes(scope, fields, own_of(desk, scope), {})
        fields = keyrules.bound(keyrules.fill(fields, settings), settings, fills=True)
        fields = keyrules.check_owner(scope, fields, settings, keyring, route)
        secret = _secret_of(gateway, fields, "key")
        id_ = keyring.digest(secret.encode())
        body = {"token": id_, "key_name": masked(secret.encode()), "digests": [{"digest": id_}]}
        body = keyrows.apply(body, fields, now)
        keyrows.check(id_, body, keyring)
        keyrules.check_alias(body.get("key_alias"), settings)
        keyrules.check_team(body, keyring, groups_of(gateway))
    except Bad as error:
        raise refused(error) from None
    take_logging(gateway, desk, scope.caller, id_, {}, body)
    if keyring.id_of(secret) is not None:
        raise GatewayError("exists", "key: this key is taken; choose another one, or leave it out.", param="key")
    return Made(id_, body, secret, read_spend(gateway, fields["spend"]) if fields.get("spend") else 0)


def _secret_of(gateway: Any, fields: Mapping[str, Any], name: str) -> str:
    """Return a new secret, or the one that a call chooses, where it may."""
    chosen = fields.get(name)
    if chosen is not None and gateway.state.config.general.values.get("disable_custom_api_keys"):
        text = "Custom API key values are disabled by your administrator. Keys must be auto-generated."
        raise GatewayError("forbidden", text, param=name)
    return keyrows.make_secret(chosen, name)


def own_of(desk: Desk, scope: Scope) -> Mapping[str, Any]:
    """Return the fields of the key that asks; none for the master key."""
    return (desk.keyring.body("key", scope.caller.key) if scope.caller.key else None) or {}


def read_spend(gateway: Any, value: Any) -> int:
    """Read what a call says that was spent, where that can be noted."""
    found = amount.read(value)
    if found is None:
        raise GatewayError("bad_request", f"spend: {value!r:.40} is no amount of US dollars.", param="spend")
    need_ledger(gateway)
    return found


async def settle(gateway: Any, made: Made, who: str) -> None:
    """Note what a new key spent before it came here, where a call says so."""
    if made.spend:
        await put_right(gateway, "key", made.id, made.spend, who)


async def tell_new(gateway: Any, desk: Desk, id_: str, secret: str) -> Fields:
    """Return a key as the answer has it that shows the key itself."""
    row = await desk.row("key", id_)
    assert row is not None  # it was written just now
    told = await tell(gateway, desk, row)
    metadata = told["metadata"]
    echoed = {name: metadata[name] for name in keyrows.IN_METADATA if name in metadata}
    return {**told, **echoed, "key": secret, "token_id": id_}


async def tell(gateway: Any, desk: Desk, row: Row) -> Fields:
    """Return a key as answers show it."""
    return keyrows.tell(row, desk.keyring, await spent(gateway, "key", row.id), desk.clock())


async def write(desk: Desk, steps: list[Step], who: str) -> None:
    """Write keys. Raises "exists" in LiteLLM's words for an alias that another key has."""
    try:
        await desk.write(steps, who)
    except GatewayError as error:
        alias = next((s.body["key_alias"] for s in steps if s.body and s.body.get("key_alias")), "")
        if error.kind != "exists" or error.param != "key_alias":
            raise
        text = f"Key with alias '{alias[:100]}' already exists. Unique key aliases across all keys are required."
        raise GatewayError("exists", text, param="key_alias") from None


def _warned(gateway: Any, call: Call, form: type[msgspec.Struct], fields: Mapping[str, Any]) -> Fields:
    rotates = not fields.get("auto_rotate") or is_enabled(gateway.state.env)
    warnings = misspelt(call, form) + ([] if rotates else [_NO_ROUNDS])
    return {"warnings": warnings} if warnings else {}


def groups_of(gateway: Any) -> Groups:
    """Return what tells the access groups of a model, as the deployments' ``model_info`` names them."""

    def groups(model: str) -> list[str]:
        found: list[str] = []
        for target in gateway.state.targets:
            if target.deployment.model_name == model:
                found += modelinfo.own_info(target).get("access_groups") or ()
        return found

    return groups


# Changes. -------------------------------------------------------------------------------------------------------------


async def find_key(desk: Desk, scope: Scope, named: str, param: str = "key") -> Row:
    """Find a key by itself, by its id or a digest. Raises "no_object" for none, and for one that the caller may not
    see, in the same words."""
    id_ = desk.keyring.id_of(named)
    row = None if id_ is None else await desk.row("key", id_)
    if row is None or not scope.sees_key(msgspec.json.decode(row.body)):
        raise GatewayError("no_object", "Key not found in database: there is none, or none for you.", param=param)
    return row


async def find_alias(desk: Desk, scope: Scope, alias: str, param: str = "key_alias") -> Row:
    """Find a key by its alias; see ``find_key``."""
    found = (await desk.find("key", {"key_alias": alias}, limit=1)).rows
    if not found or not scope.sees_key(msgspec.json.decode(found[0].body)):
        text = f"Key not found. No key with key_alias='{alias[:100]}', or none for you."
        raise GatewayError("no_object", text, param=param)
    return found[0]


async def update(gateway: Any, call: Call) -> Page:
    """Change a key, named by `key` or `key_alias`. Fields that are not sent stay; null takes one away."""
    desk, fields = desk_of(gateway), given(read(call, keyforms.ChangedKey))
    row = await _change(gateway, desk, call, fields)
    told = await tell(gateway, desk, row)
    return page({**told, "key": fields.get("key") or row.id, **_warned(gateway, call, keyforms.ChangedKey, fields)})


async def _change(gateway: Any, desk: Desk, call: Call, fields: Fields) -> Row:
    """Change a key as the body of ``/key/update`` says, and return its row."""
    scope = Scope(call.caller, desk.keyring)
    if fields.get("key"):
        row = await find_key(desk, scope, fields["key"])
    elif fields.get("key_alias"):
        row = await find_alias(desk, scope, fields.pop("key_alias"))
    else:
        raise GatewayError("bad_request", "either key or key_alias must be provided", param="key")
    body = _changed(gateway, desk, scope, row, fields, "/key/update")
    await gateway.key_hooks.check_change(fields, msgspec.json.decode(row.body), body)
    spend = None if fields.get("spend") is None else read_spend(gateway, fields["spend"])
    await check_promise(desk, "key", row.id, body)
    await write(desk, [Step("key", row.id, body, row)], author(call))
    if spend is not None:
        await put_right(gateway, "key", row.id, spend, author(call))
    return await _again(desk, row.id)


async def _again(desk: Desk, id_: str) -> Row:
    row = await desk.row("key", id_)
    if row is None:
        raise GatewayError("outdated", "Somebody has deleted this key meanwhile.")
    return row


def _changed(gateway: Any, desk: Desk, scope: Scope, row: Row, fields: Fields, route: str) -> Fields:
    """Return a key's body with what a call changes. Raises what a client is told. A key that somebody else made for a
    user is the user's to use; to change it is not."""
    keyring, before = desk.keyring, msgspec.json.decode(row.body)
    governs, named = scope.governs_key(before), ("key", "new_key", "grace_period")
    if not scope.changes_key(before, route):
        raise GatewayError("forbidden", "You may look at this key, and may not change it.", param="key")
    if fields.get("spend") is not None and not scope.caller.admin:
        raise GatewayError("forbidden", "Only proxy admins can set `spend` on a key.", param="spend")
    if not governs and not before.get("team_id") and row.created_by != scope.caller.user and fields.keys() - set(named):
        text = f"Only proxy admins, team admins, or org admins can call {route} for a key that they made."
        raise GatewayError("forbidden", text, param="key")
    try:
        keyrules.check_wishes(scope, fields, own_of(desk, scope), before)
        _check_moves(scope, desk, before, fields, route)
        fields = keyrules.bound(fields, gateway.state.managing, fills=False)
        body = keyrows.apply(before, fields, desk.clock())
        if not governs:
            keyrules.check_bounds(before, body)
        keyrows.check(before["token"], body, keyring)
        if body.get("key_alias") != before.get("key_alias"):
            keyrules.check_alias(body.get("key_alias"), gateway.state.managing)
        if fields.keys() & {"models", "team_id", "max_budget", "budget_duration", "budget_limits", "model_max_budget"}:
            keyrules.check_team(body, keyring, groups_of(gateway))
    except Bad as error:
        raise refused(error) from None
    take_logging(gateway, desk, scope.caller, before["token"], before, body)
    return body


def _check_moves(scope: Scope, desk: Desk, before: Fields, fields: Fields, route: str) -> None:
    """Raise "forbidden" for whoever gives a key to somebody that he may not give it to."""
    team, organization = fields.get("team_id"), fields.get("organization_id")
    if team and team != before.get("team_id"):
        known = desk.keyring.body("team", team) is not None
        if not known or not (scope.caller.admin or scope.in_team(team) or scope.runs_team(team)):
            raise keyrules.no_team(team, scope.caller.admin)
    if organization and organization != before.get("organization_id"):
        known = desk.keyring.body("organization", organization) is not None
        if not known or not (scope.caller.admin or scope.in_organization(organization)):
            text = f"Organization not found for organization_id={organization[:100]}"
            raise GatewayError("bad_request", text, param="organization_id")
    if scope.caller.admin:
        return
    if "user_id" in fields and fields["user_id"] != before.get("user_id"):
        text = "Non-admin users cannot remove the user_id from a key."
        if fields["user_id"]:
            text = f"Non-admin caller is not allowed to rebind the key to user={fields['user_id'][:100]}"
        raise GatewayError("forbidden", text, param="user_id")
    after = before | {name: fields[name] for name in ("team_id", "organization_id") if name in fields}
    if not scope.changes_key(after, route):
        raise GatewayError("forbidden", "You may not move this key there, or out of its team.", param="team_id")


async def bulk_update(gateway: Any, call: Call) -> Page:
    """Change several keys, each as `/key/update` does. Those that cannot be changed are told with the reason."""
    desk, items = desk_of(gateway), read(call, keyforms.Bulk).keys
    if not items:
        raise GatewayError("bad_request", "No keys provided for update", param="keys")
    if len(items) > MOST_AT_ONCE:
        text = f"Maximum {MOST_AT_ONCE} keys can be updated at once. Found {len(items)} keys."
        raise GatewayError("bad_request", text, param="keys")
    done, failed = [], []
    for item in items:
        named = item.get("key") or item.get("key_alias")
        try:
            row = await _change(gateway, desk, call, given(convert(item, keyforms.ChangedKey)))
            done.append({"key": named, "key_info": _without_token(await tell(gateway, desk, row))})
        except GatewayError as error:
            failed.append({"key": named, "key_info": None, "failed_reason": error.message})
    return page({"total_requested": len(items), "successful_updates": done, "failed_updates": failed})


def _without_token(told: Fields) -> Fields:
    return {name: value for name, value in told.items() if name != "token"}


async def delete(gateway: Any, call: Call) -> Page:
    """Delete keys, by `keys` or `key_aliases`: all of them, or none where one is not there."""
    desk, form = desk_of(gateway), read(call, keyforms.Keys)
    scope, named, aliases = Scope(call.caller, desk.keyring), form.keys or (), form.key_aliases or ()
    if not named and not aliases:
        text = "At least one of 'keys' or 'key_aliases' must be provided."
        raise GatewayError("bad_request", text, param="keys", status=422)
    if len(named) + len(aliases) > MOST_AT_ONCE:
        raise GatewayError("bad_request", f"keys: {MOST_AT_ONCE} are deleted at once at most.", param="keys")
    rows = [await find_key(desk, scope, one, "keys") for one in named]
    rows += [await find_alias(desk, scope, one, "key_aliases") for one in aliases]
    for row in rows:
        if not scope.changes_key(msgspec.json.decode(row.body), "/key/delete"):
            raise GatewayError("forbidden", "You are not authorized to delete this key", param="keys")
    unique = {row.id: row for row in rows}
    await desk.write([Step("key", row.id, None, row) for row in unique.values()], author(call))
    return page({"deleted_keys": [*named, *aliases]})


async def block(gateway: Any, call: Call) -> Page:
    """Block a key: it opens nothing until it is unblocked."""
    return await _block(gateway, call, True)


async def unblock(gateway: Any, call: Call) -> Page:
    """Unblock a key."""
    return await _block(gateway, call, False)


async def _block(gateway: Any, call: Call, blocked: bool) -> Page:
    desk = desk_of(gateway)
    scope = Scope(call.caller, desk.keyring)
    row = await find_key(desk, scope, read(call, keyforms.OneKey).key)
    body = msgspec.json.decode(row.body)
    if not scope.governs_key(body):
        text = f"Only proxy admins, team admins, or org admins can call {call.path}."
        raise GatewayError("forbidden", text, param="key")
    await desk.change(row, {**body, "blocked": blocked}, author(call), "blocked" if blocked else "unblocked")
    return page(await tell(gateway, desk, await _again(desk, row.id)))


# New secrets, and what was spent. -------------------------------------------------------------------------------------


async def regenerate(gateway: Any, call: Call) -> Page:
    """Give a key, named in the body, a new secret: the same id and limits. `grace_period` lets the old one open for a
    while."""
    return await _regenerate(gateway, call, None)


async def regenerate_one(gateway: Any, call: Call) -> Page:
    """Give a key, named in the path, a new secret; see `/key/regenerate`."""
    return await _regenerate(gateway, call, call.params["key"])


async def _regenerate(gateway: Any, call: Call, named: str | None) -> Page:
    desk, fields = desk_of(gateway), given(read(call, keyforms.Rotated))
    scope, now, key = Scope(call.caller, desk.keyring), desk.clock(), named or fields.get("key")
    if fields.get("new_master_key"):
        text = "new_master_key: the master key stands in the config, or in LITELLM_MASTER_KEY; it is changed there."
        raise GatewayError("bad_request", text, param="new_master_key")
    if not key:
        raise GatewayError("bad_request", "No key passed in.", param="key")
    row = await find_key(desk, scope, key)
    before = msgspec.json.decode(row.body)
    if not scope.takes_key(before):
        raise GatewayError("forbidden", "You are not authorized to regenerate this key", param="key")
    body = _changed(gateway, desk, scope, row, fields, "/key/regenerate")
    secret = _secret_of(gateway, fields, "new_key")
    if desk.keyring.id_of(secret) is not None:
        raise GatewayError("exists", "new_key: this key is taken; choose another one.", param="new_key")
    try:
        until = keyrows.grace_of(fields.get("grace_period") or gateway.state.env.get(GRACE), now)
        body = keyrows.rotate(body, desk.keyring.digest(secret.encode()), until, now)
    except Bad as error:
        raise refused(error) from None
    body["key_name"] = masked(secret.encode())
    await gateway.key_hooks.check_secret(fields, before, body)
    spend = None if fields.get("spend") is None else read_spend(gateway, fields["spend"])
    await check_promise(desk, "key", row.id, body)
    await write(desk, [Step("key", row.id, body, row, "regenerated")], author(call))
    if spend is not None:
        await put_right(gateway, "key", row.id, spend, author(call))
    told = await tell_new(gateway, desk, row.id, secret)
    return page({**told, **_warned(gateway, call, keyforms.Rotated, fields)})


async def reset_spend(gateway: Any, call: Call) -> Page:
    """Set back what a key has spent: its budget holds anew. The requests that it paid for stay in the books."""
    desk, wanted = desk_of(gateway), read(call, keyforms.ResetTo).reset_to
    scope = Scope(call.caller, desk.keyring)
    row = await find_key(desk, scope, call.params["key"])
    body = msgspec.json.decode(row.body)
    if not scope.governs_key(body):
        text = "You must be a proxy admin or team admin to reset key spend"
        raise GatewayError("forbidden", text, param="key")
    now_spent, to = await spent(gateway, "key", row.id), amount.read(wanted)
    if to is None:
        raise GatewayError("bad_request", "reset_to must be >= 0", param="reset_to")
    if to > now_spent:
        text = f"reset_to ({wanted}) must be <= current spend ({amount.dollars(now_spent)})"
        raise GatewayError("bad_request", text, param="reset_to")
    if to != now_spent:
        await put_right(gateway, "key", row.id, to, author(call))
    told = await tell(gateway, desk, row)
    return page(
        {
            "key_hash": row.id,
            "spend": amount.dollars(to),
            "previous_spend": amount.dollars(now_spent),
            "max_budget": told["max_budget"],
            "budget_reset_at": told["budget_reset_at"],
            "reset_at": text_of(desk.clock()),
        }
    )


def _post(path: str, handler: Any, body: type[msgspec.Struct], role: str | None = None) -> Route:
    route = Route(path, handler, methods=("POST",), no_pages=True, family=MANAGEMENT, body=body)
    return route if role is None else route._replace(role=role)


ROUTES = (
    _post("/key/generate", generate, keyforms.NewKey),
    _post("/key/service-account/generate", generate_service, keyforms.NewKey),
    _post("/key/update", update, keyforms.ChangedKey),
    _post("/key/bulk_update", bulk_update, keyforms.Bulk, ADMIN),
    _post("/key/delete", delete, keyforms.Keys),
    _post("/key/block", block, keyforms.OneKey),
    _post("/key/unblock", unblock, keyforms.OneKey),
    _post("/key/regenerate", regenerate, keyforms.Rotated),
    _post("/key/{key}/regenerate", regenerate_one, keyforms.Rotated),
    _post("/key/{key}/reset_spend", reset_spend, keyforms.ResetTo),
)
