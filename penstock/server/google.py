"""Google's own paths: the model and the method stand in the path, the key may stand in the query, and models are
listed in another shape.

Source: https://ai.google.dev/api/models, https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.runtime import lanes
from penstock.server import arrays

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.runtime.call import Call
    from penstock.runtime.exchange import Exchange
    from penstock.runtime.http import Pool
    from penstock.runtime.targets import Target
    from penstock.server.gateway import Gateway

_ROOT = r"(?:/v1(?:alpha|beta)?)?/models/(?P<model>.+):"
GENERATE = re.compile(_ROOT + "generateContent")
STREAM = re.compile(_ROOT + "streamGenerateContent")
COUNT = re.compile(_ROOT + "countTokens")
LISTS = ("/v1beta/models", "/v1alpha/models")
MODELS = ("/v1beta/models/", "/v1alpha/models/")
PAGE_SIZE = 50


def is_google(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Whether a request that no surface takes is a Google client's: by its path, else by the header that only Google's
    clients send."""
    if path.startswith(("/v1beta/", "/v1alpha/")):
        return True
    return b"x-goog-api-key" in headers and b"anthropic-version" not in headers


# Surfaces -------------------------------------------------------------------------------------------------------------


def enter(exchange: Exchange, fields: dict[str, Raw]) -> None:
    """Puts the model of the path into the body's fields, and whether a stream is wanted."""
    found = GENERATE.fullmatch(exchange.path) or STREAM.fullmatch(exchange.path) or COUNT.fullmatch(exchange.path)
    assert found is not None  # a pattern brought us here
    fields["model"] = Raw(msgspec.json.encode(found["model"]))
    if exchange.path.endswith(":streamGenerateContent"):
        fields["stream"] = Raw(b"true")
    else:
        fields.pop("stream", None)


def check(fields: Mapping[str, Raw]) -> None:
    """Raises "bad_request" unless there is something to answer."""
    contents = bytes(fields.get("contents", b""))
    if "generateContentRequest" in fields or "generate_content_request" in fields:
        return
    if contents[:1] not in (b"[", b"{") or contents[1:-1].strip() == b"":
        text = 'GenerateContentRequest.contents: contents is not specified; send [{"parts": [{"text": "Hello"}]}].'
        raise GatewayError("bad_request", text, param="contents")


async def run(pool: Pool, call: Call, target: Target) -> None:
    """One attempt. A stream that was not asked for as events is one JSON array."""
    if call.stream and "sse" not in parse_qs(call.exchange.query.decode("latin-1")).get("alt", ()):
        if not isinstance(call.exchange, arrays.Arrays):
            call.exchange = cast("Exchange", arrays.Arrays(call.exchange))
            call.surface = call.surface._replace(stream_type=arrays.CONTENT_TYPE)
    await lanes.run(pool, call, target)


# Pages ----------------------------------------------------------------------------------------------------------------


def entry(name: str) -> dict[str, Any]:
    """One model as the reference describes it. Limits are left out: no number is better than a wrong one."""
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "version": "", "displayName": name, "supportedGenerationMethods": methods}


def models(gateway: Gateway, exchange: Exchange) -> tuple[int, bytes, bytes]:
    """A page of the list: ``pageSize`` (50 by default, at most 1000) and ``pageToken``."""
    asked = {key: values[-1] for key, values in parse_qs(exchange.query.decode("latin-1")).items()}
    size = min(max(int(asked["pageSize"]), 1), 1000) if asked.get("pageSize", "").isdigit() else PAGE_SIZE
    start = int(asked["pageToken"]) if asked.get("pageToken", "").isdigit() else 0
    names = [name for name in gateway.state.catalog.names() if "*" not in name]
    told: dict[str, Any] = {"models": [entry(name) for name in names[start : start + size]]}
    if start + size < len(names):
        told["nextPageToken"] = str(start + size)
    return 200, b"application/json", msgspec.json.encode(told)
