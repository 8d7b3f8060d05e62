"""Ollama in, Ollama out: see ``penstock.core.same`` for the contract. /api/chat and /api/generate alike."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects.ollama.errors import error_in_line
from penstock.core.dialects.ollama.lines import escaped
from penstock.core.dialects.openai_chat.reading import absent, opens
from penstock.core.ir import Usage
from penstock.core.same import Editor, Incomplete, open_part

_ENCODE = msgspec.json.Encoder().encode
_COUNT = msgspec.json.Decoder(int).decode
_TEXT = msgspec.json.Decoder(str).decode
_TRUE = Raw(b"true")


def _read(data: bytes, kind: str) -> dict[str, Raw]:
    fields = open_part(data, kind)
    raw = fields.get("error")
    if raw is not None and not absent(raw):
        text = _TEXT(raw) if opens(raw, '"') else bytes(raw).decode()
        raise error_in_line(text, _count(fields, "status"))
    return fields


def _count(fields: Mapping[str, Raw], key: str) -> int:
    try:
        return _COUNT(fields[key]) if key in fields else 0
    except msgspec.DecodeError:
        return 0


def _usage(fields: Mapping[str, Raw]) -> Usage | None:
    if "eval_count" not in fields and "prompt_eval_count" not in fields:
        return None
    return Usage(fresh=_count(fields, "prompt_eval_count"), output=_count(fields, "eval_count"))


def answer(body: bytes, model: Raw) -> tuple[bytes, Usage | None]:
    """Replace the ``model`` of a whole answer, and read its usage. Raises "broken_answer", or the error that came under
    status 200."""
    fields = _read(body, "broken_answer")
    fields["model"] = model
    return _ENCODE(fields), _usage(fields)


class Stream:
    """Lines. ``want_usage`` changes nothing: the last line always has it."""

    __slots__ = ("done", "_model", "chunks", "started", "usage")

    def __init__(self, model: Raw, want_usage: bool) -> None:
        self._model = model
        self.done = False
        self.started = False
        self.chunks = 0
        self.usage: Usage | None = None

    def feed(self, event: sse.Event) -> bytes:
        fields = _read(event.data, "broken_stream")
        self.started = True
        self.chunks += 1
        fields["model"] = self._model
        if fields.get("done") == _TRUE:
            self.done = True
            self.usage = _usage(fields) or self.usage
        return escaped(_ENCODE(fields)) + b"\n"

    def close(self) -> bytes:
        if not self.done:
            raise Incomplete()
        return b""


def prepare(fields: dict[str, Raw], stream: bool, ask_usage: bool) -> None:
    """Edit a request for the wire: streaming is said plainly, a bare schema stands where Ollama reads it."""
    fields["stream"] = _TRUE if stream else Raw(b"false")
    guided = fields.pop("guided_json", None)
    if guided is not None and absent(fields.get("format")):
        fields["format"] = guided


def wants_usage(fields: Mapping[str, Raw]) -> bool:
    """Return True: the closing line has it."""
    return True


EDITOR = Editor(answer=answer, Stream=Stream, prepare=prepare, wants_usage=wants_usage)
