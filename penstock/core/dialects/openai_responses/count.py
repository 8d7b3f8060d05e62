"""``POST /v1/responses/input_tokens``: a request without an answer.

Source: platform.openai.com/docs/api-reference/responses/input-tokens and the ``openai`` client's
``InputTokenCountParams``. Where a count was not the vendor's, ``litellm_count_source`` says so, as it does in Messages.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_responses.request_in import parse_request
from penstock.core.errors import GatewayError
from penstock.core.ir import Request

# All that the endpoint takes.
_COUNTED = frozenset(
    "model input instructions tools tool_choice parallel_tool_calls reasoning text truncation previous_response_id "
    "conversation".split()
)


class _Count(Struct):
    input_tokens: int


_READ = Decoder(_Count).decode


def parse_count_request(fields: Mapping[str, Raw]) -> Request:
    """Parse the body of a count request. Raises ``GatewayError("bad_request")``."""
    return parse_request(fields)


def count_fields(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    """Make the body of a count request from a rendered request."""
    return {key: raw for key, raw in fields.items() if key in _COUNTED}


def parse_count(body: bytes) -> int:
    """Read the upstream's count in tokens. Raises ``GatewayError("broken_answer")``."""
    try:
        return _READ(body).input_tokens
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError("broken_answer", f"The upstream's token count cannot be read: {error}.") from None


def render_count(tokens: int, source: str = "") -> bytes:
    """Render the count for the client. ``source``: "provider" or "local_estimate"."""
    made = {"object": "response.input_tokens", "input_tokens": tokens}
    return encode({**made, **({"litellm_count_source": source} if source else {})})
