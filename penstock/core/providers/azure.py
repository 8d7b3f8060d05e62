"""Azure OpenAI's URLs: the deployment stands in the path and the API version in the query.

https://learn.microsoft.com/azure/ai-foundry/openai/reference for the dated form,
https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle for `/openai/v1`, which needs neither.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from penstock.core.providers.paths import in_path

AZURE = "azure"
"""The row of Azure OpenAI, whose accounts are those of all Azure."""
DEFAULT_API_VERSION = "2025-02-01-preview"
"""LiteLLM's default, for configurations that name none."""
UNDATED = frozenset({"v1", "latest", "preview"})
"""Values of `api_version` that mean the v1 interface."""

SERIES: Mapping[str, str] = {"o_series/": "o1", "gpt5_series/": "gpt-5"}
"""Words of LiteLLM's before a deployment's name, which says nothing of the model -> the model whose rules hold."""

_V1 = "/openai/v1"
_DEPLOYMENTS = "/openai/deployments/"
REALTIME = "/realtime"
# The dated interface has no deployment in the path of these.
_ROOT_SUFFIXES = frozenset({"/models", "/files", "/batches"})


def azure_url(root: str, query: str, suffix: str, model: str, api_version: str) -> str:
    """Return the full URL of an operation.

    `root` is the user's base without a trailing slash: the resource (`https://r.openai.azure.com`), the same with
    `/openai`, with `/openai/v1`, with `/openai/deployments/NAME`, or the full path. A deployment or an `api-version`
    (in `query`, which begins with `?` or is empty) that the base names wins over `model` and `api_version`.
    `suffix` is the OpenAI path, e.g. `/chat/completions`; Responses exist in the v1 interface only.
    Raises `LookupError` when the deployment is needed and `model` is empty.
    """
    resource, dated, rest = root.partition(_DEPLOYMENTS)
    deployment = rest.partition("/")[0] or in_path(model)
    v1 = False
    if not dated:
        resource, found, _ = root.partition(_V1)
        resource = resource.removesuffix("/openai")
        v1 = bool(found) or api_version in UNDATED
    if v1 or suffix == "/responses" or (suffix == REALTIME and not api_version):
        wanted = api_version if api_version in ("latest", "preview") else ""
        return resource + _V1 + suffix + _with_version(query, wanted)
    version = api_version or DEFAULT_API_VERSION
    if suffix in _ROOT_SUFFIXES:
        return resource + "/openai" + suffix + _with_version(query, version)
    if suffix == REALTIME and deployment:  # the beta's, which has the deployment in the query
        query = _with_version(query, version)
        return f"{resource}/openai{suffix}{query}&deployment={quote(deployment, safe='')}"
    if not deployment:
        raise LookupError(f"the Azure URL of {suffix!r} needs the name of the deployment")
    return resource + _DEPLOYMENTS + deployment + suffix + _with_version(query, version)


_DATED = re.compile(r"20\d\d-\d\d-\d\d(?:-preview)?")
_ANY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}")


def is_version(text: str, provider: str) -> bool:
    """Tell whether a text may be an `api_version`: a day at Azure OpenAI, one word of any kind elsewhere."""
    if provider in ("azure", "azure_text"):
        return text in UNDATED or _DATED.fullmatch(text) is not None
    return _ANY.fullmatch(text) is not None


def without_series(model: str) -> str:
    """Return the deployment's name alone: `gpt5_series/prod` -> `prod`."""
    return model.removeprefix(next((word for word in SERIES if model.startswith(word)), ""))


def _with_version(query: str, version: str) -> str:
    if not version or "api-version=" in query:
        return query
    return f"{query}{'&' if query else '?'}api-version={quote(version, safe='')}"
