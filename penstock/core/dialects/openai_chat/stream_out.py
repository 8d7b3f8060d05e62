"""Neutral events to Chat chunks."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Encoder as JsonEncoder
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.base import View
from penstock.core.dialects.carried import TEXT, is_wordless, pack
from penstock.core.dialects.openai_chat.answer import write_citation, write_signature
from penstock.core.dialects.openai_chat.errors import error_fields
from penstock.core.dialects.openai_chat.names import (
    DELTA,
    MESSAGE,
    NAME,
    THOUGHT_FAMILY,
    chat_id,
    finish_out,
    is_legacy,
)
from penstock.core.dialects.openai_chat.usage import write_usage
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
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
)
from penstock.core.ir.places import Places

_JSON = JsonEncoder().encode
_FIELDS = {Text: b'{"content":', Thinking: b'{"reasoning_content":', Refusal: b'{"refusal":'}


class _Shown:
    """An open block. ``field``: how a text delta begins; ``base``: where a text stands in the whole content."""

    __slots__ = ("after_text", "base", "block", "choice", "empty", "field", "length", "place", "tail")

    def __init__(self, block: Block, choice: int) -> None:
        self.block = block
        self.choice = choice
        self.field = _FIELDS.get(type(block), b"")
        self.tail = b"}"
        self.place = 0  # among the calls, or the thoughts, of its choice
        self.base = 0
        self.length = 0
        self.empty = True
        self.after_text = False


class _Line:
    """One choice: how much of each kind was said."""

    __slots__ = ("after_text", "annotations", "calls", "length", "refused", "thoughts")

    def __init__(self) -> None:
        self.after_text = False  # the block that was closed last is a text
        self.calls = 0
        self.thoughts = 0
        self.annotations = 0
        self.length = 0
        self.refused = False


class Encoder:
    """An encoder of Chat streams: see ``base.StreamEncoder``. The first chunk has the role; the usage chunk comes only
    when ``view.usage``."""

    __slots__ = ("_blocks", "_head", "_legacy", "_lines", "_tail", "_view", "_places", "losses")

    def __init__(self, view: View) -> None:
        self._view = view
        self._legacy = is_legacy(view.request)
        self._blocks: dict[int, _Shown] = {}
        self._lines: dict[int, _Line] = {}
        self._head = b""
        # With usage asked for, the vendor puts a null into every chunk but the last.
        self._tail = b',"usage":null}\n\n' if view.usage else b"}\n\n"
        self.losses: list[Loss] = []
        self._places = Places()

    def feed(self, event: Event) -> bytes:
        if isinstance(event, Delta):
            shown = self._blocks.get(event.index)
            if shown is None:
                return b""
            if event.text and event.seal is None and event.citation is None:
                piece = _JSON(event.text)
                kind = type(shown.block)
                if kind is Text:
                    shown.length += len(event.text)
                elif kind is Thinking:
                    # Twice, as LiteLLM does: a client that adds up deltas must find its text beside the signature.
                    piece += b',"thinking_blocks":[{"index":%d,"type":"thinking","thinking":%b}]' % (shown.place, piece)
                shown.empty = False
                return self._chunk(shown.choice, shown.field + piece + shown.tail)
            return self._delta(shown, event)
        if isinstance(event, Open):
            return self._open(event)
        if isinstance(event, Close):
            return self._close(event)
        if isinstance(event, Start):
            return self._start(event)
        if isinstance(event, Stop):
            return self._stop(event)
        if isinstance(event, Logprobs):
            return self._role(event.choice) + self._chunk(event.choice, b"{}", logprobs=_line(event.raw))
        if isinstance(event, End):
            return self._end(event)
        return self._other(event)

    def fail(self, error: GatewayError) -> bytes:
        return sse.encode(_JSON({"error": error_fields(error)}))

    def ping(self) -> bytes:
        return sse.COMMENT

    def _chunk(self, choice: int, delta: bytes, finish: bytes = b"null", logprobs: bytes = b"null") -> bytes:
        number = b"0" if choice == 0 else b"%d" % choice
        body = b'[{"index":' + number + b',"delta":' + delta + b',"logprobs":' + logprobs + b',"finish_reason":'
        return self._head + body + finish + b"}]" + self._tail

    def _start(self, event: Start) -> bytes:
        view = self._view
        fields = {
            "id": chat_id(event.id, view.mint),
            "object": "chat.completion.chunk",
            "created": event.created or view.now,
            "model": view.model,
        }
        if event.service_tier:
            fields["service_tier"] = event.service_tier
        self._head = b"data: " + _JSON(fields)[:-1] + b',"choices":'
        return self._role(0)

    def _role(self, choice: int) -> bytes:
        """Write the first chunk of a choice."""
        if choice in self._lines:
            return b""
        self._lines[choice] = _Line()
        return self._chunk(choice, b'{"role":"assistant","content":""}')

    def _open(self, event: Open) -> bytes:
        self._places.note(event)
        first = self._role(event.choice)
        line = self._lines[event.choice]
        block = event.block
        shown = self._blocks[event.index] = _Shown(block, event.choice)
        line.after_text, shown.after_text = False, line.after_text
        if isinstance(block, Text):
            shown.base = line.length
        elif isinstance(block, ToolUse):
            return first + self._open_call(event, block, shown, line)
        elif isinstance(block, Thinking):
            shown.place = line.thoughts
            line.thoughts += 1
        elif isinstance(block, Refusal):
            line.refused = True
        elif isinstance(block, Opaque) and block.dialect == NAME and block.kind.startswith(MESSAGE):
            key = block.kind[len(MESSAGE) :]
            return first + self._chunk(event.choice, _JSON({key: Raw(_line(block.raw))}))
        else:
            self.losses.append(
                Loss(self._places[event.index], "an answer has no field for it here")
            )
        return first

    def _open_call(self, event: Open, block: ToolUse, shown: _Shown, line: _Line) -> bytes:
        place = line.calls
        line.calls += 1
        shown.place = place
        if self._legacy:
            if place:
                self.losses.append(Loss(self._places[event.index], "function_call holds one call"))
                del self._blocks[event.index]
                return b""
            if block.seal is not None:
                self._unsealed(event.choice, event.index)
            shown.field, shown.tail = b'{"function_call":{"arguments":', b"}}"
            return self._chunk(event.choice, _JSON({"function_call": {"name": block.name, "arguments": ""}}))
        kind, key = ("custom", "input") if block.kind == "custom" else ("function", "arguments")
        shown.field = b'{"tool_calls":[{"index":%d,"%s":{"%s":' % (place, kind.encode(), key.encode())
        shown.tail = b"}}]}"
        call = {"index": place, "id": block.id, "type": kind, kind: {"name": block.name, key: ""}}
        if block.seal is not None:
            if block.kind == "function":
                call["extra_content"] = write_signature(block.seal)
            else:
                self._unsealed(event.choice, event.index)
        return self._chunk(event.choice, _JSON({"tool_calls": [call]}))

    def _delta(self, shown: _Shown, event: Delta) -> bytes:
        """Write what a delta may carry beside text, or nothing at all."""
        out = b""
        if event.text:
            out = self.feed(Delta(event.index, event.text))
        line = self._lines[shown.choice]
        block = shown.block
        if event.citation is not None:
            written = write_citation(event.citation, shown.base, shown.length)
            if written is None:
                self.losses.append(Loss(f"{self._places[event.index]}.citations", "a citation needs a URL here"))
            else:
                if isinstance(written, dict):  # the vendor's own client adds up list elements by index
                    written = {"index": line.annotations, **written}
                else:
                    written = Raw(_line(bytes(written)))
                line.annotations += 1
                out += self._chunk(shown.choice, _JSON({"annotations": [written]}))
        if event.seal is None:
            return out
        if isinstance(block, ToolUse):
            if not self._legacy and block.kind == "function":
                # No delta without a function: the vendor's own stream helper takes one for granted.
                call = {"index": shown.place, "function": {"arguments": ""}}
                call["extra_content"] = write_signature(event.seal)
                out += self._chunk(shown.choice, _JSON({"tool_calls": [call]}))
            else:
                self._unsealed(shown.choice, event.index)
        elif isinstance(block, Thinking):
            thought: dict[str, Any] = {"index": shown.place, "type": "thinking", "thinking": ""}
            packed = event.seal.pack(THOUGHT_FAMILY)
            if shown.after_text and shown.empty and is_wordless(replace(block, seal=event.seal), THOUGHT_FAMILY):
                packed = pack(event.seal, TEXT, THOUGHT_FAMILY).data
            if block.redacted:
                thought = {"index": shown.place, "type": "redacted_thinking", "data": packed}
            else:
                thought["signature"] = packed
            out += self._chunk(shown.choice, _JSON({"thinking_blocks": [thought]}))
        return out

    def _unsealed(self, choice: int, index: int) -> None:
        self.losses.append(Loss(self._places[index] + ".seal", "only a function's call carries one"))

    def _close(self, event: Close) -> bytes:
        shown = self._blocks.pop(event.index, None)
        if shown is None:
            return b""
        self._lines[shown.choice].length += shown.length
        if shown.length:
            self._lines[shown.choice].after_text = True
        if shown.empty and isinstance(shown.block, ToolUse) and shown.block.kind != "custom":
            return self._chunk(shown.choice, shown.field + b'"{}"' + shown.tail)  # clients parse it as JSON
        return b""

    def _stop(self, event: Stop) -> bytes:
        first = self._role(event.choice)
        finish = _JSON(finish_out(event.reason, self._lines[event.choice].refused, self._legacy))
        if event.sequence:
            finish += b',"stop_reason":' + _JSON(event.sequence)
        return first + self._chunk(event.choice, b"{}", finish)

    def _end(self, event: End) -> bytes:
        if event.usage is None or not self._view.usage:
            return sse.DONE
        return self._head + b'[],"usage":' + write_usage(event.usage) + b"}\n\n" + sse.DONE

    def _other(self, event: Other) -> bytes:
        opaque = event.opaque
        if opaque.dialect != NAME or opaque.kind != DELTA:
            self.losses.append(Loss(f"events.{opaque.kind}", f"an event of {opaque.dialect} only"))
            return b""
        return self._head + b"[" + _line(opaque.raw) + b"]" + self._tail


def _line(raw: bytes) -> bytes:
    """Put JSON on one line: white space between tokens is allowed to hold line ends, which an event's data is not."""
    return msgspec.json.format(raw, indent=-1) if sse.LF in raw or sse.CR in raw else raw
