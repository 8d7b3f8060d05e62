"""Neutral events to a ConverseStream, in the event-stream framing. Source as in ``stream_in``."""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import encode

from penstock.core import eventstream
from penstock.core.dialects.arguments import Pieces, object_of
from penstock.core.dialects.base import View
from penstock.core.dialects.bedrock import usage, wire
from penstock.core.dialects.bedrock.answer import MORE
from penstock.core.dialects.bedrock.blocks_out import AnswerWriter, cite_out, pack_blob
from penstock.core.dialects.bedrock.errors import error_body, name_of
from penstock.core.errors import GatewayError
from penstock.core.ir import (
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
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
)
from penstock.core.ir.places import Places


class ConverseEncoder:
    """An encoder of Converse streams: see ``base.StreamEncoder``. One answer, block after block."""

    __slots__ = (
        "_args", "_blocks", "_more", "_others", "_pieces", "_stop", "_tier", "_told", "_usage", "_view", "_writer",
        "_places", "losses",
    )  # fmt: skip

    def __init__(self, view: View) -> None:
        self.losses: list[Loss] = []
        self._places = Places()
        self._told: set[Loss] = set()
        self._view = view
        self._writer = AnswerWriter(self.losses)
        self._blocks: dict[int, Any] = {}
        self._args: dict[int, list[str]] = {}  # of calls whose arguments are no function's
        self._pieces: dict[int, Pieces] = {}  # of all others
        self._stop = Stop("stop")
        self._usage: Usage | None = None
        self._tier = ""
        self._others: dict[str, Any] = {}
        self._more: bytes = b""

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, Open):
            return self._open(event)
        if isinstance(event, Close):
            return self._close(event.index)
        if isinstance(event, Start):
            self._usage, self._tier = event.usage, event.service_tier
            return _event("messageStart", {"role": "assistant"})
        if isinstance(event, Stop):
            if event.choice == 0:
                self._stop = event
            else:
                self._lose(f"choices.{event.choice}", "one answer only")
            return b""
        if isinstance(event, Logprobs):
            if event.choice == 0:
                self._lose("choices.0.logprobs", "there are no log probabilities here")
            return b""
        if isinstance(event, Other):
            return self._other(event.opaque)
        return self._end(event)

    def fail(self, error: GatewayError) -> bytes:
        """End the stream with an exception."""
        name = name_of(error)
        return eventstream.exception(name[0].lower() + name[1:], error_body(error))

    def ping(self) -> bytes:
        """Return nothing: the framing has no keep-alive that its clients ignore."""
        return b""

    # Blocks

    def _open(self, event: Open) -> bytes:
        self._places.note(event)
        block = event.block
        if event.choice:
            return b""
        if isinstance(block, ToolUse):
            if block.kind != "function":
                self._lose(self._places[event.index] + ".kind", f"a {block.kind} call is sent as a function call")
                self._args[event.index] = []
            else:
                self._pieces[event.index] = Pieces()
            if block.seal is not None:
                self._lose(self._places[event.index] + ".seal", "tool calls carry no signature here")
            start = {"toolUse": {"toolUseId": block.id, "name": block.name}}
            self._blocks[event.index] = block
            return _event("contentBlockStart", {"start": start, "contentBlockIndex": event.index})
        if isinstance(block, Refusal):
            self._lose(self._places[event.index] + ".refusal", "a refusal is told as text")
        if isinstance(block, (Text, Thinking, Refusal)):
            self._blocks[event.index] = block
            return b""
        return self._whole(event)

    def _whole(self, event: Open) -> bytes:
        """Report the loss of a block that never streams: the stream has no place for most."""
        block = event.block
        if isinstance(block, Opaque) and block.dialect == wire.NAME and block.kind in ("toolUse", "toolResult"):
            return b""  # a server's tool: told whole answers only
        self._writer.one(block, self._places[event.index], "assistant")
        return b""

    def _delta(self, event: Delta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None:
            return b""
        out = b""
        at = event.index
        if isinstance(block, ToolUse):
            if at in self._args:
                self._args[at].append(event.text)
            elif told := self._pieces[at].feed(event.text):
                out = _piece(at, {"toolUse": {"input": told}})
            if event.seal is not None:
                self._lose(self._places[at] + ".seal", "tool calls carry no signature here")
            return out
        if event.text:
            word = {"reasoningContent": {"text": event.text}} if isinstance(block, Thinking) else {"text": event.text}
            out = _piece(at, word)
        if event.seal is not None:
            redacted = isinstance(block, Thinking) and block.redacted
            key = "redactedContent" if redacted else "signature"
            sealed = pack_blob(event.seal) if redacted else event.seal.pack(wire.FAMILY)
            out += _piece(at, {"reasoningContent": {key: sealed}})
        if event.citation is not None:
            made = cite_out(event.citation)
            if made is None:
                self._lose(self._places[at] + ".citations", "a citation without a URL")
            else:
                out += _piece(at, {"citation": made})
        return out

    def _close(self, at: int) -> bytes:
        block = self._blocks.pop(at, None)
        if block is None:
            return b""
        out = b""
        if at in self._args:
            text = "".join(self._args.pop(at))
            out = _piece(at, {"toolUse": {"input": encode({"input": text}).decode()}})
        elif at in self._pieces and (held := self._pieces.pop(at).end()):
            out = _piece(at, {"toolUse": {"input": bytes(object_of(held)[0]).decode()}})
        return out + _event("contentBlockStop", {"contentBlockIndex": at})

    # The end

    def _other(self, opaque: Opaque) -> bytes:
        if opaque.dialect != wire.NAME:
            self._lose(f"events.{opaque.kind}", f"an event of {opaque.dialect} only")
        elif opaque.kind == MORE:
            self._more = opaque.raw
        else:
            self._others[opaque.kind] = Raw(opaque.raw)
        return b""

    def _end(self, end: End) -> bytes:
        out = b"".join([self._close(at) for at in list(self._blocks)])
        stop = self._stop
        told: dict[str, Any] = {"stopReason": wire.finish_out(stop.reason, stop.sequence)}
        if self._more:
            told[MORE] = Raw(self._more)
        elif stop.sequence:
            told[MORE] = {"delta": {"stop_sequence": stop.sequence}}
        used = end.usage or self._usage
        metadata: dict[str, Any] = {
            "usage": usage.write(used),
            "metrics": {"latencyMs": self._view.elapsed() // 1_000_000},
            **self._others,
        }
        tier = (used.tier if used is not None else "") or self._tier
        if tier:
            metadata["serviceTier"] = {"type": tier}
        return out + _event("messageStop", told) + _event("metadata", metadata)

    def _lose(self, path: str, why: str) -> None:
        loss = Loss(path, why)
        if loss not in self._told:  # a list of them would be searched anew for every block
            self._told.add(loss)
            self.losses.append(loss)


def _event(kind: str, data: dict[str, Any]) -> bytes:
    return eventstream.event(kind, encode(data))


def _piece(at: int, delta: dict[str, Any]) -> bytes:
    return _event("contentBlockDelta", {"delta": delta, "contentBlockIndex": at})


def encoder(view: View) -> ConverseEncoder:
    """Make an encoder for one client."""
    return ConverseEncoder(view)
