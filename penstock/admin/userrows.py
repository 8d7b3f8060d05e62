"""Users as rows: what of a call is kept, how it is checked, and how a user is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.admin import keyrows
from penstock.admin.desk import told
from penstock.admin.spending import spent
from penstock.core.admit.holders import Bad, read_holder

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.runtime.keyring import Keyring
    from penstock.stores.base import Row

Fields = dict[str, Any]
# What answers show of a user that nobody set.
_BLANK: Mapping[str, Any] = {
    **dict.fromkeys(("user_email", "user_alias", "user_role", "sso_user_id", "max_budget", "budget_duration")),
    **dict.fromkeys(("max_parallel_requests", "tpm_limit", "rpm_limit", "object_permission")),
    "models": [],
    "policies": [],
    "allowed_cache_controls": [],
    "metadata": {},
    "model_max_budget": {},
}
# What ``/user/new`` says of the key and not of the user, or of where the user belongs.
_NO_FIELDS = frozenset(
    "auto_create_key key_alias duration team_id agent_id teams organizations send_invite_email spend config aliases "
    "permissions".split()
)


def apply(body: Mapping[str, Any], given: Mapping[str, Any]) -> Fields:
    """Return a user's body with what a call gives. Null takes a field away. Raises ``Bad``."""
    kept = {name: value for name, value in given.items() if name not in _NO_FIELDS}
    email = kept.get("user_email")
    if email:
        kept["user_email"] = email.strip().lower()  # one person's, however it is written
    return keyrows.apply(body, kept, 0.0)


def check(id_: str, body: Mapping[str, Any], keyring: Keyring) -> None:
    """Raise ``Bad`` for a user whose keys could not be used."""
    if not id_ or len(id_) > 256 or not id_.isprintable():
        raise Bad("user_id", "must have 1 to 256 characters, and none that cannot be printed")
    for name in ("user_email", "user_alias", "sso_user_id"):
        value = body.get(name) or ""
        if len(value) > 320 or not value.isprintable():
            raise Bad(name, "must not be over 320 characters, nor have any that cannot be printed")
    budget_id = body.get("budget_id")
    budget = keyring.body("budget", budget_id) if budget_id else None
    if budget_id and budget is None:
        raise Bad("budget_id", f"there is no budget {budget_id!r:.100}; POST /budget/new makes one")
    read_holder("user", id_, body, budget)


async def tell(gateway: Any, desk: Desk, row: Row) -> Fields:
    """Return a user as answers show it, with its teams and what it has spent."""
    body = {**_BLANK, **told(row)}
    budget_id = body.get("budget_id")
    budget = desk.keyring.body("budget", budget_id) if budget_id else None
    body["teams"] = await teams_of(desk, row.id)
    return {**body, **keyrows.standing(body, budget, await spent(gateway, "user", row.id), desk.clock())}


async def teams_of(desk: Desk, user: str) -> list[str]:
    """List the teams that a user is a member of."""
    found = await desk.find("member", {"user_id": user})
    return [msgspec.json.decode(row.body)["team_id"] for row in found.rows]
