"""Who calls, as all that a request's way in depends on: read once from the rows of its key, its team and its user."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from penstock.core.admit.holders import Bad, Body, Holder, read_holder, read_money
from penstock.core.admit.periods import time_of
from penstock.core.admit.required import read_required

Find = Callable[[str, str], Body | None]
"""Looks up the stored row of a kind and an id."""

PROXY_ADMIN, ADMIN_VIEWER = "proxy_admin", "proxy_admin_viewer"
INTERNAL_USER, INTERNAL_VIEWER = "internal_user", "internal_user_viewer"
ROLES = (PROXY_ADMIN, ADMIN_VIEWER, "org_admin", INTERNAL_USER, INTERNAL_VIEWER, "team", "customer")
"""Roles that a user may have; LiteLLM's."""

# What ``key_type`` stands for, where a key names no routes itself.
KEY_TYPES = {
    "default": (),
    "llm_api": ("llm_api_routes",),
    "management": ("management_routes",),
    "read_only": ("info_routes",),
}
PER_SESSION = "max_budget_per_session"
BOTH = "success_and_failure"
_NONE: Mapping[str, Any] = {}


class Logging(Struct, frozen=True):
    """A callback of a team's or a key's own. ``place``: where its variables are kept, as those that are sealed are
    bound to it; ``kind``: of which requests it hears, LiteLLM's ``callback_type``."""

    name: str
    kind: str
    variables: Mapping[str, Any]
    place: str


class Caller(Struct, frozen=True):
    """Who calls. ``alias``: what logs say. ``admin``: may do everything; ``views``: may see everything.

    ``key``: the id of its virtual key, "" for the master key and where none is needed; ``user``, ``team``,
    ``organization``: ids, "" for none. ``holders``: whose limits its requests count against, the key's first.
    ``routes``: what it may call, () = all that its ``role`` may. ``expires_at``: unix time, 0 = never. ``refused``: why
    its key may do nothing at all. ``aliases``: names of models that stand for others. ``addresses``: from where it may
    call, () = anywhere. ``tags``: of each of its requests. ``tenant``: who shares its answers and kept objects.
    ``customer``: the end user of all its requests, where a token says so. ``outputs``: see ``Holder``, of those of its
    holders that say something, the key first. ``logging``: where its team's and its own records go, too. ``priority``:
    by which shares of models are reserved, "" for none: its team's, else its own.
    ``required``: what its requests must say. ``guards``: names of those that judge all of its requests; ``no_guards``:
    those that are always on do not. ``a_session``: the most that one session of its requests may cost, picodollars."""

    alias: str
    admin: bool
    role: str = ""
    key: str = ""
    user: str = ""
    team: str = ""
    organization: str = ""
    holders: tuple[Holder, ...] = ()
    routes: tuple[str, ...] = ()
    expires_at: float = 0.0
    refused: str = ""
    aliases: Mapping[str, str] = _NONE
    addresses: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: Body = _NONE
    tenant: str = ""
    customer: str = ""
    outputs: tuple[Mapping[str, int], ...] = ()
    logging: tuple[Logging, ...] = ()
    required: tuple[str, ...] = ()
    priority: str = ""
    guards: tuple[str, ...] = ()
    no_guards: bool = False
    a_session: int | None = None

    def output_of(self, model: str) -> int | None:
        """Return how many tokens are set aside for an answer of a model whose request sets no limit; None where nobody
        says it."""
        for outputs in self.outputs:
            found = outputs.get(model) or outputs.get("")
            if found is not None:
                return found
        return None

    @property
    def views(self) -> bool:
        return self.admin or self.role == ADMIN_VIEWER


ANONYMOUS = Caller("", True, PROXY_ADMIN)
MASTER = Caller("master", True, PROXY_ADMIN, tenant="master")
NOBODY = Caller("", False)  # on what is open to everybody


class Reading(Struct, frozen=True):
    """How keys are read. ``user_with_team``: a user's own budget holds for keys of a team as well."""

    user_with_team: bool = False


