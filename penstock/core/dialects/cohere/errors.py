"""Errors of Cohere's API: ``{"message": "..."}``, newer ones with an ``id`` beside it.

https://docs.cohere.com/reference/errors, and the statuses of the ``cohere`` client: 498 is a token that is not valid
(for a while also a blocked prompt), 499 a request that the vendor gave up. A stream tells its failure in
``message-end``, with ``finish_reason`` ERROR and the words in ``delta.error``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.json import encode

from penstock.core.dialects.openai_chat.errors import LONGEST, retry_after
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError, kind_of_status

_TOO_LONG = ("too many tokens", "prompt exceeds", "context length")
_ANSWER_TOO_LONG = "max tokens must be"  # the client's own wish, not the length of its prompt


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Parse a non-2xx answer. The vendor's message is kept without anything that looks like a key."""
    message, code = _words(body)
    if status < 400:
        kind = "upstream_bad_gateway"
        message = f"The upstream answered with status {status} instead of an answer. {message}".strip()
    else:
        kind = _kind(status, message)
    own = status >= 400 and kind not in ("context_window", "content_policy") and status not in (498, 499)
    return GatewayError(
        kind,
        message or f"The upstream answered with status {status} and no message.",
        retry_after=retry_after(headers),
        status=status if own else None,
        upstream_code=code,
    )


def _kind(status: int, message: str) -> str:
    lower = message.lower()
    if status in (400, 413, 422) and _ANSWER_TOO_LONG not in lower and any(mark in lower for mark in _TOO_LONG):
        return "context_window"
    if status == 498:
        return "content_policy" if "blocked" in lower else "upstream_auth"
    if status == 499:
        return "upstream_unavailable"
    return kind_of_status(status, message)


def _words(body: bytes) -> tuple[str, str]:
    """Return the message, and the id of the request that failed."""
    try:
        found: Any = msgspec.json.decode(body)
    except BAD_JSON:
        return clean(body.decode("utf-8", "replace")), ""
    if not isinstance(found, dict):
        return clean(found if isinstance(found, str) else body.decode("utf-8", "replace")), ""
    held = found.get("error")
    inner = held if isinstance(held, dict) else found  # a proxy before it that speaks OpenAI's shape
    told = inner.get("message") or inner.get("data") or inner.get("detail") or held or ""
    if not isinstance(told, str):
        told = encode(told).decode()
    id = found.get("id")
    return clean(told or encode(found).decode()), id if isinstance(id, str) else ""


def clean(text: str) -> str:
    """Cut the text short."""
    text = text.strip()
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def failed(reason: str, words: str) -> GatewayError:
    """Make the error of an answer that ended with ERROR or TIMEOUT: it is none."""
    if reason == "TIMEOUT":
        text = "The upstream stopped the answer: it took too long."
        return GatewayError("upstream_gateway_timeout", clean(words) or text)
    return GatewayError("upstream_error", clean(words) or 'The upstream ended the answer with finish_reason "ERROR".')


def render_error(error: GatewayError) -> tuple[int, bytes]:
    """Render status and body for a client of this dialect."""
    return error.status, encode({"message": error.text})
