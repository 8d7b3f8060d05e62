"""Google's own paths: the model and the method stand in the path, the key may stand in the query, and models are
listed in another shape.

Source: https://ai.google.dev/api/models, https://ai.google.dev/api/generate-content.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw

from penstock.core.errors import GatewayError
from penstock.server import arrays

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.runtime.call import Call
    from penstock.runtime.state import State

_ROOT = r"(?:/v1(?:alpha|beta)?)?/models/(?P<model>.+):"
GENERATE = re.compile(_ROOT + "generateContent", re.DOTALL)
STREAM = re.compile(_ROOT + "streamGenerateContent", re.DOTALL)
COUNT = re.compile(_ROOT + "countTokens", re.DOTALL)
EMBED = re.compile(_ROOT + "embedContent", re.DOTALL)
BATCH_EMBED = re.compile(_ROOT + "batchEmbedContents", re.DOTALL)
_ALL = (GENERATE, STREAM, COUNT, EMBED, BATCH_EMBED)


def templates(method: str) -> tuple[str, ...]:
    """List the paths of a method, written as a route's."""
    return tuple(f"{version}/models/{{model:path}}:{method}" for version in ("/v1beta", "/v1alpha", "/v1", ""))


def is_google(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a request that no surface takes is a Google client's: by its path, else by the header that only
    Google's clients send."""
    if path.startswith(("/v1beta/", "/v1alpha/")):
        return True
    return b"x-goog-api-key" in headers and b"anthropic-version" not in headers


# Surfaces -------------------------------------------------------------------------------------------------------------


def adapt(call: Call, fields: dict[str, Raw], state: State) -> None:
    """Put the model of the path into the body's fields, and whether a stream is wanted. One that was not asked for as
    events is one JSON array."""
    path = call.path
    found = next(filter(None, (pattern.fullmatch(path) for pattern in _ALL)), None)
    assert found is not None  # a pattern brought us here
    fields["model"] = Raw(msgspec.json.encode(found["model"]))
    if not path.endswith(":streamGenerateContent"):
        fields.pop("stream", None)
        return
    fields["stream"] = Raw(b"true")
    if "sse" not in parse_qs(call.exchange.query.decode("latin-1")).get("alt", ()):
        call.outlet.shape = arrays.Arrays()


def check(fields: Mapping[str, Raw]) -> None:
    """Raise "bad_request" unless there is something to answer."""
    contents = bytes(fields.get("contents", b""))
    if "generateContentRequest" in fields or "generate_content_request" in fields:
        return
    if contents[:1] not in (b"[", b"{") or contents[1:-1].strip() == b"":
        text = 'GenerateContentRequest.contents: contents is not specified; send [{"parts": [{"text": "Hello"}]}].'
        raise GatewayError("bad_request", text, param="contents")
