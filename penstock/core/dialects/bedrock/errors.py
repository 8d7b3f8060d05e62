"""Errors of Bedrock: ``{"message"}``, the kind in the header ``x-amzn-errortype`` (or ``__type`` in the body), and
exceptions inside a stream.

Source: https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html and the service model
(``wire``), which has each exception's status.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.json import Decoder, encode

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError, kind_of_status

_AUTH = "upstream_auth"
# The kinds that say more than their status does, in lower case and without "exception" at the end.
KINDS = {
    "unrecognizedclient": _AUTH,
    "invalidclienttokenid": _AUTH,
    "invalidsignature": _AUTH,
    "incompletesignature": _AUTH,
    "signaturedoesnotmatch": _AUTH,
    "expiredtoken": _AUTH,
    "expired": _AUTH,
    "missingauthenticationtoken": _AUTH,
    "missingauthentication": _AUTH,
    "accessdenied": "upstream_forbidden",
    "servicequotaexceeded": "upstream_rate_limit",
    "throttling": "upstream_rate_limit",
    "toomanyrequests": "upstream_rate_limit",
    "modelnotready": "upstream_rate_limit",
    "modelerror": "upstream_error",
    "modelstreamerror": "upstream_error",
    "modeltimeout": "upstream_timeout_status",
    "internalserver": "upstream_error",
    "internalfailure": "upstream_error",
    "serviceunavailable": "upstream_unavailable",
    "resourcenotfound": "upstream_not_found",
}
_STATUS = {"validation": 400, "conflict": 409}
# Words by which a 400 is known to be about length, beside those of every vendor.
_TOO_LONG = ("input is too long", "too many input tokens", "exceeds the model's maximum", "maximum context")
_LONGEST = 2000  # characters of an unknown body that go into a message
_NAMES = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}


class _Body(Struct):
    message: str | None = None
    Message: str | None = None
    original_message: str | None = msgspec.field(default=None, name="originalMessage")
    original_status: int | None = msgspec.field(default=None, name="originalStatusCode")
    kind: str = msgspec.field(default="", name="__type")


_BODY = Decoder(_Body).decode


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Parse a non-2xx answer: the kind by the exception's name, else by status and text; the vendor's words kept."""
    told = _read(body)
    name = (headers.get("x-amzn-errortype") or told.kind).partition(":")[0].rpartition("#")[2]
    return _error(status, name, told, headers.get("retry-after", ""))


def stream_error(name: str, data: bytes) -> GatewayError:
    """Parse an exception inside a stream."""
    short = name.lower().removesuffix("exception")
    return _error(_STATUS.get(short, 500), name, _read(data), "")


def _error(status: int, name: str, told: _Body, after: str) -> GatewayError:
    words = told.message or told.Message or ""
    if told.original_message and told.original_message not in words:
        words = f"{words} ({told.original_message})".strip()
    short = name.lower().removesuffix("exception")
    kind = KINDS.get(short)
    if kind is None:
        lower = words.lower()
        kind = kind_of_status(status, lower)
        if kind == "upstream_bad_request" and any(mark in lower for mark in _TOO_LONG):
            kind = "context_window"
    elif kind == "upstream_error" and told.original_status is not None and told.original_status >= 500:
        kind = kind_of_status(told.original_status, "")
    if kind == "upstream_forbidden" and "security token" in words.lower():
        kind = _AUTH
    try:
        seconds = float(after)
    except ValueError:
        seconds = -1.0
    same = kind_of_status(status, words) == kind
    return GatewayError(
        kind,
        words or f"The upstream answered {name or status} without a message.",
        retry_after=seconds if 0 <= seconds < 1e7 else None,
        status=status if same else None,
        upstream_type=name,
        upstream_code=name,
    )


def _read(body: bytes) -> _Body:
    try:
        return _BODY(body)
    except BAD_JSON:
        return _Body(message=body[:_LONGEST].decode("utf-8", "replace").strip() or None)


def name_of(error: GatewayError) -> str:
    """Return the exception's name for a client."""
    return _NAMES.get(error.status) or ("ValidationException" if error.status < 500 else "InternalServerException")


def error_body(error: GatewayError) -> bytes:
    return encode({"message": error.text})


def render_error(error: GatewayError) -> tuple[int, bytes]:
    """Render status and body for a client of this dialect. The name goes into the body: headers are not ours to
    write."""
    return error.status, encode({"__type": name_of(error), "message": error.text})
