"""The Responses API as messages of a WebSocket: what a client sends, and what is no event of a stream.

Source: https://developers.openai.com/api/docs/guides/websocket-mode. An error is ``{"type": "error", "status": 400,
"error": {...}}``; Codex reads the status, the code and ``headers`` of it (codex-rs, ``responses_websocket.rs``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_responses.errors import render_error
from penstock.core.envelope import BAD_JSON, open_body
from penstock.core.errors import GatewayError

_FIELDS = Decoder(dict[str, Raw]).decode
CREATE = "response.create"
PROCESSED = "response.processed"
"""What Codex says when it has read a response. There is nothing to do, and no answer to it."""
_TRANSPORT = ("type", "event_id", "stream", "background", "stream_options")
_TOLD = (b"retry-after", b"x-litellm-call-id", b"x-request-id")


def create_fields(data: bytes) -> dict[str, Raw] | None:
    """Read a client's message as the fields of a request that streams; None for one that asks for nothing. Raises
    "bad_request" for anything but a ``response.create``."""
    fields = open_body(data)
    kind = _text(fields.get("type"))
    if kind == PROCESSED:
        return None
    if kind != CREATE:
        text = f"The message's 'type' is {kind[:100]!r}; this connection takes {CREATE!r}, and one at a time."
        raise GatewayError("bad_request", text, param="type")
    inner = fields.get("response")
    if inner is not None and "input" not in fields:  # as Realtime has it, and early clients of this API
        try:
            fields = _FIELDS(inner)
        except BAD_JSON:
            raise GatewayError("bad_request", "'response' must be an object.", param="response") from None
    if bytes(fields.get("stream_id", b"null")) != b"null":
        text = "'stream_id': several responses at once on one connection are not served here. Leave it out."
        raise GatewayError("bad_request", text, param="stream_id")
    taken = {name: value for name, value in fields.items() if name not in _TRANSPORT}
    taken.pop("stream_id", None)
    taken["stream"] = Raw(b"true")
    return taken


def create_message(body: bytes) -> bytes:
    """Make the message that asks for a response from the body of a request."""
    fields = _FIELDS(body)
    for name in _TRANSPORT:
        fields.pop(name, None)
    return encode({"type": CREATE, **fields})


def error_event(error: GatewayError) -> bytes:
    """Render an error that is no stream's as an event."""
    status, body = render_error(error)
    told = _error_of(body)
    if error.upstream_code and not error.provider:
        told["code"] = error.upstream_code
    return encode({"type": "error", "status": status, "error": told})


def http_error_event(status: int, headers: bytes, body: bytes) -> bytes:
    """Make the event of a refusal that was to be a whole answer. ``headers``: its finished lines."""
    lines = [line.split(b": ", 1) for line in headers.split(b"\r\n") if b": " in line]
    told = {name.decode(): value.decode("latin-1") for name, value in lines if name in _TOLD}
    return encode({"type": "error", "status": status, "error": _error_of(body), "headers": told})


def warm_events(fields: Mapping[str, Raw], response_id: str, mint: Callable[[str], str]) -> list[bytes]:
    """Make the events of a request that is not to be answered (``generate: false``): it is only kept, so that the next
    one can go on from it."""
    made: dict[str, Any] = {
        "id": response_id,
        "object": "response",
        "created_at": 0,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": fields.get("model"),
        "output": [],
        "usage": None,
    }
    begun = {"type": "response.created", "sequence_number": 0, "response": made}
    usage = {
        "input_tokens": 0,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 0,
    }
    over = {**made, "status": "completed", "usage": usage}
    return [encode(begun), encode({"type": "response.completed", "sequence_number": 1, "response": over})]


def _error_of(body: bytes) -> dict[str, Any]:
    try:
        told = msgspec.json.decode(body)
    except BAD_JSON:
        told = {}
    found = told.get("error") if isinstance(told, dict) else None
    return found if isinstance(found, dict) else {"message": body.decode("utf-8", "replace")[:1000]}


def _text(raw: Raw | None) -> str:
    try:
        value = "" if raw is None else msgspec.json.decode(raw)
    except BAD_JSON:
        return ""
    return value if isinstance(value, str) else ""
