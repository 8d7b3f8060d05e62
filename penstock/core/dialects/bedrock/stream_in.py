"""A ConverseStream to neutral events.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html. Only calls have a
``contentBlockStart``: a text or a thought begins with its first piece. The answer is complete with ``messageStop``;
``metadata`` with the usage follows it. Payloads carry padding (``p``), which says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from penstock.core import sse
from penstock.core.dialects.bedrock import usage, wire
from penstock.core.dialects.bedrock.answer import ECHOES, Tier, stop_sequence
from penstock.core.dialects.bedrock.blocks_in import read_citation, unpack_blob
from penstock.core.dialects.bedrock.errors import stream_error
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.eventstream import BROKEN, EXCEPTION
from penstock.core.ir import (
    Base64,
    Block,
    Close,
    Delta,
    End,
    Event,
    Image,
    Opaque,
    Open,
    Other,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
    unpack_seal,
)


class _Call(Struct, rename="camel"):
    tool_use_id: str
    name: str
    type: str | None = None


class _Begun(Struct, rename="camel"):
    tool_use: _Call | None = None
    tool_result: Raw = Raw()
    image: Raw = Raw()


class _Begin(Struct, rename="camel"):
    content_block_index: int
    start: _Begun


class _Args(Struct):
    input: str = ""


class _Thought(Struct, rename="camel"):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class _Piece(Struct, rename="camel"):
    text: str | None = None
    tool_use: _Args | None = None
    reasoning_content: _Thought | None = None
    citation: Raw = Raw()
    image: Raw = Raw()
    tool_result: Raw = Raw()


class _More(Struct, rename="camel"):
    content_block_index: int
    delta: _Piece


class _Shut(Struct, rename="camel"):
    content_block_index: int


class _Ended(Struct, rename="camel"):
    stop_reason: str = ""
    additional_model_response_fields: Raw = Raw()


class _Metadata(Struct, rename="camel"):
    usage: usage.Counts | None = None
    service_tier: Tier | None = None


class _Bytes(Struct):
    bytes: str = ""


class _Picture(Struct):
    format: str = ""
    source: _Bytes | None = None


_BEGIN = Decoder(_Begin).decode
_MORE = Decoder(_More).decode
_SHUT = Decoder(_Shut).decode
_ENDED = Decoder(_Ended).decode
_METADATA = Decoder(_Metadata).decode
_PICTURE = Decoder(_Picture).decode
_FIELDS = Decoder(dict[str, Raw]).decode
_USUAL = ECHOES | {"usage", "serviceTier", "p"}


class _Held:
    """A block that is told when it is whole: a picture, or what a tool of the server's did."""

    __slots__ = ("format", "kind", "pieces", "start")

    def __init__(self, kind: str, start: Raw) -> None:
        self.kind = kind
        self.start = start
        self.format = _PICTURE(start).format if kind == "image" and start else ""
        self.pieces: list[Any] = []

    def block(self) -> Block:
        if self.kind == "image":
            return Image(Base64(f"image/{self.format or 'png'}", "".join(self.pieces)))
        fields: dict[str, Any] = _FIELDS(self.start) if self.start else {}
        if self.kind == "toolUse":
            text = "".join(self.pieces)
            fields["input"] = Raw(text.encode()) if text.strip() else {}
        else:
            fields["content"] = [part for piece in self.pieces for part in piece]
        return Opaque(wire.NAME, self.kind, encode({self.kind: fields}))


