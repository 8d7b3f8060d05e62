"""The event stream of the Messages API to neutral events.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming and the ``anthropic`` client's
``RawMessageStreamEvent``. Tolerant where servers that speak the dialect over other models were seen to differ: no
``message_start`` or two of them, no ``content_block_stop``, the whole ``input`` in the opening event, a delta of
another kind than its block, a trailing ``[DONE]``, no ``message_stop`` after the stop reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder, encode
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.anthropic import usage as counts
from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_in import (
    args_of,
    carried_seal,
    citation,
    fields_of,
    present,
    read_block,
    string,
)
from penstock.core.dialects.anthropic.errors import stream_error
from penstock.core.dialects.carried import CALL, TEXT, split
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Close,
    Delta,
    End,
    Event,
    Opaque,
    Open,
    Other,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    shell,
    unpack_seal,
)


class _Delta(Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    signature: str | None = None
    citation: Raw = Raw()


class _Step(Struct):
    type: str = ""
    index: int = 0
    delta: _Delta | None = None


class _Started(Struct):
    content_block: Raw
    index: int = 0


_STEP = Decoder(_Step)
_STARTED = Decoder(_Started)
_FIELDS = Decoder(dict[str, Raw])
_STR = Decoder(str)

_KIND = {"text_delta": "text", "citations_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking"}
_START_KNOWN = frozenset(("id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"))


class _Part:
    """An open block: its neutral ``index`` (-1 for a thought of which nothing came: it may be a call's seal), its
    ``kind``, and what cannot be told before it closes: the ``input`` of its opening event, and of a block of unknown
    kind everything (``fields`` and the ``pieces`` of its input)."""

    __slots__ = ("fields", "index", "input", "kind", "pieces", "seals", "told")

    def __init__(self, index: int, kind: str) -> None:
        self.index = index
        self.kind = kind
        self.told = False
        self.seals: list[Seal] = []  # of a text: they are told behind it, each as a thought of its own
        self.input = ""
        self.fields: dict[str, Raw] = {}
        self.pieces: list[str] = []


class MessagesDecoder:
    """A decoder of Messages streams: see ``base.StreamDecoder``."""

    __slots__ = ("_ended", "_marks", "_meter", "_next", "_parts", "_reason", "_sequence", "_started", "_tools")

    def __init__(self) -> None:
        self._parts: dict[int, _Part] = {}
        self._marks: dict[str, list[Seal]] = {CALL: [], TEXT: []}  # seals of calls and texts that are still to come
        self._next = 0
        self._meter = counts.Meter()
        self._started = False
        self._ended = False
        self._tools = False
        self._reason: str | None = None
        self._sequence = ""

    def feed(self, event: sse.Event) -> Iterable[Event]:
        if self._ended:
            return ()
        try:
            step = _STEP.decode(event.data)
            kind = step.type or event.name.decode()
            if kind == "content_block_delta" and step.delta is not None:
                return self._delta(step.index, step.delta, event.data)
            handler = _HANDLERS.get(kind)
            if handler is not None:
                return handler(self, event.data)
        except BAD_JSON as error:
            return _unreadable(event, error)
        except GatewayError as error:
            if error.kind != "bad_request":
                raise
            raise GatewayError("broken_stream", f"The upstream sent a bad event: {error.message}") from None
        return (Other(Opaque(wire.NAME, kind, event.data)),)

    def close(self) -> Iterable[Event]:
        if self._ended:
            return ()
        if self._reason is None:
            raise GatewayError("broken_stream", "The upstream's stream ended before the answer was complete.")
        return self._finish(b"")

    # Blocks

    def _delta(self, index: int, delta: _Delta, data: bytes) -> Iterable[Event]:
        part = self._parts.get(index)
        kind = delta.type
        if part is not None and part.kind == "opaque":
            _grow(part, data)
            return ()
        if kind == "input_json_delta":
            return self._arguments(part, index, delta.partial_json or "")
        wanted = _KIND.get(kind)
        if wanted is None:
            return (Other(Opaque(wire.NAME, "content_block_delta", data)),)
        if part is None or part.kind != wanted:
            return self._turned(index, wanted, delta)
        if part.index < 0:
            return self._thought(part, delta)
        if kind == "citations_delta" and (seal := carried_seal(bytes(delta.citation))) is not None:
            part.seals.append(seal)
            return ()
        return _told(part.index, delta)

    def _thought(self, part: _Part, delta: _Delta) -> Iterable[Event]:
        """Begin a thought with the first that is told of it, unless that is the seal of a call or a text."""
        mark, seal = split(unpack_seal(delta.signature or "", wire.FAMILY))
        if mark in self._marks and seal is not None:
            self._marks[mark].append(seal)
            part.told = True
            return ()
        part.index = self._next
        self._next += 1
        return (Open(part.index, Thinking("")), *_told(part.index, delta))

    def _arguments(self, part: _Part | None, index: int, text: str) -> Iterable[Event]:
        if part is None or part.kind != "tool":
            raise GatewayError(
                "broken_stream", f"The upstream sent arguments for block {index}, which is no tool call."
            )
        if not text:
            return ()
        part.told = True
        return (Delta(part.index, text),)

    def _turned(self, index: int, kind: str, delta: _Delta) -> Iterable[Event]:
        """Begin a block of the right kind for a delta whose block was never opened, or is of another kind."""
        told = _told(self._next, delta)
        if not told:
            return ()
        out = list(self._begin())
        if index in self._parts:
            out.extend(self._end_part(index))
        part = self._parts[index] = _Part(self._next, kind)
        self._next += 1
        out.append(Open(part.index, Text("") if kind == "text" else Thinking("")))
        out.extend(told)
        return out

    def _block_start(self, data: bytes) -> Iterable[Event]:
        started = _STARTED.decode(data)
        out = list(self._begin())
        if started.index in self._parts:
            out.extend(self._end_part(started.index))
        *beside, block = read_block(started.content_block, "content_block")
        for extra in beside:
            out.extend((Open(self._next, extra), Close(self._next)))
            self._next += 1
        part = self._parts[started.index] = _Part(self._next, _kind_of(block))
        if block == Thinking(""):
            part.index = -1
            return out
        self._next += 1
        if isinstance(block, Opaque):
            part.fields = _FIELDS.decode(block.raw)
            return out
        if isinstance(block, ToolUse) and self._marks[CALL]:
            block = replace(block, seal=self._marks[CALL].pop(0))
        elif isinstance(block, Text) and self._marks[TEXT]:
            part.seals.append(self._marks[TEXT].pop(0))
        out.append(Open(part.index, shell(block)))
        if isinstance(block, ToolUse):
            self._tools = True
            part.input = block.args
        elif isinstance(block, Thinking):
            if block.text:
                out.append(Delta(part.index, block.text))
            if block.seal is not None:
                out.append(Delta(part.index, seal=block.seal))
        elif isinstance(block, Text):
            if block.text:
                out.append(Delta(part.index, block.text))
            out.extend(Delta(part.index, citation=cited) for cited in block.citations)
        return out

    def _block_stop(self, data: bytes) -> Iterable[Event]:
        index = _STEP.decode(data).index
        return self._end_part(index) if index in self._parts else ()

    def _end_part(self, index: int) -> Iterable[Event]:
        part = self._parts.pop(index)
        if part.kind == "opaque":
            return (Open(part.index, _whole(part)), Close(part.index))
        if part.index < 0:
            return self._empty(part)
        if part.seals:
            out: list[Event] = [Close(part.index)]
            for at, seal in enumerate(part.seals, self._next):
                out += (Open(at, Thinking("")), Delta(at, seal=seal), Close(at))
            self._next += len(part.seals)
            return out
        if part.kind == "tool" and not part.told:
            # Without arguments the API sends none or only "{}"; some servers send all of them in the opening event.
            return (Delta(part.index, part.input or "{}"), Close(part.index))
        return (Close(part.index),)

    def _empty(self, part: _Part) -> Iterable[Event]:
        """Tell a thought of which nothing came but its beginning and its end; nothing of one that was a seal."""
        if part.told:
            return ()
        at = self._next
        self._next += 1
        return (Open(at, Thinking("")), Close(at))

    # The message

    def _begin(self) -> Iterable[Event]:
        if self._started:
            return ()
        self._started = True
        return (Start("", ""),)

    def _message_start(self, data: bytes) -> Iterable[Event]:
        fields = _FIELDS.decode(data)
        message = fields_of(fields["message"], "message") if present(fields, "message") is not None else {}
        used = present(message, "usage")
        if used is not None:
            self._meter.feed(counts.read(used))
        if self._started:
            return ()
        self._started = True
        usage = self._meter.usage()
        known = usage if usage is not None and usage.input else None
        out: list[Event] = [
            Start(string(message, "id", "", ""), string(message, "model", "", ""), 0, known, self._meter.tier)
        ]
        for key in message:
            value = present(message, key)
            if key not in _START_KNOWN and value is not None:
                out.append(_other(f"message_start.{key}", value))
        return out

    def _message_delta(self, data: bytes) -> Iterable[Event]:
        out = list(self._begin())
        fields = _FIELDS.decode(data)
        for key in fields:
            value = present(fields, key)
            if value is None or key == "type":
                continue
            if key == "delta":
                inner = fields_of(value, "delta")
                self._reason = string(inner, "stop_reason", "delta.", "") or self._reason
                self._sequence = string(inner, "stop_sequence", "delta.", "") or self._sequence
                for name in inner:
                    more = present(inner, name)
                    if name not in ("stop_reason", "stop_sequence") and more is not None:
                        out.append(_other(f"message_delta.delta.{name}", more))
            elif key == "usage":
                self._meter.feed(counts.read(value))
                out.extend(_other(f"message_delta.{more.kind}", more.raw) for more in counts.unknown(value))
            else:
                out.append(_other(f"message_delta.{key}", value))
        return out

    def _finish(self, data: bytes) -> Iterable[Event]:
        out = list(self._begin())
        for index in list(self._parts):
            out.extend(self._end_part(index))
        self._ended = True
        out.append(Stop(wire.finish_in(self._reason, self._tools, self._next > 0), self._sequence))
        out.append(End(self._meter.usage()))
        return out

    def _error(self, data: bytes) -> NoReturn:
        self._ended = True
        raise stream_error(data)

    def _ping(self, data: bytes) -> Iterable[Event]:
        return ()


_HANDLERS = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    "content_block_stop": MessagesDecoder._block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._finish,
    "error": MessagesDecoder._error,
    "ping": MessagesDecoder._ping,
}


def _unreadable(event: sse.Event, error: Exception) -> Iterable[Event]:
    if event.data.strip() == b"[DONE]":  # OpenAI's end mark, sent by some servers after message_stop
        return ()
    if event.name == b"error":
        raise stream_error(event.data)
    raise GatewayError("broken_stream", f"The upstream sent an event that is not of this dialect: {error}.") from None


def _other(kind: str, raw: Raw | bytes) -> Other:
    return Other(Opaque(wire.NAME, kind, bytes(raw)))


def _kind_of(block: Block) -> str:
    if isinstance(block, Text):
        return "text"
    if isinstance(block, Thinking):
        return "thinking"
    return "tool" if isinstance(block, ToolUse) else "opaque"


def _told(index: int, delta: _Delta) -> Iterable[Event]:
    """Translate what a delta says, without the empty ones that the API sends for form."""
    kind = delta.type
    if kind == "text_delta":
        return (Delta(index, delta.text),) if delta.text else ()
    if kind == "thinking_delta":
        return (Delta(index, delta.thinking),) if delta.thinking else ()
    if kind == "signature_delta":
        seal: Seal | None = unpack_seal(delta.signature or "", wire.FAMILY)
        return () if seal is None else (Delta(index, seal=seal),)
    raw = bytes(delta.citation)
    return (Delta(index, citation=citation(raw)),) if raw and raw != b"null" else ()


def _grow(part: _Part, data: bytes) -> None:
    """Apply a delta to a block that only this dialect knows (``server_tool_use``, ``compaction``, ...): argument text
    is gathered, strings are appended, anything else replaces. A ``compaction_delta`` is whole, so it replaces too (as
    the ``anthropic`` client does)."""
    delta = fields_of(_FIELDS.decode(data)["delta"], "delta")
    whole = bytes(delta.get("type", b"")) == b'"compaction_delta"'
    for key, value in delta.items():
        text = bytes(value)
        if key == "partial_json":
            part.pieces.append(_STR.decode(value))
        elif key != "type" and text != b"null":
            old = part.fields.get(key)
            if not whole and text[:1] == b'"' and old is not None and bytes(old)[:1] == b'"':
                part.fields[key] = Raw(encode(_STR.decode(old) + _STR.decode(value)))
            else:
                part.fields[key] = Raw(text)


def _whole(part: _Part) -> Opaque:
    gathered = "".join(part.pieces)
    if gathered:
        try:
            part.fields["input"] = Raw(args_of(Raw(encode(_FIELDS.decode(gathered)))).encode())
        except msgspec.DecodeError:
            part.fields["input"] = Raw(encode(gathered))
    kind = _STR.decode(part.fields["type"])
    return Opaque(wire.NAME, kind, encode(part.fields))


def decoder() -> MessagesDecoder:
    """Make a decoder for one stream."""
    return MessagesDecoder()
