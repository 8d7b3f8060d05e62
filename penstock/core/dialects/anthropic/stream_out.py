"""Neutral events to the event stream of the Messages API.

Source: https://docs.anthropic.com/en/docs/build-with-claude/streaming. Blocks of this stream never interleave: what
comes for another block than the open one waits until that is closed, so no delta is ever written into a block of
another kind (a fault that gateways have shipped).

A text's end is told when something else begins or the answer ends: until then its seal may come (``seal_citation``).
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import encode

from penstock.core import sse
from penstock.core.dialects.anthropic import usage as counts
from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.answer import message_id
from penstock.core.dialects.anthropic.blocks_out import Out, cite_out, is_fields, merge, seal_citation
from penstock.core.dialects.anthropic.errors import error_body
from penstock.core.dialects.arguments import Pieces, object_of
from penstock.core.dialects.base import View
from penstock.core.dialects.carried import CALL, CALLED, pack
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
    Loss,
    Opaque,
    Open,
    Other,
    Refusal,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
)
from penstock.core.ir.places import Places

PING = sse.encode(b'{"type":"ping"}', b"ping")
_STOP = sse.encode(b'{"type":"message_stop"}', b"message_stop")
_TEXT = encode(wire.TextBlock(""))
_THINKING = encode(wire.ThinkingBlock("", ""))
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%b","%b":'
_END = b"}}\n\n"
_json = msgspec.json.Encoder().encode


class MessagesEncoder:
    """An encoder of Messages streams: see ``base.StreamEncoder``."""

    __slots__ = (
        "_args",
        "_beside",
        "_buffer",
        "_cited",
        "_current",
        "_dropped",
        "_ended",
        "_kind",
        "_late",
        "_lead",
        "_number",
        "_start",
        "_started",
        "_stop",
        "_text",
        "_told",
        "_unknown",
        "_view",
        "_waiting",
        "_places", "losses",
    )

    def __init__(self, view: View) -> None:
        self.losses: list[Loss] = []
        self._places = Places()
        self._told: set[Loss] = set()
        self._view = view
        self._started = False
        self._ended = False
        self._start: Start | None = None
        self._number = 0  # index of the next block of this stream
        self._current = -1  # neutral index of the open block
        self._kind = ""
        self._lead = b""  # what every text delta of the open block begins with
        self._buffer: list[str] = []
        self._args = Pieces()  # of the open call
        self._late: Seal | None = None  # of the open call, that was told without it
        self._text = False  # a text is closed whose end is not told yet
        self._cited = 0  # citations of the open block
        self._waiting: dict[int, list[Event]] = {}
        self._dropped: set[int] = set()
        self._beside: Opaque | None = None
        self._stop: Stop | None = None
        self._unknown: list[Opaque] = []

    def feed(self, event: Event) -> bytes:
        if self._ended:
            return b""
        kind = type(event)
        if kind is Delta:
            index = event.index  # type: ignore[union-attr]
            if index == self._current:
                return self._delta(event)  # type: ignore[arg-type]
            if index in self._waiting:
                self._waiting[index].append(event)
            return b""
        if kind is Open:
            return self._opened(event)  # type: ignore[arg-type]
        if kind is Close:
            return self._closed(event)  # type: ignore[arg-type]
        if isinstance(event, Start):
            self._start = self._start or event
            return self._begin()
        if isinstance(event, Stop):
            if event.choice == 0:
                self._stop = event
            else:
                self._lose(f"choices.{event.choice}", "an answer holds one choice here")
            return b""
        if isinstance(event, End):
            return self._finish(event)
        if isinstance(event, Logprobs):
            if event.choice == 0:
                self._lose("choices.0.logprobs", "there are no logprobs here")
            return b""
        assert isinstance(event, Other)
        return self._other(event.opaque)

    def fail(self, error: GatewayError) -> bytes:
        """End the stream with an ``error`` event, whatever is open."""
        self._ended = True
        return sse.encode(error_body(error), b"error")

    def ping(self) -> bytes:
        return PING

    def _lose(self, path: str, why: str) -> None:
        loss = Loss(path, why)
        if loss not in self._told:  # a list of them would be searched anew for every block
            self._told.add(loss)
            self.losses.append(loss)

    # The message

    def _begin(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        start = self._start or Start("", "")
        message: dict[str, Any] = {
            "id": message_id(start.id, self._view),
            "type": "message",
            "role": "assistant",
            "model": self._view.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": counts.write(start.usage, counts.tier_out(start.service_tier)),
        }
        return _event("message_start", {"message": message})

    def _finish(self, end: End) -> bytes:
        out = [self._begin()]
        while self._current >= 0:
            out.append(self._closed(Close(self._current)))
        out.append(self._end_text())
        self._ended = True
        stop = self._stop or Stop("stop")
        reason = wire.finish_out(stop.reason, stop.sequence)
        delta: dict[str, Any] = {"stop_reason": reason, "stop_sequence": wire.sequence_out(reason, stop.sequence)}
        if stop.sequence and delta["stop_sequence"] is None:
            self._lose("choices.0.stop_sequence", wire.NO_SEQUENCE)
        used = counts.write(end.usage if end.usage is not None or self._start is None else self._start.usage)
        body: dict[str, Any] = {"delta": delta, "usage": used}
        for opaque in self._unknown:
            steps = opaque.kind.split(".")[1:]
            inner = body
            for step in steps[:-1]:
                inner = inner[step]
            inner[steps[-1]] = Raw(opaque.raw)
        out += (_event("message_delta", body), _STOP)
        return b"".join(out)

    def _other(self, opaque: Opaque) -> bytes:
        if opaque.dialect != wire.NAME or opaque.kind.startswith("message_start."):
            foreign = opaque.dialect != wire.NAME
            self._lose(f"events.{opaque.kind}", f"an event of {opaque.dialect} only" if foreign else "told too late")
            return b""
        if opaque.kind.startswith("message_delta."):
            self._unknown.append(opaque)
            return b""
        return self._end_text() + sse.encode(opaque.raw, opaque.kind.encode())

    # Blocks

    def _opened(self, event: Open) -> bytes:
        self._places.note(event)
        if event.choice:
            self._lose(f"choices.{event.choice}", "an answer holds one choice here")
            return b""
        if self._current >= 0:
            self._waiting[event.index] = [event]
            return b""
        out = self._begin()
        block = event.block
        self._current = event.index
        if self._text and isinstance(block, Thinking) and not block.redacted:
            self._kind = "unsure"  # a thought, or the text's seal
            return out
        out += self._end_text()
        if isinstance(block, ToolUse) and block.seal is not None:
            out += self._write_seal(block.seal, CALL)
        written = self._shell(block, event.index)
        return out if written is None else out + self._write_start(written)

    def _write_start(self, block: Out | bytes) -> bytes:
        raw = block if isinstance(block, bytes) else encode(block)
        if self._beside is not None:
            raw = bytes(merge(Raw(raw), self._beside))
            self._beside = None
        return sse.encode(
            b'{"type":"content_block_start","index":%d,"content_block":%b}' % (self._number, raw),
            b"content_block_start",
        )

    def _shell(self, block: Block, index: int) -> bytes | None:
        """Set the kind of the block that opens, and return its opening form; None for one that is not told yet, or
        never."""
        self._buffer = []
        self._cited = 0
        if isinstance(block, Text):
            return self._as("text", b"text_delta", b"text", _TEXT)
        if isinstance(block, ToolUse):
            made = block.id or self._view.mint("toolu_")
            shown = encode(wire.ToolUseBlock(made, block.name, Raw(b"{}")))
            if block.kind != "function":
                self._lose(self._places[index] + ".kind", f"a {block.kind} call is told as a function call")
            kind = "tool" if block.kind == "function" else "custom"
            self._args = Pieces()
            return self._as(kind, b"input_json_delta", b"partial_json", shown)
        if isinstance(block, Thinking) and not block.redacted:
            return self._as("thinking", b"thinking_delta", b"thinking", _THINKING)
        if isinstance(block, Refusal):
            self._lose(self._places[index] + ".refusal", "a refusal is told as text")
            return self._as("text", b"text_delta", b"text", _TEXT)
        self._kind = "dropped"
        if isinstance(block, Thinking):
            self._kind = "redacted"
        elif isinstance(block, Opaque) and is_fields(block):
            self._beside = block
        elif isinstance(block, Opaque) and block.dialect == wire.NAME:
            self._kind = "opaque"
            return block.raw
        else:
            name = block.kind if isinstance(block, Opaque) else type(block).__name__
            self._lose(self._places[index], f"{name} has no place here")
        return None

    def _as(self, kind: str, delta: bytes, key: bytes, shown: bytes) -> bytes:
        self._kind = kind
        self._lead = _DELTA % (self._number, delta, key)
        return shown

    def _delta(self, event: Delta) -> bytes:
        kind = self._kind
        out = b""
        if kind == "unsure":
            if not event.text and event.seal is not None and event.seal.family != wire.FAMILY:
                self._kind = "dropped"
                return _DELTA % (self._number, b"citations_delta", b"citation") + seal_citation(event.seal) + _END
            out = self._begin_thought()
            kind = self._kind
        if event.text:
            if kind == "text" or kind == "thinking":
                out += self._lead + _json(event.text) + _END
            elif kind == "tool":
                text = self._args.feed(event.text)
                out = self._lead + _json(text) + _END if text else b""
            elif kind == "custom":
                self._buffer.append(event.text)
        if event.seal is not None:
            out += self._sealed(event.seal)
        if event.citation is not None and kind == "text":
            raw = cite_out(event.citation)
            if raw is None:
                self._lose(self._cite_at(), "a citation without a URL")
            else:
                if event.citation.opaque is None and event.citation.start >= 0:
                    self._lose(f"{self._cite_at()}.start", "citations have no place in the text here")
                out += _DELTA % (self._number, b"citations_delta", b"citation") + bytes(raw) + _END
            self._cited += 1
        return out

    def _begin_thought(self) -> bytes:
        """Begin the thought that may have been a text's seal."""
        out = self._end_text()
        shown = self._shell(Thinking(""), self._current)
        assert shown is not None
        return out + self._write_start(shown)

    def _end_text(self) -> bytes:
        """Tell the end of a text that is over."""
        if not self._text:
            return b""
        self._text = False
        return self._write_end()

    def _write_end(self) -> bytes:
        number = self._number
        self._number += 1
        return sse.encode(b'{"type":"content_block_stop","index":%d}' % number, b"content_block_stop")

    def _write_seal(self, seal: Seal, mark: str) -> bytes:
        """Write a thought without words that bears the seal of the call beside it."""
        signature = _json(pack(seal, mark, wire.FAMILY).data)
        out = self._write_start(_THINKING)
        out += _DELTA % (self._number, b"signature_delta", b"signature") + signature + _END
        return out + self._write_end()

    def _cite_at(self) -> str:
        return f"{self._places[self._current]}.citations.{self._cited}"

    def _sealed(self, seal: Seal) -> bytes:
        packed = seal.pack(wire.FAMILY)
        if self._kind == "thinking":
            return _DELTA % (self._number, b"signature_delta", b"signature") + _json(packed) + _END
        if self._kind == "redacted":
            self._kind = "opaque"
            return self._write_start(wire.RedactedBlock(packed))
        self._late = seal
        return b""

    def _closed(self, event: Close) -> bytes:
        if event.index != self._current:
            if event.index in self._waiting:
                self._waiting[event.index].append(event)
            return b""
        out = [self._write_stop()]
        while self._waiting and self._current < 0:
            first = next(iter(self._waiting))
            for waited in self._waiting.pop(first):
                if isinstance(waited, Open):
                    out.append(self._opened(waited))
                elif isinstance(waited, Delta):
                    out.append(self._delta(waited))
                else:
                    out.append(self._write_stop())
        return b"".join(out)

    def _write_stop(self) -> bytes:
        """Close the open block."""
        kind, index = self._kind, self._current
        out = self._begin_thought() if kind == "unsure" else b""
        self._current = -1
        if kind == "text":
            self._text = True
            return b""
        if kind == "redacted":
            self._lose(self._places[index], "redacted reasoning without its data")
            return b""
        if kind == "dropped":
            return b""
        if kind == "custom":
            args = _json({"input": "".join(self._buffer)}).decode()
            out = self._lead + _json(args) + _END
        elif kind == "tool" and (held := self._args.end()):
            out = self._lead + _json(bytes(object_of(held)[0]).decode()) + _END
        out += self._write_end()
        late, self._late = self._late, None
        return out if late is None else out + self._write_seal(late, CALLED)


def _event(name: str, fields: dict[str, Any]) -> bytes:
    return sse.encode(encode({"type": name, **fields}), name.encode())


def encoder(view: View) -> MessagesEncoder:
    """Make an encoder for one client."""
    return MessagesEncoder(view)
