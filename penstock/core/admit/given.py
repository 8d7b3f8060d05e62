"""Whom somebody else says a caller is: a function of the operator's, or a signed token. LiteLLM's ``UserAPIKeyAuth`` by
its names of fields, read as the rows that it stands for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any

from msgspec.structs import replace

from penstock.core.admit.caller import Caller, Find, Reading, read_caller

KEY_FIELDS = tuple(
    """key_alias key_name user_id team_id models aliases max_budget soft_budget budget_duration budget_limits tpm_limit
    rpm_limit tpd_limit max_parallel_requests model_max_budget metadata tags allowed_routes key_type blocked expires
    budget_id access_group_ids""".split()
)
# Its names of what stands in rows of their own -> the kind of row, and the field there.
_BESIDE: Mapping[str, tuple[str, str]] = {
    "rpm_limit_per_model": ("key", "model_rpm_limit"),
    "tpm_limit_per_model": ("key", "model_tpm_limit"),
    "org_id": ("key", "organization_id"),
    **{f"team_{name}": ("team", name) for name in "tpm_limit rpm_limit tpd_limit max_budget soft_budget".split()},
    **{f"team_{name}": ("team", name) for name in "model_max_budget models blocked metadata".split()},
    "team_alias": ("team", "team_alias"),
    "team_model_aliases": ("team", "model_aliases"),
    "team_member_tpm_limit": ("member", "tpm_limit"),
    "team_member_rpm_limit": ("member", "rpm_limit"),
    "user_role": ("user", "user_role"),
    **{f"user_{name}": ("user", name) for name in "tpm_limit rpm_limit max_budget model_max_budget".split()},
    **{f"organization_{name}": ("organization", name) for name in "tpm_limit rpm_limit max_budget metadata".split()},
}
FIELDS = (*KEY_FIELDS, *_BESIDE, "end_user_id")
_NOTHING: Mapping[str, Any] = {}


def caller_of(id_: str, given: Mapping[str, Any], find: Find, how: Reading) -> Caller:
    """Make the caller that somebody describes. ``find``: looks up stored rows, over which the description is laid:
    team, user and organisation that are not stored are as it says. Raises ``Bad``."""
    rows: dict[str, dict[str, Any]] = {"key": {}, "team": {}, "member": {}, "user": {}, "organization": {}}
    for name, value in given.items():
        value = _plain(value)
        if value is None or (value in ([], {}) and not isinstance(value, bool)):
            continue
        if name in KEY_FIELDS:
            rows["key"][name] = value
        elif name in _BESIDE:
            kind, field = _BESIDE[name]
            rows[kind][field] = value

    def look(kind: str, wanted: str) -> Mapping[str, Any] | None:
        stored = find(kind, wanted)
        told = rows.get(kind, _NOTHING)
        if kind == "member" and stored is None and not told:
            return None
        if kind not in rows:
            return stored
        return {**(stored or _NOTHING), **told}

    caller = read_caller(id_, rows["key"], look, how)
    named = _plain(given.get("end_user_id"))
    return replace(caller, customer=named) if isinstance(named, str) and named else caller


def _plain(value: Any) -> Any:
    """Return a value as rows have it: the word of an enum, the text of a time."""
    if isinstance(value, datetime):
        return value.isoformat()
    inner = value.value if isinstance(value, Enum) else value
    return inner if isinstance(inner, str | int | float | bool | list | dict) else None
