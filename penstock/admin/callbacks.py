"""Management URLs of a team's callbacks: where records of its requests are sent, with which credentials.

They are kept with the team, their variables sealed, and told in ``metadata.logging`` with those masked. The team's
records go there beside, or instead of, where everybody's go: ``server/callbacks.py``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from penstock.admin import teamforms
from penstock.admin.callbackrows import check_callback, seal
from penstock.admin.forms import author, desk_of, missing, read
from penstock.admin.rows import post, row_of, tell
from penstock.admin.scope import Scope
from penstock.admin.teamrows import tell_team
from penstock.core.admit.caller import BOTH
from penstock.core.errors import GatewayError
from penstock.runtime.route import Page, Route
from penstock.stores.kinds import MASK, fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.call import Call
    from penstock.stores.base import Row

Fields = dict[str, Any]
_WHERE = {"success": ("success",), "failure": ("failure",), "success_and_failure": ("success", "failure")}


async def add(gateway: Any, call: Call) -> Page:
    """Add a callback to a team, or change it: the records of its requests are sent there."""
    desk, form = desk_of(gateway), read(call, teamforms.Callback)
    row = await _row(desk, call)
    kind = form.callback_type or BOTH
    given = form.callback_vars or {}
    check_callback(gateway, call.caller, form.callback_name, kind, given)
    variables = await asyncio.to_thread(seal, desk, f"team/{row.id}/{form.callback_name}", given)
    one = {"callback_name": form.callback_name, "callback_type": kind, "callback_vars": variables}
    body = fields_of(row)
    others = [other for other in body.get("logging") or [] if other["callback_name"] != form.callback_name]
    await desk.change(row, {**body, "logging": [*others, one]}, author(call))
    told = await tell_team(gateway, desk, row.id)
    return await tell(gateway, {"status": "success", "data": told})


async def show(gateway: Any, call: Call) -> Page:
    """Show the callbacks of a team, without their secrets."""
    desk = desk_of(gateway)
    row = await _row(desk, call)
    return await tell(gateway, {"status": "success", "data": _told(row.id, fields_of(row).get("logging") or [])})


async def delete(gateway: Any, call: Call) -> Page:
    """Delete a callback of a team."""
    desk, name = desk_of(gateway), call.params["callback_name"]
    row = await _row(desk, call)
    body = fields_of(row)
    left = [one for one in body.get("logging") or [] if one["callback_name"] != name]
    if len(left) == len(body.get("logging") or []):
        raise missing("callback", name)
    await desk.change(row, {**body, "logging": left}, author(call))
    return await tell(gateway, {"status": "success", "data": _told(row.id, left)})


async def disable(gateway: Any, call: Call) -> Page:
    """Delete all callbacks of a team."""
    desk = desk_of(gateway)
    row = await _row(desk, call)
    await desk.change(row, {**fields_of(row), "logging": []}, author(call))
    text = f"Logging disabled for team {row.id}"
    return await tell(gateway, {"status": "success", "message": text, "data": _told(row.id, [])})


async def _row(desk: Desk, call: Call) -> Row:
    """Find the team of the path, for who may change it. Raises "no_object", "forbidden"."""
    scope = Scope(call.caller, desk.keyring)
    row = await row_of(desk, "team", call.params["team_id"], scope.sees_team)
    if not scope.changes_team(fields_of(row)):
        raise GatewayError("forbidden", "Only proxy admins, and admins of the team, may see and change its callbacks.")
    return row


def _told(team: str, callbacks: list[Fields]) -> Fields:
    names: dict[str, list[str]] = {"success": [], "failure": []}
    variables: Fields = {}
    for one in callbacks:
        for where in _WHERE[one["callback_type"]]:
            names[where].append(one["callback_name"])
        variables |= dict.fromkeys(one["callback_vars"], MASK)
    return {
        "team_id": team,
        "success_callbacks": names["success"],
        "failure_callbacks": names["failure"],
        "callback_vars": variables,
    }


ROUTES = (
    post("/team/{team_id}/callback", add, teamforms.Callback),
    Route("/team/{team_id}/callback", show),
    post("/team/{team_id}/callback/{callback_name}", delete, None, method="DELETE"),
    post("/team/{team_id}/disable_logging", disable),
)
