"""What a config says of new keys and users, out of ``litellm_settings``, typed.

A ceiling that cannot be read is the lowest there is: whoever wrote it wanted less than nothing.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from penstock.core.admit import amount
from penstock.core.admit.caller import ROLES
from penstock.core.admit.periods import FORMS, parse

Values = Mapping[str, Any]
_NONE: Values = {}
KEYS = (
    "default_key_generate_params",
    "upperbound_key_generate_params",
    "key_generation_settings",
    "default_internal_user_params",
    "max_internal_user_budget",
    "internal_user_budget_duration",
    "default_max_internal_user_budget",
    "default_soft_budget",
    "key_alias_pattern",
    "enable_key_alias_format_validation",
    "default_team_params",
)
_ALIAS = r"[A-Za-z0-9][A-Za-z0-9 _.@/-]{0,254}"  # where only the switch is on
_LONGEST_PATTERN = 200
_BUDGET = "max_internal_user_budget"


class Managing(Struct, frozen=True, kw_only=True):
    """``key_defaults``: what new keys get where nothing is said; ``key_ceilings``: what no key exceeds;
    ``key_rules``: who may make keys, and what these must say, by "team_key_generation" and "personal_key_generation".
    ``user_defaults`` and ``team_defaults``: what new users and teams get; ``user_budget`` and ``user_period``: of
    internal users. ``key_soft``: the soft budget of new keys. ``alias``: how the names of keys must look."""

    key_defaults: Values = _NONE
    key_ceilings: Values = _NONE
    key_rules: Values = _NONE
    user_defaults: Values = _NONE
    team_defaults: Values = _NONE
    user_budget: float | None = None
    user_period: str | None = None
    key_soft: float | None = None
    alias: re.Pattern[str] | None = None


def _is_period(value: Any) -> bool:
    try:
        parse(str(value))
    except ValueError:
        return False
    return True


def _is_texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


Check = tuple[Callable[[Any], bool], str]
_MONEY: Check = (lambda value: amount.read(value) is not None, "an amount of US dollars")
_COUNT: Check = (_is_count, "a whole number from 0 on")
_PERIOD: Check = (_is_period, FORMS)
_TEXT: Check = (lambda value: isinstance(value, str), "a text")
_TEXTS: Check = (_is_texts, "a list of names")
_TABLE: Check = (lambda value: isinstance(value, Mapping), "a mapping")
_ROLE: Check = (lambda value: value in ROLES, f"one of {', '.join(ROLES)}")
_ANY: Check = (lambda value: isinstance(value, list | tuple), "a list")
_CEILINGS: Mapping[str, Check] = {
    "max_budget": _MONEY,
    "max_parallel_requests": _COUNT,
    "tpm_limit": _COUNT,
    "rpm_limit": _COUNT,
    "budget_duration": _PERIOD,
    "duration": _PERIOD,
}
_KEY_DEFAULTS = {**_CEILINGS, "user_id": _TEXT, "team_id": _TEXT, "models": _TEXTS, "metadata": _TABLE}
_USER_DEFAULTS = {
    **_CEILINGS,
    "user_role": _ROLE,
    "models": _TEXTS,
    "metadata": _TABLE,
    "teams": _ANY,
    "organizations": _TEXTS,
    "soft_budget": _MONEY,
    "available_teams": _TEXTS,  # those that users may join by themselves
}
_TEAM_DEFAULTS: Mapping[str, Check] = {
    **{name: _CEILINGS[name] for name in ("max_budget", "tpm_limit", "rpm_limit", "budget_duration")},
    "models": _TEXTS,
    "metadata": _TABLE,
    "tags": _TEXTS,
    "team_member_permissions": _TEXTS,
    "team_member_budget": _MONEY,
    "team_member_budget_duration": _PERIOD,
    "team_member_rpm_limit": _COUNT,
    "team_member_tpm_limit": _COUNT,
}
_RULES: Mapping[str, Check] = {
    "allowed_team_member_roles": _TEXTS,
    "allowed_user_roles": _TEXTS,
    "required_params": _TEXTS,
}


def read_managing(values: Values, problems: list[str]) -> Managing:
    """Read the settings; add a sentence for each that cannot be used to ``problems``."""
    ceilings = _read(values, "upperbound_key_generate_params", _CEILINGS, problems)
    for name in _table(values, "upperbound_key_generate_params", []):
        if name in _CEILINGS and name not in ceilings:
            ceilings[name] = "1s" if _CEILINGS[name] is _PERIOD else 0
    rules = _table(values, "key_generation_settings", problems)
    kinds = ("team_key_generation", "personal_key_generation")
    if rules.keys() - set(kinds):
        problems.append(f"litellm_settings.key_generation_settings: a key of it is none of {', '.join(kinds)}.")
    budget = _BUDGET if values.get(_BUDGET) is not None else f"default_{_BUDGET}"
    given: dict[str, Any] = {}
    for name, key, check in (
        ("user_budget", budget, _MONEY),
        ("user_period", "internal_user_budget_duration", _PERIOD),
        ("key_soft", "default_soft_budget", _MONEY),
    ):
        given[name] = values.get(key)
        if given[name] is not None and not check[0](given[name]):
            problems.append(f"litellm_settings.{key}: it is not {check[1]}.")
            given[name] = 0.0 if check is _MONEY else None
    return Managing(
        key_defaults=_read(values, "default_key_generate_params", _KEY_DEFAULTS, problems),
        key_ceilings=ceilings,
        key_rules={kind: _read(rules, kind, _RULES, problems, "key_generation_settings.") for kind in kinds},
        user_defaults=_read(values, "default_internal_user_params", _USER_DEFAULTS, problems),
        team_defaults=_read(values, "default_team_params", _TEAM_DEFAULTS, problems),
        alias=_alias(values, problems),
        **given,
    )


def _read(
    values: Values, name: str, checks: Mapping[str, Check], problems: list[str], within: str = ""
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in _table(values, name, problems).items():
        place = f"litellm_settings.{within}{name}.{key}"
        if key not in checks:
            near = difflib.get_close_matches(str(key)[:60], checks, 1, 0.8)  # else it may be a secret, and is not told
            what = (
                f"{place} is not used: did you mean {near[0]}?"
                if near
                else f"litellm_settings.{within}{name} has a key"
            )
            problems.append(what if near else f"{what} that is not used: known are {', '.join(checks)}.")
        elif value is not None and not checks[key][0](value):
            problems.append(f"{place}: it is not {checks[key][1]}.")
        elif value is not None:
            found[key] = list(value) if isinstance(value, tuple) else value
    return found


def _table(values: Values, name: str, problems: list[str]) -> Values:
    found = values.get(name)
    if found is None or isinstance(found, Mapping):
        return found or _NONE
    problems.append(f"litellm_settings.{name} must be a mapping.")
    return _NONE


def _alias(values: Values, problems: list[str]) -> re.Pattern[str] | None:
    text = values.get("key_alias_pattern")
    if not text:
        return re.compile(_ALIAS) if values.get("enable_key_alias_format_validation") else None
    try:
        if not isinstance(text, str) or len(text) > _LONGEST_PATTERN:
            raise ValueError(f"it is no text of up to {_LONGEST_PATTERN} characters")
        return re.compile(text)
    except (re.error, ValueError) as error:
        problems.append(f"litellm_settings.key_alias_pattern cannot be used: {error}; no alias fits it.")
        return re.compile(r"(?!)")
