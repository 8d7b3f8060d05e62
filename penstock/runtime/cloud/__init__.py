"""Clouds whose requests are signed, or carry a token that has to be fetched first. One module each, imported on first
use.

``SIGNERS`` maps a provider's name to the module that has ``signer(account) -> Signer | None``. What signs comes from
the vendor's own or a well-kept library, an extra of the package. ``serving`` tells what else a cloud changes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from penstock.runtime.account import Account
    from penstock.runtime.endpoint import Signer

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


def signer_for(account: Account) -> Signer | None:
    """Return what signs an account's requests, None where a plain key does. Raises "not_installed" where an extra of
    the package is missing: no credential would mend that."""
    module = SIGNERS.get(account.provider.name)
    if module is None:
        return None
    try:
        made: Signer | None = import_module(module).signer(account)
    except ImportError as error:
        extra = EXTRAS.get(account.provider.name, account.provider.name)
        text = f"{account.label} needs the package {error.name!r}: pip install 'penstock[{extra}]'."
        raise GatewayError("not_installed", text) from None
    return made
