"""Access tokens of a Databricks service principal (OAuth machine to machine).

https://docs.databricks.com/aws/en/dev-tools/auth/oauth-m2m : client credentials in HTTP Basic, scope ``all-apis``, at
the workspace's own ``/oidc/v1/token``. A key (personal access token) of the deployment goes before, and so does the
environment's before the environment's account.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.core.errors import GatewayError
from penstock.core.providers.resolve import credential
from penstock.runtime.cloud import oauth
from penstock.runtime.cloud.tokens import Token, Tokens, shared

if TYPE_CHECKING:
    from penstock.runtime.account import Account
    from penstock.runtime.endpoint import Signer

WHOSE = "Databricks"


def signer(account: Account) -> Signer | None:
    """Make what signs an account's requests; None where a key does. Raises "not_configured" for half an account."""
    env = account.env
    client, secret = account.setting("client_id"), account.setting("client_secret")
    if account.setting("api_key") or (not client and not secret and credential(account.provider, None, env)):
        return None
    client = client or env.get("DATABRICKS_CLIENT_ID", "").strip()
    secret = secret or env.get("DATABRICKS_CLIENT_SECRET", "").strip()
    base = account.base
    if not client and not secret:
        return None
    if base is None:
        named = " or ".join(account.provider.bases)
        text = f"{account.label} has no address: set {named}, or api_base in the model's litellm_params."
        raise GatewayError("not_configured", text)
    if not client or not secret:
        missing = "client_secret (or DATABRICKS_CLIENT_SECRET)" if client else "client_id (or DATABRICKS_CLIENT_ID)"
        text = f"{account.label}: for a token of {WHOSE} also give {missing} in litellm_params."
        raise GatewayError("not_configured", text)
    parts, tls = urlsplit(base), account.tls
    url = f"{parts.scheme}://{parts.netloc}/oidc/v1/token"
    form = {"grant_type": "client_credentials", "scope": "all-apis"}

    async def fetch() -> Token:
        headers = {"authorization": oauth.basic(client, secret)}
        return oauth.token_of(WHOSE, await oauth.fetch(WHOSE, url, form, env=env, headers=headers, tls=tls))

    return shared(("databricks", url, repr(tls), client, secret), lambda: Tokens(fetch))
