"""Virtual keys as rows: what of a call is kept and where, how a key is checked, and how it is told.

A row's body has LiteLLM's names. What LiteLLM keeps in a key's ``metadata`` is kept there, so that what reads its
answers finds it. A key itself is told once, when it is made; kept is a digest of it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from penstock.admin.desk import told
from penstock.core.admit import amount
from penstock.core.admit.caller import KEY_TYPES
from penstock.core.admit.holders import Bad, read_holder
from penstock.core.admit.periods import later, parse, text_of, time_of, window
from penstock.core.admit.required import read_required
from penstock.core.errors import GatewayError
from penstock.runtime.keyring import LONGEST, Keyring, masked

if TYPE_CHECKING:
    from penstock.stores.base import Row

Fields = dict[str, Any]
SHORTEST = 16  # characters of a key that somebody chose
GIVEN_LIMITS = ("guaranteed_throughput", "best_effort_throughput", "dynamic")
# What answers show of a key that nobody set.
_BLANK: Mapping[str, Any] = {
    **dict.fromkeys(("key_name", "key_alias", "expires", "user_id", "team_id", "agent_id", "project_id")),
    **dict.fromkeys(("organization_id", "max_budget", "soft_budget", "budget_duration", "budget_limits", "budget_id")),
    **dict.fromkeys(("max_parallel_requests", "tpm_limit", "rpm_limit", "tpd_limit", "blocked", "object_permission")),
    **dict.fromkeys(("rotation_interval", "last_rotation_at", "key_rotation_at", "key_type")),
    "models": [],
    "allowed_cache_controls": [],
    "allowed_routes": [],
    "policies": [],
    "access_group_ids": [],
    "aliases": {},
    "config": {},
    "permissions": {},
    "metadata": {},
    "model_max_budget": {},
    "budget_fallbacks": {},
    "router_settings": {},
    "auto_rotate": False,
    "rotation_count": 0,
}
IN_METADATA = frozenset(
    "model_rpm_limit model_tpm_limit default_estimated_output_tokens default_estimated_output_tokens_per_model "
    "mcp_rpm_limit tag_rpm_limit rpm_limit_type tpm_limit_type enforced_params temp_budget_increase "
    "temp_budget_expiry allowed_vector_store_indexes throttle_on_budget_exceeded enable_prompt_caching "
    "end_user_budget_id disable_global_guardrails guardrails policies tags prompts allowed_passthrough_routes "
    "denied_passthrough_routes".split()
)
# What a call says that is no field of the row.
_SAID = frozenset("key new_key new_master_key grace_period send_invite_email spend duration".split())
_STAYS = "service_account_id"


def make_secret(chosen: str | None, name: str = "key") -> str:
    """Return a new key, or the one that somebody chose. Raises "bad_request" for one that is too easily guessed."""
    if chosen is None:
        return f"sk-{secrets.token_urlsafe(16)}"
    if not chosen.startswith("sk-"):
        text = f"Invalid key format. LiteLLM Virtual Key must start with 'sk-'. Received: {masked(chosen.encode())}"
        raise GatewayError("bad_request", text, param=name)
    if not SHORTEST <= len(chosen) <= LONGEST or not chosen.isascii() or not chosen.isprintable() or " " in chosen:
        text = f"Invalid key format. LiteLLM Virtual Key must be at least {SHORTEST} characters long."
        text += f" {name}: letters, digits and signs, {LONGEST} at most."
        raise GatewayError("bad_request", text, param=name)
    return chosen


def apply(body: Mapping[str, Any], given: Mapping[str, Any], now: float) -> Fields:
    """Return a key's body with what a call gives. Null takes a field away. Raises ``Bad``."""
    made = dict(body)
    if "metadata" in given:
        kept = (body.get("metadata") or {}).get(_STAYS)
        said = given["metadata"] or {}
        if kept is not None and said.get(_STAYS, kept) != kept:
            raise Bad(f"metadata.{_STAYS}", f"it stays {kept!r:.60}: leave it out, or send it as it is")
        made["metadata"] = said if kept is None else {**said, _STAYS: kept}
    for name, value in given.items():
        if name in IN_METADATA:
            made["metadata"] = {**(made.get("metadata") or {}), name: value}
            if value is None:
                del made["metadata"][name]
        elif name not in _SAID and name != "metadata":
            made[name] = value
    if "duration" in given:
        made["expires"] = _end(given["duration"], now)
    if "key_type" in given:
        _set_type(made, given)
    if given.keys() & {"auto_rotate", "rotation_interval"}:
        _set_rotation(made, now)
    return {name: value for name, value in made.items() if value is not None}


def _end(duration: str | None, now: float) -> str | None:
    if duration is None or duration in ("-1", ""):
        return None
    try:
        return text_of(later(duration, now))
    except ValueError as error:
        raise Bad("duration", f"{error}, or '-1' for a key that never expires") from None


