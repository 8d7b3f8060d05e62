"""``/providers``: every provider that can be called, whether its key is there, and a question to it that is free."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from msgspec import Struct

from penstock.core.envelope import read_as
from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.free import free_path
from penstock.core.providers.names import PROVIDER_ALIASES
from penstock.core.providers.resolve import needs_key
from penstock.runtime.gate import ADMIN, VIEW, shown
from penstock.runtime.http import TransportError
from penstock.runtime.route import JSON, Page, Route
from penstock.server.checker import ask_free
from penstock.stores.kinds import fields_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.core.providers.spec import Provider
    from penstock.runtime.call import Call
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

OF = "custom_llm_provider"
"""The field of ``credential_info`` that says whose a credential is; LiteLLM's pages write it, too."""
MOST_LISTING = 4 * 1024 * 1024  # bytes of a list of models: one with a thousand models has half of that
MOST_NAMES = 200
_MOST_BODY = 64 * 1024


class Asked(Struct):
    """With which credential a provider is asked; without one: its own, else the environment's key."""

    credential_name: str | None = None
    api_base: str | None = None


async def listed(gateway: Gateway, call: Call) -> Page:
    """List the providers: whether a key is set and where, which variables count, what they speak, how many deployments
    they serve. ``search`` looks into their names, ``used=true`` asks for those that can be called as it is."""
    asked = {key: values[-1] for key, values in parse_qs(call.exchange.query.decode("latin-1")).items()}
    search, used = asked.get("search", "").strip().lower(), asked.get("used", "").lower() in ("true", "1")
    kept, serving = await _credentials(gateway), _serving(gateway)
    rows = []
    for name, provider in PROVIDERS.items():
        row = _row(gateway, provider, kept.get(name, []), serving.get(name, []))
        if search and not any(search in text for text in (name, *row["aliases"], *map(str.lower, provider.keys))):
            continue
        if used and not (row["deployments"] or row["key"] in ("environment", "stored")):
            continue
        rows.append(row)
    rows.sort(key=lambda row: row["id"])
    return Page(200, JSON, msgspec.json.encode({"object": "list", "data": rows, "total": len(PROVIDERS)}))


async def ask(gateway: Gateway, call: Call) -> Page:
    """Ask a provider for its list of models, which costs nothing, and tell what came of it."""
    name = call.params["name"]
    if name not in PROVIDERS:
        raise GatewayError("no_object", f"There is no provider {shown(name)!r}; GET /providers lists all.")
    body = call.exchange.body
    asked = read_as(body, Asked, _MOST_BODY) if body else Asked()
    target = await _target(gateway, PROVIDERS[name], asked)
    started = gateway.clock()
    told = await _free(gateway, target)
    told["response_time_ms"] = round((gateway.clock() - started) * 1000, 1)
    return Page(200, JSON, msgspec.json.encode({"status": "error" if told["error"] else "success", "result": told}))


def _serving(gateway: Gateway) -> Mapping[str, list[Target]]:
    found: dict[str, list[Target]] = {}
    for target in gateway.state.targets:
        found.setdefault(target.provider.name, []).append(target)
    return found


async def _credentials(gateway: Gateway) -> dict[str, list[str]]:
    """List the names of stored credentials by whose they are; none where nothing is kept."""
    found: dict[str, list[str]] = {}
    if gateway.desk is None:
        return found
    for row in (await gateway.desk.find("credential")).rows:
        info = fields_of(row).get("credential_info") or {}
        if isinstance(info, dict) and isinstance(owner := info.get(OF), str):
            found.setdefault(PROVIDER_ALIASES.get(owner, owner), []).append(row.id)
    return found


