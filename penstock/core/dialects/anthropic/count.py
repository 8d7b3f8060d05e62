"""``POST /v1/messages/count_tokens``: a request without an answer.

Source: https://docs.anthropic.com/en/api/messages-count-tokens and the ``anthropic`` client's
``MessageCountTokensParams``. LiteLLM's proxy tells where the count came from in ``litellm_count_source``.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.dialects.anthropic.request_in import parse_prompt
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Request

# What the counting endpoint refuses ("Extra inputs are not permitted"): the fields that shape the answer only.
_ANSWER_ONLY = frozenset(
    ("max_tokens", "stream", "temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier", "container")
)


class _Counted(Struct):
    input_tokens: int


_COUNTED = Decoder(_Counted)


def parse_count_request(fields: Mapping[str, Raw]) -> Request:
    """Parse the body of a count request; ``max_tokens`` may be absent. Raises ``GatewayError("bad_request")``."""
    return parse_prompt(fields)


def count_fields(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    """Make the body of a count request from a rendered request."""
    return {key: raw for key, raw in fields.items() if key not in _ANSWER_ONLY}


def parse_count(body: bytes) -> int:
    """Read the upstream's count in tokens. Raises ``GatewayError("broken_answer")``."""
    try:
        return _COUNTED.decode(body).input_tokens
    except BAD_JSON as error:
        raise GatewayError("broken_answer", f"The upstream's token count cannot be read: {error}.") from None


def render_count(tokens: int, source: str = "") -> bytes:
    """Render the count for the client. ``source``: "provider" or "local_estimate"; "" leaves the mark out."""
    return encode({"input_tokens": tokens, **({"litellm_count_source": source} if source else {})})
