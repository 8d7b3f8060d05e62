"""The bodies of `/config/...` and `/add|delete/allowed_ip`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Section = dict[str, Any] | None
General = Literal["general_settings"]


class Config(msgspec.Struct, kw_only=True):
    """The body of ``/config/update``: settings by section; those that are not named stay."""

    general_settings: Section = None
    litellm_settings: Section = None
    router_settings: Section = None
    environment_variables: Section = None
    model_list: list[Any] | None = None


class Change(msgspec.Struct, kw_only=True):
    """A setting; ``value`` null: what the config file says of it holds again."""

    section: str
    key: str
    value: Any = None


class Changes(msgspec.Struct, kw_only=True):
    """The body of ``/config/change``."""

    changes: list[Change]
    preview: bool = False


class Rollback(msgspec.Struct, kw_only=True):
    """The body of ``/config/rollback``; ``id``: of a revision, what was set from it on is undone."""

    id: str
    preview: bool = False


class Field(msgspec.Struct, kw_only=True):
    """The body of ``/config/field/update``."""

    field_name: str
    field_value: Any
    config_type: General = "general_settings"


class FieldName(msgspec.Struct, kw_only=True):
    """The body of ``/config/field/delete``."""

    field_name: str
    config_type: General = "general_settings"


class Callback(msgspec.Struct, kw_only=True):
    """The body of ``/config/callback/delete``."""

    callback_name: str


class Address(msgspec.Struct, kw_only=True):
    """The body of ``/add/allowed_ip`` and ``/delete/allowed_ip``."""

    ip: str
