"""Management URLs that show virtual keys. LiteLLM's paths and answers; nobody sees what is none of his affair."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin import keyforms, keyrows
from penstock.admin.forms import desk_of, flag_of, number_of, page, query_of, read
from penstock.admin.keys import find_alias, find_key, tell
from penstock.admin.rotation import new_secret
from penstock.admin.scope import Scope
from penstock.admin.spending import spent_of_all
from penstock.core.admit.access import INFO
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import KINDS

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
Query = Mapping[str, str]
Wanted = Callable[[Fields], bool]
_TIMES = ("created_at", "updated_at")
_SPEND = "spend"
_SORTED_BY = (*_TIMES, *KINDS["key"].columns, _SPEND)
_IN_USE = ("requests", "tokens", "parallel_requests", "tokens_of_day")
_STATUSES = ("active", "expired", "revoked")
_SLICE = 500  # keys that are read in one turn of the event loop


async def info(gateway: Any, call: Call) -> Page:
    """Describe a key: that of `key` (itself, or its id), else the caller's own."""
    desk = desk_of(gateway)
    named = query_of(call).get("key") or call.caller.key
    scope = Scope(call.caller, desk.keyring)
    row = await find_key(desk, scope, named)
    told = await _info(gateway, desk, row)
    if call.caller.key == row.id or _rotates(scope, msgspec.json.decode(row.body)):
        told |= await new_secret(desk, row)
    return page({"key": named, "info": told})


def _rotates(scope: Scope, key: Fields) -> bool:
    """Tell whether the caller might give a key a new secret, and so may have the one that it got."""
    return scope.takes_key(key) and scope.changes_key(key, "/key/regenerate")


async def _info(gateway: Any, desk: Desk, row: Row) -> Fields:
    told = await tell(gateway, desk, row)
    del told["token"]
    return {**told, "current_usage": in_use(gateway, f"key:{row.id}")}


def in_use(gateway: Any, account: str) -> Fields:
    """Tell what counts of the limits of a key, team or user now. Of what has no limit nothing is counted."""
    return dict(zip(_IN_USE, gateway.in_use(account), strict=True))


async def info_of_several(gateway: Any, call: Call) -> Page:
    """Describe several keys, of `keys` and `key_aliases`. Those that are not there are left out."""
    desk, form = desk_of(gateway), read(call, keyforms.Keys)
    scope = Scope(call.caller, desk.keyring)
    rows: dict[str, Row] = {}
    for find, names in ((find_key, form.keys), (find_alias, form.key_aliases)):
        for named in (names or ())[:1000]:
            try:
                row = await find(desk, scope, named)
            except GatewayError as error:
                if error.kind != "no_object":
                    raise
            else:
                rows[row.id] = row
    return page(
        {"key": form.keys or None, "info": await asyncio.gather(*(_info(gateway, desk, row) for row in rows.values()))}
    )


async def health(gateway: Any, call: Call) -> Page:
    """Tell whether the caller's key works as it is set up. Who may not enter at all learns it before."""
    logging = call.caller.metadata.get("logging")
    if not logging:
        return page({"key": "healthy", "logging_callbacks": None})
    names = [str(one.get("callback_name")) for one in logging if isinstance(one, Mapping)]
    callbacks = gateway.callbacks
    troubles = ["Records are sent nowhere here."] if callbacks is None else callbacks.check(call.caller)
    status = "unhealthy" if troubles else "healthy"
    details = " ".join(troubles) if troubles else "The records of this key are sent there."
    return page({"key": status, "logging_callbacks": {"callbacks": names, "status": status, "details": details}})


# Lists. ---------------------------------------------------------------------------------------------------------------


