"""Neutral events to the lines of /api/chat or /api/generate."""

from __future__ import annotations

from typing import Any

from msgspec.json import Encoder as JsonEncoder
from msgspec.structs import replace

from penstock.core.dialects.base import View
from penstock.core.dialects.ollama.answer import call_out, figures, head, logprobs_out
from penstock.core.dialects.ollama.errors import error_line
from penstock.core.dialects.ollama.lines import escaped
from penstock.core.dialects.ollama.names import reason_out
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Base64,
    Block,
    Close,
    Delta,
    End,
    Event,
    Image,
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

_JSON = JsonEncoder().encode
_END = b',"done":false}\n'
_CHAT = b',"message":{"role":"assistant","content":'


class Encoder:
    """An encoder of Ollama's streams: see ``base.StreamEncoder``. Calls go out whole: their arguments are an object,
    which has no halves.

    ``generate``: the lines of /api/generate, where ``response`` stands for the message."""

    __slots__ = (
        "_blocks", "_calls", "_first", "_generate", "_head", "_places", "_stop", "_text", "_thought", "_view", "losses",
    )  # fmt: skip

    def __init__(self, view: View, generate: bool = False) -> None:
        self._view = view
        self._generate = generate
        self._blocks: dict[int, Block] = {}
        self._calls = 0
        self._first = 0  # nanoseconds until the answer began
        self._stop = Stop("stop")
        self._begin(0)
        self.losses: list[Loss] = []
        self._places = Places()

    def _begin(self, created: int) -> None:
        self._head = _JSON(head(self._view, created))[:-1]
        if self._generate:
            self._text = (self._head + b',"response":', _END)
            self._thought = (self._head + b',"response":"","thinking":', _END)
        else:
            self._text = (self._head + _CHAT, b"}" + _END)
            self._thought = (self._head + _CHAT + b'"","thinking":', b"}" + _END)

    def feed(self, event: Event) -> bytes:
        return escaped(self._feed(event))

    def _feed(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            return self._delta(event)
        if isinstance(event, Open):
            return self._open(event)
        if isinstance(event, Close):
            return self._close(event.index)
        if isinstance(event, Start):
            self._first = self._view.elapsed()
            self._begin(event.created)
        elif isinstance(event, Stop):
            if event.choice == 0:
                self._stop = event
        elif isinstance(event, Logprobs):
            return self._logprobs(event)
        elif isinstance(event, End):
            return self._end(event)
        elif isinstance(event, Other):
            self.losses.append(Loss(f"events.{event.opaque.kind}", f"an event of {event.opaque.dialect} only"))
        return b""

    def fail(self, error: GatewayError) -> bytes:
        return error_line(error)

    def ping(self) -> bytes:
        """Return a space, which JSON allows before the next line's object. A blank line would not do: Ollama's own
        Python client parses every line and fails on an empty one."""
        return b" "

    def _open(self, event: Open) -> bytes:
        self._places.note(event)
        block = event.block
        where = self._places[event.index]
        if event.choice:
            self.losses.append(Loss(where, "an answer has one choice here"))
        elif isinstance(block, Image) and isinstance(block.source, Base64) and not self._generate:
            return self._head + _CHAT + b'"","images":' + _JSON([block.source.data]) + b"}" + _END
        elif isinstance(block, (Text, Refusal)) or isinstance(block, Thinking) and not block.redacted:
            self._blocks[event.index] = block
        elif isinstance(block, ToolUse) and not self._generate:
            self._blocks[event.index] = block
            if block.seal is not None:
                self.losses.append(Loss(self._places[event.index] + ".seal", "an answer carries no signature here"))
        else:
            self.losses.append(Loss(where, f"an answer holds no {type(block).__name__} here"))
        return b""

    def _delta(self, event: Delta) -> bytes:
        block = self._blocks.get(event.index)
        if block is None:
            return b""
        if event.seal is not None:
            self.losses.append(Loss(self._places[event.index] + ".seal", "an answer carries no signature here"))
        if event.citation is not None:
            self.losses.append(Loss(self._places[event.index] + ".citations", "text carries no citations here"))
        if not event.text:
            return b""
        if isinstance(block, ToolUse):
            self._blocks[event.index] = replace(block, args=block.args + event.text)
            return b""
        before, after = self._thought if isinstance(block, Thinking) else self._text
        return before + _JSON(event.text) + after

    def _close(self, index: int) -> bytes:
        block = self._blocks.pop(index, None)
        if not isinstance(block, ToolUse):
            return b""
        call = call_out(block, self._calls, self._places[index], self.losses)
        self._calls += 1
        return self._head + _CHAT + b'"","tool_calls":' + _JSON([call]) + b"}" + _END

    def _logprobs(self, event: Logprobs) -> bytes:
        rows = logprobs_out(event.raw) if event.choice == 0 else None
        if rows is None:
            return b""
        before, after = self._text
        return before + b'""' + after[: -len(_END)] + b',"logprobs":' + bytes(rows) + _END

    def _end(self, event: End) -> bytes:
        total = self._view.elapsed()
        told: dict[str, Any] = {"response": ""} if self._generate else {"message": {"role": "assistant", "content": ""}}
        told |= {"done": True, "done_reason": reason_out(self._stop.reason)} | figures(event.usage, self._first, total)
        return self._head + b"," + _JSON(told)[1:] + b"\n"
