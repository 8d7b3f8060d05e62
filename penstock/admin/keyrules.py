"""Who may give what to a key: ceilings and defaults of the config, the caller's own limits, those of the team.

A key passes all limits of its owners when it is used; here people are told early that it would never be let through,
and nobody gives away more than he has. LiteLLM's rules and words, where it has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from penstock.core.admit import amount
from penstock.core.admit.access import may_call
from penstock.core.admit.caller import INTERNAL_VIEWER
from penstock.core.admit.holders import Bad, Cap, Holder, read_holder
from penstock.core.admit.periods import later
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.admin.scope import Scope
    from penstock.config.managing import Managing
    from penstock.runtime.keyring import Keyring

Fields = dict[str, Any]
Given = Mapping[str, Any]
Groups = Callable[[str], Collection[str]]
_SPECIAL = ("all-team-models", "no-default-models")
# What keeps a key's owner within bounds: whoever has them from somebody else does not move them. At the top of a row,
# or in its metadata, where they hold as well.
_GUARDED = (
    "max_budget soft_budget budget_limits budget_duration model_max_budget budget_id budget_fallbacks "
    "temp_budget_increase temp_budget_expiry throttle_on_budget_exceeded blocked allowed_ips guardrails policies "
    "disable_global_guardrails end_user_budget_id enforced_params"
).split()
_FREEING = ("temp_budget_increase", "temp_budget_expiry", "throttle_on_budget_exceeded", "disable_global_guardrails")
_DEFAULTED = ("max_budget", "user_id", "team_id", "max_parallel_requests", "tpm_limit", "rpm_limit")
_DURATIONS = ("budget_duration", "duration")
_BOUNDED = ("max_budget", "max_parallel_requests", "tpm_limit", "rpm_limit")


# The config's. --------------------------------------------------------------------------------------------------------


def fill(given: Given, settings: Managing) -> Fields:
    """Return what a new key is given, over the config's ``default_key_generate_params`` and ``default_soft_budget``."""
    defaults = settings.key_defaults
    filled = dict(given)
    for name in (*_DEFAULTED, *_DURATIONS):
        if filled.get(name) is None and defaults.get(name) is not None:
            filled[name] = defaults[name]
    for name in ("models", "metadata"):
        if not filled.get(name) and defaults.get(name):
            filled[name] = defaults[name]
    if filled.get("soft_budget") is None and settings.key_soft is not None and not filled.get("budget_id"):
        filled["soft_budget"] = settings.key_soft
    return filled


def bound(given: Given, settings: Managing, fills: bool) -> Fields:
    """Return what a key is given, held against ``upperbound_key_generate_params``. ``fills``: what is not given is the
    ceiling. Raises "bad_request" for more."""
    ceilings = settings.key_ceilings
    bounded = dict(given)
    for name in (*_BOUNDED, *_DURATIONS):
        most, value = ceilings.get(name), given.get(name)
        if most is None or (value is None and not fills and name not in given):
            continue
        if value is None and fills:
            bounded[name] = most
        elif value is None or _size(name, value) > _size(name, most):
            text = f"{name} is over max limit set in config - user_value={value}; max_value={most}"
            raise GatewayError("bad_request", text, param=name)
    return bounded


def _size(name: str, value: Any) -> float:
    if name not in _DURATIONS:
        return float(value)
    if str(value) == "-1":
        return math.inf
    try:
        return later(str(value), 0.0)
    except ValueError as error:
        raise Bad(name, str(error)) from None


def check_alias(alias: Any, settings: Managing) -> None:
    """Raise ``Bad`` for a key's name that is not as the config wants it."""
    pattern = settings.alias
    if pattern is not None and isinstance(alias, str) and (len(alias) > 255 or pattern.fullmatch(alias) is None):
        raise Bad("key_alias", f"{alias!r:.100} is not as litellm_settings.key_alias_pattern wants it")


# The caller's. --------------------------------------------------------------------------------------------------------


def check_wishes(scope: Scope, given: Given, own: Given, before: Given) -> None:
    """Raise "forbidden" for what only a proxy admin may set on a key. ``own``: the fields of the key that asks;
    ``before``: those of the key that is changed. Nobody frees a key of the routes that an admin gave it."""
    if scope.caller.admin:
        return
    kind, barred = given.get("key_type"), before.get("allowed_routes")
    if given.get("allowed_routes") or (barred and given.keys() & {"allowed_routes", "key_type"}):
        raise _only_admins("allowed_routes", "Use `key_type` to pick a preset route bucket instead.")
    if kind == "management":
        raise _only_admins("key_type", "'default', 'llm_api' and 'read_only' are everybody's.")
    for name in ("permissions", "allowed_passthrough_routes", "spend", *_FREEING):
        if given.get(name) or (name in _FREEING and (given.get("metadata") or {}).get(name)):
            raise _only_admins(name)
    _check_ceiling(given, own)


def check_bounds(before: Given, after: Given) -> None:
    """Raise "forbidden" for a change of a key's budgets and guards, for whoever has the key and is nobody's admin."""
    for one, other in ((before, after), (before.get("metadata") or {}, after.get("metadata") or {})):
        for name in _GUARDED:
            if one.get(name) != other.get(name) and (one.get(name) or other.get(name)):
                text = f"Only proxy admins, team admins, or org admins can change `{name}` of a key."
                raise GatewayError("forbidden", text, param=name)


