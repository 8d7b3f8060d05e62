"""SAP AI Core: whose account a service key is, where its deployments are, the envelope of the orchestration service.

https://help.sap.com/docs/sap-ai-core/sap-ai-core-service-guide ("Use a Service Key", "Consume Generative AI Models");
field lists: sap-ai-sdk-gen 7.4 (orchestration_v2/models, proxy/gen_ai_hub_proxy/client.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Raw
from msgspec.json import encode

from penstock.core.providers.paths import in_path

NAME = "sap"
DEPLOYMENTS = "/v2/inference/deployments/"
GROUP = "AICORE_RESOURCE_GROUP"
MODULES = ("filtering", "masking", "grounding", "translation")
"""Modules of the orchestration service that a request may name at its top, as with LiteLLM."""

_PROMPT = ("tools", "response_format")


class ServiceKey(NamedTuple):
    """An account. ``token_url``: where tokens are; ``base``: the API's host, without ``/v2``."""

    client: str
    secret: str
    token_url: str
    base: str


def service_key(text: str) -> ServiceKey:
    """Read the account in a service key (JSON, as it is or under ``credentials``). Raises ``ValueError`` that names
    what is missing, never its content."""
    try:
        told = msgspec.json.decode(text, type=dict[str, Any])
    except msgspec.DecodeError:
        raise ValueError("the service key is no JSON object") from None
    inner = told.get("credentials")
    told = inner if isinstance(inner, dict) else told
    urls = told.get("serviceurls")
    found = {
        "clientid": told.get("clientid"),
        "clientsecret": told.get("clientsecret"),
        "url": told.get("url"),
        "serviceurls.AI_API_URL": urls.get("AI_API_URL") if isinstance(urls, dict) else None,
    }
    missing = [name for name, value in found.items() if not isinstance(value, str) or not value.strip()]
    if missing:
        raise ValueError(f"the service key has no {' and no '.join(missing)}")
    client, secret, url, base = (str(value).strip() for value in found.values())
    return ServiceKey(client, secret, token_url(url), host(base))


def token_url(url: str) -> str:
    """Return the token endpoint, of its host alone too."""
    url = url.rstrip("/")
    return url if url.endswith("/oauth/token") else f"{url}/oauth/token"


def host(base: str) -> str:
    """Return the API's address without its version."""
    return base.rstrip("/").removesuffix("/v2")


def sap_url(root: str, query: str, what: str, deployment: str) -> str:
    """Return the full URL of a dialect or operation. ``root``: the API's host, with or without ``/v2``, or the address
    of a deployment, which wins over ``deployment``. ``openai_chat`` is for deployments of a model, which speak its own
    interface. Raises ``LookupError`` without a deployment, and for an operation that is not there."""
    parts = urlsplit(root)
    before, found, rest = parts.path.partition(DEPLOYMENTS)
    name = rest.partition("/")[0] if found else in_path(deployment)
    if what == "openai_chat" and rest.endswith("/chat/completions"):
        return root + query
    tail = {NAME: "/v2/completion", "embeddings": "/v2/embeddings"}.get(what)
    if tail is None:
        raise LookupError(f"no URL path is known for {what!r} of provider 'sap'")
    if not name:
        raise LookupError(
            "sap needs the orchestration service's deployment: give deployment_id (or AICORE_DEPLOYMENT_ID), as listed "
            "by GET /v2/lm/deployments?scenarioId=orchestration, or its deploymentUrl as api_base"
        )
    before = before if found else host(before)
    return f"{parts.scheme}://{parts.netloc}{before}{DEPLOYMENTS}{name}{tail}{query}"


def envelope(fields: dict[str, Raw]) -> None:
    """Turn a Chat request into one of the orchestration service. What is no prompt and no module is a parameter of the
    model."""
    model = fields.pop("model", Raw(b'""'))
    prompt = {"template": fields.pop("messages", Raw(b"[]"))}
    for name in _PROMPT:
        if name in fields:
            prompt[name] = fields.pop(name)
    modules: dict[str, Any] = {name: fields.pop(name) for name in MODULES if name in fields}
    version = fields.pop("model_version", Raw(b'"latest"'))
    placeholders = fields.pop("placeholder_values", None)
    streamed = fields.pop("stream", None) == Raw(b"true")
    params = dict(fields)
    fields.clear()
    modules["prompt_templating"] = {"prompt": prompt, "model": {"name": model, "version": version, "params": params}}
    config: dict[str, Any] = {"modules": modules}
    if streamed:
        config["stream"] = {"enabled": True}
    fields["config"] = Raw(encode(config))
    if placeholders is not None:
        fields["placeholder_values"] = placeholders


def embeddings(fields: dict[str, Raw]) -> None:
    """Turn a request for embeddings into the service's (``EmbeddingsPostRequest``)."""
    model: dict[str, Any] = {"name": fields.pop("model", Raw(b'""'))}
    text = fields.pop("input", Raw(b'""'))
    kind = fields.pop("input_type", None)
    modules: dict[str, Any] = {name: fields.pop(name) for name in MODULES if name in fields}
    fields.pop("user", None)
    if fields:
        model["params"] = dict(fields)
    fields.clear()
    modules["embeddings"] = {"model": model}
    told: Mapping[str, Raw] = {"text": text} if kind is None else {"text": text, "type": kind}
    fields["config"] = Raw(encode({"modules": modules}))
    fields["input"] = Raw(encode(told))
