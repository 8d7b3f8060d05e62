"""The event stream of the Responses API to neutral events.

The reference: platform.openai.com/docs/api-reference/responses-streaming and the ``openai`` client's
``ResponseStreamEvent``. Tolerant where servers were seen to differ: no ``output_index`` and no ``sequence_number``
(llama.cpp), another ``item_id`` in every event (GitHub Copilot), no ``content_part.added``, whole texts or arguments
in the closing event only, items in ``response.completed`` only, a trailing ``[DONE]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NoReturn

from msgspec import Raw, Struct
from msgspec.json import Decoder as JsonDecoder
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.carried import CALL, split
from penstock.core.dialects.openai_chat.answer import seconds
from penstock.core.dialects.openai_chat.reading import mapping, optional_text, present
from penstock.core.dialects.openai_responses.answer import finish_of, raise_failed, take_logprobs, write_logs
from penstock.core.dialects.openai_responses.errors import stream_error
from penstock.core.dialects.openai_responses.items_in import read_output, read_output_item
from penstock.core.dialects.openai_responses.names import NAME
from penstock.core.dialects.openai_responses.parts import read_citation
from penstock.core.dialects.openai_responses.usage import read_usage
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Choice,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
    Opaque,
    Open,
    Other,
    Refusal,
    Response,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    explode,
    shell,
)


class _Step(Struct, gc=False):
    """What most events have: their place, and what is new there."""

    type: str = ""
    output_index: int | None = None
    item_id: str = ""
    content_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    logprobs: list[Raw] | None = None


class _Told(Struct, gc=False):
    """A closing event: all of a text, or of a call's arguments."""

    text: str | None = None
    refusal: str | None = None
    arguments: Raw = Raw()
    input: str | None = None
    logprobs: list[Raw] | None = None


class _Placed(Struct, gc=False):
    item: Raw = Raw()
    part: Raw = Raw()
    annotation: Raw = Raw()


_STEP = JsonDecoder(_Step).decode
_TOLD = JsonDecoder(_Told).decode
_PLACED = JsonDecoder(_Placed).decode
_FIELDS = JsonDecoder(dict[str, Raw]).decode
_STR = JsonDecoder(str).decode

_Place = tuple[int | str, str, int]  # item, kind of part, index of part


class _Part:
    """A block of this answer: its neutral ``index``; ``told``: something of its text came."""

    __slots__ = ("block", "cited", "closed", "index", "told")

    def __init__(self, index: int, block: Block) -> None:
        self.index = index
        self.block = block
        self.told = False
        self.closed = False
        self.cited = 0