def _only_admins(name: str, more: str = "") -> GatewayError:
    return GatewayError("forbidden", f"Only proxy admins can set `{name}` on a key. {more}".strip(), param=name)


def _check_ceiling(given: Given, own: Given) -> None:
    """Raise "bad_request" for a budget above that of the key which asks for it."""
    ceiling = amount.read(own.get("max_budget")) if own.get("max_budget") is not None else None
    if ceiling is None:
        return
    windows = given.get("budget_limits") or ()
    asked = [("max_budget", given.get("max_budget")), *(("budget_limits", w.get("max_budget")) for w in windows)]
    for name, value in asked:
        wanted = None if value is None else amount.read(value)
        if wanted is not None and wanted > ceiling:
            text = f"{name} ({value}) cannot exceed the caller's own max_budget ({own['max_budget']})."
            raise GatewayError("bad_request", text, param=name)


def check_owner(scope: Scope, given: Given, settings: Managing, keyring: Keyring, route: str) -> Fields:
    """Return what a new key is given, with its owner. Raises "forbidden" and "bad_request" for who may not make it:
    users make keys for themselves, members of a team what the team lets them."""
    caller, made = scope.caller, dict(given)
    team = made.get("team_id")
    if team and keyring.body("team", team) is None:
        raise no_team(team, caller.admin)
    organization = made.get("organization_id")
    if organization and not (scope.sees_organization(organization) and keyring.body("organization", organization)):
        text = f"Organization not found for organization_id={organization[:100]}"
        raise GatewayError("bad_request", text, param="organization_id")
    if caller.admin:
        return made
    if caller.views or caller.role == INTERNAL_VIEWER:
        raise GatewayError("forbidden", f"Your role, {caller.role}, may look at keys, and may not make them.")
    if team and not scope.in_team(team) and not scope.runs_team(team):
        raise no_team(team)
    if made.get("user_id") is None and route.startswith("/key/generate"):
        made["user_id"] = caller.user or None
    owner = made.get("user_id")
    if owner and owner != caller.user:
        text = f"User can only create keys for themselves. Got user_id={owner[:100]}, Your ID={caller.user or None}"
        raise GatewayError("forbidden", text, param="user_id")
    if not scope.changes_key(made, route):
        what = f"the team {team[:100]!r}: its team_member_permissions do not name {route}" if team else "nobody"
        raise GatewayError("forbidden", f"You may not make keys for {what}.")
    _check_settings(scope, made, settings)
    return made


def no_team(team: str, admin: bool = False) -> GatewayError:
    """Make the error for a team that does not exist, or not for who asks: then both are told alike. ``admin``: who
    asks sees all there are."""
    text = f"Unable to find team object in database. Team ID: {team[:100]}"
    return GatewayError("bad_request" if admin else "forbidden", text, param="team_id")


def _check_settings(scope: Scope, made: Given, settings: Managing) -> None:
    """Hold a new key against ``key_generation_settings``: who may make one, and what it must say."""
    kind = "team_key_generation" if made.get("team_id") else "personal_key_generation"
    rules = settings.key_rules.get(kind) or {}
    if kind == "team_key_generation":
        roles = rules.get("allowed_team_member_roles")
        role = "admin" if scope.runs_team(made.get("team_id")) else "user"
        text = f"Team member role {role} not in allowed_team_member_roles={roles}"
    else:
        roles, role = rules.get("allowed_user_roles"), scope.caller.role or "internal_user"
        text = f"Personal key creation has been restricted by admin. Allowed roles={roles}. Your role={role}"
    if roles is not None and role not in roles:
        raise GatewayError("bad_request", text)
    for name in rules.get("required_params") or ():
        if made.get(name) is None:
            raise GatewayError("bad_request", f"Required param {name} not in data", param=str(name))


# The team's. ----------------------------------------------------------------------------------------------------------


def check_team(body: Given, keyring: Keyring, groups: Groups) -> None:
    """Refuse a key that its team would never let through: a model that the team may not call, a budget above the
    team's in the same window. Raises "team_model_denied", "bad_request"."""
    team_id = body.get("team_id")
    row = keyring.body("team", team_id) if team_id else None
    if not team_id or row is None:
        return
    budget_id = row.get("budget_id")
    try:
        team = read_holder("team", team_id, row, keyring.body("budget", budget_id) if budget_id else None)
    except Bad:
        return  # what is wrong with the team is no affair of this key's; it lets nobody in
    for name in body.get("models") or ():
        if name not in _SPECIAL and team.models and not may_call(team, name, groups):
            raise _denied(team, name)
    key = read_holder("key", "", body)
    for cap in key.caps:
        most = _cap_of(team, cap)
        if most is not None and cap.most > most:
            text = f"max_budget ({amount.dollars(cap.most)}) cannot exceed the team's ({amount.dollars(most)})"
            raise GatewayError("bad_request", f"{text} in the same window.", param="max_budget")


def _denied(team: Holder, name: str) -> GatewayError:
    known = ", ".join(team.models)[:300]
    text = f"models: the team {team.id[:100]!r} is not allowed to access {name[:100]!r}; it may call: {known}."
    return GatewayError("team_model_denied", text, param="models")


def _cap_of(team: Holder, cap: Cap) -> int | None:
    same = [one.most for one in team.caps if (one.period, one.model) == (cap.period, cap.model)]
    return min(same) if same else None
