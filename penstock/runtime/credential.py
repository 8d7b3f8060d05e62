"""Whose key a request takes that is passed through to a provider."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from penstock.config import Deployment
from penstock.config.known import secrets_in
from penstock.core.errors import GatewayError
from penstock.core.mask import Mask
from penstock.core.providers.pass_through import kin
from penstock.core.providers.resolve import auth_headers, credential, missing_key_message, needs_key
from penstock.core.providers.urls import at_own_host
from penstock.core.route.pick import simple_shuffle
from penstock.runtime.building import build_target
from penstock.runtime.cloud import signer_for

if TYPE_CHECKING:
    from penstock.core.providers.spec import Provider
    from penstock.runtime.endpoint import Signer
    from penstock.runtime.state import State
    from penstock.runtime.targets import Target

KEEP = 10_000


class Credential:
    """What opens a provider for what is passed through: a deployment's of the config, or the environment's own."""

    def __init__(self, target: Target) -> None:
        self.target = target

    @cached_property
    def signer(self) -> Signer | None:
        return signer_for(self.target.account)

    @cached_property
    def key(self) -> str | None:
        """Return the API key; None where none is needed or a signer stands in. Raises "not_configured" naming the
        variable that is missing."""
        if self.signer is not None:
            return None
        target, deployment = self.target, self.target.deployment
        given = deployment.api_key.reveal() if deployment.api_key else None
        key = credential(target.provider, given, target.env)
        needed = needs_key(target.provider, deployment.api_base, target.env)
        unsigned = target.provider.auth in ("sigv4", "oauth")
        if key is None and (needed or unsigned):
            raise GatewayError("not_configured", missing_key_message(target.provider))
        return key

    @cached_property
    def mask(self) -> Mask:
        """Return what takes the key out of good answers, too: a vendor may repeat it in an address (``location``,
        ``x-goog-upload-url``). Of a token that a signer fetches it knows nothing."""
        return Mask({self.key or "", *secrets_in(self.target.deployment.extra_headers)})

    def headers(self, dialect: str) -> list[tuple[bytes, bytes]]:
        """Return the headers that carry the credential, and the deployment's own. Raises "not_configured"."""
        deployment = self.target.deployment
        own = [(name.lower().encode(), value.encode()) for name, value in deployment.extra_headers.items()]
        try:
            auth = auth_headers(self.target.provider, self.key, dialect) if self.signer is None else []
        except ValueError as error:
            raise GatewayError("not_configured", str(error)) from None
        organization = self.target.provider.organization_header
        if deployment.organization and organization:
            auth.append((organization.encode(), deployment.organization.encode()))
        names = {name for name, _ in own}
        return [pair for pair in auth if pair[0] not in names] + own


def credential_for(state: State, provider: Provider, model: str) -> Credential:
    """Find the credential that a request to ``provider`` takes: a deployment of this vendor that is marked
    ``use_in_pass_through``, else the environment's key, else any deployment of this vendor; among several the one of
    this model, before those at another host."""
    asked = f"{provider.name} {model}"
    found = state.credentials.get(asked)
    if found is None:
        found = _find(state, provider, model)
        if len(state.credentials) < KEEP:  # clients choose the names
            state.credentials[asked] = found
    return found


def deployment_for(state: State, provider: Provider, model: str) -> Credential | None:
    """Pick one of this vendor's deployments that the config has under a name of its own: the vendor would not know that
    name. None where it is no such name."""
    names = kin(provider)
    found = [target for target in state.targets_of(model) if target.deployment.provider in names] if model else []
    if all(target.model == model for target in found):
        return None
    target = simple_shuffle(found, random.random)
    return _kept(state, target.live_id, lambda: target)


def _find(state: State, provider: Provider, model: str) -> Credential:
    names = kin(provider)
    own = [target for target in state.targets if target.deployment.provider in names]
    marked = [target for target in own if target.deployment.params.get("use_in_pass_through")]
    if marked:
        best = _best(marked, model)
        return _kept(state, best.id, lambda: best)
    if own and credential(provider, None, state.env) is None:
        best = _best(own, model)
        return _kept(state, best.id, lambda: best)
    return _kept(state, provider.name, partial(_bare, state, provider.name))


def _bare(state: State, name: str) -> Target:
    """Make a target for the account that the environment has at a provider."""
    params = state.config.raw.get("default_vertex_config") if name.startswith("vertex_ai") else None
    model = f"{name}/*"
    deployment = Deployment(
        id="", model_name=model, model=model, provider=name, upstream_model="*", params=params or {}
    )
    return build_target(deployment, state.settings, state.env)


def _best(targets: list[Target], model: str) -> Target:
    def rank(target: Target) -> tuple[bool, bool]:
        own = at_own_host(target.provider, target.deployment.api_base, target.env)
        return model not in (target.model, target.deployment.model_name), not own

    return min(targets, key=rank)


def _kept(state: State, name: str, make: Callable[[], Target]) -> Credential:
    found = state.credentials.get(name)
    if found is None:
        found = state.credentials[name] = Credential(make())
    return found
