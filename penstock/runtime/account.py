"""What a cloud must know of a deployment: who serves it, as which model, and with whose credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.core.providers.resolve import credential
from penstock.core.providers.spec import Provider
from penstock.core.providers.urls import given_base
from penstock.runtime.http import Tls

if TYPE_CHECKING:
    from penstock.config import Deployment


class Account(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """One deployment's account at its provider. ``model``: the name the upstream knows. ``env``: the environment, with
    what the deployment says of the account over it. ``settings``: those behind the deployment's own.
    ``foreign``: the deployment's address is not the vendor's; then no key of the environment is in ``env``, and
    ``withheld`` names those that were."""

    provider: Provider
    model: str
    deployment: Deployment
    settings: Mapping[str, Any]
    env: Mapping[str, str]
    tls: Tls | None = None
    foreign: bool = False
    withheld: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Account({self.label})"  # the environment holds keys

    @property
    def label(self) -> str:
        """Name the provider and its model, for people."""
        return f"{self.provider.name}/{self.model}"

    @property
    def base(self) -> str | None:
        """Return the address that the configuration gives; None means the provider's own."""
        return given_base(self.provider, self.deployment.api_base, self.env)

    @property
    def key(self) -> str | None:
        """Return the deployment's key, else the environment's, else None."""
        given = self.deployment.api_key
        return credential(self.provider, given.reveal() if given is not None else None, self.env)

    def setting(self, name: str) -> str:
        """Return one of the deployment's ``litellm_params`` as a text, "" where it is not given."""
        return word(self.deployment.params.get(name))


def word(value: object) -> str:
    """Turn a setting into a text: secrets are revealed, anything that is no text or number is ""."""
    reveal = getattr(value, "reveal", None)
    if reveal is not None:
        value = reveal()
    return str(value).strip() if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
