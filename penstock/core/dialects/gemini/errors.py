"""Errors of Google's APIs: ``{"error": {"code", "message", "status", "details"}}``, a ``google.rpc.Status``.

Sources: https://ai.google.dev/gemini-api/docs/troubleshooting, https://cloud.google.com/apis/design/errors. A stream
that was not asked for as events answers with an array of one such object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError, kind_of_status

STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
_RETRY = "type.googleapis.com/google.rpc.RetryInfo"
_LONGEST = 2000  # characters of an unknown body that go into a message
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


class _Detail(Struct, rename={"retry_delay": "retryDelay"}):
    reason: str = ""
    retry_delay: str = ""


class _Inner(Struct):
    code: int | str | None = None
    message: str | None = None
    status: str | None = None
    details: Raw = Raw()


class _Outer(Struct):
    error: _Inner | str | None = None
    message: str | None = None


_BODY = Decoder(_Outer | list[_Outer]).decode
_DETAILS = Decoder(list[_Detail]).decode


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Parse a non-2xx answer: the kind by status (and text, for a 400), the vendor's words kept. A key that is not
    valid is a 400 of this API and an ``upstream_auth`` of ours: another deployment may have a good one."""
    inner = _inner(body)
    details = _details(inner.details)
    message = inner.message or f"The upstream answered {status} without a message."
    kind = kind_of_status(status, f"{inner.status} {inner.message}")
    if any(detail.reason == "API_KEY_INVALID" for detail in details):
        kind = "upstream_auth"
    return GatewayError(
        kind,
        message,
        retry_after=_seconds(headers, details),
        status=None if kind == "upstream_auth" else status,
        upstream_type=inner.status or "",
        upstream_code=next((detail.reason for detail in details if detail.reason), ""),
    )


def stream_error(body: bytes | Raw) -> GatewayError:
    """Parse an error amid a stream, or under status 200: its code or its status tells."""
    inner = _inner(bytes(body))
    status = inner.code if isinstance(inner.code, int) and 400 <= inner.code < 600 else 0
    return parse_error(status or STATUS.get(inner.status or "", 500), {}, bytes(body))


def _inner(body: bytes) -> _Inner:
    try:
        outer = _BODY(body)
    except BAD_JSON:
        return _Inner(message=body[:_LONGEST].decode("utf-8", "replace").strip() or None)
    if isinstance(outer, list):
        outer = outer[0] if outer else _Outer()
    if isinstance(outer.error, _Inner):
        return outer.error
    return _Inner(message=outer.error or outer.message)


def _details(raw: Raw) -> list[_Detail]:
    try:
        return _DETAILS(raw)
    except BAD_JSON:
        return []


def _seconds(headers: Mapping[str, str], details: list[_Detail]) -> float | None:
    """Read ``RetryInfo.retryDelay`` ("34.07s"), else ``retry-after`` in seconds."""
    for detail in details:
        found = _DELAY.fullmatch(detail.retry_delay)
        if found is not None:
            return float(found[1])
    try:
        value = float(headers.get("retry-after", ""))
    except ValueError:
        return None
    return value if 0 <= value < 1e7 else None


def error_body(error: GatewayError) -> bytes:
    word = _WORDS.get(error.status) or ("INTERNAL" if error.status >= 500 else "INVALID_ARGUMENT")
    told: dict[str, Any] = {"code": error.status, "message": error.text, "status": word}
    if error.retry_after is not None:
        told["details"] = [{"@type": _RETRY, "retryDelay": f"{max(1, round(error.retry_after))}s"}]
    return encode({"error": told})


def render_error(error: GatewayError) -> tuple[int, bytes]:
    """Render status and body for a client of this dialect."""
    return error.status, error_body(error)
