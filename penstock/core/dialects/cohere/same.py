"""Cohere in, Cohere out: see ``penstock.core.same`` for the contract. An answer of this API does not name its model; it
is put in its place where a server names one all the same."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects.cohere import usage as counts
from penstock.core.dialects.cohere.errors import failed, parse_error
from penstock.core.dialects.cohere.names import FAILED
from penstock.core.dialects.openai_chat.reading import absent, opens
from penstock.core.ir import Usage
from penstock.core.same import Editor, Incomplete, open_part

_ENCODE = msgspec.json.Encoder().encode
_TEXT = msgspec.json.Decoder(str).decode


def _text(fields: Mapping[str, Raw], key: str) -> str:
    raw = fields.get(key)
    return _TEXT(raw) if raw is not None and opens(raw, '"') else ""


def _ended(fields: Mapping[str, Raw]) -> None:
    """Raise the error of an answer that failed."""
    reason, words = _text(fields, "finish_reason"), _text(fields, "error")
    if reason in FAILED or words:
        raise failed(reason, words)


def answer(body: bytes, model: Raw) -> tuple[bytes, Usage | None]:
    """Replace the ``model`` of a whole answer, and read its usage. Raises "broken_answer", or the error that came under
    status 200."""
    fields = open_part(body, "broken_answer")
    if "message" in fields and opens(fields["message"], '"'):
        raise parse_error(500, {}, body)
    _ended(fields)
    if "model" in fields:
        fields["model"] = model
    return _ENCODE(fields), counts.read(fields.get("usage"))


class Stream:
    """A stream of Cohere's on its way to a client of Cohere's: events pass as they came. ``want_usage`` changes
    nothing: the last event always has it."""

    __slots__ = ("done", "_model", "chunks", "started", "usage")

    def __init__(self, model: Raw, want_usage: bool) -> None:
        self._model = model
        self.done = False
        self.started = False
        self.chunks = 0
        self.usage: Usage | None = None

    def feed(self, event: sse.Event) -> bytes:
        name, data = event
        if data.strip() == b"[DONE]":
            return b"data: [DONE]\n\n"
        fields = open_part(data, "broken_stream")
        kind = _text(fields, "type") or name.decode("utf-8", "replace")
        if not kind and "message" in fields:
            raise parse_error(500, {}, data)
        self.started = True
        self.chunks += 1
        if kind == "message-end":
            self._end(fields)
        if "model" in fields:
            fields["model"] = self._model
        head = b"event: %b\n" % name if name else b""
        return head + b"data: " + _ENCODE(fields) + b"\n\n"

    def _end(self, fields: Mapping[str, Raw]) -> None:
        raw = fields.get("delta")
        delta = open_part(bytes(raw), "broken_stream") if raw is not None and not absent(raw) else {}
        _ended(delta)
        self.done = True
        self.usage = counts.read(delta.get("usage"))

    def close(self) -> bytes:
        if not self.done:
            raise Incomplete()
        return b""


def prepare(fields: dict[str, Raw], stream: bool, ask_usage: bool) -> None:
    """Edit a request for the wire: streaming is said plainly, a bare schema stands where this API reads it."""
    fields["stream"] = Raw(b"true") if stream else Raw(b"false")
    guided = fields.pop("guided_json", None)
    if guided is not None and absent(fields.get("response_format")):
        fields["response_format"] = Raw(_ENCODE({"type": "json_object", "json_schema": guided}))


def wants_usage(fields: Mapping[str, Raw]) -> bool:
    """Return True: the closing event has it."""
    return True


EDITOR = Editor(answer=answer, Stream=Stream, prepare=prepare, wants_usage=wants_usage)
