"""``enable_jwt_auth`` and ``litellm_jwtauth``: which tokens are taken, and which of their claims says what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from msgspec import Struct

if TYPE_CHECKING:
    from penstock.config.models import Config


_OF_ENVIRONMENT = ("urls", "audience", "issuer")


class JwtSettings(Struct, frozen=True, kw_only=True):
    """LiteLLM's names. ``..._jwt_field``: the claim, with dots into what is nested. ``urls``: where the keys are."""

    urls: tuple[str, ...] = ()
    audience: str = ""
    issuer: str = ""
    admin_jwt_scope: str = "litellm_proxy_admin"
    user_id_jwt_field: str = ""
    user_email_jwt_field: str = ""
    user_allowed_email_domain: str = ""
    user_roles_jwt_field: str = ""
    user_allowed_roles: tuple[str, ...] = ()
    user_id_upsert: bool = False
    team_id_jwt_field: str = ""
    team_ids_jwt_field: str = ""
    team_id_default: str = ""
    team_id_upsert: bool = False
    team_allowed_routes: tuple[str, ...] = ()
    org_id_jwt_field: str = ""
    end_user_id_jwt_field: str = ""
    roles_jwt_field: str = ""
    role_mappings: tuple[Mapping[str, Any], ...] = ()
    scope_mappings: tuple[Mapping[str, Any], ...] = ()
    enforce_scope_based_access: bool = False
    public_key_ttl: float = 600.0


def read_jwt(config: Config) -> tuple[JwtSettings | None, list[str]]:
    """Read the settings, None where tokens are not taken; and a sentence for each that cannot be used."""
    general, env = config.general.values, config.environment
    if not general.get("enable_jwt_auth"):
        return None, []
    given = general.get("litellm_jwtauth") or {}
    hints = get_type_hints(JwtSettings)
    problems, found = [], dict[str, Any]()
    for name, value in given.items():
        if name not in hints or name in _OF_ENVIRONMENT:
            problems.append(f"general_settings.litellm_jwtauth.{name} means nothing here.")
        elif value is not None:
            kind = get_origin(hints[name]) or hints[name]
            if kind is tuple and isinstance(value, list):
                item = get_origin(get_args(hints[name])[0]) or get_args(hints[name])[0]
                if all(isinstance(one, Mapping if item is not str else str) for one in value):
                    found[name] = tuple(value)
                    continue
            elif kind is float and isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
                found[name] = float(value)
                continue
            elif kind is not tuple and isinstance(value, kind):
                found[name] = value
                continue
            wanted = "a list" if kind is tuple else "a text" if kind is str else "true or false" if kind is bool else ""
            problems.append(
                f"general_settings.litellm_jwtauth.{name} must be {wanted or 'a number of seconds'}: left out."
            )
    urls = tuple(url.strip() for url in (env.get("JWT_PUBLIC_KEY_URL") or "").split(",") if url.strip())
    if not urls:
        problems.append("enable_jwt_auth: JWT_PUBLIC_KEY_URL names no address of keys, so no token is taken.")
    audience, issuer = env.get("JWT_AUDIENCE") or "", env.get("JWT_ISSUER") or ""
    if not audience:
        problems.append("enable_jwt_auth: JWT_AUDIENCE is not set, so tokens for other services are taken, too.")
    return JwtSettings(urls=urls, audience=audience, issuer=issuer, **found), problems
