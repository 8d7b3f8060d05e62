"""Lines of /api/chat (or /api/generate) to neutral events."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.core import sse
from penstock.core.dialects.ollama.answer import Part, call_block, logprobs_in, read_line, usage_of
from penstock.core.dialects.ollama.names import media_type, reason_in, seconds
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
    Open,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
)
from penstock.core.ir.fold import shell

_SHELLS: dict[str, Block] = {"text": Text(""), "thinking": Thinking("")}


class Decoder:
    """A decoder of Ollama's streams: see ``base.StreamDecoder``. Calls come whole, in a line of their own or with the
    last one."""

    __slots__ = ("_calls", "_done", "_kind", "_next", "_started")

    def __init__(self) -> None:
        self._kind = ""  # of the open block: text | thinking | ""
        self._next = 0
        self._calls = 0
        self._started = False
        self._done = False

    def feed(self, event: sse.Event) -> Iterable[Event]:
        if self._done:
            return ()
        line = read_line(event.data, "broken_stream")
        out: list[Event] = []
        if not self._started:
            self._started = True
            out.append(Start("", line.model or "", seconds(line.created_at)))
        part = line.message
        if part is None:
            part = Part(line.response, line.thinking)
        if part.thinking:
            self._say("thinking", part.thinking, out)
        if part.content:
            self._say("text", part.content, out)
        if part.images:
            for data in part.images:
                self._whole(Image(Base64(media_type(data), data)), out)
        if part.tool_calls:
            for call in part.tool_calls:
                self._whole(call_block(call, self._calls), out)
                self._calls += 1
        if logprobs := logprobs_in(line.logprobs):
            out.append(Logprobs(logprobs))
        if line.done:
            self._done = True
            self._shut(out)
            said = self._next > 0
            out.append(Stop(reason_in(line.done_reason or "", bool(self._calls), said)))
            out.append(End(usage_of(line)))
        return out

    def close(self) -> Iterable[Event]:
        if not self._done:
            message = 'The upstream\'s stream ended before the answer was complete: no line with "done" came.'
            raise GatewayError("broken_stream", message)
        return ()

    def _say(self, kind: str, piece: str, out: list[Event]) -> None:
        if self._kind != kind:
            self._shut(out)
            self._kind = kind
            out.append(Open(self._next, _SHELLS[kind]))
        out.append(Delta(self._next, piece))

    def _shut(self, out: list[Event]) -> None:
        if self._kind:
            out.append(Close(self._next))
            self._next += 1
            self._kind = ""

    def _whole(self, block: Image | ToolUse, out: list[Event]) -> None:
        self._shut(out)
        out.append(Open(self._next, shell(block)))
        if isinstance(block, ToolUse) and block.args:
            out.append(Delta(self._next, block.args))
        out.append(Close(self._next))
        self._next += 1
