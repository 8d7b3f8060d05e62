"""Access tokens for SAP AI Core, and the resource group that every request names.

https://help.sap.com/docs/sap-ai-core/sap-ai-core-service-guide ("Use a Service Key"): client credentials at the
authentication server of the key. The account is the deployment's ``api_key`` (a service key as JSON), else
``AICORE_SERVICE_KEY``, else ``AICORE_CLIENT_ID``, ``AICORE_CLIENT_SECRET``, ``AICORE_AUTH_URL``; never a mixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.providers.sap import GROUP, ServiceKey, host, service_key, token_url
from penstock.runtime.cloud import oauth
from penstock.runtime.cloud.tokens import Token, Tokens, shared

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.runtime.account import Account
    from penstock.runtime.endpoint import Signer

WHOSE = "SAP's authentication server"
_SINGLE = ("AICORE_CLIENT_ID", "AICORE_CLIENT_SECRET", "AICORE_AUTH_URL")


def service_key_of(own: str, env: Mapping[str, str]) -> ServiceKey:
    """Read the account that is configured. ``own``: the deployment's service key, or "". Raises ``ValueError`` that
    names what is missing."""
    text = own or env.get("AICORE_SERVICE_KEY", "").strip()
    if text:
        return service_key(text)
    client, secret, url = (env.get(name, "").strip() for name in _SINGLE)
    missing = [name for name, value in zip(_SINGLE, (client, secret, url), strict=True) if not value]
    if missing:
        raise ValueError(f"no service key: set AICORE_SERVICE_KEY, or {', '.join(_SINGLE)} (missing: {missing[0]})")
    return ServiceKey(client, secret, token_url(url), host(env.get("AICORE_BASE_URL", "").strip()))


def signer(account: Account) -> Signer:
    """Make what signs an account's requests. Raises "not_configured" that names what is missing."""
    env, tls = account.env, account.tls
    try:
        key = service_key_of(account.setting("api_key"), env)
    except ValueError as error:
        raise GatewayError("not_configured", f"{account.label}: {error}.") from None
    group = account.setting("resource_group") or env.get(GROUP, "").strip() or "default"
    if not group.isascii() or not group.isprintable():
        raise GatewayError("not_configured", f"{account.label}: resource_group {group[:80]!r} is no header's value.")
    form = {"grant_type": "client_credentials", "client_id": key.client, "client_secret": key.secret}

    async def fetch() -> Token:
        token = oauth.token_of(WHOSE, await oauth.fetch(WHOSE, key.token_url, form, env=env, tls=tls))
        return Token(token.lines + b"ai-resource-group: %b\r\n" % group.encode(), token.ends_at)

    return shared(("sap", key.token_url, key.client, key.secret, group, repr(tls)), lambda: Tokens(fetch))
