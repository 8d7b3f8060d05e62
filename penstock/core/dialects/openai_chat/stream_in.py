"""Chat chunks to neutral events.

Chunks carry no block boundaries; they are inferred: a new kind of content or a new call opens a block. Texts and
thoughts close when something else begins; calls stay open to the end, since later chunks may still add to any of them.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.json import encode
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects.carried import split
from penstock.core.dialects.openai_chat.answer import seconds
from penstock.core.dialects.openai_chat.calls import Calls, Slot, add_name
from penstock.core.dialects.openai_chat.chunks import NOTHING, Call, Chunk, Function, Part, Piece, Thought, read_chunk
from penstock.core.dialects.openai_chat.errors import error_in_answer, errors_in_stream
from penstock.core.dialects.openai_chat.messages_in import citation, thought_signature
from penstock.core.dialects.openai_chat.names import DELTA, NAME, THOUGHT_FAMILY, finish_in, settled
from penstock.core.dialects.openai_chat.reading import absent, opens, text
from penstock.core.dialects.openai_chat.usage import usage_of
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Citation,
    Close,
    Delta,
    End,
    Event,
    Logprobs,
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
    unpack_seal,
)

_SHELLS: dict[str, Block] = {"text": Text(""), "thinking": Thinking(""), "refusal": Refusal("")}


class _Line:
    """One choice."""

    __slots__ = (
        "base",
        "calls",
        "finish",
        "kind",
        "length",
        "number",
        "open",
        "refused",
        "sequence",
        "spoke",
        "thought",
        "unopened",
    )

    def __init__(self, number: int) -> None:
        self.number = number
        self.length = 0  # of all text so far, in characters
        self.base = 0  # where in it the open text began
        self.kind = ""  # of the open block that is no call: text | thinking | refusal | ""
        self.open = -1
        self.thought = -1  # the index that the upstream gave the open thought
        self.calls = Calls()
        self.unopened: list[Slot] = []  # calls whose names or ids may still grow
        self.finish = ""
        self.sequence = ""
        self.refused = False
        self.spoke = False


class Decoder:
    """A decoder of Chat streams: see ``base.StreamDecoder``."""

    __slots__ = ("_calls", "_done", "_lines", "_next", "_start", "_started", "_usage")

    def __init__(self) -> None:
        self._lines: dict[int, _Line] = {}
        self._next = 0  # index of the next block
        self._calls = 0
        self._start = Start("", "")
        self._started = False
        self._done = False
        self._usage: Usage | None = None

    def feed(self, event: sse.Event) -> Iterable[Event]:
        data = event.data
        if self._done or not data or data.isspace():
            return ()
        if data == b"[DONE]":
            return self._end()
        chunk = read_chunk(data)
        if chunk.error is not NOTHING and not absent(chunk.error):
            raise error_in_answer(chunk.error)
        if chunk.choices is None and b'"errors"' in data:
            raise errors_in_stream(data)
        if chunk.object == "error" or event.name == b"error":
            raise error_in_answer(data)
        out: list[Event] = []
        if not self._started:
            self._begin(chunk, out)
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
        if usage is not None:
            self._usage = usage_of(usage) or self._usage  # some send it with every chunk, growing: the last one counts
        for piece in chunk.choices or ():
            self._piece(piece, out)
        return out

    def close(self) -> Iterable[Event]:
        return () if self._done else self._end()

    def _begin(self, chunk: Chunk, out: list[Event]) -> None:
        """Begin the answer, once a chunk has choices: Azure's first one has neither id nor choices."""
        had = self._start
        created = seconds(chunk.created) if chunk.created is not NOTHING else 0
        id, model = chunk.id or had.id, chunk.model or had.model
        self._start = Start(id, model, created or had.created, None, chunk.service_tier or had.service_tier)
        if chunk.choices:
            self._started = True
            out.append(self._start)

    def _end(self) -> list[Event]:
        lines = [self._lines[number] for number in sorted(self._lines)]
        if not lines or not all(line.finish for line in lines):
            message = "The upstream's stream ended before the answer was complete: no finish_reason came."
            raise GatewayError("broken_stream", message)
        self._done = True
        out: list[Event] = [] if self._started else [self._start]
        for line in lines:
            for slot in line.calls.slots:
                self._ready(line, slot, out)
            self._shut(line, out)
            out.extend(Close(slot.block) for slot in line.calls.slots)
        for line in lines:
            reason = settled(line.finish, bool(line.calls.slots), line.refused)
            out.append(Stop(reason, line.sequence, line.number))
        out.append(End(self._usage))
        return out

    # one choice of one chunk ----------------------------------------------------------------------------------------

    def _piece(self, piece: Piece, out: list[Event]) -> None:
        number = piece.index or 0
        line = self._lines.get(number)
        if line is None:
            line = self._lines[number] = _Line(number)
        delta = piece.delta
        if delta is not None:
            if delta.content:
                # The common chunk: text and nothing else.
                if delta.reasoning_content or delta.reasoning or delta.thinking_blocks:
                    self._thoughts(line, delta, out)
                self._say(line, "text", delta.content, out)
                line.length += len(delta.content)
                self._rare(line, delta, out)
            else:
                self._thoughts(line, delta, out)
                self._rare(line, delta, out)
        if piece.message is not None:
            self._whole(line, piece.message, out)
        if piece.logprobs is not NOTHING and not absent(piece.logprobs):
            out.append(Logprobs(bytes(piece.logprobs), number))
        if piece.error is not NOTHING and not absent(piece.error):  # OpenRouter
            raise error_in_answer(piece.error)
        if piece.finish_reason:
            # Read at once: what is no answer can still be asked for again as long as nothing of it is out.
            line.finish = finish_in(piece.finish_reason, line.spoke or line.refused or bool(line.calls.slots))
            for raw in (piece.stop_reason, piece.matched_stop):
                if raw is not NOTHING and opens(raw, '"'):
                    line.sequence = text(raw, "stop_reason")
        if piece.usage is not None:  # Moonshot
            self._usage = usage_of(piece.usage) or self._usage

    def _rare(self, line: _Line, delta: Part, out: list[Event]) -> None:
        if delta.refusal:
            line.refused = True
            self._say(line, "refusal", delta.refusal, out)
        if delta.annotations:
            if line.kind != "text":
                self._open(line, "text", out)
            for fields in delta.annotations:
                out.append(Delta(line.open, citation=self._cited(line, citation(fields, encode(fields)))))
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._call(line, call, out)
        if delta.function_call is not None:
            self._function(line, delta.function_call, out)
        if delta.audio is not NOTHING and not absent(delta.audio):
            raw = encode({"index": line.number, "delta": {"audio": delta.audio}})
            out.append(Other(Opaque(NAME, DELTA, raw)))

    def _cited(self, line: _Line, found: Citation) -> Citation:
        """Count a citation's place from the start of the block; on the wire it counts from the start of the whole
        content."""
        if not line.base or found.start < 0:
            return found
        if found.start < line.base:
            return replace(found, start=-1, end=-1)
        return replace(found, start=found.start - line.base, end=found.end - line.base)

    def _whole(self, line: _Line, message: Part, out: list[Event]) -> None:
        """Tell the whole message, sent in place of deltas or after them: what has come already is not said again."""
        if not line.spoke:
            self._thoughts(line, message, out)
            if message.content:
                self._say(line, "text", message.content, out)
                line.length += len(message.content)
        for place, call in enumerate(message.tool_calls or ()):
            slots = line.calls.slots
            known = line.calls.known(call.id or "") or (slots[place] if place < len(slots) else None)
            if known is None:
                self._call(line, call, out)
            elif not known.filled and call.function is not None:
                self._fill(line, known, call.function.arguments or "", out)

    def _open(self, line: _Line, kind: str, out: list[Event], block: Block | None = None) -> None:
        self._settle(line, out)
        self._shut(line, out)
        line.kind, line.open, line.base = kind, self._next, line.length
        self._next += 1
        out.append(Open(line.open, block or _SHELLS[kind], line.number))

    def _shut(self, line: _Line, out: list[Event]) -> None:
        if line.kind:
            out.append(Close(line.open))
            line.kind = ""

    def _say(self, line: _Line, kind: str, piece: str, out: list[Event]) -> None:
        if line.kind != kind:
            self._open(line, kind, out)
        line.spoke = True
        out.append(Delta(line.open, piece))

    # thoughts -------------------------------------------------------------------------------------------------------

    def _thoughts(self, line: _Line, delta: Part, out: list[Event]) -> None:
        told = delta.reasoning_content or delta.reasoning or ""
        blocks = delta.thinking_blocks
        if not blocks:
            if told:
                self._say(line, "thinking", told, out)
            return
        if not any(block.thinking for block in blocks):
            blocks[0].thinking = told
        for block in blocks:
            self._thought(line, block, out)

    def _thought(self, line: _Line, block: Thought, out: list[Event]) -> None:
        """Tell an element of LiteLLM's ``thinking_blocks``. A new index is a new thought; a signature ends one."""
        if block.type == "redacted_thinking":
            self._open(line, "thinking", out, Thinking("", redacted=True))
            out.append(Delta(line.open, seal=unpack_seal(block.data or "", THOUGHT_FAMILY)))
            self._shut(line, out)
            return
        number = line.thought if block.index is None else block.index
        if line.kind != "thinking" or (number != line.thought and line.thought >= 0) or number > max(line.thought, 0):
            self._open(line, "thinking", out)
        line.thought = number
        line.spoke = True
        if block.thinking:
            out.append(Delta(line.open, block.thinking))
        seal = split(unpack_seal(block.signature or "", THOUGHT_FAMILY))[1]  # in a stream it stands where it belongs
        if seal is not None:
            out.append(Delta(line.open, seal=seal))
            self._shut(line, out)

    # calls ----------------------------------------------------------------------------------------------------------

    def _call(self, line: _Line, call: Call, out: list[Event]) -> None:
        inner = call.function
        if call.custom is not None:
            name, args = call.custom.name or "", call.custom.input or ""
        else:
            name, args = (inner.name or "", inner.arguments or "") if inner is not None else ("", "")
        custom = call.custom is not None or call.type == "custom"
        count = len(line.calls.slots)
        slot = line.calls.find(call.index, call.id or "", name, args, custom, f"call_{self._calls}")
        if len(line.calls.slots) > count:
            self._calls += 1
            self._settle(line, out)
            line.unopened.append(slot)
        add_name(slot, name)
        sealed = thought_signature(call.extra_content) if call.extra_content is not NOTHING else None
        if sealed is not None and slot.block < 0:
            slot.seal = sealed
        if slot.name and (args or slot.waiting):  # until they begin, the name and the id may still grow
            self._ready(line, slot, out)
        self._fill(line, slot, args, out)
        if sealed is not None and slot.seal is not sealed:
            out.append(Delta(slot.block, seal=sealed))

    def _settle(self, line: _Line, out: list[Event]) -> None:
        """Open the calls whose names are known: something else begins."""
        if not line.unopened:
            return
        waiting, line.unopened = line.unopened, []
        for slot in waiting:
            if slot.name:
                self._ready(line, slot, out)
            elif slot.block < 0:
                line.unopened.append(slot)

    def _ready(self, line: _Line, slot: Slot, out: list[Event]) -> None:
        if slot.block >= 0:
            return
        self._shut(line, out)
        slot.block = self._next
        self._next += 1
        kind = "custom" if slot.custom else "function"
        out.append(Open(slot.block, ToolUse(slot.id, slot.name, "", kind, seal=slot.seal), line.number))
        if slot.waiting:
            out.append(Delta(slot.block, slot.waiting))
            slot.waiting = ""

    def _fill(self, line: _Line, slot: Slot, args: str, out: list[Event]) -> None:
        if not args:
            return
        slot.take_args(args)
        if slot.block < 0:
            slot.waiting += args
        else:
            out.append(Delta(slot.block, args))

    def _function(self, line: _Line, call: Function, out: list[Event]) -> None:
        """Tell the ``function_call`` of 2023: one call, without index and id."""
        self._call(line, Call(index=-1, function=call), out)
