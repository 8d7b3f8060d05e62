"""Virtual keys: the list with what each has used of its limits, and the page of one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin.scope import Scope
from penstock.admin.ui.editing import check_kept, nothing_kept
from penstock.admin.ui.inner import ask, need
from penstock.admin.ui.lists import PER_PAGE, asked_of, changes_of, has_page, path_of, spent_of
from penstock.admin.ui.rows import form, page
from penstock.admin.ui.view import form_of, go, render
from penstock.core.admit.caller import INTERNAL_VIEWER

if TYPE_CHECKING:
    from penstock.admin.ui.inner import Told
    from penstock.runtime.call import Call
    from penstock.runtime.route import Page

Fields = dict[str, Any]
SORTS = ("created_at", "spend", "expires", "key_alias")
FILTERS = ("search", "team", "user", "state")
STATES = (("", "all"), ("active", "active"), ("revoked", "blocked"), ("expired", "expired"))
MOST_SHOWN = 10  # requests on the page of a key
DAYS = 30


async def show(gateway: Any, call: Call) -> Page:
    """List the keys that the caller sees."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    asked = asked_of(call, FILTERS, SORTS)
    given = asked.given
    told = await ask(
        gateway, call, "GET", "/key/list", return_full_object="true", include_team_keys="true", page=asked.page,
        size=PER_PAGE, sort_by=asked.sort, sort_order=asked.order, search=given.get("search"),
        team_id=given.get("team"), user_id=given.get("user"), status=given.get("state"),
    )  # fmt: skip
    alone = told.status == 403 and not call.caller.views and not call.caller.user
    found = await _own(gateway, call) if alone else told
    listed: Fields = found.said if found.good else {"keys": [], "total_count": 0, "total_pages": 0}
    return render(
        gateway, call, "access/keys.html", asked=asked, keys=[_with_names(gateway, one) for one in listed["keys"]],
        total=listed["total_count"], pages=listed["total_pages"], error=found.error, states=STATES,
        makes=may_make(gateway, call),
    )  # fmt: skip


async def _own(gateway: Any, call: Call) -> Told:
    """Find the key that is signed in, where it is no user's: all that it sees."""
    told = await ask(gateway, call, "GET", "/key/info")
    if not told.good:
        return told
    key = {**told.said["info"], "token": call.caller.key}
    return msgspec.structs.replace(told, said={"keys": [key], "total_count": 1, "total_pages": 1})


def may_make(gateway: Any, call: Call) -> bool:
    """Tell whether a caller may make keys of any kind."""
    caller = call.caller
    return caller.admin or (bool(caller.user) and not caller.views and caller.role != INTERNAL_VIEWER)


def _with_names(gateway: Any, key: Fields) -> Fields:
    """Return a key with the names of its team and its user, where they are known."""
    keyring = gateway.desk.keyring
    team = keyring.body("team", key["team_id"]) if key.get("team_id") else None
    user = keyring.body("user", key["user_id"]) if key.get("user_id") else None
    return {
        **key,
        "path": path_of("keys", key["token"]),
        "name": key.get("key_alias") or key.get("key_name") or key["token"][:12],
        "team_name": (team or {}).get("team_alias") or key.get("team_id"),
        "user_name": (user or {}).get("user_email") or (user or {}).get("user_alias") or key.get("user_id"),
    }


async def detail(gateway: Any, call: Call) -> Page:
    """Show one key: its limits and what is used of them, what it spent, its last requests and changes."""
    if (none := nothing_kept(gateway, call)) is not None:
        return none
    key, may = await find(gateway, call)
    spent, requests, changes = await asyncio.gather(
        spent_of(gateway, call, "model", DAYS, api_key=key["token"]),
        ask(gateway, call, "GET", "/spend/logs/v2", api_key=key["token"], page_size=MOST_SHOWN),
        changes_of(gateway, call, key["token"], "LiteLLM_VerificationToken"),
    )  # fmt: skip
    return render(
        gateway, call, "access/key.html", key=key, may=may, spent=spent,
        requests=requests.said["data"] if requests.good else [], changes=changes, days=DAYS,
        log="/requests" if has_page("/requests") else "",
    )  # fmt: skip


async def uses(gateway: Any, call: Call) -> Page:
    """Show what is used of the limits of one key now: a part of its page that is asked for again and again."""
    key, _ = await find(gateway, call)
    return render(gateway, call, "access/uses.html", key=key)


async def find(gateway: Any, call: Call) -> tuple[Fields, Fields]:
    """Return a key, named in the path, and what the caller may do with it."""
    check_kept(gateway)
    id_ = call.params["id"]
    told = await need(gateway, call, "GET", "/key/info", key=id_)
    keyring = gateway.desk.keyring
    key = _with_names(gateway, {**told["info"], "token": keyring.id_of(id_) or id_})
    scope = Scope(call.caller, keyring)
    governs = scope.governs_key(key)
    may = {
        "change": scope.changes_key(key, "/key/update"),
        "rotate": scope.changes_key(key, "/key/regenerate") and scope.takes_key(key),
        "block": governs,
        "delete": scope.changes_key(key, "/key/delete"),
    }
    return key, may


async def block(gateway: Any, call: Call) -> Page:
    """Block a key, or unblock it."""
    id_, on = call.params["id"], form_of(call).get("on") == "true"
    told = await ask(gateway, call, "POST", "/key/block" if on else "/key/unblock", {"key": id_})
    said = "The key is blocked: it opens nothing." if on else "The key opens again what it may."
    return go(call, path_of("keys", id_), told.error or said, bad=not told.good)


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a key."""
    id_ = call.params["id"]
    told = await ask(gateway, call, "POST", "/key/delete", {"keys": [id_]})
    if not told.good:
        return go(call, path_of("keys", id_), told.error, bad=True)
    return go(call, "/keys", "The key is deleted. What it spent stays in the reports.")


async def reset(gateway: Any, call: Call) -> Page:
    """Set back what a key has spent of its budget."""
    id_ = call.params["id"]
    told = await ask(gateway, call, "POST", f"/key/{id_}/reset_spend", {"reset_to": 0})
    said = "What it spent is set back to nothing: its budget holds anew."
    return go(call, path_of("keys", id_), told.error or said, bad=not told.good)


ROUTES = (
    page("/keys", show),
    page("/keys/{id}", detail),
    page("/keys/{id}/uses", uses),
    form("/keys/{id}/block", block),
    form("/keys/{id}/delete", delete),
    form("/keys/{id}/reset", reset),
)
