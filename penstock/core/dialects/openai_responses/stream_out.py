"""Neutral events to the event stream of the Responses API.

The reference: platform.openai.com/docs/api-reference/responses-streaming. Items never interleave: what comes for
another block than the open one waits until that is closed. A message or a thought begins with its first text: an empty
block leaves no trace. An item ends when the next one begins or the answer stops: only then its status is known.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects import carried
from penstock.core.dialects.base import View
from penstock.core.dialects.carried import CALL, CALLED
from penstock.core.dialects.openai_responses.echo import Frame
from penstock.core.dialects.openai_responses.errors import error_codes
from penstock.core.dialects.openai_responses.items import Item, Logs
from penstock.core.dialects.openai_responses.names import FAMILY, ITEM_FIELDS, NAME, PART, PART_FIELDS, finish_out
from penstock.core.dialects.openai_responses.parts import write_citation
from penstock.core.dialects.openai_responses.reasoning import joins, pack
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Citation,
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
from penstock.core.pieces import Pieces

_json = msgspec.json.Encoder().encode
_FIELDS = Decoder(dict[str, Raw]).decode


class Encoder:
    """An encoder of Responses streams: see ``base.StreamEncoder``. ``items``: the output items that are finished."""

    __slots__ = (
        "_beside", "_block", "_current", "_ended", "_fields", "_frame", "_ids", "_item", "_late", "_lead", "_logs",
        "_pieces", "_refused", "_sequence", "_start", "_stop", "_summaries", "_tail", "_thought", "_told", "_view",
        "_waiting", "items", "_places", "losses",
    )  # fmt: skip

    def __init__(self, view: View) -> None:
        self.losses: list[Loss] = []
        self._places = Places()
        self._told: set[Loss] = set()
        self.items: list[Any] = []
        self._ids: set[str] = set()  # of the thoughts told so far: a client refuses an item whose id it has
        self._view = view
        asked = view.request.reasoning if view.request is not None else None
        # A client that asked for summaries shows and keeps those alone (Codex sends no reasoning text back).
        self._summaries = bool(asked is not None and asked.summary)
        self._frame: Frame | None = None
        self._start = Start("", "")
        self._sequence = 0
        self._current = -1  # neutral index of the open block
        self._block: Block | None = None
        self._waiting: dict[int, list[Event]] = {}
        self._item: Item | None = None  # the item that is being told
        self._lead = b""  # what every delta of the open part begins with; b"" before its first
        self._tail = b""
        self._pieces = Pieces("")
        self._thought = Thinking("")  # the last thought of the open item
        self._fields: Opaque | None = None
        self._beside: Opaque | None = None
        self._logs = Logs()
        self._refused = False
        self._late: Seal | None = None  # of the open call, that was told without it
        self._stop: Stop | None = None
        self._ended = False

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
            if self._frame is None:
                self._start = event
            return self._begin()
        if isinstance(event, Logprobs):
            return self._logprobs(event)
        if isinstance(event, Stop):
            return self._stopped(event)
        if isinstance(event, End):
            return self._finish(event)
        assert isinstance(event, Other)
        return self._other(event.opaque)

    def fail(self, error: GatewayError) -> bytes:
        """Tell an ``error`` event, at which the vendor's clients raise, then ``response.failed``, which Codex waits
        for."""
        out = b"" if self._current >= 0 else self._end_item("incomplete")  # Codex runs what is "done", half calls too
        frame = self._framed()
        self._ended = True
        codes = error_codes(error)
        told = {**codes, "param": error.param}
        inner = {"type": error.row.openai, **told}
        out += self._tell("error", {"error": inner, **told})
        return out + self._tell("response.failed", {"response": frame.make("failed", self.items, error=codes)})

    def ping(self) -> bytes:
        return sse.COMMENT

    def resume(self, sequence: int, output_index: int, item_id: str) -> bool:
        """Go on behind an event with these numbers; False where they are not those of the open item."""
        self._sequence = sequence + 1
        item = self._item
        if item is None or not self._lead:
            return output_index < 0
        item.made["id"] = item_id
        self._lead, _ = item.delta("output_text", content_index=len(item.made["content"]))
        return item.index == output_index

    def final(self, end: End) -> tuple[str, dict[str, Any]]:
        """Return the status and the finished response object."""
        stop = self._stop or Stop("stop")
        reason = finish_out(stop.reason, self._refused)
        self._logs.settle(self.items, self._lose)
        status = "incomplete" if reason else "completed"
        return status, self._framed().make(status, self.items, end.usage, incomplete=reason)

    def _lose(self, path: str, why: str) -> None:
        loss = Loss(path, why)
        if loss not in self._told:  # a list of them would be searched anew for every block
            self._told.add(loss)
            self.losses.append(loss)

    def _lost(self, why: str, part: str = "") -> None:
        self._lose(self._places[self._current] + part, why)

    def _tell(self, name: str, fields: dict[str, Any]) -> bytes:
        body = _json({"type": name, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: " + name.encode() + b"\ndata: " + body + b"\n\n"

    # The response

    def _framed(self) -> Frame:
        if self._frame is None:
            start = self._start
            self._frame = Frame(self._view, start.id, start.created, start.service_tier)
        return self._frame

    def _begin(self) -> bytes:
        if self._frame is not None:
            return b""
        fields = {"response": Raw(_json(self._framed().make("in_progress", [])))}
        return self._tell("response.created", fields) + self._tell("response.in_progress", fields)

    def _stopped(self, event: Stop) -> bytes:
        if event.choice:
            self._lose(f"choices.{event.choice}", "an answer holds one choice here")
            return b""
        self._stop = event
        if event.sequence:
            self._lose("choices.0.stop_sequence", "the text that ended an answer is not told here")
        if self._current >= 0:
            return b""
        return self._end_item(self._status())

    def _status(self) -> str:
        stop = self._stop
        return "incomplete" if stop is not None and finish_out(stop.reason, self._refused) else "completed"

    def settle(self) -> bytes:
        """End whatever is open."""
        out = [self._begin()]
        while self._current >= 0:
            out.append(self._closed(Close(self._current)))
        out.append(self._end_item(self._status()))
        return b"".join(out)

    def _finish(self, event: End) -> bytes:
        out = [self.settle()]
        status, response = self.final(event)
        out.append(self._tell(f"response.{status}", {"response": response}))
        self._ended = True
        return b"".join(out)

    def _other(self, opaque: Opaque) -> bytes:
        """Tell an event of a server tool's progress, at the place where its item will stand."""
        if opaque.dialect != NAME:
            self._lose(opaque.kind, f"an event of {opaque.dialect}")
            return b""
        fields = _FIELDS(opaque.raw)
        kept: dict[str, Any] = {key: raw for key, raw in fields.items() if key not in ("type", "sequence_number")}
        if "output_index" in kept:
            kept["output_index"] = len(self.items) + (self._item is not None)
        return self._begin() + self._tell(opaque.kind, kept)

    def _logprobs(self, event: Logprobs) -> bytes:
        if event.choice == 0:
            self._logs.add(event.raw, isinstance(self._block, Text))
        return b""

    # Blocks

    def _opened(self, event: Open) -> bytes:
        self._places.note(event)
        if event.choice:
            self._lose(f"choices.{event.choice}", "an answer holds one choice here")
            return b""
        if self._current >= 0:
            self._waiting[event.index] = [event]
            return b""
        self._current = event.index
        self._block = block = event.block
        self._lead = b""
        if isinstance(block, (Text, Refusal, Thinking)):
            return self._begin()
        if isinstance(block, ToolUse):
            out = self._begin()
            if block.seal is not None:
                out += self._carry(block.seal, CALL)
            return out + self._call(block)
        if isinstance(block, Opaque) and block.dialect == NAME:
            return self._begin() + self._own(block)
        self._lost(f"{block.kind if isinstance(block, Opaque) else type(block).__name__} has no place here")
        return b""

    def _call(self, block: ToolUse) -> bytes:
        custom = block.kind == "custom"
        made: dict[str, Any] = {
            "id": self._view.mint("ctc_" if custom else "fc_"),
            "type": "custom_tool_call" if custom else "function_call",
            "status": "in_progress",
            "input" if custom else "arguments": "",
            "call_id": block.id or self._view.mint("call_"),
            "name": block.name,
        }
        return self._begin_item(made)

    def _own(self, block: Opaque) -> bytes:
        """Tell what only this dialect knows: fields of what follows, a part, or a whole item."""
        lead = block.kind[:1]
        if lead == ITEM_FIELDS:
            out = self._end_item("completed")
            self._fields = block
            return out
        if lead == PART_FIELDS:
            self._beside = block
            return b""
        if block.kind.startswith(PART):
            item = self._item
            out = b"" if item is not None and item.kind == "message" else self._begin_message()
            assert self._item is not None
            part = Raw(block.raw)
            at = self._item.at(content_index=len(self._item.made["content"]))
            self._item.made["content"].append(part)
            out += self._tell("response.content_part.added", {**at, "part": part})
            return out + self._tell("response.content_part.done", {**at, "part": part})
        out = self._end_item("completed")
        fields = {"output_index": len(self.items), "item": Raw(block.raw)}
        self.items.append(Raw(block.raw))
        out += self._tell("response.output_item.added", fields)
        return out + self._tell("response.output_item.done", fields)

    def _delta(self, event: Delta) -> bytes:
        out = b""
        text = event.text
        if text:
            if not self._lead:
                out = self._begin_part()
            if self._lead:
                self._pieces.add(text)
                out += self._lead + _json(text) + self._tail + b"%d}\n\n" % self._sequence
                self._sequence += 1
        if event.seal is not None:
            out += self._sealed(event.seal)
        if event.citation is not None and isinstance(self._block, Text):
            out += self._cited(event.citation)
        return out

    def _closed(self, event: Close) -> bytes:
        if event.index != self._current:
            if event.index in self._waiting:
                self._waiting[event.index].append(event)
            return b""
        out = [self._end_part()]
        while self._waiting and self._current < 0:
            first = next(iter(self._waiting))
            for waited in self._waiting.pop(first):
                if isinstance(waited, Open):
                    out.append(self._opened(waited))
                elif isinstance(waited, Delta):
                    out.append(self._delta(waited))
                else:
                    out.append(self._end_part())
        return b"".join(out)

    # Items

    def _begin_item(self, made: dict[str, Any]) -> bytes:
        out = self._end_item("completed")
        if self._fields is not None:
            made.update(_FIELDS(self._fields.raw))
            self._fields = None
        self._item = item = Item(made, len(self.items))
        return out + self._tell("response.output_item.added", {"output_index": item.index, "item": made})

    def _begin_message(self) -> bytes:
        id = self._view.mint("msg_")
        made = {"id": id, "type": "message", "status": "in_progress", "content": [], "role": "assistant"}
        return self._begin_item(made)

    def _begin_thought(self, block: Thinking) -> bytes:
        """Begin the item of a thought: the open one where the thought belongs to it."""
        item = self._item
        if item is not None and item.kind == "reasoning" and joins(self._thought, block):
            self._thought = block
            return b""
        id = block.id if block.id and block.id not in self._ids else self._view.mint("rs_")
        self._ids.add(id)
        out = self._begin_item({"id": id, "type": "reasoning", "summary": []})
        self._thought = block
        return out

    def _end_item(self, status: str) -> bytes:
        item = self._item
        if item is None:
            return b""
        self._item = None
        if "status" in item.made:
            item.made["status"] = status
        self.items.append(item.made)
        return self._tell("response.output_item.done", {"output_index": item.index, "item": item.made})

    # Parts

    def _begin_part(self) -> bytes:
        """Begin the part of the open block with its first text, and the item around it."""
        block = self._block
        if isinstance(block, Thinking):
            return self._begin_reasoning(block)
        item = self._item
        if isinstance(block, ToolUse):
            assert item is not None
            kind = "custom_tool_call_input" if item.kind == "custom_tool_call" else "function_call_arguments"
            self._lead, self._tail = item.delta(kind)
            return b""
        if not isinstance(block, (Text, Refusal)):
            return b""
        out = b"" if item is not None and item.kind == "message" else self._begin_message()
        item = self._item
        assert item is not None
        if isinstance(block, Text):
            part: dict[str, Any] = {"type": "output_text", "annotations": [], "logprobs": [], "text": ""}
            name, tail = "output_text", b',"logprobs":[],"sequence_number":'
        else:
            part = {"type": "refusal", "refusal": ""}
            name, tail = "refusal", b',"sequence_number":'
            self._refused = True
        if self._beside is not None:
            part.update(_FIELDS(self._beside.raw))
            self._beside = None
        place = len(item.made["content"])
        item.part = part
        self._lead, _ = item.delta(name, content_index=place)
        self._tail = tail
        return out + self._tell("response.content_part.added", {**item.at(content_index=place), "part": part})

    def _begin_reasoning(self, block: Thinking) -> bytes:
        block = replace(block, summary=block.summary or self._summaries)
        self._block = block
        out = self._begin_thought(block)
        item = self._item
        assert item is not None
        if block.summary:
            at = item.at(summary_index=len(item.made["summary"]))
            item.part = {"type": "summary_text", "text": ""}
            name = "reasoning_summary_text"
            out += self._tell("response.reasoning_summary_part.added", {**at, "part": item.part})
            self._lead, self._tail = item.delta(name, summary_index=len(item.made["summary"]))
        else:
            place = len(item.made.setdefault("content", []))
            item.part = {"type": "reasoning_text", "text": ""}
            out += self._tell("response.content_part.added", {**item.at(content_index=place), "part": item.part})
            self._lead, self._tail = item.delta("reasoning_text", content_index=place)
        return out

    def _sealed(self, seal: Seal) -> bytes:
        block = self._block
        if not isinstance(block, Thinking):
            self._late = seal
            return b""
        out = b"" if self._lead else self._begin_thought(block)
        assert self._item is not None
        self._item.made["encrypted_content"] = pack(seal, block.redacted)
        self._thought = replace(self._thought, seal=seal)
        return out

    def _carry(self, seal: Seal, mark: str) -> bytes:
        """Tell the seal of the call beside it in an item of reasoning without words: calls have no field for one."""
        sealed = pack(carried.pack(seal, mark, FAMILY), False)
        made = {"id": self._view.mint("rs_"), "type": "reasoning", "summary": [], "encrypted_content": sealed}
        self._thought = Thinking("", seal)  # nothing joins it
        return self._begin_item(made)

    def _cited(self, citation: Citation) -> bytes:
        out = b"" if self._lead else self._begin_part()
        item = self._item
        assert item is not None
        made = write_citation(citation, self._pieces.size)
        if made is None:
            self._lost("a citation needs a URL here", ".citations")
            return out
        notes = item.part["annotations"]
        at = item.at(content_index=len(item.made["content"]), annotation_index=len(notes))
        notes.append(made)
        return out + self._tell("response.output_text.annotation.added", {**at, "annotation": made})

    def _end_part(self) -> bytes:
        """Close the open block."""
        block, told, item = self._block, bool(self._lead), self._item
        text = self._pieces.take()
        try:
            if isinstance(block, ToolUse):
                assert item is not None
                out = self._end_call(item, text)
                late, self._late = self._late, None
                return out if late is None else out + self._carry(late, CALLED)
            if not told or item is None:
                if isinstance(block, (Text, Refusal)):  # nothing of it was told: what was beside it goes with it
                    self._fields = self._beside = None
                return b""
            return self._end_told(item, text)
        finally:
            self._current = -1
            self._block = None
            self._lead = b""

    def _end_call(self, item: Item, text: str) -> bytes:
        custom = item.kind == "custom_tool_call"
        out = b""
        if not text and not custom:  # clients parse the arguments as JSON
            text = "{}"
            lead, tail = item.delta("function_call_arguments")
            out = lead + _json(text) + tail + b"%d}\n\n" % self._sequence
            self._sequence += 1
        key = "input" if custom else "arguments"
        item.made[key] = text
        name = "custom_tool_call_input" if custom else "function_call_arguments"
        fields = {**item.at(), key: text}
        if not custom:
            fields["name"] = item.made["name"]
        return out + self._tell(f"response.{name}.done", fields)

    def _end_told(self, item: Item, text: str) -> bytes:
        return b"".join([self._tell(name, fields) for name, fields in item.end_part(text, self._logs)])


def encoder(view: View) -> Encoder:
    """Make an encoder for one client."""
    return Encoder(view)