class Decoder:
    """A decoder of Responses streams: see ``base.StreamDecoder``."""

    __slots__ = ("_calls", "_ended", "_ids", "_items", "_last", "_logged", "_marks", "_next", "_parts", "_started")

    def __init__(self) -> None:
        self._parts: dict[_Place, _Part] = {}
        self._items: dict[int | str, list[_Part]] = {}
        self._ids: dict[int | str, str] = {}  # of reasoning items
        self._last: int | str = 0  # for servers that name no place
        self._next = 0
        self._calls: list[ToolUse] = []
        self._marks: list[Seal] = []  # of calls that are still to come
        self._started = False
        self._ended = False
        self._logged = False

    def feed(self, event: sse.Event) -> Iterable[Event]:
        if self._ended:
            return ()
        data = event.data
        try:
            step = _STEP(data)
            kind = step.type or event.name.decode()
            found = _DELTAS.get(kind)
            if found is not None:
                return self._delta(found, step)
            handler = _HANDLERS.get(kind)
            if handler is not None:
                return handler(self, step, data)
        except BAD_JSON as error:
            return self._unreadable(event, error)
        except GatewayError as error:
            if error.kind != "bad_request":
                raise
            raise GatewayError("broken_stream", f"The upstream sent a bad event: {error.message}") from None
        return (Other(Opaque(NAME, kind, data)),)

    def close(self) -> Iterable[Event]:
        if self._ended:
            return ()
        raise GatewayError("broken_stream", "The upstream's stream ended before the answer was complete.")

    def _unreadable(self, event: sse.Event, error: Exception) -> Iterable[Event]:
        if event.data.strip() == b"[DONE]":  # Chat's end mark; whether the answer was complete is seen at the close
            return ()
        message = f"The upstream sent an event that is not of this dialect: {error}."
        raise GatewayError("broken_stream", message) from None

    # Places

    def _item(self, step: _Step) -> int | str:
        """Return what names the item of this event: its index, which all events agree on, else its id."""
        if step.output_index is not None:
            return step.output_index
        return step.item_id or self._last

    def _begin(self) -> list[Event]:
        if self._started:
            return []
        self._started = True
        return [Start("", "")]

    def _open(self, place: _Place, block: Block) -> list[Event]:
        out = self._begin()
        item = place[0]
        for before in self._items.get(item, ()):
            if not before.closed:
                out.append(Close(before.index))
                before.closed = True
        if isinstance(block, Thinking):
            block = replace(block, id=self._ids.get(item, ""))
        part = self._parts[place] = _Part(self._next, shell(block))
        self._items.setdefault(item, []).append(part)
        self._last = item
        self._next += 1
        out.append(Open(part.index, part.block))
        if isinstance(block, Opaque):
            part.closed = True
            out.append(Close(part.index))
        return out

    def _delta(self, kind: tuple[str, Block], step: _Step) -> Iterable[Event]:
        item = self._item(step)
        word = kind[0]
        place = (item, word, step.summary_index if word == "summary" else step.content_index if word != "call" else 0)
        part = self._parts.get(place)
        text = step.delta
        if part is None or part.closed:
            return self._unopened(place, kind[1], text)
        logs = self._logs(step.logprobs)
        if not text:
            return logs
        part.told = True
        told = Delta(part.index, text)
        return (*logs, told) if logs else (told,)

    def _unopened(self, place: _Place, block: Block, text: str | None) -> Iterable[Event]:
        if not text:
            return ()
        if place[1] == "call":
            message = f"The upstream sent arguments for item {place[0]!r}, which is no open tool call."
            raise GatewayError("broken_stream", message)
        out = self._open(place, block)
        part = self._parts[place]
        part.told = True
        out.append(Delta(part.index, text))
        return out

    def _logs(self, found: list[Raw] | None) -> Iterable[Event]:
        if not found:
            return ()
        self._logged = True
        return (Logprobs(write_logs(found)),)

    # Items

    def _added(self, step: _Step, data: bytes) -> Iterable[Event]:
        raw = _PLACED(data).item
        fields = mapping(raw, "item")
        kind = optional_text(fields, "type", "item")
        item: int | str = step.output_index if step.output_index is not None else optional_text(fields, "id", "item")
        if not item and step.output_index is None:
            item = f"item {self._next}"
        self._last = item
        self._items.setdefault(item, [])
        out = self._begin()
        if kind in ("function_call", "custom_tool_call"):
            for block in read_output_item(raw, "item"):
                if not isinstance(block, ToolUse):
                    out.extend(self._open((item, "beside", self._next), block))
                    continue
                if self._marks:
                    block = replace(block, seal=self._marks.pop(0))
                out.extend(self._open((item, "call", 0), replace(block, args="")))
                if block.args:  # some servers open a call with all that it has
                    self._parts[(item, "call", 0)].block = block
        elif kind == "reasoning":
            self._ids[item] = optional_text(fields, "id", "item")
        elif kind == "message":
            for block in read_output_item(raw, "item"):
                if isinstance(block, Opaque):
                    out.extend(self._open((item, "beside", self._next), block))
        return out

    def _part_added(self, step: _Step, data: bytes) -> Iterable[Event]:
        # The block begins with its first text: an empty part is none, in a stream as in a whole answer.
        self._last = self._item(step)
        return self._begin()

    def _annotation(self, step: _Step, data: bytes) -> Iterable[Event]:
        place = (self._item(step), "text", step.content_index)
        citation = read_citation(_PLACED(data).annotation, "annotation")
        out = [] if place in self._parts else self._open(place, Text(""))
        part = self._parts[place]
        part.cited += 1
        return [*out, Delta(part.index, citation=citation)]

    def _text_done(self, step: _Step, data: bytes) -> Iterable[Event]:
        told = _TOLD(data)
        out = self._whole((self._item(step), "text", step.content_index), Text(""), told.text)
        if not self._logged:
            out.extend(self._logs(told.logprobs))
        return out

    def _refusal_done(self, step: _Step, data: bytes) -> Iterable[Event]:
        return self._whole((self._item(step), "refusal", step.content_index), Refusal(""), _TOLD(data).refusal)

    def _summary_done(self, step: _Step, data: bytes) -> Iterable[Event]:
        place = (self._item(step), "summary", step.summary_index)
        return self._whole(place, Thinking("", summary=True), _TOLD(data).text)

    def _thought_done(self, step: _Step, data: bytes) -> Iterable[Event]:
        place = (self._item(step), "thought", step.content_index)
        return self._whole(place, Thinking(""), _TOLD(data).text)

    def _whole(self, place: _Place, block: Block, text: str | None) -> list[Event]:
        """Tell the text of a closing event, where no delta brought it."""
        part = self._parts.get(place)
        if not text or (part is not None and part.told):
            return []
        out = [] if part is not None else self._open(place, block)
        part = self._parts[place]
        part.told = True
        return [*out, Delta(part.index, text)]

    def _call_done(self, step: _Step, data: bytes) -> Iterable[Event]:
        part = self._parts.get((self._item(step), "call", 0))
        if part is None or part.told or part.closed:
            return ()
        told = _TOLD(data)
        raw = bytes(told.arguments)
        args = told.input or (_STR(raw) if raw[:1] == b'"' else raw.decode())
        if not args or args == "null":
            return ()
        part.told = True
        return (Delta(part.index, args),)

    def _done(self, step: _Step, data: bytes) -> Iterable[Event]:
        """Finish an item: what no event told of it yet is in here."""
        raw = _PLACED(data).item
        fields = mapping(raw, "item")
        id = optional_text(fields, "id", "item")
        item: int | str = step.output_index if step.output_index is not None else id
        if item not in self._items and step.output_index is None:
            item = self._last
        blocks = read_output_item(raw, "item")
        out = self._begin()
        parts = self._items.get(item, [])
        mark, seal = split(blocks[0].seal) if len(blocks) == 1 and isinstance(blocks[0], Thinking) else ("", None)
        if mark == CALL and seal is not None and not parts:
            self._marks.append(seal)
            return out
        live = [part for part in parts if not isinstance(part.block, Opaque)]
        if live:
            out.extend(self._complete(live, blocks))
        else:
            logs: list[Raw] = []
            kept = [block for one in blocks if (block := take_logprobs(one, logs)) is not None]
            if parts:  # the fields beside it were told when it was added
                kept = [block for block in kept if not isinstance(block, Opaque)]
            out.extend(self._told_whole(item, kept))
            if not self._logged:
                out.extend(self._logs(logs))
        self._items[item] = parts or self._items.get(item, [])
        return out

    def _complete(self, live: list[_Part], blocks: list[Block]) -> list[Event]:
        """Close an item's open block with what only the finished item has: seal, arguments, late annotations."""
        out: list[Event] = []
        last = live[-1]
        whole = [block for block in blocks if type(block) is type(last.block)]
        final = whole[-1] if whole else None
        if not last.closed:
            if isinstance(final, Thinking) and final.seal is not None:
                out.append(Delta(last.index, seal=final.seal))
            elif isinstance(final, ToolUse):
                known = last.block.args if isinstance(last.block, ToolUse) else ""
                args = final.args or known
                if not last.told and args:
                    out.append(Delta(last.index, args))
                self._calls.append(final)
            elif isinstance(final, Text) and not last.cited:
                out.extend(Delta(last.index, citation=cited) for cited in final.citations)
            out.append(Close(last.index))
            last.closed = True
        return out

    def _told_whole(self, item: int | str, blocks: list[Block]) -> list[Event]:
        """Tell blocks of which nothing was streamed."""
        out: list[Event] = []
        parts = self._items.setdefault(item, [])
        for event in explode(Response(id="", model="", choices=(Choice(tuple(blocks)),)), 1 << 30):
            if isinstance(event, Open):
                if isinstance(event.block, (ToolUse, Refusal)):
                    self._calls.extend([event.block] if isinstance(event.block, ToolUse) else [])
                part = _Part(self._next, event.block)
                part.told = part.closed = True
                parts.append(part)
                out.append(Open(self._next, event.block))
            elif isinstance(event, Delta):
                out.append(replace(event, index=self._next))
            elif isinstance(event, Close):
                out.append(Close(self._next))
                self._next += 1
        return out

    # The response

    def _created(self, step: _Step, data: bytes) -> Iterable[Event]:
        if self._started:
            return ()
        self._started = True
        response = self._response(data)
        created = present(response, "created_at")
        return (
            Start(
                optional_text(response, "id", "response"),
                optional_text(response, "model", "response"),
                0 if created is None else seconds(created),
                None,
                optional_text(response, "service_tier", "response"),
            ),
        )

    def _response(self, data: bytes) -> dict[str, Raw]:
        raw = present(_FIELDS(data), "response")
        return {} if raw is None else mapping(raw, "response")

    def _completed(self, step: _Step, data: bytes) -> Iterable[Event]:
        response = self._response(data)
        raise_failed(response)
        out = list(self._created(step, data))
        for parts in self._items.values():
            for part in parts:
                if not part.closed:
                    out.append(Close(part.index))
                    part.closed = True
        output = present(response, "output")
        blocks = [] if output is None else read_output(output)
        logs: list[Raw] = []
        blocks = [kept for block in blocks if (kept := take_logprobs(block, logs)) is not None]
        if not self._items and blocks:
            out.extend(self._told_whole("response", blocks))
        if not self._logged:
            out.extend(self._logs(logs))
        told = [part.block for parts in self._items.values() for part in parts]
        self._ended = True
        out.append(Stop(finish_of(self._with_status(response, step.type), told)))
        out.append(End(read_usage(present(response, "usage"))))
        return out

    def _with_status(self, response: dict[str, Raw], kind: str) -> dict[str, Raw]:
        """Add the status by the event's name where the response does not say it."""
        if kind == "response.incomplete" and present(response, "status") is None:
            return {**response, "status": Raw(b'"incomplete"')}
        return response

    def _failed(self, step: _Step, data: bytes) -> NoReturn:
        self._ended = True
        raise stream_error(self._response(data))

    def _error(self, step: _Step, data: bytes) -> NoReturn:
        self._ended = True
        raise stream_error(_FIELDS(data))

    def _nothing(self, step: _Step, data: bytes) -> Iterable[Event]:
        return ()


