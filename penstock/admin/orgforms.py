"""Bodies of calls about organisations, budgets, tags and projects, with LiteLLM's names of fields."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

Given = UnsetType | None
Table = dict[str, Any]
Count = int | float  # what it may be is told by ``read_holder``, in the words of a limit


class BudgetFields(msgspec.Struct, kw_only=True):
    """What a budget says: LiteLLM's table of them."""

    budget_id: str | Given = UNSET
    max_budget: float | Given = UNSET
    soft_budget: float | Given = UNSET
    max_parallel_requests: Count | Given = UNSET
    tpm_limit: Count | Given = UNSET
    rpm_limit: Count | Given = UNSET
    tpd_limit: Count | Given = UNSET
    budget_duration: str | Given = UNSET
    model_max_budget: Table | Given = UNSET
    temp_budget_increase: float | Given = UNSET
    temp_budget_expiry: str | Given = UNSET
    allowed_models: list[str] | Given = UNSET


class Budget(BudgetFields, kw_only=True):
    """The body of ``/budget/new`` and ``/budget/update``. When a window ends follows from ``budget_duration``."""

    budget_reset_at: str | Given = UNSET


class Budgets(msgspec.Struct, kw_only=True):
    """The body of ``/budget/info``."""

    budgets: list[str]


class OneId(msgspec.Struct, kw_only=True):
    """The body of ``/budget/delete``."""

    id: str


class OrganizationFields(BudgetFields, kw_only=True):
    """What an organisation may be given."""

    organization_id: str | Given = UNSET
    organization_alias: str | Given = UNSET
    models: list[str] | Given = UNSET
    metadata: Table | Given = UNSET
    model_rpm_limit: Table | Given = UNSET
    model_tpm_limit: Table | Given = UNSET
    object_permission: Table | Given = UNSET


class NewOrganization(OrganizationFields, kw_only=True):
    """The body of ``/organization/new``."""


class ChangedOrganization(OrganizationFields, kw_only=True):
    """The body of ``/organization/update``."""


class Organizations(msgspec.Struct, kw_only=True):
    """The body of ``/organization/delete``."""

    organization_ids: list[str]


class OrganizationsAsked(msgspec.Struct, kw_only=True):
    """The body of ``POST /organization/info``."""

    organizations: list[str]


class OrganizationMember(msgspec.Struct, kw_only=True):
    """Somebody who is to be in an organisation."""

    role: str | Given = UNSET
    user_id: str | Given = UNSET
    user_email: str | Given = UNSET


class OrganizationJoining(msgspec.Struct, kw_only=True):
    """The body of ``/organization/member_add``."""

    organization_id: str
    member: OrganizationMember | list[OrganizationMember]
    max_budget_in_organization: float | Given = UNSET


class OrganizationLeaving(msgspec.Struct, kw_only=True):
    """The body of ``/organization/member_delete``."""

    organization_id: str
    user_id: str | Given = UNSET
    user_email: str | Given = UNSET


class ChangedOrganizationMember(OrganizationLeaving, kw_only=True):
    """The body of ``/organization/member_update``."""

    role: str | Given = UNSET
    max_budget_in_organization: float | Given = UNSET


class Tag(BudgetFields, kw_only=True):
    """The body of ``/tag/new`` and ``/tag/update``. ``models``: ids of the deployments that serve what has the tag."""

    name: str
    description: str | Given = UNSET
    models: list[str] | Given = UNSET
    model_info: Table | Given = UNSET


class Tags(msgspec.Struct, kw_only=True):
    """The body of ``/tag/info``."""

    names: list[str]


class OneTag(msgspec.Struct, kw_only=True):
    """The body of ``/tag/delete``."""

    name: str


class ProjectFields(BudgetFields, kw_only=True):
    """What a project may be given."""

    project_id: str | Given = UNSET
    project_alias: str | Given = UNSET
    description: str | Given = UNSET
    team_id: str | Given = UNSET
    models: list[str] | Given = UNSET
    metadata: Table | Given = UNSET
    tags: list[str] | Given = UNSET
    model_rpm_limit: Table | Given = UNSET
    model_tpm_limit: Table | Given = UNSET
    blocked: bool | Given = UNSET
    object_permission: Table | Given = UNSET


class NewProject(ProjectFields, kw_only=True):
    """The body of ``/project/new``."""


class ChangedProject(ProjectFields, kw_only=True):
    """The body of ``/project/update``."""


class Projects(msgspec.Struct, kw_only=True):
    """The body of ``/project/delete``."""

    project_ids: list[str]


class AccessGroup(msgspec.Struct, kw_only=True):
    """The body of ``/v1/access_group`` calls."""

    access_group_name: str | Given = UNSET
    description: str | Given = UNSET
    access_model_names: list[str] | Given = UNSET
    access_mcp_server_ids: list[str] | Given = UNSET
    access_agent_ids: list[str] | Given = UNSET
    assigned_team_ids: list[str] | Given = UNSET
    assigned_key_ids: list[str] | Given = UNSET


class ModelGroup(msgspec.Struct, kw_only=True):
    """The body of ``/access_group/new`` and ``/access_group/{access_group}/update``."""

    access_group: str | Given = UNSET
    model_names: list[str] | Given = UNSET
    model_ids: list[str] | Given = UNSET
