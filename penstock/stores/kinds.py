"""What is managed, by kind: under which name it is told and kept, and which of its fields can be searched for.

A field of a row's body is a column where people search, sort or count by it, or where no two rows may share it. All
others live in the body alone, so a new field needs no new column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from penstock.stores.base import Row


class Kind(NamedTuple):
    """A kind of rows. ``table``: where they are kept. ``id``: the field of a body that is its id. ``columns``: fields
    that can be searched for. ``unique``: those that no two rows share (empty ones are no values). ``secret``: fields
    that no answer, log or audit shows. ``cached``: each process holds all of them, because requests need them."""

    table: str
    id: str
    columns: tuple[str, ...] = ()
    unique: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    cached: bool = True


MASK = "****"
"""What answers show of a value that is secret. Sent back, it leaves the value as it is."""
LONGEST = 255
"""Characters of an id and of a text that can be searched for: what an index takes in every database."""

KINDS: Mapping[str, Kind] = {
    "key": Kind(
        "keys",
        "token",
        (
            "key_alias",
            "key_name",
            "user_id",
            "team_id",
            "organization_id",
            "project_id",
            "budget_id",
            "expires",
            "blocked",
        ),
        unique=("key_alias",),
        secret=("digests", "rotated"),
    ),
    "team": Kind("teams", "team_id", ("team_alias", "organization_id", "blocked"), secret=("logging",)),
    "member": Kind("team_members", "membership_id", ("team_id", "user_id", "role")),
    "user": Kind(
        "users",
        "user_id",
        ("user_email", "user_alias", "user_role", "sso_user_id"),
        unique=("user_email", "sso_user_id"),
        secret=("password",),
    ),
    "organization": Kind("organizations", "organization_id", ("organization_alias",)),
    "organization_member": Kind("organization_members", "membership_id", ("organization_id", "user_id", "user_role")),
    "budget": Kind("budgets", "budget_id"),
    "customer": Kind("customers", "user_id", ("alias", "blocked", "budget_id")),
    "tag": Kind("tags", "name"),
    "access_group": Kind("access_groups", "access_group_id", ("access_group_name",), unique=("access_group_name",)),
    "credential": Kind("credentials", "credential_name", secret=("credential_values",)),
    "model": Kind("models", "model_id", ("model_name",), secret=("entry",)),
    "setting": Kind("settings", "name", secret=("value",)),
    "note": Kind("notes", "name"),  # what processes tell each other: who does something alone, what was done
    "invitation": Kind("invitations", "id", ("user_id",), cached=False),
    "project": Kind("projects", "project_id", ("project_alias", "team_id")),
}


def fields_of(row: Row) -> dict[str, Any]:
    """Return the fields of a row's body."""
    found: dict[str, Any] = msgspec.json.decode(row.body)
    return found


def columns_of(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a body can be searched for; texts that are empty are nothing, so that they are nobody's alone."""
    return {name: body.get(name) if body.get(name) != "" else None for name in KINDS[kind].columns}


def shown(kind: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body without what nobody is shown."""
    secret = KINDS[kind].secret
    found = {name: value for name, value in body.items() if name not in secret}
    metadata = found.get("metadata")
    if kind == "key" and isinstance(metadata, Mapping) and isinstance(metadata.get("logging"), list):
        found["metadata"] = {**metadata, "logging": [_masked(one) for one in metadata["logging"]]}
    return found


def _masked(callback: Any) -> Any:
    """Return a callback of a key with a mask in the place of what its variables are."""
    variables = callback.get("callback_vars") if isinstance(callback, Mapping) else None
    return {**callback, "callback_vars": dict.fromkeys(variables, MASK)} if isinstance(variables, Mapping) else callback