def read_caller(id_: str, key: Body, find: Find, how: Reading = Reading()) -> Caller:  # noqa: B008
    """Read the row of a virtual key. Raises ``Bad`` where a row that it hangs on cannot be read: then nobody is let in
    on a guess."""
    team_id, user_id = _id(key, "team_id"), _id(key, "user_id")
    team, user = find("team", team_id) if team_id else None, find("user", user_id) if user_id else None
    organization_id = _id(key, "organization_id") or _id(team or _NONE, "organization_id")
    organization = find("organization", organization_id) if organization_id else None
    holders = [_held("key", id_, key, find)]
    refused = "This key is blocked." if holders[0].blocked else ""
    if team is not None:
        holders.append(_held("team", team_id, team, find))
        refused = refused or ("The team of this key is blocked." if holders[-1].blocked else "")
        member_id = f"{team_id}/{user_id}"
        member = find("member", member_id) if user_id else None
        if member is not None:
            holders.append(_held("member", member_id, member, find))
    elif team_id:
        refused = refused or "The team of this key is gone."
    if user is not None:
        held = _held("user", user_id, user, find)
        refused = refused or ("The user of this key is blocked." if held.blocked else "")
        if team is None or how.user_with_team:
            holders.append(held)
    if organization is not None:
        holders.append(_held("organization", organization_id, organization, find))
    for held, reason in _beside(key, organization_id, user_id, find):
        holders.append(held)
        refused = refused or reason
    expires = key.get("expires")
    role = str((user or _NONE).get("user_role") or "")
    metadata = key.get("metadata") or _NONE
    return Caller(
        alias=holders[0].alias or str(key.get("key_name") or id_[:12]),
        # A proxy admin's key that is for less is none of an admin's; what is for management is for all of it.
        admin=role == PROXY_ADMIN and (not _routes(key) or _routes(key) == KEY_TYPES["management"]),
        role=role,
        key=id_,
        user=user_id,
        team=team_id,
        organization=organization_id,
        holders=tuple(holders),
        routes=_routes(key),
        expires_at=time_of(str(expires)) if expires else 0.0,
        refused=refused,
        aliases={**_mapping(team, "model_aliases"), **_mapping(key, "aliases")},
        addresses=tuple(key.get("allowed_ips") or metadata.get("allowed_ips") or ()),
        tags=tuple(dict.fromkeys((*_tags(key), *_tags(team or _NONE)))),
        metadata=metadata,
        tenant=f"key {id_}",
        outputs=tuple(held.outputs for held in holders if held.outputs),
        logging=(*_logging(f"team/{team_id}", team or _NONE), *_logging(f"key/{id_}", key)),
        required=tuple(dict.fromkeys((*read_required(key), *read_required(team or _NONE)))),
        priority=_priority(team or _NONE) or _priority(key),
        guards=tuple(dict.fromkeys((*_guards(team or _NONE), *_guards(key)))),
        no_guards=_no_guards(team or _NONE) or _no_guards(key),
        a_session=_a_session(key, team or _NONE),
    )


def _beside(key: Body, organization: str, user: str, find: Find) -> Iterator[tuple[Holder, str]]:
    """Yield who has limits besides a key's owners, and why it may do nothing because of them: its user's part of the
    organisation, where that has a budget, and the key's project."""
    name = f"{organization}/{user}"
    part = find("organization_member", name) if organization and user else None
    if part is not None and (held := _held("organization_member", name, part, find)).caps:
        yield held, ""
    project_id = _id(key, "project_id")
    project = find("project", project_id) if project_id else None
    if project is not None:
        held = _held("project", project_id, project, find)
        yield held, "The project of this key is blocked." if held.blocked else ""


def _held(kind: str, id_: str, body: Body, find: Find) -> Holder:
    budget_id = body.get("budget_id")
    budget = find("budget", budget_id) if budget_id else None
    try:
        return read_holder(kind, id_, body, budget)
    except Bad as error:
        raise Bad(f"{kind}.{error.param}", str(error).partition(": ")[2]) from None


def _logging(place: str, body: Body) -> Iterator[Logging]:
    """Yield the callbacks of a row. A team's stand beside its other fields, a key's in its metadata."""
    found = body.get("logging") or (body.get("metadata") or _NONE).get("logging") or ()
    for one in found if isinstance(found, list) else ():
        if isinstance(one, Mapping) and isinstance(name := one.get("callback_name"), str):
            variables = one.get("callback_vars")
            kind = str(one.get("callback_type") or BOTH)
            yield Logging(name, kind, variables if isinstance(variables, Mapping) else _NONE, f"{place}/{name}")


def _tags(body: Body) -> tuple[str, ...]:
    found = body.get("tags") or (body.get("metadata") or _NONE).get("tags") or ()
    return tuple(str(one) for one in found)


def _guards(body: Body) -> tuple[str, ...]:
    found = body.get("guardrails") or (body.get("metadata") or _NONE).get("guardrails") or ()
    return tuple(str(one) for one in found) if isinstance(found, list | tuple) else ()


def _a_session(*bodies: Body) -> int | None:
    """Read the tightest budget of a session. LiteLLM's name; it stands in the metadata of keys and teams."""
    found = [most for body in bodies if (most := read_money(body.get("metadata") or _NONE, PER_SESSION)) is not None]
    return min(found, default=None)


def _no_guards(body: Body) -> bool:
    name = "disable_global_guardrails"
    return body.get(name) is True or (body.get("metadata") or _NONE).get(name) is True


def _priority(body: Body) -> str:
    metadata = body.get("metadata")
    found = metadata.get("priority") if isinstance(metadata, Mapping) else None
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def _routes(key: Body) -> tuple[str, ...]:
    named = key.get("allowed_routes")
    if named:
        return tuple(str(one) for one in named)
    return KEY_TYPES.get(str(key.get("key_type") or "default"), ("no_routes",))


def _mapping(body: Body | None, name: str) -> Mapping[str, str]:
    found = (body or _NONE).get(name)
    return found if isinstance(found, Mapping) else _NONE


def _id(body: Body, name: str) -> str:
    found = body.get(name)
    return found if isinstance(found, str) else ""
