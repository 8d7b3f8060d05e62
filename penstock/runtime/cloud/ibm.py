"""Access tokens of IBM Cloud for watsonx.ai: an API key is exchanged for one at IAM; given tokens go as they are.

https://cloud.ibm.com/apidocs/iam-identity-token-api ("Create an IAM access token for a user or service ID using an API
key") and https://cloud.ibm.com/apidocs/watsonx-ai#authentication (``ZenApiKey`` of watsonx.ai software).

Which is used: ``token``, ``zen_api_key``, ``api_key`` of the deployment, then ``WATSONX_TOKEN``,
``WATSONX_ZENAPIKEY``, ``WATSONX_APIKEY`` (``WATSONX_API_KEY``, ``WX_API_KEY``) of the environment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from penstock.core.errors import GatewayError
from penstock.core.providers.google import first_of
from penstock.core.providers.watsonx import DEPLOYMENT, PROJECTS, SPACES, is_gateway
from penstock.runtime.cloud import oauth
from penstock.runtime.cloud.serving import watsonx_payer
from penstock.runtime.cloud.tokens import Fixed, Token, Tokens, shared

if TYPE_CHECKING:
    from penstock.runtime.account import Account
    from penstock.runtime.endpoint import Signer

WHOSE = "IBM Cloud IAM"
IAM = "https://iam.cloud.ibm.com"
GRANT = "urn:ibm:params:oauth:grant-type:apikey"
_KEYS = ("WATSONX_APIKEY", "WATSONX_API_KEY", "WX_API_KEY")


def signer(account: Account) -> Signer:
    """Make what signs an account's requests. Raises "not_configured" for missing credentials, and where nobody pays."""
    env = account.env
    base = account.base or ""
    deployed = account.model.startswith(DEPLOYMENT) or "/deployments/" in urlsplit(base).path
    if not deployed and not is_gateway(base) and not any(watsonx_payer(account)):
        raise GatewayError(
            "not_configured",
            f"{account.label} needs a project or a space that pays: give project_id (or {PROJECTS[0]}), or space_id "
            f"(or {SPACES[0]}), in the model's litellm_params.",
        )
    own = {name: account.setting(name) for name in ("token", "zen_api_key", "api_key")}
    if not any(own.values()):
        zen, key = env.get("WATSONX_ZENAPIKEY", "").strip(), first_of(_KEYS, env) or ""
        own = {"token": env.get("WATSONX_TOKEN", "").strip(), "zen_api_key": zen, "api_key": key}
    if own["token"]:
        return Fixed(oauth.header("Bearer", own["token"]))
    if own["zen_api_key"]:
        return Fixed(oauth.header("ZenApiKey", own["zen_api_key"]))
    key = own["api_key"]
    if not key:
        named = "set WATSONX_APIKEY (or WATSONX_API_KEY, WATSONX_TOKEN, WATSONX_ZENAPIKEY)"
        raise GatewayError(
            "not_configured", f"No API key for watsonx: {named}, or api_key in the model's litellm_params."
        )
    if key.startswith("eyJ") and key.count(".") == 2:  # an access token; API keys of IBM have no dots
        return Fixed(oauth.header("Bearer", key))
    url, tls = _address(env.get("WATSONX_IAM_URL", "").strip() or IAM), account.tls

    async def fetch() -> Token:
        told = await oauth.fetch(WHOSE, url, {"grant_type": GRANT, "apikey": key}, env=env, tls=tls)
        return oauth.token_of(WHOSE, told)

    return shared(("ibm", url, repr(tls), key), lambda: Tokens(fetch))


def _address(url: str) -> str:
    """Return the address of the token endpoint; it may be given as its host alone."""
    url = url.rstrip("/")
    return url if urlsplit(url).path else f"{url}/identity/token"
