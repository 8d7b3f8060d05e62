"""Azure AI Foundry's URLs: one resource serves several interfaces, each under a path of its own.

* ``/models``, the Model Inference API: https://learn.microsoft.com/rest/api/aifoundry/modelinference
* ``/openai/v1``, OpenAI's: https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
* ``/anthropic``, Claude's Messages: https://platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry
* ``/providers/cohere/v2``, Cohere's own: https://learn.microsoft.com/azure/ai-foundry/how-to/deploy-models-cohere-rerank

A serverless deployment has a host of its own (``NAME.REGION.models.ai.azure.com``) and none of these prefixes:
https://learn.microsoft.com/azure/ai-foundry/how-to/deploy-models-serverless
"""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit

from penstock.core.providers.azure import UNDATED, azure_url

MODELS_VERSION = "2024-05-01-preview"
"""The Model Inference API's version, which it insists on: the only one there is."""
IMAGES_VERSION = "2025-04-01-preview"
"""Of the dated interface, for images of models that are not OpenAI's."""
PROJECT = "/api/projects/"

_RESOURCE = tuple(f".services.ai.azure.{end}" for end in ("com", "us", "cn"))
_OPENAI = tuple(f".{name}.azure.{end}" for end in ("com", "us", "cn") for name in ("openai", "cognitiveservices"))
_CLAUDE = re.compile(r"/anthropic(?:/|$)")
_OPENAI_PATH = re.compile(r"/openai(?:/|$)")
_INTERFACES = re.compile(r"/(?:api/projects|openai|models|anthropic|providers)(?:/|$)")
_TAILS = ("/chat/completions", "/completions", "/embeddings", "/responses", "/images/generations", "/images/edits")
_RERANK = ("/v1/rerank", "/v2/rerank", "/rerank")


def foundry_url(root: str, query: str, suffix: str, model: str, version: str) -> str:
    """Return the full URL of an operation. ``root``: the user's base without a trailing slash, ``query``: its query
    with the ``?``, or "". ``suffix``: the path of the operation, ``/v1/messages...`` for Claude. ``version``:
    ``api_version``, or "". Any form of base does: the resource, a project, any of the interfaces, or the full path of
    an operation. Raises ``LookupError`` where the deployment's name is needed and not there."""
    if suffix.startswith("/v1/messages"):
        return _claude_url(root, query, suffix)
    if suffix == "/rerank":
        return _rerank_url(root, query)
    if suffix == "/responses" and root.endswith(suffix):
        return root + query
    if "/openai/deployments/" in root:
        return azure_url(root, query, suffix, model, version)
    host, path = urlsplit(root).hostname or "", urlsplit(root).path
    if host.endswith(_OPENAI) or suffix == "/responses" or _OPENAI_PATH.search(path):
        kept = version in UNDATED or (version and "/openai/v1" not in root)  # a date means nothing to /openai/v1
        if not _OPENAI_PATH.search(path):  # of a project's own OpenAI interface the project stays
            root = _resource(root)
        return azure_url(root, query, suffix, model, version if kept else "v1")
    plain = _without_tail(root)
    if suffix.startswith("/images/") and host.endswith(_RESOURCE):
        return azure_url(_resource(plain), query, suffix, model, version or IMAGES_VERSION)
    if host.endswith(_RESOURCE) or plain.endswith("/models"):
        return _resource(plain) + "/models" + suffix + _with_version(query, version or MODELS_VERSION)
    return plain + suffix + _with_version(query, version)


def _claude_url(root: str, query: str, suffix: str) -> str:
    """Return Claude's URL under ``/anthropic``, whichever other path of the resource was given."""
    if root.endswith(suffix):
        return root + query
    parts = urlsplit(root)
    found = _CLAUDE.search(parts.path)
    base = f"{parts.scheme}://{parts.netloc}{parts.path[: found.start()]}" if found else _resource(root)
    return f"{base}/anthropic{suffix}{query}"


def _rerank_url(root: str, query: str) -> str:
    """Return the URL of Cohere's own interface; what already ends in it stays."""
    if root.endswith(_RERANK):
        return root + query
    if (urlsplit(root).hostname or "").endswith((*_RESOURCE, *_OPENAI)):
        return _resource(root) + "/providers/cohere/v2/rerank" + query
    plain = _without_tail(root)
    return plain + ("/rerank" if plain.endswith(("/v1", "/v2")) else "/v1/rerank") + query


def _without_tail(root: str) -> str:
    return root.removesuffix(next((tail for tail in (*_TAILS, *_RERANK) if root.endswith(tail)), ""))


def _resource(root: str) -> str:
    """Return the resource itself, without the path of one of its interfaces or of an operation."""
    parts = urlsplit(_without_tail(root))
    found = _INTERFACES.search(parts.path)
    return f"{parts.scheme}://{parts.netloc}{parts.path[: found.start()] if found else parts.path}"


def _with_version(query: str, version: str) -> str:
    if not version or "api-version=" in query:
        return query
    return f"{query}{'&' if query else '?'}api-version={quote(version, safe='')}"


def foundry_dialects(model: str, base: str, version: str = "") -> tuple[str, ...]:
    """Return the dialects that are spoken there. ``model``: the upstream's name or that of its base model; ``base``:
    the user's, or ""."""
    parts = urlsplit(base)
    path, host = parts.path.rstrip("/"), parts.hostname or ""
    if path.endswith("/chat/completions"):
        return ("openai_chat",)
    if _CLAUDE.search(path) or model.lower().startswith("claude"):
        return ("anthropic",)
    if path.endswith("/responses"):
        return ("openai_responses",)
    if "/openai/v1" in path or (host.endswith(_OPENAI) and (not version or version in UNDATED)):
        return ("openai_chat", "openai_responses")
    return ("openai_chat",)


def foundry_headers(url: str, key: bytes, dialect: str) -> list[tuple[bytes, bytes]]:
    """Return the headers of a request to ``url``: a key as ``api-key`` at a resource, beside it as ``x-api-key`` for
    Claude (what Anthropic's own client sends), as Bearer beside it at a serverless host and at hosts of the user's
    (what Microsoft's client sends)."""
    host = urlsplit(url).hostname or ""
    found = [(b"api-key", key)]
    if dialect.startswith("anthropic"):
        found.append((b"x-api-key", key))
    elif not host.endswith((*_RESOURCE, *_OPENAI)):
        found.append((b"authorization", b"Bearer " + key))
    return found


def token_scope(base: str) -> str:
    """Return the scope of an Entra ID token for a base: a project's is another than a resource's, and sovereign clouds
    have their own."""
    parts = urlsplit(base)
    if PROJECT in parts.path:
        return "https://ai.azure.com/.default"
    end = (parts.hostname or "").rpartition(".azure.")[2]
    return f"https://cognitiveservices.azure.{end if end in ('us', 'cn') else 'com'}/.default"
