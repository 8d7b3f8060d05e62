"""Responses in, Responses out: see ``penstock.core.same`` for the contract.

Only events that hold the response object (``response.created``, ``.in_progress``, ``.completed``, ...) name the model.
All others are told by their name, or by one search for a key they do not have, without reading their JSON.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects.openai_responses.answer import raise_failed
from penstock.core.dialects.openai_responses.errors import stream_error
from penstock.core.dialects.openai_responses.usage import read_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import Usage
from penstock.core.same import Editor, Incomplete, in_tier, open_answer

_DECODE = msgspec.json.Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_RESPONSE = b'"response"'  # as a key; inside a text its quotes would be escaped
_ERROR = b'"error"'
_NULL = Raw(b"null")
_LAST = (b"response.completed", b"response.incomplete")


def answer(body: bytes, model: Raw) -> tuple[bytes, Usage | None]:
    """Replace the ``model`` of a whole answer, and read its usage. A failed response, which comes with a 200, raises
    its error."""
    fields = open_answer(body)
    raise_failed(fields)
    fields["model"] = model
    return _ENCODE(fields), in_tier(read_usage(fields.get("usage")), fields.get("service_tier"))


class Stream:
    """Response events. A broken stream ends in ``Incomplete``, never in ``response.completed``."""

    __slots__ = ("done", "_model", "chunks", "started", "usage")

    def __init__(self, model: Raw, want_usage: bool) -> None:
        self._model = model
        self.done = False
        self.started = False
        self.chunks = 0
        self.usage: Usage | None = None

    def feed(self, event: sse.Event) -> bytes:
        name, data = event
        if sse.LF in data:  # JSON over several data lines
            data = data.replace(b"\n", b" ")
        if name.endswith(b".delta"):  # most of a stream
            self.started = True
            self.chunks += 1
            return b"event: %b\ndata: %b\n\n" % (name, data)
        if data.find(_RESPONSE) >= 0 or data.find(_ERROR) >= 0 or name == b"error":
            data = self._read(name, data)
        elif data[:1] != b"{":
            self._not_an_object(data)
            return b""
        self.started = True
        if name:
            return b"event: " + name + b"\ndata: " + data + b"\n\n"
        self.chunks += b'.delta"' in data
        return b"data: " + data + b"\n\n"

    def _read(self, name: bytes, data: bytes) -> bytes:
        """Replace the model in the response object of an event that has one; raise what an error event says."""
        try:
            fields = _DECODE(data)
            inner = fields.get("response")
            response = _DECODE(inner) if inner is not None and memoryview(inner)[0] == 123 else None
        except BAD_JSON:
            self._not_an_object(data)
            return data
        kind = bytes(fields.get("type", b"")).strip(b'"') or name
        if kind == b"error" or name == b"error":
            raise stream_error(fields)
        if response is None:
            if fields.get("error", _NULL) != _NULL:  # not of this API; engines send it in all of theirs
                raise stream_error(fields)
            return data
        if kind == b"response.failed":
            raise stream_error(response)
        raise_failed(response)
        if kind in _LAST:
            self.done = True
            self.usage = in_tier(read_usage(response.get("usage")), response.get("service_tier"))
        response["model"] = self._model
        fields["response"] = Raw(_ENCODE(response))
        return _ENCODE(fields)

    def _not_an_object(self, data: bytes) -> None:
        if data.strip() == b"[DONE]":  # Chat's end mark, which some servers add; this API has none
            return
        start = data[:80].decode("utf-8", "replace")
        raise GatewayError("broken_stream", f"The upstream sent an event that is not of this dialect: {start!r}.")

    def close(self) -> bytes:
        """Check that the answer is complete: nothing is owed after the terminal event, and without one it is not."""
        if not self.done:
            raise Incomplete()
        return b""


def prepare(fields: dict[str, Raw], stream: bool, ask_usage: bool) -> None:
    """Change nothing: usage always comes, and ``metadata`` is a field of this API."""


def wants_usage(fields: Mapping[str, Raw]) -> bool:
    """Return True: Response streams always carry usage."""
    return True


EDITOR = Editor(answer=answer, Stream=Stream, prepare=prepare, wants_usage=wants_usage)
