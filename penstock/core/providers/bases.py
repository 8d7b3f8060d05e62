"""Bases that users have in their files and that a row's own rules would not complete: older paths, hosts alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

_CORTEX = "/api/v2/cortex"


def rewritten(provider: str, root: str, suffix: str) -> str:
    """Rewrite ``root`` (a base without a trailing slash) as the rules of ``urls`` understand it; ``suffix``: the path
    of the operation."""
    found = _REWRITERS.get(provider)
    return found(root, suffix) if found is not None else root


def _cloudflare(root: str, suffix: str) -> str:
    """Rewrite a base at Cloudflare: ``.../ai/run`` is the older interface and ``.../ai`` both; the ``/v4`` before it is
    no version of this one. Behind an AI Gateway the part of Workers AI has a version, too.
    https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility"""
    root = re.sub(r"/ai/run(?:/@?[^?]*)?$", "/ai/v1", root)
    return root + "/v1" if root.endswith(("/ai", "/workers-ai")) else root


def _snowflake(root: str, suffix: str) -> str:
    """Rewrite a base at Snowflake: ``.../cortex/inference:complete`` is LiteLLM's older path; a host alone has none.
    https://docs.snowflake.com/en/user-guide/snowflake-cortex/cortex-rest-api"""
    root = re.sub(r"/inference:[a-z]*$", "", root)
    parts = urlsplit(root)
    if not parts.path and (parts.hostname or "").endswith((".snowflakecomputing.com", ".snowflakecomputing.cn")):
        root += _CORTEX
    if root.endswith(_CORTEX):
        root += "/v1"
    return root.removesuffix("/v1") if suffix == EMBED else root


EMBED = "/inference:embed"
"""Snowflake's embeddings, which are not below the version of its chat."""


_INVOKED = "/invocations"


def is_whole(provider: str, root: str) -> bool:
    """Tell whether a base is the address that every request goes to: a Databricks endpoint's own
    (``/serving-endpoints/NAME/invocations``) takes the same bodies.
    https://docs.databricks.com/api/workspace/servingendpoints/query"""
    return provider == "databricks" and root.endswith(_INVOKED)


_REWRITERS: Mapping[str, Callable[[str, str], str]] = {"cloudflare": _cloudflare, "snowflake": _snowflake}
