"""Model lists in Google's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec

from penstock.server.routes import JSON, Page

if TYPE_CHECKING:
    from penstock.runtime.call import Call
    from penstock.server.gateway import Gateway

LISTS = ("/v1beta/models", "/v1alpha/models")
PAGE_SIZE = 50


def entry(name: str) -> dict[str, Any]:
    """Describe one model as the reference describes it. Limits are left out: no number is better than a wrong one."""
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "version": "", "displayName": name, "supportedGenerationMethods": methods}


def models(gateway: Gateway, call: Call) -> Page:
    """List the models in Google's form. ``pageSize`` (50 by default, at most 1000) and ``pageToken`` ask for a
    page of the list."""
    asked = {key: values[-1] for key, values in parse_qs(call.exchange.query.decode("latin-1")).items()}
    size = min(max(int(asked["pageSize"]), 1), 1000) if asked.get("pageSize", "").isdigit() else PAGE_SIZE
    start = int(asked["pageToken"]) if asked.get("pageToken", "").isdigit() else 0
    names = [name for name in gateway.names_for(call) if "*" not in name]
    told: dict[str, Any] = {"models": [entry(name) for name in names[start : start + size]]}
    if start + size < len(names):
        told["nextPageToken"] = str(start + size)
    return Page(200, JSON, msgspec.json.encode(told))
