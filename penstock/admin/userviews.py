"""Management URLs that show users. LiteLLM's paths and answers; nobody sees whom he has nothing to do with."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin import keyrows, keys, userrows
from penstock.admin.desk import Desk, told
from penstock.admin.forms import desk_of, number_of, page, query_of
from penstock.admin.scope import Scope
from penstock.admin.spending import spent
from penstock.admin.users import no_user
from penstock.core.admit.access import INFO
from penstock.core.errors import GatewayError
from penstock.runtime.gate import VIEW
from penstock.runtime.route import Page, Route

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
Query = Mapping[str, str]
MOST_SHOWN = 1000  # keys, or teams, in one answer that has no pages
_SLICE = 500
_SORTED_BY = ("created_at", "updated_at", "user_id", "user_email", "user_alias", "user_role")
_ROLES = {
    "proxy_admin": ("Admin (All Permissions)", "May do everything: keys, users, teams, models, settings."),
    "proxy_admin_viewer": ("Admin (View Only)", "May see all keys and all that was spent, and change nothing."),
    "internal_user": ("Internal User (Create/Delete/View)", "May make, change and delete keys of their own."),
    "internal_user_viewer": ("Internal User (View Only)", "May see the keys and the spend of their own."),
}


async def info(gateway: Any, call: Call) -> Page:
    """Describe a user with the keys and teams: that of `user_id`, else the caller's own; for admins, all there are."""
    desk, named = desk_of(gateway), query_of(call).get("user_id")
    scope = Scope(call.caller, desk.keyring)
    if not named and scope.caller.views:
        found, teams = (
            await desk.find("key", descending=True, limit=MOST_SHOWN),
            await desk.find("team", limit=MOST_SHOWN),
        )
        own = await desk.row("user", scope.caller.user) if scope.caller.user else None
        user = None if own is None else await userrows.tell(gateway, desk, own)
        return page(await _told(gateway, desk, scope.caller.user or None, user, found.rows, teams.rows))
    id_ = named or scope.caller.user
    row = await desk.row("user", id_) if id_ and scope.sees_user(id_) else None
    if row is None:
        raise no_user(id_)
    user = await userrows.tell(gateway, desk, row)
    rows = [await desk.row("team", team) for team in user["teams"]]
    found = await desk.find("key", {"user_id": id_}, descending=True, limit=MOST_SHOWN)
    return page(await _told(gateway, desk, id_, user, found.rows, [one for one in rows if one is not None]))


async def _told(gateway: Any, desk: Desk, id_: str | None, user: Fields | None, found: Any, teams: Any) -> Fields:
    shown = list(await asyncio.gather(*(_team(gateway, desk, row) for row in teams)))
    aliases = {team["team_id"]: team.get("team_alias") for team in shown}
    rows = await asyncio.gather(*(keys.tell(gateway, desk, row) for row in found))
    for row in rows:
        row["team_alias"] = aliases.get(row["team_id"])
    shown.sort(key=lambda team: team.get("team_alias") or "")
    return {"user_id": id_, "user_info": user, "keys": rows, "teams": shown}


async def _team(gateway: Any, desk: Desk, row: Row) -> Fields:
    body = told(row)
    return {**body, **keyrows.standing(body, None, await spent(gateway, "team", row.id), desk.clock())}


async def info_alone(gateway: Any, call: Call) -> Page:
    """Describe a user without the keys: that of `user_id`, else the caller's own. A team's admin sees its members."""
    desk, id_ = desk_of(gateway), query_of(call).get("user_id") or call.caller.user
    scope = Scope(call.caller, desk.keyring)
    if not id_:
        text = "user_id is required. Either pass it as a query parameter or authenticate with a user-bound key."
        raise GatewayError("bad_request", text, param="user_id")
    row = await desk.row("user", id_)
    if row is None or not (scope.sees_user(id_) or await _runs_a_team_of(desk, scope, id_)):
        raise no_user(id_)
    return page(await userrows.tell(gateway, desk, row))


async def _runs_a_team_of(desk: Desk, scope: Scope, user: str) -> bool:
    return any(scope.runs_team(team) for team in await userrows.teams_of(desk, user))


# Lists. ---------------------------------------------------------------------------------------------------------------


