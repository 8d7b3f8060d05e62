"""Gemini in, Gemini out: see ``penstock.core.same`` for the contract. The field that names the model is
``modelVersion``."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects.gemini.errors import stream_error
from penstock.core.dialects.gemini.usage import Meter
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.same import Editor, Incomplete, open_answer

_DECODE = msgspec.json.Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_NONE = Raw(b"[]")
_NOTHING = (_NONE, Raw(b"null"))
_FINISHED = re.compile(rb'"finishReason"[ \t\r\n]*:[ \t\r\n]*"(?!FINISH_REASON_UNSPECIFIED)[^"]')
_BLOCKED = re.compile(rb'"blockReason"[ \t\r\n]*:[ \t\r\n]*"(?!BLOCKED_REASON_UNSPECIFIED)[^"]')


def answer(body: bytes, model: Raw) -> tuple[bytes, Usage | None]:
    """Replace the ``modelVersion`` of a whole answer, and read its usage."""
    fields = open_answer(body)
    if "error" in fields and "candidates" not in fields:
        raise stream_error(body)
    if fields.get("candidates", _NONE) in _NOTHING and "promptFeedback" not in fields:
        raise GatewayError("broken_answer", "The upstream's answer has no candidate, and no word of why.")
    fields["modelVersion"] = model
    meter = Meter()
    if "usageMetadata" in fields:
        meter.feed(fields["usageMetadata"])
    return _ENCODE(fields), meter.usage()


class Stream:
    """Chunks. Each gets the client's model name; a candidate's finish reason is the only end there is."""

    __slots__ = ("done", "_meter", "_model", "chunks", "started")

    def __init__(self, model: Raw, want_usage: bool) -> None:
        self._model = model
        self._meter = Meter()
        self.done = False
        self.started = False
        self.chunks = 0

    @property
    def usage(self) -> Usage | None:
        return self._meter.usage()

    def feed(self, event: sse.Event) -> bytes:
        data = event[1]
        try:
            fields = _DECODE(data)
        except BAD_JSON:
            start = data[:80].decode("utf-8", "replace")
            raise GatewayError("broken_stream", f"The upstream sent an event that is not JSON: {start!r}.") from None
        if "error" in fields and "candidates" not in fields:
            raise stream_error(data)
        self.started = True
        self.chunks += 1
        if "usageMetadata" in fields:
            self._meter.feed(fields["usageMetadata"])
        if not self.done:
            candidates, feedback = fields.get("candidates"), fields.get("promptFeedback")
            ended = candidates is not None and _FINISHED.search(bytes(candidates))
            self.done = bool(ended or (feedback is not None and _BLOCKED.search(bytes(feedback))))
        fields["modelVersion"] = self._model
        return b"data: " + _ENCODE(fields) + b"\n\n"

    def close(self) -> bytes:
        if self.done:
            return b""
        raise Incomplete()


def prepare(fields: dict[str, Raw], stream: bool, ask_usage: bool) -> None:
    """Drop the model and the wish for a stream: they stand in the URL, and the API refuses both in a body."""
    fields.pop("model", None)
    fields.pop("stream", None)


def wants_usage(fields: Mapping[str, Raw]) -> bool:
    """Return True: usage always comes."""
    return True


EDITOR = Editor(answer=answer, Stream=Stream, prepare=prepare, wants_usage=wants_usage)