def _set_type(made: Fields, given: Mapping[str, Any]) -> None:
    """Give a key the routes of its type, as LiteLLM does."""
    kind = given["key_type"]
    if kind is None:
        return
    if kind not in KEY_TYPES:
        raise Bad("key_type", f"{kind!r:.40} is none of {', '.join(KEY_TYPES)}")
    if KEY_TYPES[kind]:
        made["allowed_routes"] = list(KEY_TYPES[kind])
    elif "allowed_routes" not in given:
        made.pop("allowed_routes", None)


def _set_rotation(made: Fields, now: float) -> None:
    every = made.get("rotation_interval")
    if not made.get("auto_rotate"):
        made["key_rotation_at"] = None
        return
    if not every:
        raise Bad("rotation_interval", "is missing: auto_rotate needs one, such as '30d'")
    try:
        made["key_rotation_at"] = text_of(later(every, now))
    except ValueError as error:
        raise Bad("rotation_interval", str(error)) from None


def check(id_: str, body: Mapping[str, Any], keyring: Keyring) -> None:
    """Raise ``Bad`` for a key that could not be used as it is: a key whose limits cannot be read opens nothing."""
    budget_id = body.get("budget_id")
    budget = keyring.body("budget", budget_id) if budget_id else None
    if budget_id and budget is None:
        raise Bad("budget_id", f"there is no budget {budget_id!r:.100}; POST /budget/new makes one")
    read_holder("key", id_, body, budget)
    read_required(body)
    metadata = body.get("metadata") or {}
    for name, holder in (("expires", body), ("temp_budget_expiry", metadata)):
        if holder.get(name) is not None:
            _read_time(name, holder[name])
    for name in ("rpm_limit_type", "tpm_limit_type"):
        if metadata.get(name) not in (None, *GIVEN_LIMITS):
            raise Bad(name, f"{metadata[name]!r:.40} is none of {', '.join(GIVEN_LIMITS)}")
    for address in body.get("allowed_ips") or ():
        try:
            ip_network(address, strict=False)
        except ValueError:
            raise Bad("allowed_ips", f"{address!r:.60} is neither an IP address nor a network") from None
    alias = body.get("key_alias") or ""
    if len(alias) > 256 or any(not c.isprintable() for c in alias) or ".." in alias.split("/"):
        raise Bad("key_alias", "must not contain control characters or a '..' path segment, nor be over 256 long")
    for name, value in (body.get("aliases") or {}).items():
        if not isinstance(value, str):
            raise Bad("aliases", f"{name!r:.60} must stand for the name of a model, not {value!r:.60}")


def _read_time(name: str, value: str) -> None:
    try:
        time_of(value)
    except ValueError as error:
        raise Bad(name, str(error)) from None


def grace_of(text: str | None, now: float) -> float:
    """Return until when an old secret opens; 0.0 for no longer. Raises ``Bad``."""
    if not text:
        return 0.0
    try:
        parse(text)
    except ValueError as error:
        raise Bad("grace_period", str(error)) from None
    return later(text, now)


def rotate(body: Mapping[str, Any], digest: str, until: float, now: float) -> Fields:
    """Return a key's body with a new secret. ``until``: the one it had opens until then; one that was replaced before
    keeps the time that it was given."""
    kept = [one for one in body.get("digests") or () if one.get("until") and one["until"] > now]
    if until:
        kept += [{**one, "until": until} for one in body.get("digests") or () if not one.get("until")]
    made = {**body, "digests": [{"digest": digest}, *kept]}
    made.pop("rotated", None)  # what was told of the secret before
    made |= {"rotation_count": (body.get("rotation_count") or 0) + 1, "last_rotation_at": text_of(now)}
    if made.get("auto_rotate"):
        made["key_rotation_at"] = text_of(later(made["rotation_interval"], now))
    return made


# Told. ----------------------------------------------------------------------------------------------------------------


def tell(row: Row, keyring: Keyring, spent: int, now: float) -> Fields:
    """Return a key as answers show it: every field that LiteLLM's row has, and what it has spent."""
    body = {**_BLANK, **told(row)}
    budget_id = body.get("budget_id")
    budget = keyring.body("budget", budget_id) if budget_id else None
    body["litellm_budget_table"] = budget
    return {**body, **standing(body, budget, spent, now), "status": status_of(body, now)}


def standing(body: Mapping[str, Any], budget: Mapping[str, Any] | None, spent: int, now: float) -> Fields:
    """Return what somebody with a budget has spent of it, and when its window ends."""
    return {"spend": amount.dollars(spent), "budget_reset_at": resets_at(body, budget, now)}


def resets_at(body: Mapping[str, Any], budget: Mapping[str, Any] | None, now: float) -> str | None:
    """Return when the window of somebody's budget ends; None where it has none."""
    period = body.get("budget_duration") or (budget or {}).get("budget_duration")
    try:
        return text_of(window(period.strip().lower(), now).end) if period else None
    except ValueError:  # of a row that cannot be read, the rest is shown
        return None


def status_of(body: Mapping[str, Any], now: float) -> str:
    """Tell how a key stands: "active", "expired", or "revoked" for a blocked one."""
    if body.get("blocked"):
        return "revoked"
    expires = body.get("expires")
    try:
        return "expired" if expires and time_of(expires) <= now else "active"
    except ValueError:
        return "expired"