async def list_users(gateway: Any, call: Call) -> Page:
    """List users, page by page: all, or those that the query asks for. An organisation's admin sees its users."""
    desk, query = desk_of(gateway), query_of(call)
    at, size = number_of(query, "page", 1, 1, 10**9), number_of(query, "page_size", 25, 1, 100)
    order, falls = query.get("sort_by") or "created_at", query.get("sort_order", "desc")
    if order not in _SORTED_BY or falls not in ("asc", "desc"):
        text = f"sort_by: one of {', '.join(_SORTED_BY)}; sort_order: asc or desc."
        raise GatewayError("bad_request", text, param="sort_by", status=422)
    ids, offset = await _ids(desk, Scope(call.caller, desk.keyring), query), (at - 1) * size
    where, like = _columns(query)
    how: Fields = {"like": like, "order": order, "descending": falls == "desc"}
    if ids is None and not query.get("search") and order != "user_id":
        found = await desk.find("user", where, **how, offset=offset, limit=size)
        rows, total = list(found.rows), found.total
    else:
        how["order"] = "created_at" if order == "user_id" else order
        every = await _those(list((await desk.find("user", where, **how)).rows), ids, query.get("search", "").lower())
        if order == "user_id":
            every.sort(key=lambda row: row.id, reverse=falls == "desc")
        rows, total = every[offset : offset + size], len(every)
    shown = await asyncio.gather(*(_listed(gateway, desk, row) for row in rows))
    pages = {"total": total, "page": at, "page_size": size, "total_pages": -(-total // size)}
    return page({"users": shown, **pages})


async def _listed(gateway: Any, desk: Desk, row: Row) -> Fields:
    count = (await desk.find("key", {"user_id": row.id}, limit=1)).total
    return {**await userrows.tell(gateway, desk, row), "key_count": count}


def _columns(query: Query) -> tuple[dict[str, object], dict[str, str]]:
    where: dict[str, object] = {"user_role": query["role"]} if query.get("role") else {}
    if query.get("sso_user_ids"):
        where["sso_user_id"] = tuple(one.strip() for one in query["sso_user_ids"].split(","))
    return where, {"user_email": query["user_email"]} if query.get("user_email") else {}


async def _ids(desk: Desk, scope: Scope, query: Query) -> set[str] | None:
    """Return whom the query and the caller's role leave; None for everybody. Raises "forbidden"."""
    ids: set[str] | None = None
    organizations = _split(query.get("organization_ids"))
    if not scope.caller.views:
        own = {"user_id": scope.caller.user or "", "user_role": "org_admin"}
        found = [msgspec.json.decode(row.body) for row in (await desk.find("organization_member", own)).rows]
        run = [one["organization_id"] for one in found] if scope.caller.user else []
        if not run:
            raise GatewayError("forbidden", "Only proxy admins and organization admins can list users.")
        if not set(organizations) <= set(run):
            text = "You do not have org_admin access to the requested organization(s)."
            raise GatewayError("forbidden", text, param="organization_ids")
        organizations = organizations or run
    for kind, column, names in (
        ("organization_member", "organization_id", organizations),
        ("member", "team_id", [query["team"]] if query.get("team") else []),
    ):
        if names:
            rows = (await desk.find(kind, {column: tuple(names)})).rows
            ids = _both(ids, {msgspec.json.decode(row.body)["user_id"] for row in rows})
    named = _split(query.get("user_ids"))
    return _both(ids, set(named)) if named else ids


def _split(text: str | None) -> list[str]:
    return [one.strip() for one in (text or "").split(",") if one.strip()]


def _both(ids: set[str] | None, more: set[str]) -> set[str]:
    return more if ids is None else ids & more


async def _those(rows: list[Row], ids: set[str] | None, part: str) -> list[Row]:
    """List the rows of some ids, and of those whose id or email has a text in it; in slices, see ``keyviews``."""
    found = []
    for number, row in enumerate(rows):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        if ids is not None and row.id not in ids:
            continue
        if not part or part in row.id.lower() or part in (msgspec.json.decode(row.body).get("user_email") or ""):
            found.append(row)
    return found


async def roles(gateway: Any, call: Call) -> Page:
    """List the roles that a user may have."""
    return page({name: {"description": text, "ui_label": label} for name, (label, text) in _ROLES.items()})


async def counts(gateway: Any, call: Call) -> Page:
    """Count the users and teams. There may be as many as one likes, so none are left over."""
    desk = desk_of(gateway)
    users, teams = (await desk.find("user", limit=1)).total, (await desk.find("team", limit=1)).total
    free = dict.fromkeys(("total_users", "total_users_remaining", "total_teams", "total_teams_remaining"))
    return page({**free, "total_users_used": users, "total_teams_used": teams})


ROUTES = (
    Route("/user/info", info, family=INFO),
    Route("/v2/user/info", info_alone, family=INFO),
    Route("/user/list", list_users, family=INFO),
    Route("/user/available_roles", roles, family=INFO),
    Route("/user/available_users", counts, role=VIEW, family=INFO),
)
