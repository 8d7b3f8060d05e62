"""Who is in a team: rows of kind "member", one for each user of each team, and the steps by which they come and go.

A team's row says nothing of its members: its answers get them from here. A member that is no user yet is made one, as
LiteLLM does it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import UNSET

from penstock.admin import userrows
from penstock.admin.desk import Step
from penstock.admin.forms import missing, refused
from penstock.admin.rows import Spend, budget_told, check
from penstock.core.admit.caller import INTERNAL_VIEWER
from penstock.core.admit.holders import Bad
from penstock.core.errors import GatewayError
from penstock.runtime.ids import new_id
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.admin.orgforms import OrganizationMember
    from penstock.admin.teamforms import Who
    from penstock.stores.base import Row

Fields = dict[str, Any]
TEAM_ROLES = ("admin", "user")
_DEFAULTED = ("user_role", "max_budget", "budget_duration", "models", "tpm_limit", "rpm_limit")
MOST_MEMBERS = 500  # in one call: each is two rows of one transaction


class Joined(NamedTuple):
    """What makes somebody a member: ``steps``, for one transaction, his row as a user and that as a member."""

    steps: list[Step]
    user: Fields
    member: Fields


def membership_id(team: str, user: str) -> str:
    return f"{team}/{user}"


async def join(desk: Desk, gateway: Any, team: Mapping[str, Any], who: Who, limits: Mapping[str, Any]) -> Joined:
    """Prepare that somebody becomes a member. ``limits``: fields of his row. Raises "exists" for one who is in, and a
    422 for a role that there is not, or where nobody is named."""
    user, steps = await user_of(desk, gateway, who)
    member = member_of(desk, team, user["user_id"], who.role or "user", limits)
    return Joined([*steps, Step("member", member["membership_id"], member)], user, member)


def member_of(desk: Desk, team: Mapping[str, Any], id_: str, role: str, limits: Mapping[str, Any]) -> Fields:
    """Make the row by which a user becomes a member, with what the team gives to each new one; raises as ``join``."""
    if role not in TEAM_ROLES:
        text = f"role: {role!r:.60} is no role of a team's member; there are: {', '.join(TEAM_ROLES)}."
        raise GatewayError("bad_request", text, param="role", status=422)
    team_id = team["team_id"]
    name = membership_id(team_id, id_)
    if desk.keyring.row("member", name) is not None:
        text = f"User={id_[:120]} is already a member of the team {team_id[:120]!r}."
        raise GatewayError("exists", text, param="user_id")
    told = {field: value for field, value in limits.items() if value is not None}
    member = {"membership_id": name, "team_id": team_id, "user_id": id_, "role": role, **told}
    if team.get("default_team_member_models") and "allowed_models" not in limits:
        member["allowed_models"] = team["default_team_member_models"]
    check(desk, "member", name, member)
    budget_id = (team.get("metadata") or {}).get("team_member_budget_id")  # may be made by the same transaction
    if budget_id:
        member["budget_id"] = budget_id
    return member


async def user_of(desk: Desk, gateway: Any, who: Who | OrganizationMember) -> tuple[Fields, list[Step]]:
    """Find the user that is meant, or prepare to make one."""
    user_id, email = who.user_id or "", (who.user_email or "").strip().lower()
    if not user_id and not email:
        text = "Each member needs a user_id or a user_email."
        raise GatewayError("bad_request", text, param="member", status=422)
    row = await find_user(desk, user_id, email)
    if row is not None:
        return fields_of(row), []
    defaults = {name: gateway.state.managing.user_defaults.get(name) for name in _DEFAULTED}
    given = {"user_role": INTERNAL_VIEWER, **{name: value for name, value in defaults.items() if value is not None}}
    given |= {"user_id": user_id or new_id(), "user_email": email or None}
    try:
        made = userrows.apply({}, given)
        userrows.check(made["user_id"], made, desk.keyring)
    except Bad as error:
        raise refused(error) from None
    return made, [Step("user", made["user_id"], made)]


async def find_user(desk: Desk, user_id: str, email: str) -> Row | None:
    """Find a user by his id, or else by his address."""
    if user_id:
        return await desk.row("user", user_id)
    email = email.strip().lower()  # as it is kept
    found = await desk.find("user", {"user_email": email}, limit=1) if email else None
    return found.rows[0] if found is not None and found.rows else None


async def member_row(desk: Desk, team: str, user_id: object, email: object) -> Row:
    """Find the row of a member by the user's id or address. Raises "no_object"."""
    user_id, email = user_id if isinstance(user_id, str) else "", email if isinstance(email, str) else ""
    if not user_id and not email:
        raise GatewayError("bad_request", "Either user_id or user_email must be given.", param="user_id", status=422)
    user = None if user_id else await find_user(desk, "", email)
    name = user_id or (user.id if user is not None else "")
    row = await desk.row("member", membership_id(team, name)) if name else None
    if row is None:
        raise missing("member", user_id or email)
    return row


async def keys_of_member(desk: Desk, team: str, user: str) -> Sequence[Row]:
    """List the keys that a user has in a team."""
    return (await desk.find("key", {"team_id": team, "user_id": user})).rows


async def members_of(desk: Desk, teams: Iterable[str]) -> dict[str, list[Fields]]:
    """List the members of teams, by team."""
    found: dict[str, list[Fields]] = {}
    for row in (await desk.find("member", {"team_id": tuple(teams)})).rows:
        member = fields_of(row)
        found.setdefault(member["team_id"], []).append(member)
    return found


def roles_told(desk: Desk, members: Iterable[Mapping[str, Any]]) -> Fields:
    """Tell the members of a team as its row has them: with their roles, and by role."""
    listed = list(members)
    with_roles = []
    for member in listed:
        user = desk.keyring.body("user", member["user_id"]) or {}
        one = {"user_id": member["user_id"], "user_email": user.get("user_email"), "role": member["role"]}
        with_roles.append(one)
    return {
        "members_with_roles": with_roles,
        "admins": [member["user_id"] for member in listed if member["role"] == "admin"],
        "members": [member["user_id"] for member in listed],
    }


def membership_told(gateway: Any, desk: Desk, member: Mapping[str, Any]) -> Fields:
    """Tell a membership as LiteLLM's row of one."""
    return {
        "user_id": member["user_id"],
        "team_id": member["team_id"],
        "role": member["role"],
        "budget_id": member.get("budget_id"),
        "allowed_models": member.get("allowed_models"),
        "spend": Spend("member", membership_id(member["team_id"], member["user_id"])),
        "litellm_budget_table": budget_told(desk, member),
    }


def limits_of(max_budget: object, **more: object) -> Fields:
    """Return the fields of a member's row for what a call says of it: sent fields alone, null included."""
    named = {"max_budget": max_budget, **more}
    return {name: value for name, value in named.items() if value is not UNSET}
