"""Errors in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``, and the shapes that compatible
servers use instead."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import encode

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError, kind_of_status

LONGEST = 4000  # characters of an upstream's message that are kept

# By ``type`` or ``code``, for errors inside a stream or a 200, which have no status. OpenAI's and Anthropic's words.
_STATUS_BY_WORD = {
    "invalid_request_error": 400,
    "context_length_exceeded": 400,
    "content_filter": 400,
    "authentication_error": 401,
    "invalid_api_key": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "throttling_error": 429,
    "requests": 429,
    "tokens": 429,
    "server_error": 500,
    "api_error": 500,
    "internal_server_error": 500,
    "service_unavailable_error": 503,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Parse a non-2xx answer. The vendor's message is kept; the engine takes secrets out."""
    message, kind, code, param = _words(body)
    if status < 400:
        named = "upstream_bad_gateway"
        message = f"The upstream answered with status {status} instead of an answer. {message}".strip()
    else:
        named = kind_of_status(status, f"{message} {code} {kind}")
    own = named not in ("context_window", "content_policy") and status >= 400
    return GatewayError(
        named,
        message or f"The upstream answered with status {status} and no message.",
        param=param or None,
        retry_after=retry_after(headers),
        status=status if own else None,
        upstream_type=kind,
        upstream_code=code,
    )


_SAYS_NOTHING = frozenset((b"null", b"false", b"{}", b'""', b"[]"))


def told_error(fields: Mapping[str, Raw]) -> bool:
    """Tell whether the top level of an answer or of a chunk holds an error. OpenRouter sends it beside choices that say
    what came until then; some servers have an empty one in every answer."""
    raw = fields.get("error")
    return raw is not None and bytes(raw) not in _SAYS_NOTHING


def error_in_answer(raw: Raw | bytes) -> GatewayError:
    """Parse the ``error`` member of a stream's event or of a 200: its kind comes from its code, else from its type."""
    message, kind, code, param = _words(b'{"error":' + bytes(raw) + b"}")
    status = int(code) if code.isascii() and code.isdigit() and 400 <= int(code) <= 599 else 0
    status = status or _STATUS_BY_WORD.get(code) or _STATUS_BY_WORD.get(kind) or 500
    named = kind_of_status(status, f"{message} {code} {kind}")
    return GatewayError(
        named,
        message or "The upstream reported an error without a message.",
        param=param or None,
        upstream_type=kind,
        upstream_code=code,
    )


def errors_in_stream(data: bytes) -> GatewayError:
    """Parse an event of IBM's in place of a chunk: ``{"errors": [{"code", "message"}], "status_code": 400}``."""
    try:
        status = msgspec.json.decode(data, type=_Listed).status_code
    except msgspec.DecodeError:
        status = 0
    message, kind, code, param = _words(data)
    named = kind_of_status(status if 400 <= status <= 599 else 500, f"{message} {code} {kind}")
    return GatewayError(named, message, param=param or None, upstream_type=kind, upstream_code=code)


class _Listed(msgspec.Struct):
    status_code: int = 0


def _words(body: bytes) -> tuple[str, str, str, str]:
    """Read message, type, code, param of an error body of any known shape; of text and HTML, the text."""
    try:
        found = msgspec.json.decode(body)
    except BAD_JSON:
        return _clean(body.decode("utf-8", "replace")), "", "", ""
    if isinstance(found, list) and found:  # Google's compatible endpoint wraps it in an array
        found = found[0]
    if not isinstance(found, dict):
        return _clean(found if isinstance(found, str) else body.decode("utf-8", "replace")), "", "", ""
    inner = found.get("error")
    listed = found.get("errors")
    if inner is None and isinstance(listed, list) and listed and isinstance(listed[0], dict):
        inner = listed[0]  # IBM's watsonx, Cloudflare
    if isinstance(inner, list) and inner and isinstance(inner[0], dict):
        inner = inner[0]  # SAP's orchestration, one per module
    if isinstance(inner, str):
        return _clean(inner), _word(found.get("type") or found.get("error_type")), _word(found.get("code")), ""
    fields: dict[str, Any] = inner if isinstance(inner, dict) else found
    message = fields.get("message") or fields.get("detail") or fields.get("msg") or ""
    if not isinstance(message, str):  # FastAPI: {"detail": [{"loc", "msg", "type"}]}
        message = encode(message).decode()
    metadata = fields.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("raw"), str):  # OpenRouter: the real provider's words
        message = f"{message}: {metadata['raw']}"
    kind, code = _word(fields.get("type") or fields.get("status")), _word(fields.get("code"))
    return _clean(message or encode(found).decode()), kind, code, _word(fields.get("param"))


def _word(value: Any) -> str:
    return value[:200] if isinstance(value, str) else str(value) if isinstance(value, int) else ""


def _clean(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read the seconds to wait: ``retry-after-ms`` (OpenAI), ``retry-after`` as seconds, or as a date when the answer
    tells its own time in ``date``."""
    for key, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(key, "")) * unit
        except ValueError:
            continue
        if 0 <= seconds < 1e9:
            return seconds
    until, now = _date(headers.get("retry-after", "")), _date(headers.get("date", ""))
    return None if until is None or now is None else max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    except ValueError:
        return None


def error_fields(error: GatewayError) -> dict[str, Any]:
    """Make the ``error`` object: ``code`` is the status as a string, which LiteLLM's callers match on."""
    return {"message": error.text, "type": error.row.openai, "param": error.param, "code": str(error.status)}


def render_error(error: GatewayError) -> tuple[int, bytes]:
    """Render status and body for a client of this dialect."""
    return error.status, encode({"error": error_fields(error)})
