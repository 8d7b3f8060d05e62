"""May this caller do that: which routes, from where, which models. Every rule is asked on the way in, by the gate.

Lists of models name models, patterns (``openai/*``), access groups, and LiteLLM's words: ``all-proxy-models``,
``all-team-models`` (whatever the team may), ``no-default-models`` (none). An empty list allows all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from penstock.core.admit.caller import Caller
from penstock.core.admit.holders import Holder
from penstock.core.errors import GatewayError
from penstock.core.route.stars import match

Groups = Callable[[str], Collection[str]]
"""Returns the access groups that a model is in."""

LLM, INFO, MANAGEMENT = "llm_api_routes", "info_routes", "management_routes"
"""Families of routes: they ask models; they show things; they change things. LiteLLM's names of them in
``allowed_routes``."""
_SAME = {"openai_routes": LLM, "anthropic_routes": LLM, "google_routes": LLM, "self_managed_routes": MANAGEMENT}
_ALL, _OF_TEAM, _NONE = "all-proxy-models", "all-team-models", "no-default-models"
_KINDS = {
    "key": "key_model_denied",
    "team": "team_model_denied",
    "member": "team_model_denied",
    "user": "user_model_denied",
    "organization": "org_model_denied",
    "organization_member": "org_model_denied",
    "project": "project_model_denied",
    "customer": "customer_model_denied",
}


def check_standing(caller: Caller, at: float, client: str) -> None:
    """Refuse a key that is over or barred, or that may not be used from an address. Raises "key_expired",
    "unauthorized", "forbidden"."""
    if caller.refused:
        raise GatewayError("unauthorized", f"Authentication Error, {caller.refused}")
    if caller.expires_at and at >= caller.expires_at:
        raise GatewayError("key_expired", "Authentication Error, this key has expired.")
    if caller.addresses and not within(client, caller.addresses):
        raise GatewayError("forbidden", f"This key may not be used from the address {client[:60]}.")


def within(client: str, allowed: Collection[str]) -> bool:
    """Tell whether an address is one of those, or in one of those networks."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    for one in allowed:
        try:
            if address in ip_network(one, strict=False):
                return True
        except ValueError:
            continue
    return False


def check_route(caller: Caller, path: str, family: str) -> None:
    """Refuse a path that a caller's key may not call. ``family``: what of. Raises "forbidden"."""
    allowed = caller.routes
    if not allowed or any(allows(one, path, family) for one in allowed):
        return
    shown = ", ".join(allowed)[:300]
    raise GatewayError("forbidden", f"This key may not call {path[:200]}; allowed_routes of it are: {shown}.")


def names_route(caller: Caller, path: str) -> bool:
    """Tell whether a key's ``allowed_routes`` name a path, and not only the family that it is of."""
    return any(one.startswith("/") and allows(one, path, "") for one in caller.routes)


def allows(entry: str, path: str, family: str, twins: bool = True) -> bool:
    """Tell whether an entry of a list of routes names a path, or what it is of. ``twins``: with and without ``/v1`` it
    is the same route."""
    if _SAME.get(entry, entry) == family:
        return True
    if family == INFO and entry == MANAGEMENT:  # whoever may change things may look at them
        return True
    if entry.endswith("*"):
        return path.startswith(entry[:-1])
    if not entry.startswith("/"):
        return False
    if "{" in entry:
        return _template(entry).fullmatch(path) is not None
    return path == entry or (twins and (path == f"/v1{entry}" or entry == f"/v1{path}"))


@lru_cache(1024)
def _template(entry: str) -> re.Pattern[str]:
    """Compile a path with names in it, as LiteLLM lists them: each stands for one segment."""
    parts = re.split(r"\{[^{}/]*\}", entry)
    return re.compile("[^/]+".join(map(re.escape, parts)), re.DOTALL)


def check_model(caller: Caller, model: str, groups: Groups) -> None:
    """Refuse a model that a caller, its team, user or organisation may not call. Raises the "..._model_denied" of who
    it is that may not."""
    for holder in caller.holders:
        if holder.models and not may_call(holder, model, groups):
            raise denied(holder.kind, model)


def may_call(holder: Holder, model: str, groups: Groups) -> bool:
    """Tell whether somebody's list allows a model, named as the client did."""
    names = holder.models
    if model in names:
        return True
    if not names or _ALL in names or (_OF_TEAM in names and holder.kind == "key"):
        return True
    if any("*" in name and match(name, model) is not None for name in names):
        return True
    return not set(groups(model)).isdisjoint(names)


def denied(kind: str, model: str) -> GatewayError:
    """Make the error for a model that a holder of a kind may not call, in LiteLLM's words."""
    text = f"The requested model '{model[:200]}' is not available for this API key, or the model name is invalid. "
    return GatewayError(_KINDS.get(kind, "key_model_denied"), text + "GET /v1/models lists what is.", param="model")
