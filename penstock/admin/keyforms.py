"""Bodies of calls about virtual keys, with LiteLLM's names of fields. What of a body is kept where: see ``keyrows``."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

Given = UnsetType | None
"""How a field says that it was not sent, or is null."""
Table = dict[str, Any]
PACE = ("max_parallel_requests", "tpm_limit", "rpm_limit", "tpd_limit")
Count = int | float  # what it may be is told by ``read_holder``, in the words of a limit


class Limits(msgspec.Struct, kw_only=True):
    """What keys and users have in common."""

    models: list[str] | Given = UNSET
    max_budget: float | Given = UNSET
    budget_duration: str | Given = UNSET
    budget_limits: list[Table] | Given = UNSET
    model_max_budget: Table | Given = UNSET
    budget_fallbacks: dict[str, list[str]] | Given = UNSET
    max_parallel_requests: Count | Given = UNSET
    tpm_limit: Count | Given = UNSET
    rpm_limit: Count | Given = UNSET
    tpd_limit: Count | Given = UNSET
    model_rpm_limit: Table | Given = UNSET
    model_tpm_limit: Table | Given = UNSET
    mcp_rpm_limit: Table | Given = UNSET
    tag_rpm_limit: Table | Given = UNSET
    spend: float | Given = UNSET
    metadata: Table | Given = UNSET
    aliases: Table | Given = UNSET
    config: Table | Given = UNSET
    permissions: Table | Given = UNSET
    allowed_cache_controls: list[Any] | Given = UNSET
    guardrails: list[str] | Given = UNSET
    policies: list[str] | Given = UNSET
    prompts: list[str] | Given = UNSET
    blocked: bool | Given = UNSET
    object_permission: Table | Given = UNSET


class KeyFields(Limits, kw_only=True):
    """What a key may be given, when it is made and later."""

    key_alias: str | Given = UNSET
    duration: str | Given = UNSET
    expires: str | Given = UNSET
    user_id: str | Given = UNSET
    team_id: str | Given = UNSET
    organization_id: str | Given = UNSET
    project_id: str | Given = UNSET
    agent_id: str | Given = UNSET
    budget_id: str | Given = UNSET
    end_user_budget_id: str | Given = UNSET
    soft_budget: float | Given = UNSET
    tags: list[str] | Given = UNSET
    allowed_routes: list[str] | Given = UNSET
    allowed_ips: list[str] | Given = UNSET
    allowed_passthrough_routes: list[Any] | Given = UNSET
    denied_passthrough_routes: list[str] | Given = UNSET
    allowed_vector_store_indexes: list[Any] | Given = UNSET
    access_group_ids: list[str] | Given = UNSET
    rpm_limit_type: str | Given = UNSET
    tpm_limit_type: str | Given = UNSET
    default_estimated_output_tokens: int | Given = UNSET
    default_estimated_output_tokens_per_model: Table | Given = UNSET
    disable_global_guardrails: bool | Given = UNSET
    enable_prompt_caching: bool | Given = UNSET
    throttle_on_budget_exceeded: bool | Given = UNSET
    enforced_params: list[str] | Given = UNSET
    router_settings: Table | Given = UNSET
    key_type: str | Given = UNSET
    auto_rotate: bool | Given = UNSET
    rotation_interval: str | Given = UNSET


class NewKey(KeyFields, kw_only=True):
    """The body of ``/key/generate``. ``key``: the caller's own secret, in the place of a random one."""

    key: str | Given = UNSET
    send_invite_email: bool | Given = UNSET


class ChangedKey(KeyFields, kw_only=True):
    """The body of ``/key/update``. ``key``: the key itself, or its id; ``key_alias`` names it where that is not
    there."""

    key: str | Given = UNSET
    temp_budget_increase: float | Given = UNSET
    temp_budget_expiry: str | Given = UNSET


class Rotated(ChangedKey, kw_only=True):
    """The body of ``/key/regenerate``: a key, and what of it is to be another thing from then on. ``grace_period``:
    how long the secret it had opens, too."""

    new_key: str | Given = UNSET
    new_master_key: str | Given = UNSET
    grace_period: str | Given = UNSET
    send_invite_email: bool | Given = UNSET


class Keys(msgspec.Struct, kw_only=True):
    """The body of calls about several keys."""

    keys: list[str] | Given = UNSET
    key_aliases: list[str] | Given = UNSET


class OneKey(msgspec.Struct, kw_only=True):
    """The body of ``/key/block`` and ``/key/unblock``."""

    key: str


class Bulk(msgspec.Struct, kw_only=True):
    """The body of ``/key/bulk_update``: bodies of ``/key/update``."""

    keys: list[Table]


class ResetTo(msgspec.Struct, kw_only=True):
    """The body of ``/key/{key}/reset_spend``."""

    reset_to: float
