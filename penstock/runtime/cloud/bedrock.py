"""Amazon Bedrock: what a deployment's settings mean for its URL and its model, and the signature of each request.

With ``api_key`` or ``AWS_BEARER_TOKEN_BEDROCK`` the key is sent as a Bearer token and nothing is signed
(https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys-use.html). Credentials are in ``aws``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError
from penstock.core.providers.bedrock import BASE, KEY, REGIONS, place_of, region_of_arn, region_of_host
from penstock.core.providers.google import first_of
from penstock.runtime.account import word
from penstock.runtime.cloud import aws
from penstock.runtime.cloud.aws import Keys
from penstock.runtime.cloud.serving import Serving

if TYPE_CHECKING:
    from penstock.config import Deployment
    from penstock.runtime.account import Account
    from penstock.runtime.cloud.sigv4 import Signing
    from penstock.runtime.endpoint import Endpoint

SERVICE = "bedrock"


def environment(deployment: Deployment, env: Mapping[str, str]) -> Mapping[str, str]:
    """Lay the region and the address of the deployment over ``env``; where nobody names a region, that of the AWS
    profile. A deployment with an account of its own does not see the environment's Bearer token."""
    made = dict(env)
    if address := word(deployment.params.get("aws_bedrock_runtime_endpoint")):
        made[BASE] = address
    if aws.names_account(deployment):
        made.pop(KEY, None)
    if region := word(deployment.params.get("aws_region_name")) or word(deployment.params.get("region_name")):
        made[REGIONS[0]] = region
    elif first_of(REGIONS, env) is None and (found := _profile_region(deployment, env)):
        made[REGIONS[0]] = found
    return made


def _profile_region(deployment: Deployment, env: Mapping[str, str]) -> str:
    """Read the region from the shared configuration file; "" without one, or without botocore to read it."""
    profile = word(deployment.params.get("aws_profile_name")) or env.get("AWS_PROFILE_NAME") or ""
    try:
        from botocore.exceptions import BotoCoreError
    except ImportError:
        return ""
    try:
        return str(aws.session(profile or env.get("AWS_PROFILE", "")).get_config_variable("region") or "")
    except BotoCoreError:  # a profile that is not there: told to the calls that need it
        return ""


def serving(account: Account, dialects: tuple[str, ...]) -> Serving:
    """Determine where a model is and what it is called. Raises "not_configured"."""
    deployment = account.deployment
    try:
        place = place_of(account.model)
    except LookupError as error:
        raise GatewayError("not_configured", f"Model {deployment.model_name!r}: {error.args[0]}.") from None
    # LiteLLM's way to an inference profile of one's own: the model by name, and its ARN beside it.
    path_model = account.setting("model_id") or place.model
    env = environment(deployment, account.env)
    region = region_of_arn(path_model) or place.region
    rules_of = word(deployment.info.get("base_model")) or place.model
    return Serving(
        model=place.model,
        path_model=path_model,
        env={**env, REGIONS[0]: region} if region else env,
        rules_of=rules_of,
    )


def signer(account: Account) -> Signer | None:
    """Make what signs an account's requests; None where a key is sent. Raises ``ImportError`` where botocore is needed
    and not there, "not_configured" for settings that are none."""
    if account.key is not None:
        return None
    deployment = account.deployment
    region = first_of(REGIONS, account.env) or ""
    content_type = next((v for n, v in deployment.extra_headers.items() if n.lower() == "content-type"), "")
    keys = aws.key_ring(aws.settings_of(deployment, account.env, region))
    return Signer(keys, region, content_type or "application/json")


class Signer:
    """Signs one target's requests. ``region``: where the host does not name one."""

    def __init__(self, key_ring: aws.KeyRing, region: str, content_type: str) -> None:
        from penstock.runtime.cloud.sigv4 import Signing

        self._make = Signing
        self._key_ring = key_ring
        self._region = region
        self._content_type = content_type
        self._keys: Keys | None = None
        self._signing: Signing | None = None

    async def lines(self, endpoint: Endpoint, method: str, body: bytes) -> bytes:
        keys = await self._key_ring.keys()
        signing = self._signing
        if signing is None or self._keys is not keys:
            region = region_of_host(endpoint.origin.host) or self._region
            if not region:
                raise GatewayError(
                    "not_configured", f"Requests to {endpoint.origin} need a region: set AWS_REGION_NAME."
                )
            signing = self._signing = self._make(keys, region, SERVICE)
            self._keys = keys
        return signing.lines(method, endpoint.url, body, self._content_type)
