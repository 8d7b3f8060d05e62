"""Bodies of calls about users, with LiteLLM's names of fields."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET

from penstock.admin.keyforms import Given, Limits, Table

Role = Literal["proxy_admin", "proxy_admin_viewer", "internal_user", "internal_user_viewer"]


class UserFields(Limits, kw_only=True):
    """What a user may be given, when it is made and later."""

    user_id: str | Given = UNSET
    user_email: str | Given = UNSET
    user_alias: str | Given = UNSET
    user_role: Role | Given = UNSET
    password: str | Given = UNSET
    soft_budget: float | Given = UNSET
    budget_id: str | Given = UNSET
    tags: list[str] | Given = UNSET


class NewUser(UserFields, kw_only=True):
    """The body of ``/user/new``: a user, and the key that it gets with it."""

    auto_create_key: bool | Given = UNSET
    key_alias: str | Given = UNSET
    duration: str | Given = UNSET
    team_id: str | Given = UNSET
    agent_id: str | Given = UNSET
    teams: list[Any] | Given = UNSET
    organizations: list[str] | Given = UNSET
    sso_user_id: str | Given = UNSET
    send_invite_email: bool | Given = UNSET


class ChangedUser(UserFields, kw_only=True):
    """The body of ``/user/update``."""


class Users(msgspec.Struct, kw_only=True):
    """The body of ``/user/delete``."""

    user_ids: list[str]


class BulkUsers(msgspec.Struct, kw_only=True):
    """The body of ``/user/bulk_update``: bodies of ``/user/update``, or one for all users."""

    users: list[Table] | Given = UNSET
    all_users: bool | Given = UNSET
    user_updates: Table | Given = UNSET
