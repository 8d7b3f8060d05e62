"""The functions of the module: those of a client without a config, which is made at the first call."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any

from penstock.core.providers import get
from penstock.core.providers.resolve import credential, needs_key, resolve
from penstock.sdk.client import Client
from penstock.sdk.operations import OPERATIONS

NAMES = frozenset([name for one in OPERATIONS for name in (one, f"a{one}")] + ["batch_completion", "abatch_completion"])
_lock = threading.Lock()


@cache
def _made() -> Client:
    return Client()


def find_function(name: str) -> Any:
    """Return the function of a name: a method of the client of this module."""
    with _lock:
        return getattr(_made(), name)


def validate_environment(
    model: str, api_key: str | None = None, api_base: str | None = None, custom_llm_provider: str | None = None
) -> dict[str, Any]:
    """Tell whether the environment has what a model's provider needs: `keys_in_environment`, and `missing_keys`, one of
    which would do for each need."""
    try:
        provider = get(resolve(model, api_base, custom_llm_provider)[0])
    except LookupError:
        provider = None
    if provider is None:
        return {"keys_in_environment": False, "missing_keys": []}
    if credential(provider, api_key, os.environ) is not None or not needs_key(provider, api_base, os.environ):
        return {"keys_in_environment": True, "missing_keys": []}
    return {"keys_in_environment": False, "missing_keys": list(provider.keys[:1] or provider.env)}
