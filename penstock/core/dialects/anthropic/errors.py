"""Errors of the Messages API: ``{"type": "error", "error": {"type", "message"}, "request_id"}``.

Source: https://docs.anthropic.com/en/api/errors. Servers that speak the dialect over other models answer some errors
in OpenAI's shape (llama.cpp its 401), as ``{"detail": ...}`` or as plain text: all are read.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError, kind_of_status

STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_LONGEST = 2000  # characters of an unknown body that go into a message


class _Inner(Struct):
    type: str | None = None
    message: str | None = None
    code: str | int | None = None
    param: str | None = None
    details: Raw = Raw(b"null")


class _Outer(Struct):
    error: _Inner | str | None = None
    detail: Raw = Raw()
    message: str | None = None


_BODY = Decoder(_Outer)


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Parse a non-2xx answer: the kind by status (and text, for a 400), the vendor's words kept."""
    inner = _inner(body)
    message = inner.message or f"The upstream answered {status} without a message."
    kind = kind_of_status(status, f"{inner.type} {inner.code} {inner.message}")
    return GatewayError(
        kind,
        message,
        param=inner.param,
        retry_after=_seconds(headers),
        status=status,
        upstream_type=inner.type or "",
        upstream_code="" if inner.code is None else str(inner.code),
        details=_details(inner.details),
    )


def _details(raw: Raw) -> bytes:
    """Return ``error.details``: the vendor's clients find their way back by its ``error_code``."""
    text = bytes(raw).decode("utf-8", "replace")
    if not text.startswith("{"):
        return b""
    try:
        msgspec.json.decode(text)
    except BAD_JSON:
        return b""
    return text.encode()


def stream_error(body: bytes | Raw) -> GatewayError:
    """Parse an ``error`` event: there is no status, so its type tells."""
    inner = _inner(bytes(body))
    status = STATUS.get(inner.type or "")
    if status is None:
        status = inner.code if isinstance(inner.code, int) and 400 <= inner.code < 600 else 500
    error = parse_error(status, {}, encode({"error": inner}))
    return error


def _inner(body: bytes) -> _Inner:
    try:
        outer = _BODY.decode(body)
    except BAD_JSON:
        return _Inner(message=body[:_LONGEST].decode("utf-8", "replace").strip() or None)
    error = outer.error
    if isinstance(error, _Inner):
        return error
    if isinstance(error, str):
        return _Inner(message=error)
    if bytes(outer.detail) not in (b"", b"null"):
        text = bytes(outer.detail)[:_LONGEST].decode("utf-8", "replace")
        return _Inner(message=text.strip('"'))
    return _Inner(message=outer.message)


def _seconds(headers: Mapping[str, str]) -> float | None:
    """Read ``retry-after`` in seconds; the form of a date needs a clock and is left to the caller."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            value = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        if 0 <= value < 1e7:
            return value
    return None


def error_body(error: GatewayError) -> bytes:
    inner: dict[str, str | Raw] = {"type": error.row.anthropic, "message": error.text}
    if error.details:
        inner["details"] = Raw(error.details)
    return encode({"type": "error", "error": inner})


def render_error(error: GatewayError) -> tuple[int, bytes]:
    """Render status and body for a Messages client."""
    return error.status, error_body(error)
