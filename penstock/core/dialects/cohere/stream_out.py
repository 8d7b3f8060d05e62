"""Neutral events to a ``/v2/chat`` stream. Sources as in ``stream_in``.

A thought is told when it is complete: only then is it known whether it was a plan, which has events of its own. A
stream that fails ends in a ``message-end`` with ``finish_reason`` ERROR, as the vendor's does.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, Encoder
from msgspec.structs import replace

from penstock.core.dialects.base import View
from penstock.core.dialects.cohere import citations, logprobs, usage
from penstock.core.dialects.cohere.answer import call_out, kind_of, untold
from penstock.core.dialects.cohere.names import NAME, finish_out, is_plan
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
    Loss,
    Open,
    Other,
    Refusal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
)
from penstock.core.ir.places import Places

_JSON = Encoder().encode
_TOP = Decoder(dict[str, Raw]).decode


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), _JSON({"type": kind, **fields}))


class ChatEncoder:
    """An encoder of Cohere's streams: see ``base.StreamEncoder``."""

    __slots__ = (
        "_blocks", "_called", "_calls", "_content", "_held", "_numbers", "_rows", "_stop", "_told", "_view",
        "_places", "losses",
    )  # fmt: skip

    def __init__(self, view: View) -> None:
        self.losses: list[Loss] = []
        self._places = Places()
        self._told: set[Loss] = set()
        self._view = view
        self._blocks: dict[int, Block] = {}  # open ones
        self._held: dict[int, list[str]] = {}  # the pieces of open thoughts and calls
        self._numbers: dict[int, int] = {}  # block -> the API's number of its text or call
        self._content = 0
        self._calls = 0
        self._called = False
        self._rows: list[Any] = []  # log probabilities that came outside of a text
        self._stop = Stop("stop")

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, Open):
            return self._open(event)
        if isinstance(event, Close):
            return self._close(event.index)
        if isinstance(event, Start):
            message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
            return _event("message-start", id=event.id or self._view.mint(""), delta={"message": message})
        if isinstance(event, Stop):
            if event.choice == 0:
                self._stop = event
            else:
                self._lose(f"choices.{event.choice}", "an answer has one choice here")
        elif isinstance(event, Logprobs):
            return self._logprobs(event)
        elif isinstance(event, End):
            return self._end(event)
        elif isinstance(event, Other):
            return self._other(event)
        return b""

    def fail(self, error: GatewayError) -> bytes:
        return _event("message-end", delta={"finish_reason": "ERROR", "error": error.text})

    def ping(self) -> bytes:
        """Return a comment."""
        return b": ping\n\n"

    def _open(self, event: Open) -> bytes:
        self._places.note(event)
        block, index = event.block, event.index
        where = self._places[index]
        if event.choice:
            self._lose(f"choices.{event.choice}", "an answer has one choice here")
        elif isinstance(block, (Text, Refusal)) or (isinstance(block, Thinking) and not block.redacted):
            self._blocks[index] = block
        elif isinstance(block, ToolUse):
            self._blocks[index] = replace(block, seal=None)
            self._called = True
            if block.seal is not None:
                self._lose(f"{where}.seal", "a call carries no signature here")
            if block.kind == "function":
                return self._start_call(index, block)
        else:
            self._lose(where, f"an answer holds no {kind_of(block)} here")
        return b""

    def _lose(self, path: str, why: str) -> None:
        loss = Loss(path, why)
        if loss not in self._told:  # a list of them would be searched anew for every block
            self._told.add(loss)
            self.losses.append(loss)

    def _start_call(self, index: int, block: ToolUse) -> bytes:
        self._numbers[index] = number = self._calls
        self._calls += 1
        call = {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": ""}}
        return _event("tool-call-start", index=number, delta={"message": {"tool_calls": call}})

    def _delta(self, event: Delta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None:
            return b""
        if isinstance(block, Thinking):
            self._held.setdefault(event.index, []).append(event.text)
            if event.seal is not None:
                self._blocks[event.index] = replace(block, seal=event.seal)
            return b""
        where = self._places[event.index]
        if event.seal is not None:
            self._lose(f"{where}.seal", "a call carries no signature here")
        if isinstance(block, ToolUse):
            return self._argue(event, block)
        out = b""
        if event.text:
            out += self._start_content(event.index, "text")
            out += self._content_delta(event.index, {"text": event.text})
        if event.citation is not None:
            cited = Text("", citations=(event.citation,))
            if untold(cited):
                self._lose(f"{where}.citations", "a citation has a document here")
            elif event.index in self._numbers:  # one about a text without words is about nothing
                number = self._numbers[event.index]
                for told in citations.written(cited, number):
                    out += _event("citation-start", index=number, delta={"message": {"citations": told}})
                    out += _event("citation-end", index=number)
        return out

    def _argue(self, event: Delta, block: ToolUse) -> bytes:
        if not event.text:
            return b""
        self._held.setdefault(event.index, []).append(event.text)
        return self._arguments(event.index, event.text) if block.kind == "function" else b""

    def _arguments(self, index: int, text: str) -> bytes:
        inner = {"function": {"arguments": text}}
        return _event("tool-call-delta", index=self._numbers[index], delta={"message": {"tool_calls": inner}})

    def _start_content(self, index: int, kind: str) -> bytes:
        if index in self._numbers:
            return b""
        self._numbers[index] = number = self._content
        self._content += 1
        return _event("content-start", index=number, delta={"message": {"content": {"type": kind, kind: ""}}})

    def _content_delta(self, index: int, content: dict[str, Any], **more: Any) -> bytes:
        return _event("content-delta", index=self._numbers[index], delta={"message": {"content": content}}, **more)

    def _close(self, index: int) -> bytes:
        block = self._blocks.pop(index, None)
        held = "".join(self._held.pop(index, ()))
        if isinstance(block, Thinking):
            return self._thought(index, replace(block, text=block.text + held))
        if isinstance(block, ToolUse):
            return self._end_call(index, replace(block, args=block.args + held))
        return _event("content-end", index=self._numbers[index]) if index in self._numbers else b""

    def _thought(self, index: int, block: Thinking) -> bytes:
        if is_plan(block):
            return _event("tool-plan-delta", delta={"message": {"tool_plan": block.text}}) if block.text else b""
        if block.seal is not None:
            self._lose(self._places[index] + ".seal", "a thought carries no signature here")
        if not block.text:
            return b""
        out = self._start_content(index, "thinking") + self._content_delta(index, {"thinking": block.text})
        return out + _event("content-end", index=self._numbers[index])

    def _end_call(self, index: int, block: ToolUse) -> bytes:
        out = b""
        if block.kind != "function":
            told = call_out(replace(block, seal=None), self._places[index], self.losses)
            out += self._start_call(index, block) + self._arguments(index, told["function"]["arguments"])
        elif not block.args:
            out += self._arguments(index, "{}")
        return out + _event("tool-call-end", index=self._numbers[index])

    def _logprobs(self, event: Logprobs) -> bytes:
        """Tell log probabilities on the pieces of a text; outside of one they wait for an empty piece at the end."""
        rows = logprobs.to_cohere(event.raw) if event.choice == 0 else []
        open_texts = (at for at, block in self._blocks.items() if isinstance(block, Text) and at in self._numbers)
        at = next(open_texts, None)
        if at is None:
            self._rows += rows
            return b""
        return b"".join(self._content_delta(at, {"text": ""}, logprobs=row) for row in rows)

    def _other(self, event: Other) -> bytes:
        opaque = event.opaque
        if opaque.dialect != NAME:
            self._lose(f"events.{opaque.kind}", f"an event of {opaque.dialect} only")
        elif opaque.kind == "citation-start":
            return _event("citation-start", delta={"message": {"citations": Raw(opaque.raw)}})
        else:
            return b"event: %b\ndata: %b\n\n" % (opaque.kind.encode(), _JSON(_TOP(opaque.raw)))
        return b""

    def _end(self, event: End) -> bytes:
        stop = self._stop
        if stop.sequence:
            self._lose("choices.0.stop_sequence", "which one it was is not told here")
        delta: dict[str, Any] = {"finish_reason": finish_out(stop.reason, stop.sequence, self._called)}
        if event.usage is not None:
            delta["usage"] = usage.written(event.usage)
        rows = b"".join(
            _event("content-delta", index=max(0, self._content - 1), delta={"message": {"content": {}}}, logprobs=row)
            for row in self._rows
        )
        return rows + _event("message-end", delta=delta)


def encoder(view: View) -> ChatEncoder:
    """Make an encoder for one stream to a client."""
    return ChatEncoder(view)
