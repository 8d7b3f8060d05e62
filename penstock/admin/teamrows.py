"""A team's row: what is kept of a call's fields, what a team may have in its organisation, how it is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from penstock.admin.desk import Step, told
from penstock.admin.membership import members_of, membership_told, roles_told
from penstock.admin.rows import Spend, bodies, check, reset_at
from penstock.admin.teamforms import FOR_MEMBERS, IN_METADATA
from penstock.core.errors import GatewayError
from penstock.runtime.ids import new_id
from penstock.stores.kinds import MASK, fields_of

if TYPE_CHECKING:
    from penstock.admin.desk import Desk
    from penstock.admin.scope import Scope
    from penstock.stores.base import Row

Fields = dict[str, Any]
_EVERY_TEAM: Fields = {
    **dict.fromkeys(
        """team_alias organization_id max_budget soft_budget budget_duration tpm_limit rpm_limit
        max_parallel_requests model_aliases object_permission router_settings""".split()
    ),
    "models": [],
    "metadata": {},
    "blocked": False,
    "team_member_permissions": [],
}
_IN_ORGANIZATION = ("max_budget", "tpm_limit", "rpm_limit")
_ALL_MODELS = "all-proxy-models"


class Laid(NamedTuple):
    """A team's row as it is to be, and the steps that belong to it."""

    body: Fields
    steps: list[Step]


def lay(desk: Desk, id_: str, before: Mapping[str, Any], sent: Mapping[str, Any]) -> Laid:
    """Lay what a call says over a team's row: a null takes a field away. What holds for each member goes into a budget
    that all of them share. Raises "bad_request" for limits that cannot be read, and for more than the team's
    organisation has."""
    body = {**before, **{name: value for name, value in sent.items() if name not in IN_METADATA | FOR_MEMBERS.keys()}}
    metadata = dict(body.get("metadata") or {})
    if metadata.pop("logging", None):
        text = "metadata.logging: callbacks hold secrets; POST /team/{team_id}/callback keeps them sealed."
        raise GatewayError("bad_request", text, param="metadata.logging")
    for name, value in ((before.get("metadata") or {}) if "metadata" in sent else {}).items():
        if name == "team_member_budget_id":  # whoever writes metadata anew does not mean this one
            metadata.setdefault(name, value)
    for name in IN_METADATA & sent.keys():
        metadata.pop(name, None)
        if sent[name] is not None:
            metadata[name] = sent[name]
    steps = _member_budget(desk, id_, metadata, sent)
    body = {name: value for name, value in body.items() if value is not None}
    body |= {"team_id": id_, "metadata": metadata}
    check(desk, "team", id_, body)
    _check_in_organization(desk, body)
    return Laid(body, steps)


def _member_budget(desk: Desk, id_: str, metadata: Fields, sent: Mapping[str, Any]) -> list[Step]:
    """Prepare the budget of each member, and name it in a team's metadata."""
    limits = {ours: sent[name] for name, ours in FOR_MEMBERS.items() if name in sent}
    if not limits:
        return []
    name = metadata.get("team_member_budget_id") or f"team-{id_}-member-{new_id()}"
    row = desk.keyring.row("budget", name)
    both = {**({} if row is None else fields_of(row)), **limits, "budget_id": name}
    body = {field: value for field, value in both.items() if value is not None}
    check(desk, "budget", name, {field: value for field, value in body.items() if field != "budget_id"})
    metadata["team_member_budget_id"] = name
    steps = [Step("budget", name, body, row)]
    if row is None:  # whoever is in already has this budget from now on
        for member in desk.keyring.rows("member"):
            fields = fields_of(member)
            if fields["team_id"] == id_ and not fields.get("budget_id"):
                steps.append(Step("member", member.id, {**fields, "budget_id": name}, member))
    return steps


def _check_in_organization(desk: Desk, team: Mapping[str, Any]) -> None:
    """Refuse a team that may more than its organisation. Raises "bad_request"."""
    name = team.get("organization_id")
    if not name:
        return
    organization = desk.keyring.body("organization", name)
    if organization is None:
        text = f"organization_id: there is no organization {name!r:.120}; POST /organization/new makes one."
        raise GatewayError("bad_request", text, param="organization_id")
    budget = desk.keyring.body("budget", organization.get("budget_id") or "") or {}
    check_within(f"organization {name}", {**budget, **organization}, team)


def check_within(owner: str, most: Mapping[str, Any], body: Mapping[str, Any]) -> None:
    """Refuse limits and models that go beyond those of an owner. Raises "bad_request" that names the first."""
    for field in _IN_ORGANIZATION:
        limit, asked = most.get(field), body.get(field)
        if limit is not None and asked is not None and float(asked) > float(limit):
            text = f"{field}: {asked:g} is more than the {limit:g} of the {owner}."
            raise GatewayError("bad_request", text, param=field)
    allowed = most.get("models") or []
    if allowed and _ALL_MODELS not in allowed:
        for model in body.get("models") or []:
            if model not in allowed:
                named = ", ".join(allowed)[:300]
                text = f"models: {model[:120]!r} is none of the {owner}, which has: {named}."
                raise GatewayError("bad_request", text, param="models")


# How it is told. ------------------------------------------------------------------------------------------------------


def team_told(gateway: Any, desk: Desk, row: Row, members: Sequence[Mapping[str, Any]]) -> Fields:
    """Tell a team as LiteLLM's row of one."""
    fields = told(row)
    aliases = fields.get("model_aliases")
    callbacks = fields_of(row).get("logging")
    if callbacks:  # where LiteLLM's clients look for them
        masked = [{**one, "callback_vars": dict.fromkeys(one["callback_vars"], MASK)} for one in callbacks]
        fields["metadata"] = {**fields.get("metadata", {}), "logging": masked}
    return {
        **_EVERY_TEAM,
        **fields,
        **roles_told(desk, members),
        "spend": Spend("team", row.id),
        "budget_reset_at": reset_at(fields, desk.clock()),
        "litellm_model_table": {"model_aliases": aliases} if aliases else None,
    }


async def tell_team(gateway: Any, desk: Desk, id_: str) -> Fields:
    """Read a team again and tell it."""
    row = await desk.row("team", id_)
    if row is None:  # deleted by somebody else since
        raise GatewayError("outdated", f"The team {id_[:120]!r} was deleted meanwhile.")
    return team_told(gateway, desk, row, (await members_of(desk, [id_])).get(id_, []))


async def info_told(gateway: Any, desk: Desk, row: Row, scope: Scope) -> Fields:
    """Tell a team, its keys as far as who asks may see them, and what each member has in it."""
    members = (await members_of(desk, [row.id])).get(row.id, [])
    info = team_told(gateway, desk, row, members)
    budget_id = info["metadata"].get("team_member_budget_id")
    info["team_member_budget_table"] = desk.keyring.body("budget", budget_id) if budget_id else None
    keys = (await desk.find("key", {"team_id": row.id})).rows
    return {
        "team_id": row.id,
        "team_info": info,
        "keys": [
            {**key, "token": None, "spend": Spend("key", key["token"])}
            for key in bodies(keys)
            if scope.sees_key(key) or scope.runs_team(row.id)
        ],
        "team_memberships": [membership_told(gateway, desk, member) for member in members],
    }
