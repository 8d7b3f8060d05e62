"""Errors in Ollama's shape: ``{"error": "text"}``, as a status's body or as a line of a stream."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec.json import encode

from penstock.core.dialects.ollama.lines import escaped
from penstock.core.dialects.openai_chat.errors import LONGEST, retry_after
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError, kind_of_status

# "model 'llama9' not found", and until 0.5: 'model "llama9" not found, try pulling it first' (server/routes.go).
_MISSING = re.compile(r"""model ["'`]?([^"'`\s,]+)["'`]?,? (?:was )?not found""", re.I)
# Statuses for errors that come inside a 200, where the text is all there is.
_STATUS_BY_TEXT = (("not found", 404), ("does not support", 400), ("invalid", 400), ("server busy", 503))
_TOO_LONG = ("exceeds the context length", "exceeds maximum context length", "exceeds the available context")


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> GatewayError:
    """Parse a non-2xx answer. A model that is not there is named, with the command that fetches it."""
    return _error(status, _words(body), retry_after(headers))


def error_in_line(text: str, status: int = 0) -> GatewayError:
    """Parse the ``error`` of a stream's line or of a 200. Newer servers put the ``status`` beside it."""
    lower = text.lower()
    status = status or next((code for mark, code in _STATUS_BY_TEXT if mark in lower), 500)
    return _error(status, _clean(text), None)


def _error(status: int, message: str, wait: float | None) -> GatewayError:
    if status < 400:
        kind = "upstream_bad_gateway"
        message = f"The upstream answered with status {status} instead of an answer. {message}".strip()
    else:
        kind = kind_of_status(status, message)
        if status < 500 and any(mark in message.lower() for mark in _TOO_LONG):
            kind = "context_window"
    found = _MISSING.search(message)
    if found is not None and status == 404:
        message = f"model {found[1]!r} not found in Ollama. Fetch it there first: ollama pull {found[1]}"
    own = kind != "context_window" and status >= 400
    return GatewayError(
        kind,
        message or f"The upstream answered with status {status} and no message.",
        retry_after=wait,
        status=status if own else None,
        upstream_code="model_not_found" if found is not None else "",
    )


def _words(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except BAD_JSON:
        return _clean(body.decode("utf-8", "replace"))
    if isinstance(found, dict):
        inner = found.get("error", found)
        if isinstance(inner, dict):  # a proxy before it that speaks OpenAI's shape
            inner = inner.get("message") or encode(inner).decode()
        return _clean(inner if isinstance(inner, str) else encode(inner).decode())
    return _clean(found if isinstance(found, str) else body.decode("utf-8", "replace"))


def _clean(text: str) -> str:
    text = text.strip()
    return text if len(text) <= LONGEST else text[:LONGEST] + "..."


def render_error(error: GatewayError) -> tuple[int, bytes]:
    """Render status and body. A model that nobody knows is a 404 here: Ollama's clients act on that status."""
    status = 404 if error.kind == "unknown_model" else error.status
    return status, encode({"error": error.text})


def error_line(error: GatewayError) -> bytes:
    """Render the line that ends a stream in an error."""
    return escaped(encode({"error": error.text})) + b"\n"
