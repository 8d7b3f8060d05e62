"""Lists of teams: all of them to whoever may see all, else those that one is in or runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.forms import desk_of, number_of, page, query_of
from penstock.admin.members import open_teams
from penstock.admin.membership import members_of, membership_told
from penstock.admin.rows import Costs, Spend, tell
from penstock.admin.scope import Scope
from penstock.admin.teamrows import team_told
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import fields_of, shown

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
_PARTS = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_AT_ONCE = 200  # teams that are told before others have their turn
_ORDERS: dict[str, Callable[[Row], Any]] = {
    "created_at": lambda row: row.created_at,
    "updated_at": lambda row: row.updated_at,
    "team_id": lambda row: row.id,
    "team_alias": lambda row: fields_of(row).get("team_alias") or "",
    "max_budget": lambda row: fields_of(row).get("max_budget") or 0,
}


async def listed(gateway: Any, call: Call) -> Page:
    """List the teams that a caller may see, each with its members and keys."""
    desk, query = desk_of(gateway), query_of(call)
    rows = await _found(desk, call, query)
    ids = [row.id for row in rows]
    members = await _members(desk, ids)
    # Of many teams the keys that are in memory: to read 40,000 rows takes longer than to tell them.
    few = len(ids) <= _AT_ONCE
    rows_of_keys = (await desk.find("key", {"team_id": tuple(ids)})).rows if few else desk.keyring.rows("key")
    accounts = [f"team:{id_}" for id_ in ids] + [f"key:{row.id}" for row in rows_of_keys]
    accounts += [f"member:{one['membership_id']}" for inside in members.values() for one in inside]
    costs = await Costs.of(gateway, accounts)
    keys = await _keys_of_teams(Scope(call.caller, desk.keyring), rows_of_keys, costs)
    told = []
    for number, row in enumerate(rows):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        inside = members.get(row.id, [])
        memberships = [membership_told(gateway, desk, member) for member in inside]
        fields = {**team_told(gateway, desk, row, inside), "keys": keys.get(row.id, [])}
        told.append(costs.render({**fields, "team_memberships": memberships}))
    return page(told)


async def _keys_of_teams(scope: Scope, rows: Iterable[Row], costs: Costs) -> dict[str, list[msgspec.Raw]]:
    """Render the keys that a caller may see, by team."""
    found: dict[str, list[msgspec.Raw]] = {}
    for number, row in enumerate(rows):
        if number % _AT_ONCE == _AT_ONCE - 1:
            await asyncio.sleep(0)
        parts = _PARTS(row.body)  # as they are kept: 40,000 bodies are not taken apart and put together again
        team = msgspec.json.decode(parts["team_id"]) if "team_id" in parts else None
        if team and (scope.caller.views or scope.sees_key(fields_of(row))):
            told = costs.render({**shown("key", parts), "spend": Spend("key", row.id)})
            found.setdefault(team, []).append(told)
    return found


async def paged(gateway: Any, call: Call) -> Page:
    """List the teams that a caller may see, page by page."""
    desk, query = desk_of(gateway), query_of(call)
    number, size = number_of(query, "page", 1, 1, 10**9 - 1), number_of(query, "page_size", 10, 1, 100)
    rows = await _found(desk, call, query)
    name, direction = query.get("sort_by") or "created_at", (query.get("sort_order") or "asc").lower()
    if name not in _ORDERS:
        text = f"sort_by: {name[:60]!r} is none of {', '.join(_ORDERS)}."
        raise GatewayError("bad_request", text, param="sort_by")
    if direction not in ("asc", "desc"):
        raise GatewayError(
            "bad_request", f"sort_order: {direction[:60]!r} is neither asc nor desc.", param="sort_order"
        )
    rows = sorted(rows, key=_ORDERS[name], reverse=direction == "desc")
    part = rows[(number - 1) * size : number * size]
    members = await _members(desk, [row.id for row in part])
    teams = []
    for row in part:
        keys = (await desk.find("key", {"team_id": row.id}, limit=1)).total
        inside = members.get(row.id, [])
        told = {**team_told(gateway, desk, row, inside), "members_count": len(inside), "keys_count": keys}
        teams.append(told)
    pages = -(-len(rows) // size)
    return await tell(
        gateway, {"teams": teams, "total": len(rows), "page": number, "page_size": size, "total_pages": pages}
    )


async def available(gateway: Any, call: Call) -> Page:
    """List the teams that every user may join by himself, without those that a caller is in."""
    desk = desk_of(gateway)
    scope = Scope(call.caller, desk.keyring)
    told = []
    for id_ in open_teams(gateway):
        row = await desk.row("team", id_)
        if row is not None and not scope.in_team(id_):
            fields = fields_of(row)
            told.append({name: fields.get(name) for name in ("team_id", "team_alias", "models")})
    return await tell(gateway, told)


async def _members(desk: Desk, ids: list[str]) -> dict[str, list[Fields]]:
    return await members_of(desk, ids if len(ids) <= _AT_ONCE else None) if ids else {}


async def _found(desk: Desk, call: Call, query: dict[str, str]) -> Sequence[Row]:
    """Find the teams that a query means, as far as its caller may see them."""
    user, where = query.get("user_id"), {}
    if user and user != call.caller.user and not call.caller.views:
        raise GatewayError("forbidden", "Only proxy admins and their viewers may ask for the teams of others.")
    if query.get("organization_id"):
        where["organization_id"] = query["organization_id"]
    like = {"team_alias": query["team_alias"]} if query.get("team_alias") else {}
    if call.caller.views and not user:
        rows: Sequence[Row] = (await desk.find("team", where, like=like)).rows
    else:
        rows = await _own(desk, call, user)
    wanted = query.get("team_id")
    text = like.get("team_alias", "").lower()
    found = []
    for row in rows:
        team = fields_of(row)
        if wanted and row.id != wanted or where and team.get("organization_id") != where["organization_id"]:
            continue
        if text in str(team.get("team_alias") or "").lower():
            found.append(row)
    return found


async def _own(desk: Desk, call: Call, user: str | None) -> list[Row]:
    """Find the teams that somebody is in; a caller's own: and those of the organisations that he runs."""
    name = user or call.caller.user
    ids = {fields_of(row)["team_id"] for row in (await desk.find("member", {"user_id": name})).rows} if name else set()
    found: dict[str, Row] = {}
    if not user:
        ids |= {call.caller.team} - {""}
        mine = (
            (await desk.find("organization_member", {"user_id": name, "user_role": "org_admin"})).rows if name else ()
        )
        organizations = tuple(fields_of(row)["organization_id"] for row in mine)
        if organizations:
            found = {row.id: row for row in (await desk.find("team", {"organization_id": organizations})).rows}
    for id_ in ids:
        row = await desk.row("team", id_)
        if row is not None:
            found[id_] = row
    return sorted(found.values(), key=lambda row: (row.created_at, row.id))


ROUTES = (
    Route("/team/list", listed),
    Route("/v2/team/list", paged),
    Route("/team/available", available),
)
