"""``general_settings.oidc``: the identity provider by which people sign in to the pages, and which role they get."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from msgspec import Struct

from penstock.core.admit.caller import ADMIN_VIEWER, INTERNAL_USER, INTERNAL_VIEWER, PROXY_ADMIN

if TYPE_CHECKING:
    from penstock.config.models import Config

KEY = "oidc"
ROLES = (PROXY_ADMIN, ADMIN_VIEWER, INTERNAL_USER, INTERNAL_VIEWER)
"""Roles that a group may give, the strongest first."""
_WHERE = "general_settings.oidc"
_TEXTS = ("issuer", "client_id", "client_secret", "name", "groups_claim", "default_role", "scopes")
_GOOGLE, _MICROSOFT = "https://accounts.google.com", "https://login.microsoftonline.com/{}/v2.0"


class OidcSettings(Struct, frozen=True, kw_only=True):
    """``issuer``: its address, below which ``/.well-known/openid-configuration`` is. ``name``: what people read on the
    button. ``roles``: of groups; ``groups_claim``: which claim names those, with dots into what is nested.
    ``default_role``: of who is in none of them, "" for nobody. ``scopes``: what is asked for, in words of the
    provider's, apart by spaces."""

    issuer: str
    client_id: str
    client_secret: str = ""
    name: str = ""
    scopes: str = "openid email profile"
    groups_claim: str = "groups"
    roles: Mapping[str, str] = {}
    default_role: str = ""


def read_oidc(config: Config) -> tuple[OidcSettings | None, list[str]]:
    """Read the settings, None where people do not sign in so; and a sentence for each that cannot be used. Without
    ``oidc`` the variables that LiteLLM has for Google and Microsoft count."""
    given = config.general.values.get(KEY)
    if given is None:
        return _of_environment(config.environment), []
    known = (*_TEXTS, "roles")
    problems = [f"{_WHERE}.{name} means nothing here: {', '.join(known)} do." for name in given if name not in known]
    found: dict[str, Any] = {}
    for name in _TEXTS:
        value = given.get(name)
        if isinstance(value, list) and name == "scopes":
            value = " ".join(str(one) for one in value)
        if value is None:
            continue
        if isinstance(value, str):
            found[name] = value.strip()
        else:
            problems.append(f"{_WHERE}.{name} must be a text, not {value!r:.60}: left out.")
    roles = given.get("roles") or {}
    if not isinstance(roles, Mapping):
        problems.append(f"{_WHERE}.roles must name a role for each group, not {roles!r:.60}: left out.")
        roles = {}
    for group, role in (*roles.items(), ("", found.get("default_role", ""))):
        if role and role not in ROLES:
            where = f"roles.{group}" if group else "default_role"
            problems.append(f"{_WHERE}.{where}: {role!r:.60} is no role; {', '.join(ROLES)} are.")
    found["roles"] = {str(group): role for group, role in roles.items() if role in ROLES}
    if found.get("default_role", "") not in ROLES:
        found.pop("default_role", None)
    for name in ("issuer", "client_id"):
        if not found.get(name):
            return None, [*problems, f"{_WHERE}.{name} is missing: nobody signs in by an identity provider."]
    found["issuer"] = found["issuer"].removesuffix("/.well-known/openid-configuration")
    parts = urlsplit(found["issuer"])
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return None, [*problems, f"{_WHERE}.issuer: {found['issuer']!r:.80} is no address: write https://..."]
    if not found["roles"] and "default_role" not in found:
        problems.append(f"{_WHERE} names neither roles nor a default_role, so nobody gets in.")
    return OidcSettings(**found), problems


def _of_environment(env: Mapping[str, str]) -> OidcSettings | None:
    for name, issuer, label in (
        ("GOOGLE", _GOOGLE, "Google"),
        ("MICROSOFT", _MICROSOFT.format(env.get("MICROSOFT_TENANT") or "common"), "Microsoft"),
    ):
        if env.get(f"{name}_CLIENT_ID"):
            return OidcSettings(
                issuer=issuer, client_id=env[f"{name}_CLIENT_ID"], client_secret=env.get(f"{name}_CLIENT_SECRET") or "",
                name=label, default_role=INTERNAL_VIEWER,
            )  # fmt: skip
    return None
