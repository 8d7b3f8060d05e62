"""Lists of teams: all of them to whoever may see all, else those that one is in or runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from penstock.admin.forms import desk_of, number_of, query_of
from penstock.admin.members import open_teams
from penstock.admin.membership import membership_told
from penstock.admin.rows import AT_ONCE, Spend, budget_ends, tell, tell_list, write
from penstock.admin.scope import Scope
from penstock.admin.teamrows import team_told
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import KINDS, fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.admin.shelf import Written
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
_PARTS: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_READ_AT_ONCE = 2000  # teams that are read before others have their turn
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
    scope = Scope(call.caller, desk.keyring)
    members, keys = await _inside(desk, [row.id for row in rows])
    budgets = desk.shelf.same("budgets", desk.keyring.rows("budget"))
    parts = []
    for number, row in enumerate(rows):
        if number % AT_ONCE == AT_ONCE - 1:
            await asyncio.sleep(0)
        team = _Team(row, members.get(row.id, ()), keys.get(row.id, ()))
        parts.append(
            _written(gateway, desk, team, budgets) if scope.caller.views else _write(gateway, desk, team, scope)
        )
    return await tell_list(gateway, parts)


class _Team(NamedTuple):
    """The rows of a team, of its members and its keys."""

    row: Row
    members: Sequence[Row]
    keys: Sequence[Row]


async def _inside(desk: Desk, ids: Sequence[str]) -> tuple[Mapping[str, Sequence[Row]], Mapping[str, Sequence[Row]]]:
    """Find the members and the keys of teams, by team: of a few in the store, of many among those in memory."""
    if len(ids) > AT_ONCE:
        return await desk.shelf.rows_by("member", "team_id"), await desk.shelf.rows_by("key", "team_id")
    return await _by_team(desk, "member", ids), await _by_team(desk, "key", ids)


async def _by_team(desk: Desk, kind: str, ids: Sequence[str]) -> Mapping[str, Sequence[Row]]:
    found: dict[str, list[Row]] = {}
    for row in (await desk.find(kind, {"team_id": tuple(ids)})).rows if ids else ():
        found.setdefault(fields_of(row)["team_id"], []).append(row)
    return found


def _written(gateway: Any, desk: Desk, team: _Team, budgets: Sequence[Row]) -> Written:
    """Write a team with all its keys, or find it as it was written: what it says is made of these rows alone."""
    named = len(team.row.id) + 1  # a member's id is TEAM/USER
    users = [desk.keyring.row("user", row.id[named:]) for row in team.members]
    name, made_of, now = f"team:{team.row.id}", (team, users, budgets), desk.clock()
    written = desk.shelf.find(name, made_of, now)
    if written is None:
        written = _write(gateway, desk, team, None)
        desk.shelf.keep(name, made_of, written, budget_ends(fields_of(team.row), now))
    return written


def _write(gateway: Any, desk: Desk, team: _Team, scope: Scope | None) -> Written:
    """Write a team. ``scope``: of who sees some of the keys, None for all of them."""
    inside = [fields_of(row) for row in team.members]
    told = []
    for row in team.keys:
        if scope is None or scope.sees_key(fields_of(row)):
            parts = _PARTS(row.body)  # as they are kept: 40,000 bodies are not taken apart and put together again
            for name in KINDS["key"].secret:
                parts.pop(name, None)
            parts["spend"] = Spend("key", row.id)
            told.append(parts)
    memberships = [membership_told(gateway, desk, member) for member in inside]
    return write({**team_told(gateway, desk, team.row, inside), "keys": told, "team_memberships": memberships})


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
    members, keys = await _inside(desk, [row.id for row in part])
    teams = []
    for row in part:
        inside = [fields_of(one) for one in members.get(row.id, ())]
        counts = {"members_count": len(inside), "keys_count": len(keys.get(row.id, ()))}
        teams.append({**team_told(gateway, desk, row, inside), **counts})
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


async def _found(desk: Desk, call: Call, query: dict[str, str]) -> Sequence[Row]:
    """Find the teams that a query means, as far as its caller may see them."""
    user, where = query.get("user_id"), dict[str, str]()
    if user and user != call.caller.user and not call.caller.views:
        raise GatewayError("forbidden", "Only proxy admins and their viewers may ask for the teams of others.")
    if query.get("organization_id"):
        where["organization_id"] = query["organization_id"]
    text, wanted = query.get("team_alias", "").lower(), query.get("team_id")
    if call.caller.views and not user:
        rows = await desk.all_rows("team")
    else:
        rows = await _own(desk, call, user)
    if not where and not text and not wanted:
        return rows
    found = []
    for number, row in enumerate(rows):
        if number % _READ_AT_ONCE == _READ_AT_ONCE - 1:
            await asyncio.sleep(0)
        if wanted and row.id != wanted:
            continue
        team = fields_of(row)
        if where and team.get("organization_id") != where["organization_id"]:
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