async def list_keys(gateway: Any, call: Call) -> Page:
    """List keys, page by page: all that the caller may see, or those that the query asks for."""
    desk, query = desk_of(gateway), query_of(call)
    at, size = number_of(query, "page", 1, 1, 10**9), number_of(query, "size", 10, 1, 100)
    order, falls = query.get("sort_by") or "created_at", query.get("sort_order", "desc")
    if order not in _SORTED_BY or falls not in ("asc", "desc"):
        text = f"sort_by: one of {', '.join(_SORTED_BY)}; sort_order: asc or desc."
        raise GatewayError("bad_request", text, param="sort_by", status=422)
    scope = Scope(call.caller, desk.keyring)
    places = await _places(scope, desk, query)
    wanted, offset = _wanted(query, desk.clock()), (at - 1) * size
    if wanted is None and len(places) == 1 and order != _SPEND:
        found = await desk.find(
            "key",
            places[0],
            like=_like(query, scope),
            order=order,
            descending=falls == "desc",
            offset=offset,
            limit=size,
        )
        rows, total = list(found.rows), found.total
    else:
        every = await _every(desk, places, _like(query, scope), wanted)
        if order == _SPEND:
            costs = await spent_of_all(gateway, [f"key:{row.id}" for row in every])
            of = {row.id: cost for row, cost in zip(every, costs, strict=True)}
            every.sort(key=lambda row: (of[row.id], row.id), reverse=falls == "desc")
        else:
            every.sort(key=lambda row: _place(row, order), reverse=falls == "desc")
        rows, total = every[offset : offset + size], len(every)
    expand = query.get("expand") == "user"
    full = expand or flag_of(query, "return_full_object")
    told = await asyncio.gather(*(_listed(gateway, desk, row, full, expand) for row in rows))
    return page({"keys": told, "total_count": total, "current_page": at, "total_pages": -(-total // size)})


async def _listed(gateway: Any, desk: Desk, row: Row, full: bool, expand: bool) -> Any:
    if not full:
        return row.id
    told = {**await tell(gateway, desk, row), "current_usage": in_use(gateway, f"key:{row.id}")}
    if expand and told["user_id"]:
        user = desk.keyring.body("user", told["user_id"])
        told["user"] = user and {name: value for name, value in user.items() if name != "password"}
    return told


async def _places(scope: Scope, desk: Desk, query: Query) -> list[dict[str, object]]:
    """Return where to look: what equals what, once for each of the caller's ways to see a key. Raises "forbidden" for
    who asks for what is none of his."""
    asked: dict[str, object] = {}
    for name in ("team_id", "organization_id", "project_id", "budget_id", "key_alias"):
        if query.get(name) and not (name == "key_alias" and flag_of(query, "substring_matching")):
            asked[name] = query[name]
    user, caller = query.get("user_id"), scope.caller
    if caller.views:
        by_part = flag_of(query, "substring_matching")
        return [{**asked, "user_id": user} if user and not by_part else asked]
    if not caller.user:
        text = "You are not authorized to access this endpoint. No 'user_id' is associated with your API key."
        raise GatewayError("forbidden", text, param="user_id")
    if user and user != caller.user:
        text = "You are not authorized to check another user's keys"
        raise GatewayError("forbidden", text, param="user_id")
    team = query.get("team_id")
    if team and not (scope.in_team(team) or scope.runs_team(team)):
        raise GatewayError("forbidden", "You are not authorized to check this team's keys", param="team_id")
    organization = query.get("organization_id")
    if organization and not scope.in_organization(organization):
        text = "You are not authorized to check this organization's keys"
        raise GatewayError("forbidden", text, param="organization_id")
    places = [{**asked, "user_id": caller.user}]
    if flag_of(query, "include_team_keys") or team:
        members = () if team else (await desk.find("member", {"user_id": caller.user})).rows
        teams = [team] if team else [msgspec.json.decode(row.body)["team_id"] for row in members]
        run = tuple(one for one in teams if scope.runs_team(one))
        others = tuple(one for one in teams if one not in run)
        places += [{**asked, "team_id": run}] if run else []
        places += [{**asked, "team_id": others, "user_id": None}] if others else []
    return places


def _like(query: Query, scope: Scope) -> dict[str, str]:
    if not flag_of(query, "substring_matching"):
        return {}
    names = ("key_alias", "user_id") if scope.caller.views else ("key_alias",)
    return {name: query[name] for name in names if query.get(name)}


def _wanted(query: Query, now: float) -> Wanted | None:
    """Return what decides over a key by more than columns can say; None where nothing of that is asked."""
    tests: list[Wanted] = []
    for name in ("status", "expires"):
        state = query.get(name)
        if not state:
            continue
        if state not in _STATUSES or (name == "expires" and state == "revoked"):
            text = f"{name}: {state[:40]!r} is none of {', '.join(_STATUSES)}; deleted keys stand in the audit log."
            raise GatewayError("bad_request", text, param=name, status=422)
        blind = name == "expires"  # to whether it is blocked
        tests.append(lambda body, state=state, blind=blind: _state(body, now, blind) == state)  # type: ignore[misc]
    if query.get("search"):
        part = query["search"]
        tests.append(lambda body: body["token"] == part or part.lower() in str(body.get("key_alias") or "").lower())
    if query.get("key_hash"):
        tests.append(lambda body: body["token"] == query["key_hash"])
    if query.get("agent_id"):
        tests.append(lambda body: body.get("agent_id") == query["agent_id"])
    if query.get("access_group_id"):
        tests.append(lambda body: query["access_group_id"] in (body.get("access_group_ids") or ()))
    return (lambda body: all(test(body) for test in tests)) if tests else None


def _state(body: Fields, now: float, blind: bool) -> str:
    return keyrows.status_of({**body, "blocked": False} if blind else body, now)


async def _every(
    desk: Desk, places: Sequence[Mapping[str, object]], like: Mapping[str, str], wanted: Wanted | None
) -> list[Row]:
    """List the keys of several places, each once. They are read in slices, so that nobody waits for 40,000 of them."""
    rows: dict[str, Row] = {}
    for where in places:
        for number, row in enumerate((await desk.find("key", where, like=like)).rows):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if wanted is None or wanted(msgspec.json.decode(row.body)):
                rows[row.id] = row
    return list(rows.values())


def _place(row: Row, order: str) -> tuple[bool, Any, str]:
    value = getattr(row, order) if order in _TIMES else msgspec.json.decode(row.body).get(order)
    return value is not None, value if value is not None else 0, row.id


async def list_aliases(gateway: Any, call: Call) -> Page:
    """List the aliases of the keys that the caller may see, page by page."""
    desk, query = desk_of(gateway), query_of(call)
    at, size = number_of(query, "page", 1, 1, 10**9), number_of(query, "size", 50, 1, 100)
    scope, like = Scope(call.caller, desk.keyring), {}
    if query.get("search"):
        like["key_alias"] = query["search"]
    if scope.caller.views:
        places: list[dict[str, object]] = [{"team_id": query["team_id"]} if query.get("team_id") else {}]
    else:
        places = await _places(scope, desk, {**query, "include_team_keys": "true"})
    rows = await _every(desk, places, like, lambda body: bool(body.get("key_alias")))
    names = sorted(msgspec.json.decode(row.body)["key_alias"] for row in rows)
    shown = names[(at - 1) * size : at * size]
    told = {"aliases": shown, "total_count": len(names), "current_page": at, "total_pages": -(-len(names) // size)}
    return page({**told, "size": size})


ROUTES = (
    Route("/key/info", info, family=INFO),
    Route("/v2/key/info", info_of_several, methods=("POST",), family=INFO, body=keyforms.Keys),
    Route("/key/list", list_keys, family=INFO),
    Route("/key/aliases", list_aliases, family=INFO),
    Route("/key/health", health, methods=("POST",), family=INFO),
)