# Events that bring text: the kind of part it is for, and the block to open where none was.
_DELTAS: dict[str, tuple[str, Block]] = {
    "response.output_text.delta": ("text", Text("")),
    "response.refusal.delta": ("refusal", Refusal("")),
    "response.function_call_arguments.delta": ("call", Text("")),
    "response.custom_tool_call_input.delta": ("call", Text("")),
    "response.reasoning_summary_text.delta": ("summary", Thinking("", summary=True)),
    "response.reasoning_text.delta": ("thought", Thinking("")),
    "response.reasoning.delta": ("thought", Thinking("")),  # LM Studio
}
_HANDLERS: dict[str, Callable[[Decoder, _Step, bytes], Iterable[Event]]] = {
    "response.created": Decoder._created,
    "response.queued": Decoder._created,
    "response.in_progress": Decoder._created,
    "response.output_item.added": Decoder._added,
    "response.content_part.added": Decoder._part_added,
    "response.reasoning_summary_part.added": Decoder._part_added,
    "response.output_text.annotation.added": Decoder._annotation,
    "response.output_text.done": Decoder._text_done,
    "response.refusal.done": Decoder._refusal_done,
    "response.reasoning_summary_text.done": Decoder._summary_done,
    "response.reasoning_text.done": Decoder._thought_done,
    "response.function_call_arguments.done": Decoder._call_done,
    "response.custom_tool_call_input.done": Decoder._call_done,
    "response.output_item.done": Decoder._done,
    "response.completed": Decoder._completed,
    "response.incomplete": Decoder._completed,
    "response.failed": Decoder._failed,
    "error": Decoder._error,
    "response.content_part.done": Decoder._nothing,
    "response.reasoning_summary_part.done": Decoder._nothing,
    "keepalive": Decoder._nothing,
}


def decoder() -> Decoder:
    """Make a decoder for one stream."""
    return Decoder()
