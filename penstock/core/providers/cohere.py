"""Where Cohere's own API is: `/v2/chat`, `/v2/embed` and `/v2/rerank` (https://docs.cohere.com/reference/about).

The first two have another form in v1, so that an `api_base` with `/v1` in it, as LiteLLM's users have it, is taken for
the place of v2. `/compatibility/v1` is the vendor's OpenAI-compatible door (docs.cohere.com/docs/compatibility-api):
who names it in an `api_base` is served there.
"""

from __future__ import annotations

import re

COHERE = frozenset({"cohere", "cohere_chat"})
COMPATIBILITY = "/compatibility"
OPERATIONS = {"cohere": "/chat", "cohere_embed": "/embed", "rerank": "/rerank"}
_ANY = re.compile(r"/(?:chat|embed|rerank|chat/completions|embeddings|models)$")
_VERSION = re.compile(r"(?:/v\d+)+$")


def cohere_url(root: str, query: str, operation: str, own: bool) -> str:
    """Return the URL of an operation below a base of the user's, whatever it ends in: nothing, a version, the
    compatibility door, or the full path of any operation. Elsewhere than at the vendor's ``own`` hosts a ranking, whose
    form is the same in both, is asked for in the version that the user wrote."""
    suffix = OPERATIONS[operation]
    free = operation == "rerank" and not own
    if free and root.endswith(suffix):
        return root + query
    root = _ANY.sub("", root)
    version = _VERSION.search(root)
    kept = version[0] if version is not None and free else "/v2"
    root = _VERSION.sub("", root)
    if root.endswith(COMPATIBILITY):
        root, kept = root.removesuffix(COMPATIBILITY), "/v2"
    return f"{root}{kept}{suffix}{query}"