class ConverseDecoder:
    """A decoder of Converse streams: see ``base.StreamDecoder``."""

    __slots__ = ("_held", "_kinds", "_next", "_open", "_sequence", "_started", "_stop", "_usage")

    def __init__(self) -> None:
        self._open: dict[int, int] = {}  # the wire's index -> ours
        self._kinds: dict[int, str] = {}
        self._held: dict[int, _Held] = {}
        self._next = 0
        self._started = False
        self._stop = ""
        self._sequence = ""
        self._usage: Usage | None = None

    def feed(self, event: sse.Event) -> Iterable[Event]:
        out: list[Event] = []
        name = event.name
        try:
            if name == b"contentBlockDelta":
                self._delta(_MORE(event.data), out)
            elif name[:1] == b":":
                raise _failure(name, event.data)
            else:
                self._other(name.decode("utf-8", "replace"), event.data, out)
        except BAD_JSON as error:
            text = f"The upstream sent an event {name[:40].decode('utf-8', 'replace')!r} that is none: {error}."
            raise GatewayError("broken_stream", text) from None
        except GatewayError as error:
            if error.kind != "bad_request":
                raise
            raise GatewayError("broken_stream", f"The upstream sent a bad event: {error.message}") from None
        return out

    def _other(self, name: str, data: bytes, out: list[Event]) -> None:
        if name == "contentBlockStart":
            self._begin(_BEGIN(data), data, out)
        elif name == "contentBlockStop":
            self._shut(_SHUT(data).content_block_index, out)
        elif name == "messageStart":
            self._start(out)
        elif name == "messageStop":
            ended = _ENDED(data)
            self._stop = ended.stop_reason or "end_turn"
            extra = ended.additional_model_response_fields
            told, self._sequence = stop_sequence(extra)
            if not told:
                out.append(Other(Opaque(wire.NAME, "additionalModelResponseFields", bytes(extra))))
        elif name == "metadata":
            self._metadata(data, out)
        # Any other event is of a later version and about nothing that is told here.

    def _start(self, out: list[Event]) -> None:
        if not self._started:
            self._started = True
            out.append(Start("", ""))

    def _metadata(self, data: bytes, out: list[Event]) -> None:
        told = _METADATA(data)
        self._usage = usage.read(told.usage) or self._usage
        for key, raw in _FIELDS(data).items():
            if key not in _USUAL and bytes(raw) != b"null":
                out.append(Other(Opaque(wire.NAME, key, bytes(raw))))
        if told.service_tier is not None and told.service_tier.type and self._usage is not None:
            self._usage = msgspec.structs.replace(self._usage, tier=told.service_tier.type)

    # Blocks

    def _begin(self, begin: _Begin, data: bytes, out: list[Event]) -> None:
        place, begun = begin.content_block_index, begin.start
        call = begun.tool_use
        if call is not None and call.type in (None, "tool_use"):
            self._opened(place, "call", ToolUse(call.tool_use_id, call.name, ""), out)
            return
        for kind in ("toolUse", "toolResult", "image"):
            start = _FIELDS(_FIELDS(data)["start"]).get(kind)
            if start is not None:
                self._held[place] = _Held(kind, start)

    def _opened(self, place: int, kind: str, block: Block, out: list[Event]) -> int:
        self._start(out)
        if place in self._open:
            self._shut(place, out)
        at = self._open[place] = self._next
        self._next += 1
        self._kinds[place] = kind
        out.append(Open(at, block))
        return at

    def _delta(self, more: _More, out: list[Event]) -> None:
        place, piece = more.content_block_index, more.delta
        if piece.text is not None:
            at = self._open[place] if self._kinds.get(place) == "text" else self._opened(place, "text", Text(""), out)
            if piece.text:
                out.append(Delta(at, piece.text))
        elif piece.tool_use is not None:
            self._call(place, piece.tool_use.input, out)
        elif piece.reasoning_content is not None:
            self._thought(place, piece.reasoning_content, out)
        elif piece.citation:
            at = self._open[place] if self._kinds.get(place) == "text" else self._opened(place, "text", Text(""), out)
            out.append(Delta(at, citation=read_citation(piece.citation, "citation")))
        elif piece.image:
            held = self._held.setdefault(place, _Held("image", Raw()))
            source = _PICTURE(piece.image).source
            held.pieces.append(source.bytes if source is not None else "")
        elif piece.tool_result:
            held = self._held.setdefault(place, _Held("toolResult", Raw()))
            held.pieces.append(msgspec.json.decode(piece.tool_result, type=list[Raw]))

    def _call(self, place: int, text: str, out: list[Event]) -> None:
        held = self._held.get(place)
        if held is not None:
            held.pieces.append(text)
        elif self._kinds.get(place) != "call":
            raise GatewayError("broken_stream", "The upstream sent a call's arguments before the call.")
        elif text:
            out.append(Delta(self._open[place], text))

    def _thought(self, place: int, thought: _Thought, out: list[Event]) -> None:
        if thought.redacted_content is not None:
            at = self._opened(place, "redacted", Thinking("", redacted=True), out)
            seal = unpack_blob(thought.redacted_content)
            if seal is not None:
                out.append(Delta(at, seal=seal))
            return
        known = self._kinds.get(place) == "thought"
        at = self._open[place] if known else self._opened(place, "thought", Thinking(""), out)
        if thought.text:
            out.append(Delta(at, thought.text))
        if thought.signature:
            out.append(Delta(at, seal=unpack_seal(thought.signature, wire.FAMILY)))

    def _shut(self, place: int, out: list[Event]) -> None:
        held = self._held.pop(place, None)
        if held is not None:
            self._opened(place, held.kind, held.block(), out)
        at = self._open.pop(place, None)
        if at is not None:
            del self._kinds[place]
            out.append(Close(at))

    # The end

    def close(self) -> Iterable[Event]:
        if not self._stop:
            raise GatewayError("broken_stream", "The upstream's stream ended before the answer was complete.")
        out: list[Event] = []
        self._start(out)
        for place in [*self._held, *self._open]:
            self._shut(place, out)
        out.append(Stop(wire.finish_in(self._stop, self._next > 0), self._sequence))
        out.append(End(self._usage))
        return out


def _failure(name: bytes, data: bytes) -> GatewayError:
    if name.startswith(EXCEPTION):
        return stream_error(name[len(EXCEPTION) :].decode("utf-8", "replace"), data)
    why = data.decode("utf-8", "replace") if name == BROKEN else name.decode("utf-8", "replace")
    return GatewayError("broken_stream", f"The upstream's stream cannot be read: {why}.")


def decoder() -> ConverseDecoder:
    """Make a decoder for one stream."""
    return ConverseDecoder()
