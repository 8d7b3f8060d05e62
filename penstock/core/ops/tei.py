"""How text-embeddings-inference refuses, in both of its operations.

``{"error", "error_type"}``: 413 or 422 for a batch or a text that is too long (which of the two, its releases differ),
424 for a model that failed or is of another kind, 429 when it is overloaded
(https://github.com/huggingface/text-embeddings-inference, ``router/src/http/server.rs``).
"""

from __future__ import annotations

import re

from penstock.core.errors import GatewayError
from penstock.core.providers import operations

NAMES = operations.TEI
LIMIT = operations.BATCH
_BATCH = re.compile(r"maximum allowed batch size (\d+)")
_LONG = re.compile(r"must have less than \d+ tokens")


def limit_in(error: GatewayError) -> int:
    """Find the largest batch that the server says it takes; 0 when its error is about something else."""
    found = _BATCH.search(error.message) if error.status in (400, 413, 422) else None
    return int(found[1]) if found is not None else 0


def explained(error: GatewayError) -> GatewayError:
    """Add to the error its cause where the status alone does not tell it."""
    if error.status == 424:
        hint = "its model may be of another kind (embeddings, ranking)"
        return GatewayError("upstream_error", f"{error.message} (the server answered 424: {hint})", status=502)
    if error.status in (413, 422) and _LONG.search(error.message):
        return GatewayError(
            "context_window", f"{error.message} Send truncate: true to have texts cut.", retry_after=error.retry_after
        )
    return error
