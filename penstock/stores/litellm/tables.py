"""LiteLLM's tables, and what of their rows becomes which of ours. Pure: rows go in, rows come out.

Columns were added with almost every version of LiteLLM, so each row is taken as it is: all of its fields, but those
that mean nothing here (``_MOOT``) and what was spent, which stands in the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from penstock.core.admit.holders import Bad, read_holder
from penstock.stores.base import Row
from penstock.stores.kinds import KINDS, LONGEST

Fields = Mapping[str, Any]
# Figures of LiteLLM's own jobs, sums that the ledger has, and hashes of passwords in a form of its own.
_MOOT = frozenset(
    "spend total_spend model_spend budget_reset_at soft_budget_cooldown last_active settings_updated_at password "
    "created_at created_by updated_at updated_by".split()
)
_LIMITED = frozenset(("key", "team", "member", "user", "organization", "customer", "tag"))
WHO = "penstock import litellm"


class Table(NamedTuple):
    """A table of LiteLLM's. ``kind``: what its rows are here; ``id``: the columns that name one; ``account``: whether
    what it has spent is counted against budgets."""

    name: str
    kind: str
    id: tuple[str, ...]
    account: bool = False


# In the order in which they refer to each other: what is interrupted leaves no row that names one that is missing.
TABLES = (
    Table("LiteLLM_BudgetTable", "budget", ("budget_id",)),
    Table("LiteLLM_OrganizationTable", "organization", ("organization_id",), True),
    Table("LiteLLM_UserTable", "user", ("user_id",), True),
    Table("LiteLLM_OrganizationMembership", "organization_member", ("organization_id", "user_id")),
    Table("LiteLLM_TeamTable", "team", ("team_id",), True),
    Table("LiteLLM_TeamMembership", "member", ("team_id", "user_id"), True),
    Table("LiteLLM_ProjectTable", "project", ("project_id",)),
    Table("LiteLLM_EndUserTable", "customer", ("user_id",), True),
    Table("LiteLLM_TagTable", "tag", ("tag_name",), True),
    Table("LiteLLM_AccessGroupTable", "access_group", ("access_group_id",)),
    Table("LiteLLM_VerificationToken", "key", ("token",), True),
)


class Made(NamedTuple):
    """A row of ours. ``account``: that of its budgets, "" for none; ``spent`` and ``ever``: dollars, since its budget
    began and in all; ``resets``: when the budget begins anew."""

    row: Row
    account: str = ""
    spent: float = 0.0
    ever: float = 0.0
    resets: float | None = None


class Known:
    """What rows say of others. ``aliases``: names of models, by the id of the row that has them; ``roles``: of the
    members of teams that no row was made of yet, with team and user, by their id; ``tell``: is told what cannot be
    taken as it is."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self.aliases: dict[int, Any] = {}
        self.roles: dict[str, tuple[str, str, str]] = {}
        self.tell = tell

    def rest(self) -> Iterator[Made]:
        """Yield the members of teams that have no row of their own over there: they have no budget in it."""
        for id_, (team, user, role) in self.roles.items():
            body = {"membership_id": id_, "team_id": team, "user_id": user, "role": role}
            yield Made(_row("member", id_, body, {}))
        self.roles = {}


def row_of(table: Table, fields: Fields, known: Known) -> Made | None:
    """Return what a row of LiteLLM's is here; None where it cannot be kept."""
    body, tell = _body(fields), known.tell
    id_ = "/".join(str(fields[name]) for name in table.id)
    if len(id_) > LONGEST:
        tell(f"{table.kind} {id_[:60]}...: its id is longer than {LONGEST} characters; it is left out")
        return None
    if len(table.id) > 1:
        body["membership_id"] = id_
    if table.kind == "member":
        body["role"] = known.roles.pop(id_, ("", "", "user"))[2]
    elif table.kind == "tag":
        body["name"] = body.pop("tag_name")
    elif table.kind == "key":
        body |= {"digests": [{"digest": id_, "form": "sha256"}]}
    elif table.kind == "team":
        _note_members(fields, known)
        for name in ("admins", "members", "members_with_roles", "model_id"):
            body.pop(name, None)
        if found := known.aliases.get(fields.get("model_id") or 0):
            body["model_aliases"] = _json(found)
    if fields.get("password"):
        tell(f"user {id_}: the password is not taken over; a new one is set by an invitation")
    if body.pop("object_permission_id", None):
        tell(f"{table.kind} {id_}: its object_permission (MCP servers, vector stores, agents) is not taken over")
    _check(table.kind, id_, body, tell)
    account = f"{table.kind}:{id_}" if table.account else ""
    spent, ever = float(fields.get("spend") or 0), float(fields.get("total_spend") or 0)
    resets = fields.get("budget_reset_at")
    return Made(_row(table.kind, id_, body, fields), account, spent, max(spent, ever), _seconds(resets))


def _note_members(fields: Fields, known: Known) -> None:
    """Note the members of a team: LiteLLM has them in the team's row, with their roles."""
    team = str(fields["team_id"])
    found = _json(fields.get("members_with_roles"))
    for one in found if isinstance(found, list) else ():
        user = one.get("user_id") if isinstance(one, Mapping) else None
        if not isinstance(user, str) or not user or len(team) + len(user) >= LONGEST:
            known.tell(f"team {team}: a member without a user_id is left out ({str(one)[:100]})")
            continue
        role = one["role"] if one.get("role") in ("admin", "user") else "user"
        known.roles[f"{team}/{user}"] = team, user, role


def _body(fields: Fields) -> dict[str, Any]:
    """Return the fields that mean something here: no nulls, times as texts, and numbers as JSON has them."""
    body = {name: _plain(value) for name, value in fields.items() if name not in _MOOT}
    return {name: value for name, value in body.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    return value


def _json(value: Any) -> Any:
    """Return a column of JSON; some versions of LiteLLM wrote a text of JSON into it."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return None
    return value


def _check(kind: str, id_: str, body: dict[str, Any], tell: Callable[[str], None]) -> None:
    """Tell of what is stored in a form that cannot be read: such a key is refused until it is put right."""
    for name in ("metadata", "aliases", "model_max_budget", "model_aliases", "budget_limits", "permissions"):
        if isinstance(body.get(name), str):
            body[name] = _json(body[name])
    for name in KINDS[kind].columns:
        value = body.get(name)
        if isinstance(value, str) and len(value) > LONGEST:
            body[name] = value[:LONGEST]
            tell(f"{kind} {id_}: {name} is longer than {LONGEST} characters and is cut off")
    if kind in _LIMITED:
        try:
            read_holder(kind, id_, body)
        except Bad as error:
            tell(f"{kind} {id_}: {error}. It is refused until that is put right")


def _row(kind: str, id_: str, body: Fields, fields: Fields) -> Row:
    made, changed = _seconds(fields.get("created_at")), _seconds(fields.get("updated_at"))
    return Row(
        kind,
        id_,
        msgspec.json.encode(body, enc_hook=str),
        1,
        made or 0.0,
        str(fields.get("created_by") or WHO),
        changed or made or 0.0,
        str(fields.get("updated_by") or WHO),
    )


def _seconds(value: Any) -> float | None:
    return value.replace(tzinfo=value.tzinfo or UTC).timestamp() if isinstance(value, datetime) else None
