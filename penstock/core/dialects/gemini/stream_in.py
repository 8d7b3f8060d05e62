"""A stream of ``generateContent`` chunks to neutral events. A whole answer is a stream of one chunk (``answer``).

Source: https://ai.google.dev/api/generate-content#method:-models.streamgeneratecontent. Each chunk has the shape of a
whole answer with a piece of it; calls come whole; there is no end mark, a candidate is complete with its
``finishReason``. A prompt that was blocked has no candidate, only ``promptFeedback``: that is an answer, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.gemini import citations, logprobs, wire
from penstock.core.dialects.gemini.errors import stream_error
from penstock.core.dialects.gemini.parts_in import FIELDS, blocks_of, read_part
from penstock.core.dialects.gemini.reading import is_null
from penstock.core.dialects.gemini.usage import Meter
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Citation,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
    Opaque,
    Open,
    Other,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    shell,
)


class _Content(Struct):
    parts: list[Raw] | None = None


class _Candidate(Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int = 0


class _Chunk(Struct, rename="camel"):
    candidates: list[Raw] | None = None
    usage_metadata: Raw = Raw()
    model_version: str = ""
    response_id: str = ""
    prompt_feedback: Raw = Raw()
    error: Raw = Raw()


class _Feedback(Struct, rename="camel"):
    block_reason: str = ""


_CHUNK = Decoder(_Chunk).decode
_CANDIDATE = Decoder(_Candidate).decode
_PART = Decoder(wire.Part).decode
_FEEDBACK = Decoder(_Feedback).decode
_FIELDS = Decoder(dict[str, Raw]).decode
_BESIDE = re.compile(rb'"(?!content"|parts"|text"|role"|finishReason"|index")[a-zA-Z]+"[ \t\r\n]*:')
_TOP = frozenset("candidates usageMetadata modelVersion responseId".split())


class _Line:
    """One candidate. ``kind`` and ``at``: the open block; ``base``, ``length``: where its text begins in the candidate
    and how long it is, in bytes; ``plain``: all of it was ASCII, so that bytes are characters; ``cited``: citations
    that wait for the end of the text that they are about."""

    __slots__ = ("at", "base", "called", "cited", "kind", "length", "plain", "reason", "sources")

    def __init__(self) -> None:
        self.kind = ""
        self.at = -1
        self.base = 0
        self.length = 0
        self.called = False
        self.cited: list[Citation] = []
        self.sources = citations.Sources()
        self.plain = True
        self.reason = ""


class ContentDecoder:
    """A decoder of Gemini's streams: see ``base.StreamDecoder``."""

    __slots__ = ("_blocked", "_id", "_lines", "_meter", "_next", "_serial", "_started")

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._meter = Meter()
        self._next = 0
        self._serial = 0
        self._started = False
        self._blocked = False
        self._id = ""

    def feed(self, event: sse.Event) -> Iterable[Event]:
        try:
            return self._feed(event.data)
        except BAD_JSON as error:
            if event.data.strip() == b"[DONE]":  # OpenAI's end mark, sent by some servers
                return ()
            text = f"The upstream sent an event that is not of this dialect: {error}."
            raise GatewayError("broken_stream", text) from None
        except GatewayError as error:
            if error.kind != "bad_request":
                raise
            raise GatewayError("broken_stream", f"The upstream sent a bad event: {error.message}") from None

    def _feed(self, data: bytes) -> list[Event]:
        chunk = _CHUNK(data)
        if chunk.error and not is_null(chunk.error):
            raise stream_error(data)
        out: list[Event] = []
        if chunk.usage_metadata:
            self._meter.feed(chunk.usage_metadata)
        if not self._started:
            self._begin(chunk, out)
        for place, raw in enumerate(chunk.candidates or ()):
            self._candidate(raw, place, out)
        if not chunk.candidates or chunk.prompt_feedback:
            self._top(data, chunk, out)
        return out

    def _begin(self, chunk: _Chunk, out: list[Event]) -> None:
        self._started = True
        self._id = chunk.response_id
        usage = self._meter.usage()
        known = usage if usage is not None and usage.input else None
        out.append(Start(chunk.response_id, chunk.model_version, 0, known))

    def _top(self, data: bytes, chunk: _Chunk, out: list[Event]) -> None:
        if chunk.prompt_feedback and not is_null(chunk.prompt_feedback):
            reason = _FEEDBACK(chunk.prompt_feedback).block_reason
            self._blocked = self._blocked or reason not in ("", "BLOCKED_REASON_UNSPECIFIED")
        for key, raw in _FIELDS(data).items():
            if key not in _TOP and not is_null(raw):
                out.append(_other(key, raw))

    # Candidates

    def _candidate(self, raw: Raw, place: int, out: list[Event]) -> None:
        candidate = _CANDIDATE(raw)
        number = candidate.index or (place if place and len(self._lines) <= place else 0)
        line = self._lines.get(number)
        if line is None:
            line = self._lines[number] = _Line()
        self._beside(bytes(raw), line, number, out)
        if candidate.content is not None:
            for part in candidate.content.parts or ():
                self._part(part, line, number, out)
        if wire.is_finish(candidate.finish_reason):
            # Told at once: what is no answer can still be asked for again as long as nothing of it is out.
            said, why = line.at >= 0, candidate.finish_message or ""
            line.reason = wire.finish_in(candidate.finish_reason or "", line.called, said, why)

    def _beside(self, raw: bytes, line: _Line, number: int, out: list[Event]) -> None:
        """Read what stands in a candidate beside its content. Nearly every chunk of a stream has nothing of it."""
        if not _BESIDE.search(raw):
            return
        for key, value in _FIELDS(raw).items():
            if key in ("content", "finishReason", "index") or is_null(value):
                continue
            if key == "citationMetadata":
                line.cited += line.sources.native(value)
            elif key == "logprobsResult":
                told = logprobs.to_openai(value)
                if told:
                    out.append(Logprobs(told, number))
            else:
                if key == "groundingMetadata":
                    line.cited += line.sources.grounding(value)
                out.append(_other(f"candidates.{number}.{key}", value))

    def _cite(self, line: _Line, out: list[Event], last: bool) -> None:
        """Tell the citations that are about this text. They count from the start of the candidate: those that end in
        this text are about it, and at the end of the answer all that are left."""
        limit = line.base + line.length
        for cited in line.cited:
            if last or cited.end <= limit:
                out.append(Delta(line.at, citation=citations.counted_from(cited, line.base, line.plain)))
        line.cited = [] if last else [cited for cited in line.cited if cited.end > limit]

    # Parts

    def _part(self, raw: Raw, line: _Line, number: int, out: list[Event]) -> None:
        try:
            part = _PART(raw)
            if part.text is not None and not part.thought and part.thought_signature is None:
                if part.function_call is None and part.inline_data is None:
                    return self._text(part.text, line, number, out)
            blocks = blocks_of(part)
        except msgspec.ValidationError:
            blocks = ()
        for block in blocks or read_part(raw, "candidates.content.parts"):
            self._block(block, line, number, out)

    def _text(self, text: str, line: _Line, number: int, out: list[Event]) -> None:
        if not text:
            return
        if line.kind != "text":
            self._open(Text(""), "text", line, number, out)
        if text.isascii():
            line.length += len(text)
        else:
            line.length += len(text.encode("utf-8", "surrogatepass"))
            line.plain = False
        out.append(Delta(line.at, text))

    def _block(self, block: Block, line: _Line, number: int, out: list[Event]) -> None:
        if isinstance(block, Text):
            self._text(block.text, line, number, out)
        elif isinstance(block, Thinking):
            self._thinking(block, line, number, out)
        elif isinstance(block, ToolUse):
            line.called = True
            self._open(shell(replace(block, id=block.id or self._call_id())), "call", line, number, out)
            out.append(Delta(line.at, block.args or "{}"))
            self._shut(line, out)
        else:
            beside = isinstance(block, Opaque) and block.kind[:1] == FIELDS
            self._open(block, "fields" if beside else "whole", line, number, out)
            self._shut(line, out)

    def _thinking(self, block: Thinking, line: _Line, number: int, out: list[Event]) -> None:
        """Tell a piece of a thought: one goes on until its signature. A signature without words follows a visible
        text."""
        if not block.text and block.seal is None:
            return
        if line.kind != "thought" or block.redacted:
            self._open(Thinking("", redacted=block.redacted), "thought", line, number, out)
        if block.text:
            out.append(Delta(line.at, block.text))
        if block.seal is not None:
            out.append(Delta(line.at, seal=block.seal))
            self._shut(line, out)

    def _open(self, block: Block, kind: str, line: _Line, number: int, out: list[Event]) -> None:
        self._shut(line, out)
        line.kind, line.at = kind, self._next
        self._next += 1
        out.append(Open(line.at, block, number))

    def _shut(self, line: _Line, out: list[Event], last: bool = False) -> None:
        if line.kind:
            if line.cited and line.kind == "text":
                self._cite(line, out, last)
            out.append(Close(line.at))
            line.base += line.length
            line.length = 0
            line.kind = ""
            line.plain = True

    def _call_id(self) -> str:
        """Make an id for a call without one, told apart from those of other answers by the answer's own id."""
        self._serial += 1
        return f"call_{self._id[:28]}_{self._serial}" if self._id else f"call_{self._serial}"

    # The end

    def close(self) -> Iterable[Event]:
        unfinished = [line for line in self._lines.values() if not line.reason]
        if unfinished or not (self._lines or self._blocked):
            raise GatewayError("broken_stream", "The upstream's stream ended before the answer was complete.")
        out: list[Event] = []
        for number, line in sorted(self._lines.items()):
            self._shut(line, out, last=True)
            if line.cited:  # by then all text was told: a text without words holds them
                self._open(Text(""), "text", line, number, out)
                self._shut(line, out, last=True)
            called = line.reason == "stop" and line.called
            out.append(Stop("tool_use" if called else line.reason, choice=number))
        if not self._lines:
            out.append(Stop("filter"))
        out.append(End(self._meter.usage()))
        return out


def _other(kind: str, raw: Raw) -> Other:
    return Other(Opaque(wire.NAME, kind, bytes(raw)))


def decoder() -> ContentDecoder:
    """Make a decoder for one stream."""
    return ContentDecoder()