def _row(gateway: Gateway, provider: Provider, kept: list[str], targets: list[Target]) -> dict[str, Any]:
    env = gateway.state.env
    set_ = [name for name in provider.keys if env.get(name, "").strip()]
    if set_:
        key = "environment"
    elif kept:
        key = "stored"
    elif not needs_key(provider, None, env):
        key = "account" if provider.auth in ("sigv4", "oauth") else "none"
    elif any(target.deployment.api_key for target in targets):
        key = "models"
    else:
        key = "missing"
    bases = [name for name in provider.bases if env.get(name, "").strip()]
    return {
        "id": provider.name,
        "aliases": [alias for alias, name in PROVIDER_ALIASES.items() if name == provider.name],
        "key": key,
        "set_variables": [*set_, *bases, *(name for name in provider.env if env.get(name, "").strip())],
        "key_variables": list(provider.keys),
        "base_variables": list(provider.bases),
        "variables": list(provider.env),
        "credentials": kept,
        "auth": provider.auth,
        "local": provider.local,
        "base": provider.base,
        "needs_base": provider.base is None and not bases,
        "dialects": list(provider.dialects),
        "docs": provider.docs or None,
        "models": len({target.deployment.model_name for target in targets}),
        "deployments": len(targets),
    }


async def _target(gateway: Gateway, provider: Provider, asked: Asked) -> Target:
    """Find what the provider is asked through: a deployment made for the question. Where none can be made, and no
    credential is named, one that serves. Raises "bad_request"."""
    params: dict[str, Any] = {"model": f"{provider.name}/list"}
    name = asked.credential_name or next(iter((await _credentials(gateway)).get(provider.name, [])), None)
    if name:
        params["litellm_credential_name"] = name
    if asked.api_base:
        params["api_base"] = asked.api_base
    serves = _serving(gateway).get(provider.name)
    has_key = name or not needs_key(provider, asked.api_base, gateway.state.env)
    has_key = has_key or any(gateway.state.env.get(key, "").strip() for key in provider.keys)
    if serves and not asked.credential_name and not asked.api_base and not (has_key and provider.base):
        return serves[0]
    if gateway.registry is None:
        if serves:
            return serves[0]
        raise GatewayError("not_installed", "No deployment is of this provider, and none can be made here to ask it.")
    target, _ = await gateway.registry.draft({"model_name": "list-models", "litellm_params": params})
    return target


async def _free(gateway: Gateway, target: Target) -> dict[str, Any]:
    told: dict[str, Any] = {"url": None, "status": None, "models": None, "count": None, "error": None}
    dialect = target.dialects[0] if target.dialects else ""
    try:
        endpoint = target.endpoint(dialect)
        path = free_path(dialect, endpoint.url)
        if path is None:
            return told | {"error": "No free question is known for this provider; test one of its models instead."}
        told["url"] = f"{endpoint.origin}{path.partition('?')[0]}"
        answer = await ask_free(gateway, target, endpoint, path)
        try:
            data = await answer.read(MOST_LISTING)
        finally:
            answer.close()
    except GatewayError as error:
        return told | {"error": error.message}
    except TransportError as error:
        return told | {"error": str(error)}
    except KeyError:
        return told | {"error": f"The provider speaks nothing ({dialect or 'no dialect'}) that has a list of models."}
    told["status"] = answer.status
    if answer.status in (401, 403):
        return told | {"error": f"The key is refused: status {answer.status}."}
    if answer.status >= 400:
        return told | {"error": f"It answered with status {answer.status}."}
    names = _names(data)
    return told | {"models": names[:MOST_NAMES], "count": len(names)}


def _names(data: bytes) -> list[str]:
    """Read the names of a list of models, in the forms that vendors have for it."""
    try:
        said = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []
    rows = (said.get("data") or said.get("models")) if isinstance(said, dict) else said
    rows = rows if isinstance(rows, list) else []
    names = [row.get("id") or row.get("name") for row in rows if isinstance(row, dict)]
    return sorted({str(name).removeprefix("models/") for name in names if name})


ROUTES = (
    Route("/providers", listed, role=VIEW),
    Route("/providers/{name}/test", ask, methods=("POST",), role=ADMIN, no_pages=True, body=Asked),
)
