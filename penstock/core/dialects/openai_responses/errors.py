"""Errors of the Responses API. Over HTTP they are OpenAI's one shape, shared with Chat; in a stream they are an
``error`` event, then ``response.failed`` with the response object
(platform.openai.com/docs/api-reference/responses-streaming).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from penstock.core.dialects.openai_chat.errors import error_in_answer, parse_error, render_error
from penstock.core.dialects.openai_chat.reading import opens
from penstock.core.errors import GatewayError

__all__ = ["error_codes", "parse_error", "render_error", "stream_error"]

# ``response.error.code`` that blame the prompt, for which OpenAI has no status: a failed response comes with a 200.
_OF_THE_PROMPT = frozenset(
    (
        "invalid_prompt",
        "bio_policy",
        "data_residency_mismatch",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    )
)
_POLICY = frozenset(("image_content_policy_violation", "misalignment_policy_violation", "content_filter"))
_OVERLOADED = frozenset(("server_is_overloaded", "slow_down"))


def stream_error(fields: Mapping[str, Raw] | None) -> GatewayError:
    """Parse the error in an ``error`` event or a failed response: ``{"code", "message", "param"}``, at the top or in
    ``error``; None or nothing: an error without words."""
    fields = fields or {}
    inner = fields.get("error")
    if inner is not None and opens(inner, "{"):
        raw: Raw | bytes = inner
    elif inner is not None and opens(inner, '"'):
        raw = inner
    else:
        raw = encode({key: fields[key] for key in ("code", "message", "param") if key in fields})
    error = error_in_answer(raw)
    code = error.upstream_code
    if code in _OF_THE_PROMPT:
        return _as("upstream_bad_request", error)
    if code in _POLICY:
        return _as("content_policy", error)
    return _as("upstream_overloaded", error) if code in _OVERLOADED else error


def _as(kind: str, error: GatewayError) -> GatewayError:
    return GatewayError(
        kind,
        error.message,
        param=error.param,
        upstream_type=error.upstream_type,
        upstream_code=error.upstream_code,
    )


_CODES = {
    "upstream_rate_limit": "rate_limit_exceeded",
    "context_window": "context_length_exceeded",  # what Codex reads to compact its history
    "content_policy": "invalid_prompt",
    "upstream_payment": "insufficient_quota",
    "upstream_overloaded": "server_is_overloaded",
}


def error_codes(error: GatewayError) -> dict[str, Any]:
    """Make the ``response.error`` of a failed response."""
    code = _CODES.get(error.kind) or ("invalid_prompt" if error.row.fault == "client" else "server_error")
    return {"code": code, "message": error.text}
