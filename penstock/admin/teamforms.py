"""Bodies of calls about teams and their members, with LiteLLM's names of fields."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

Given = UnsetType | None
"""How a field says that it was not sent, or is null."""
Table = dict[str, Any]
Count = int | float  # what it may be is told by ``read_holder``, in the words of a limit

IN_METADATA = frozenset(
    """model_rpm_limit model_tpm_limit rpm_limit_type tpm_limit_type mcp_rpm_limit tags guardrails policies prompts
    disable_global_guardrails require_trace_id secret_manager_settings team_member_key_duration
    default_estimated_output_tokens default_estimated_output_tokens_per_model enforced_batch_output_expires_after
    enforced_file_expires_after""".split()
)
"""Fields that LiteLLM keeps in ``metadata``, where its users look for them."""
FOR_MEMBERS = {
    "team_member_budget": "max_budget",
    "team_member_budget_duration": "budget_duration",
    "team_member_rpm_limit": "rpm_limit",
    "team_member_tpm_limit": "tpm_limit",
    "team_member_model_max_budget": "model_max_budget",
}
"""Fields of a team that stand in the budget which all of its members have, and their names there."""


class TeamFields(msgspec.Struct, kw_only=True):
    """What a team may be given, when it is made and later."""

    team_id: str | Given = UNSET
    team_alias: str | Given = UNSET
    organization_id: str | Given = UNSET
    metadata: Table | Given = UNSET
    models: list[str] | Given = UNSET
    max_budget: float | Given = UNSET
    soft_budget: float | Given = UNSET
    budget_duration: str | Given = UNSET
    budget_limits: list[Table] | Given = UNSET
    model_max_budget: Table | Given = UNSET
    tpm_limit: Count | Given = UNSET
    rpm_limit: Count | Given = UNSET
    tpd_limit: Count | Given = UNSET
    max_parallel_requests: Count | Given = UNSET
    blocked: bool | Given = UNSET
    model_aliases: dict[str, str] | Given = UNSET
    router_settings: Table | Given = UNSET
    access_group_ids: list[str] | Given = UNSET
    default_team_member_models: list[str] | Given = UNSET
    object_permission: Table | Given = UNSET
    allowed_passthrough_routes: list[str] | Given = UNSET
    denied_passthrough_routes: list[str] | Given = UNSET
    allowed_vector_store_indexes: list[Any] | Given = UNSET
    team_member_permissions: list[str] | Given = UNSET
    team_member_budget: float | Given = UNSET
    team_member_budget_duration: str | Given = UNSET
    team_member_rpm_limit: Count | Given = UNSET
    team_member_tpm_limit: Count | Given = UNSET
    team_member_model_max_budget: Table | Given = UNSET
    team_member_key_duration: str | Given = UNSET
    model_rpm_limit: Table | Given = UNSET
    model_tpm_limit: Table | Given = UNSET
    rpm_limit_type: str | Given = UNSET
    tpm_limit_type: str | Given = UNSET
    mcp_rpm_limit: Table | Given = UNSET
    tags: list[str] | Given = UNSET
    guardrails: list[str] | Given = UNSET
    policies: list[str] | Given = UNSET
    prompts: list[str] | Given = UNSET
    disable_global_guardrails: bool | Given = UNSET
    require_trace_id: bool | Given = UNSET
    secret_manager_settings: Table | Given = UNSET
    default_estimated_output_tokens: int | Given = UNSET
    default_estimated_output_tokens_per_model: dict[str, int] | Given = UNSET
    enforced_batch_output_expires_after: Table | Given = UNSET
    enforced_file_expires_after: Table | Given = UNSET


class Who(msgspec.Struct, kw_only=True):
    """A member: the id or the address of a user, and what he is in the team."""

    user_id: str | Given = UNSET
    user_email: str | Given = UNSET
    role: str | Given = UNSET


class NewTeam(TeamFields, kw_only=True):
    """The body of ``/team/new``."""

    admins: list[str] | Given = UNSET
    members: list[str] | Given = UNSET
    members_with_roles: list[Who] | Given = UNSET


class ChangedTeam(TeamFields, kw_only=True):
    """The body of ``/team/update`` and of ``PATCH /team/{team_id}``."""


class Teams(msgspec.Struct, kw_only=True):
    """The body of ``/team/delete``."""

    team_ids: list[str]


class OneTeam(msgspec.Struct, kw_only=True):
    """The body of ``/team/block`` and ``/team/unblock``."""

    team_id: str


class TeamModels(OneTeam, kw_only=True):
    """The body of ``/team/model/add`` and ``/team/model/delete``."""

    models: list[str]


class Permissions(OneTeam, kw_only=True):
    """The body of ``/team/permissions_update``."""

    team_member_permissions: list[str]


class Joining(OneTeam, kw_only=True):
    """The body of ``/team/member_add``."""

    member: Who | list[Who]
    max_budget_in_team: float | Given = UNSET
    budget_duration: str | Given = UNSET
    allowed_models: list[str] | Given = UNSET


class JoiningMany(OneTeam, kw_only=True):
    """The body of ``/team/bulk_member_add``. ``all_users``: every user there is, in the place of ``members``."""

    members: list[Who] | Given = UNSET
    all_users: bool | Given = UNSET
    max_budget_in_team: float | Given = UNSET
    budget_duration: str | Given = UNSET
    allowed_models: list[str] | Given = UNSET


class Leaving(OneTeam, kw_only=True):
    """The body of ``/team/member_delete``."""

    user_id: str | Given = UNSET
    user_email: str | Given = UNSET


class ChangedMember(Leaving, kw_only=True):
    """The body of ``/team/member_update``."""

    role: str | Given = UNSET
    max_budget_in_team: float | Given = UNSET
    budget_duration: str | Given = UNSET
    tpm_limit: Count | Given = UNSET
    rpm_limit: Count | Given = UNSET
    allowed_models: list[str] | Given = UNSET
    temp_budget_increase: float | Given = UNSET
    temp_budget_expiry: str | Given = UNSET
    model_max_budget: Table | Given = UNSET


class Callback(msgspec.Struct, kw_only=True):
    """The body of ``/team/{team_id}/callback``."""

    callback_name: str
    callback_type: str | Given = UNSET
    callback_vars: Table | Given = UNSET
