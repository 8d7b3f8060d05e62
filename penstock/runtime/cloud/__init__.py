"""Clouds whose requests are signed, or carry a token that has to be fetched first. One module each, imported on first
use.

``SIGNERS`` maps a provider's name to the module that has ``signer(target) -> Signer``. What signs comes from the
vendor's own or a well-kept library, an extra of the package.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.config import Deployment
    from penstock.runtime.targets import Endpoint, Target

_VERTEX = "penstock.runtime.cloud.vertex"
_ENTRA = "penstock.runtime.cloud.entra"
SIGNERS: dict[str, str] = {
    "vertex_ai": _VERTEX,
    "vertex_ai_beta": _VERTEX,
    "bedrock": "penstock.runtime.cloud.bedrock",
    "azure": _ENTRA,
    "azure_text": _ENTRA,
    "azure_ai": _ENTRA,
    "watsonx": "penstock.runtime.cloud.ibm",
    "databricks": "penstock.runtime.cloud.databricks",
    "snowflake": "penstock.runtime.cloud.snowflake",
    "sap": "penstock.runtime.cloud.sap",
}
# The extra of the package, where it is not called as the provider is.
EXTRAS: dict[str, str] = {"vertex_ai": "vertex", "vertex_ai_beta": "vertex"}


class Signer(Protocol):
    """``lines``: finished header lines (each ended by CRLF) for one request. Credentials are kept and renewed before
    they expire; nothing is fetched while a request waits except the very first time. Raises ``GatewayError``
    ("not_configured", "connect") that names what is missing."""

    async def lines(self, endpoint: Endpoint, method: str, body: bytes) -> bytes: ...


def signer_for(target: Target) -> Signer | None:
    """The signer of a target, None where a plain key does. Raises "not_configured" where an extra is not installed."""
    module = SIGNERS.get(target.provider.name)
    if module is None:
        return None
    try:
        made: Signer | None = import_module(module).signer(target)
    except ImportError as error:
        extra = EXTRAS.get(target.provider.name, target.provider.name)
        text = f"{target.label} needs the package {error.name!r}: pip install 'penstock[{extra}]'."
        raise GatewayError("not_configured", text) from None
    return made


def environment(provider: str, deployment: Deployment, env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with what a deployment says of its cloud account over it, in the names that URLs are made of."""
    made: Mapping[str, str] = import_module(SIGNERS[provider]).environment(deployment, env)
    return made
