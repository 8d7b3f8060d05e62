"""What a signed token's claims say of a caller, in the fields of ``given.caller_of``. LiteLLM's ``litellm_jwtauth``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from penstock.core.admit.caller import PROXY_ADMIN, ROLES
from penstock.core.errors import GatewayError

Stored = Callable[[str, str], Mapping[str, Any] | None]


class ClaimNames(Protocol):
    """Which claim says what; see ``config.jwt_auth``."""

    @property
    def admin_jwt_scope(self) -> str: ...
    @property
    def user_id_jwt_field(self) -> str: ...
    @property
    def user_email_jwt_field(self) -> str: ...
    @property
    def user_allowed_email_domain(self) -> str: ...
    @property
    def user_roles_jwt_field(self) -> str: ...
    @property
    def user_allowed_roles(self) -> tuple[str, ...]: ...
    @property
    def user_id_upsert(self) -> bool: ...
    @property
    def team_id_jwt_field(self) -> str: ...
    @property
    def team_ids_jwt_field(self) -> str: ...
    @property
    def team_id_default(self) -> str: ...
    @property
    def team_id_upsert(self) -> bool: ...
    @property
    def team_allowed_routes(self) -> tuple[str, ...]: ...
    @property
    def org_id_jwt_field(self) -> str: ...
    @property
    def end_user_id_jwt_field(self) -> str: ...
    @property
    def roles_jwt_field(self) -> str: ...
    @property
    def role_mappings(self) -> tuple[Mapping[str, Any], ...]: ...
    @property
    def scope_mappings(self) -> tuple[Mapping[str, Any], ...]: ...
    @property
    def enforce_scope_based_access(self) -> bool: ...


def read_claims(claims: Mapping[str, Any], names: ClaimNames, stored: Stored, asked_team: str = "") -> dict[str, Any]:
    """Read the claims of a token whose signature is good. ``stored``: the rows of teams and users. ``asked_team``: the
    one of several teams that a request is for. Raises "unauthorized" and "forbidden"."""
    scopes = _scopes(claims)
    if names.admin_jwt_scope in scopes:
        return {"user_role": PROXY_ADMIN, "user_id": claim(claims, names.user_id_jwt_field) or "admin"}
    given: dict[str, Any] = {}
    _read_user(claims, names, stored, given)
    _read_team(claims, names, stored, asked_team, given)
    for field, name in (("org_id", names.org_id_jwt_field), ("end_user_id", names.end_user_id_jwt_field)):
        if value := claim(claims, name):
            given[field] = value
    if not given.get("user_id") and not given.get("team_id"):
        raise GatewayError("unauthorized", "Authentication Error, the token names neither a user nor a team.")
    if names.enforce_scope_based_access:
        models = [m for row in names.scope_mappings if row.get("scope") in scopes for m in _texts(row.get("models"))]
        if not any(row.get("scope") in scopes for row in names.scope_mappings):
            raise GatewayError("forbidden", "The token has none of the scopes that may call (scope_mappings).")
        given["models"] = models
    if names.team_allowed_routes and given.get("team_id"):
        given["allowed_routes"] = list(names.team_allowed_routes)
    return given


def claim(claims: Mapping[str, Any], name: str) -> str:
    """Return the text of a claim, "" for none; dots go into what is nested, unless a claim has them in its name."""
    found = _raw(claims, name)
    return str(found) if isinstance(found, str | int) and not isinstance(found, bool) else ""


def _raw(claims: Mapping[str, Any], name: str) -> Any:
    if not name or name in claims:
        return claims.get(name)
    found: Any = claims
    for part in name.split("."):
        if not isinstance(found, Mapping):
            return None
        found = found.get(part)
    return found


def _read_user(claims: Mapping[str, Any], names: ClaimNames, stored: Stored, given: dict[str, Any]) -> None:
    domain = names.user_allowed_email_domain
    if domain and not claim(claims, names.user_email_jwt_field).lower().endswith(f"@{domain.lower()}"):
        raise GatewayError("forbidden", f"Only users with an address at {domain} may call.")
    if names.user_allowed_roles:
        roles = _texts(_raw(claims, names.user_roles_jwt_field))
        if set(roles).isdisjoint(names.user_allowed_roles):
            wanted = ", ".join(names.user_allowed_roles)
            raise GatewayError("forbidden", f"Only users with one of these roles may call: {wanted[:200]}.")
    user = claim(claims, names.user_id_jwt_field)
    if user:
        if not names.user_id_upsert and not names.team_id_jwt_field and stored("user", user) is None:
            text = f"Authentication Error, the token's user {user[:100]!r} is not known here"
            raise GatewayError("unauthorized", f"{text} (user_id_upsert: true lets in who is not).")
        given["user_id"] = user
    roles = _texts(_raw(claims, names.roles_jwt_field))
    for row in names.role_mappings:
        if row.get("role") in roles and row.get("internal_role") in ROLES:
            given["user_role"] = row["internal_role"]
            break


def _read_team(claims: Mapping[str, Any], names: ClaimNames, stored: Stored, asked: str, given: dict[str, Any]) -> None:
    teams = _texts(_raw(claims, names.team_ids_jwt_field))
    one = claim(claims, names.team_id_jwt_field)
    teams = [one, *teams] if one else teams
    if asked and asked not in teams:
        raise GatewayError("forbidden", f"The token's holder is no member of the team {asked[:100]!r}.")
    known = [team for team in ([asked] if asked else teams) if stored("team", team) is not None]
    team = (known or ([asked] if asked else teams) or [names.team_id_default])[0]
    if not team:
        return
    if not known and team != names.team_id_default and not names.team_id_upsert:
        text = f"Authentication Error, the token's team {team[:100]!r} is not known here"
        raise GatewayError("unauthorized", f"{text} (team_id_upsert: true lets in those that are not).")
    given["team_id"] = team


def _scopes(claims: Mapping[str, Any]) -> list[str]:
    found = claims.get("scope", claims.get("scp", ""))
    return found.split() if isinstance(found, str) else _texts(found)


def _texts(found: Any) -> list[str]:
    if isinstance(found, str):
        return [found]
    return [one for one in found if isinstance(one, str)] if isinstance(found, Iterable) else []
