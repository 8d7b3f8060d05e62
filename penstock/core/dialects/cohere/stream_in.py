"""A ``/v2/chat`` stream to neutral events. https://docs.cohere.com/reference/chat-stream and
https://docs.cohere.com/docs/tool-use-streaming: server-sent events, each named by the ``type`` in its data.

A text's citations may come after its ``content-end``, so that it closes with what follows. Arguments of calls come in
pieces; models write "null" for those of a function that has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Raw, Struct
from msgspec.json import Decoder

from penstock.core import sse
from penstock.core.dialects.arguments import Pieces, settle
from penstock.core.dialects.cohere import citations, logprobs, usage
from penstock.core.dialects.cohere.errors import failed, parse_error
from penstock.core.dialects.cohere.names import FAILED, NAME, finish_in, plan_seal
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
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
)


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _Call(Struct, gc=False):
    id: str | None = None
    function: _Function | None = None


class _Content(Struct, gc=False):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class _Message(Struct, gc=False):
    content: _Content | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: _Call | list[_Call] | None = None
    citations: Raw = Raw()


class _Delta(Struct, gc=False):
    message: _Message | None = None
    finish_reason: str | None = None
    error: str | None = None
    usage: Raw = Raw()


class _Event(Struct, gc=False):
    type: str = ""
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    logprobs: Raw = Raw()


_EVENT = Decoder(_Event, strict=False).decode
_ITEMS = Decoder(list[Raw]).decode
_SHELLS: dict[str, Block] = {"text": Text(""), "thinking": Thinking(""), "plan": Thinking("")}
_NOTHING = _Message()


class ChatDecoder:
    """A decoder of Cohere's streams: see ``base.StreamDecoder``."""

    __slots__ = ("_args", "_at", "_called", "_calls", "_count", "_done", "_kind", "_next", "_number", "_started")

    def __init__(self) -> None:
        self._kind = ""  # of the open block: text | thinking | plan | ""
        self._at = -1
        self._next = 0
        self._number = 0  # the API's number of the open content block
        self._count = 0  # and of the next one
        self._called = False
        self._calls: dict[int, int] = {}  # the API's number of an open call -> its block
        self._args: dict[int, Pieces] = {}  # of open calls, by their blocks
        self._started = False
        self._done = False

    def feed(self, event: sse.Event) -> Iterable[Event]:
        data = event.data
        if self._done or data.strip() == b"[DONE]":
            return ()
        try:
            told = _EVENT(data)
        except BAD_JSON as error:
            text = f"The upstream sent an event that is not of this dialect: {error}."
            raise GatewayError("broken_stream", text) from None
        kind = told.type or event.name.decode("utf-8", "replace")
        out: list[Event] = []
        read = _READERS.get(kind)
        if read is not None:
            if not self._started and kind != "message-start":
                self._begin(told, out)
            read(self, told, told.delta or _Delta(), out)
        elif not told.type and b'"message"' in data:  # an error, told as a whole answer would tell it
            raise parse_error(500, {}, data)
        else:
            out.append(Other(Opaque(NAME, kind or "event", bytes(data))))
        return out

    def close(self) -> Iterable[Event]:
        if not self._done:
            text = 'The upstream\'s stream ended before the answer was complete: no "message-end" came.'
            raise GatewayError("broken_stream", text)
        return ()

    # The events, each with its data and what is in it

    def _begin(self, told: _Event, out: list[Event]) -> None:
        self._started = True
        out.append(Start(told.id or "", ""))

    def _message_start(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        if not self._started:
            self._begin(told, out)

    def _content_start(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        held = (delta.message or _NOTHING).content
        held = held if isinstance(held, _Content) else _Content()
        self._open("thinking" if held.type == "thinking" or held.thinking is not None else "text", told, out)
        self._say(held, told, out)

    def _content_delta(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        held = (delta.message or _NOTHING).content
        if isinstance(held, _Content):
            self._say(held, told, out)
        if told.logprobs and (rows := logprobs.to_openai((told.logprobs,))):
            out.append(Logprobs(rows))

    def _say(self, held: _Content, told: _Event, out: list[Event]) -> None:
        for kind, piece in (("thinking", held.thinking), ("text", held.text)):
            if piece:
                if self._kind != kind:
                    self._open(kind, told, out)
                out.append(Delta(self._at, piece))

    def _content_end(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        if self._kind != "text":
            self._shut(out)

    def _tool_plan(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        piece = (delta.message or _NOTHING).tool_plan
        if piece:
            if self._kind != "plan":
                self._open("plan", told, out)
            out.append(Delta(self._at, piece))

    def _call_start(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        self._shut_said(out)  # calls that are open may go on: what was Chat elsewhere tells them in turns
        self._called = True
        for at, call in enumerate(_calls(delta)):
            function = call.function or _Function()
            block = self._next
            self._next += 1
            self._calls[(told.index or 0) + at] = block
            self._args[block] = Pieces()
            out.append(Open(block, ToolUse(call.id or "", function.name or "", "")))
            self._argue(block, function.arguments or "", out)

    def _call_delta(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        for at, call in enumerate(_calls(delta)):
            block = self._calls.get((told.index or 0) + at)
            if block is None:
                raise GatewayError("broken_stream", "The upstream sent arguments of a call that it had not begun.")
            self._argue(block, (call.function or _Function()).arguments or "", out)

    def _argue(self, block: int, piece: str, out: list[Event]) -> None:
        """Tell arguments as they come, from the brace on that they begin with."""
        told = self._args[block].feed(piece)
        if told:
            out.append(Delta(block, told))

    def _call_end(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        block = self._calls.pop(told.index or 0, None)
        if block is not None:
            self._end_call(block, out)

    def _end_call(self, block: int, out: list[Event]) -> None:
        pieces = self._args.pop(block)
        if not pieces.told:
            out.append(Delta(block, settle(pieces.end())))
        out.append(Close(block))

    def _cite(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        raw = (delta.message or _NOTHING).citations
        listed = bytes(memoryview(raw)[:1]) == b"["
        for one in _ITEMS(raw) if listed else (raw,):
            found = citations.read(one) if one else None
            if found is None or self._kind != "text" or found[0] not in (None, self._number):
                out.append(Other(Opaque(NAME, "citation-start", bytes(one))))
            else:
                out += [Delta(self._at, citation=cited) for cited in found[1]]

    def _skip(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        return None

    def _message_end(self, told: _Event, delta: _Delta, out: list[Event]) -> None:
        reason = delta.finish_reason or ""
        if reason in FAILED or delta.error:
            raise failed(reason, delta.error or "")
        self._shut(out)
        out.append(Stop(finish_in(reason, self._called, self._next > 0)))
        out.append(End(usage.read(delta.usage or None)))
        self._done = True

    # Blocks

    def _open(self, kind: str, told: _Event, out: list[Event]) -> None:
        self._shut(out)
        self._kind, self._at = kind, self._next
        self._next += 1
        if kind != "plan":
            self._number = self._count if told.index is None else told.index
            self._count = self._number + 1
        out.append(Open(self._at, _SHELLS[kind]))

    def _shut_said(self, out: list[Event]) -> None:
        """End a text or a thought that is open."""
        if self._kind:
            if self._kind == "plan":
                out.append(Delta(self._at, seal=plan_seal()))
            out.append(Close(self._at))
            self._kind = ""

    def _shut(self, out: list[Event]) -> None:
        """End what is open: a text or a thought, and calls whose end was not told."""
        self._shut_said(out)
        for block in self._calls.values():
            self._end_call(block, out)
        self._calls = {}


def _calls(delta: _Delta) -> list[_Call]:
    """Return the calls of an event. The reference has one; a list is what it once was, and still is behind proxies."""
    told = (delta.message or _NOTHING).tool_calls
    return told if isinstance(told, list) else [told] if told is not None else []


_READERS: Mapping[str, Callable[[ChatDecoder, _Event, _Delta, list[Event]], None]] = {
    "message-start": ChatDecoder._message_start,
    "content-start": ChatDecoder._content_start,
    "content-delta": ChatDecoder._content_delta,
    "content-end": ChatDecoder._content_end,
    "tool-plan-delta": ChatDecoder._tool_plan,
    "tool-call-start": ChatDecoder._call_start,
    "tool-call-delta": ChatDecoder._call_delta,
    "tool-call-end": ChatDecoder._call_end,
    "citation-start": ChatDecoder._cite,
    "citation-end": ChatDecoder._skip,
    "message-end": ChatDecoder._message_end,
}


def decoder() -> ChatDecoder:
    """Make a decoder for one stream."""
    return ChatDecoder()
