"""``:countTokens``: a request without an answer.

Source: https://ai.google.dev/api/tokens. The body is ``contents`` alone, or a whole request under
``generateContentRequest``; Vertex AI takes the request's own fields at the top.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.base import Wire
from penstock.core.dialects.gemini.reading import camel, mapping
from penstock.core.dialects.gemini.request_in import parse_request
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Request

_WHOLE = "generateContentRequest"


class _Counted(Struct, rename="camel"):
    total_tokens: int = 0


_COUNTED = Decoder(_Counted).decode


def parse_count_request(fields: Mapping[str, Raw]) -> Request:
    """Read the request that is to be counted. Raises ``GatewayError("bad_request")``."""
    fields = camel(dict(fields))
    if _WHOLE in fields:
        inner = mapping(fields[_WHOLE], _WHOLE)
        return parse_request({**inner, "model": fields.get("model", Raw(b'""'))})
    return parse_request(fields)


def count_request(fields: Mapping[str, Raw], wire: Wire) -> dict[str, Raw]:
    """Make the body of a count request for an upstream, from a client's own or from a rendered request."""
    fields = camel(dict(fields))
    inner = mapping(fields[_WHOLE], _WHOLE) if _WHOLE in fields else fields
    whole = {key: raw for key, raw in inner.items() if key not in ("model", "stream")}
    if not wire.call_ids or whole.keys() <= {"contents"}:  # Vertex AI, or nothing that would need the longer form
        return whole
    return {_WHOLE: Raw(encode({"model": f"models/{wire.model}", **whole}))}


def parse_count(body: bytes) -> int:
    """Read the upstream's count in tokens. Raises ``GatewayError("broken_answer")``."""
    try:
        return _COUNTED(body).total_tokens
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's token count cannot be read: {error}.") from None


def render_count(tokens: int, source: str = "") -> bytes:
    """Render the count for the client; the reference has no field for where the count came from."""
    return encode({"totalTokens": tokens})
