"""Turns to ``input`` items. What the API has no place for is left out and put on the list of losses.

The first system turn of one plain text is ``instructions``; all other turns are message items, calls and their outputs
items of their own. An output that no call asked for is told as a user's text, unless the calls may stand where we do
not see them: in a stored response, a conversation, an item reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from penstock.core.dialects.base import Wire
from penstock.core.dialects.openai_responses import parts
from penstock.core.dialects.openai_responses.names import FAMILY, ITEM_FIELDS, NAME, PART, PART_FIELDS
from penstock.core.dialects.openai_responses.reasoning import content_part, joins, write_reasoning
from penstock.core.ir import (
    Audio,
    Block,
    CacheMark,
    Document,
    FileId,
    Image,
    Loss,
    Message,
    Opaque,
    PlainText,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
)

_ITEMS = {"function": ("function_call", "arguments"), "custom": ("custom_tool_call", "input")}
_OUTPUTS = {"custom": "custom_tool_call_output"}


def render_input(request: Request, wire: Wire, losses: list[Loss]) -> tuple[str, list[Any]]:
    """Render ``instructions`` ("" for none) and the ``input`` items; ``losses`` grows."""
    messages = request.messages
    first = 0
    instructions = instructions_of(messages)
    if instructions:
        first = 1
    writer = _Writer(request, wire, losses)
    for turn in range(first, len(messages)):
        writer.turn(messages[turn], f"messages.{turn}")
    return instructions, writer.out


def instructions_of(messages: Sequence[Message]) -> str:
    """Return the text that ``instructions`` carries: the first turn's, when it is a system's one plain text and not all
    that there is."""
    if len(messages) < 2 or messages[0].role != "system" or messages[0].name or len(messages[0].blocks) != 1:
        return ""
    block = messages[0].blocks[0]
    return block.text if isinstance(block, Text) and block.cache is None and not block.citations else ""


class _Writer:
    __slots__ = ("_calls", "_losses", "_own", "_request", "_wire", "out")

    def __init__(self, request: Request, wire: Wire, losses: list[Loss]) -> None:
        self._request = request
        self._wire = wire
        self._losses = losses
        self._own = request.dialect == NAME
        self._calls = _called(request)
        self.out: list[Any] = []

    def turn(self, message: Message, path: str) -> None:
        item = _Item(message.role, self.out)
        group: list[Thinking] = []  # neighbouring thoughts of one item
        fields: Opaque | None = None  # what the group's item holds beyond them
        for place, block in enumerate(message.blocks):
            where = f"{path}.blocks.{place}"
            if isinstance(block, Thinking):
                if not self._keeps(block, where):
                    continue
                if group and not joins(group[-1], block):
                    self._reason(group, fields)
                    group, fields = [], None
                if not group:
                    fields = item.take_fields()
                    item.end()
                group.append(block)
                continue
            if group:
                self._reason(group, fields)
                group, fields = [], None
            self._block(block, where, item)
        if group:
            self._reason(group, fields)
        item.end()
        if message.name:
            self._lose(f"{path}.name", "messages have no names here")

    def _lose(self, path: str, why: str) -> None:
        self._losses.append(Loss(path, why))

    def _block(self, block: Block, where: str, item: _Item) -> None:
        if isinstance(block, ToolUse):
            self._call(block, where, item)
        elif isinstance(block, ToolResult):
            self._result(block, where, item)
        elif isinstance(block, Opaque):
            self._opaque(block, where, item)
        elif item.role == "assistant":
            self._said(block, where, item)
        else:
            for part in self._part(block, where):
                item.add(part)

    # thoughts ---------------------------------------------------------------------------------------------------------

    def _keeps(self, block: Thinking, where: str) -> bool:
        """Tell whether a thought may go to this target; report a loss when not."""
        seal = block.seal
        if seal is not None:
            if seal.family == (self._wire.family or FAMILY):
                return True
            if not self._replays(block):
                self._lose(where, f"reasoning sealed by {seal.family}")
                return False
            self._lose(f"{where}.seal", f"sealed by {seal.family}")
            return True
        if (self._own and block.id) or self._replays(block):
            return True
        self._lose(where, "reasoning without a seal")
        return False

    def _replays(self, block: Thinking) -> bool:
        return self._wire.replay_reasoning and not self._wire.official and bool(block.text) and not block.redacted

    def _reason(self, group: list[Thinking], fields: Opaque | None) -> None:
        seal = group[-1].seal
        own = seal is not None and seal.family == (self._wire.family or FAMILY)
        made = write_reasoning(group[0].id, group, seal.data if seal is not None and own else "")
        if not self._wire.official and "content" not in made and made["summary"]:
            # Engines read ``content`` alone, and llama.cpp refuses an item without it.
            made["content"] = [content_part(part["text"]) for part in made["summary"]]
            made["summary"] = []
        self.out.append({**made, **parts.fields_of(fields)} if fields is not None else made)

    # calls and their outputs ------------------------------------------------------------------------------------------

    def _call(self, block: ToolUse, where: str, item: _Item) -> None:
        if item.role != "assistant":
            self._lose(where, "a tool call outside an assistant turn")
            return
        fields = item.take_fields()
        item.end()
        if block.cache is not None:
            self._lose(f"{where}.cache", "a call carries no cache mark here")
        if block.seal is not None:
            self._lose(f"{where}.seal", "a call carries no signature here")
        kind, key = _ITEMS.get(block.kind, _ITEMS["function"])
        args = block.args if block.kind == "custom" or self._own else block.args or "{}"
        made: dict[str, Any] = {"type": kind, "call_id": block.id, "name": block.name, key: args}
        self.out.append({**made, **parts.fields_of(fields)} if fields is not None else made)

    def _result(self, block: ToolResult, where: str, item: _Item) -> None:
        fields = item.take_fields()
        item.end()
        orphan = self._calls is not None and block.id not in self._calls
        if block.is_error:
            self._lose(f"{where}.is_error", "an output has no mark for failure")
        if block.cache is not None:
            self._lose(f"{where}.cache", "an output carries no cache mark here")
        out: list[Any] = []
        extra: Opaque | None = None
        for place, part in enumerate(block.content):
            at = f"{where}.content.{place}"
            if isinstance(part, Opaque):
                if part.dialect != NAME:
                    self._lose(at, f"{part.kind} is of {part.dialect} only")
                elif part.kind[:1] == PART_FIELDS:
                    extra = part
                else:
                    out.append(Raw(part.raw))
                continue
            for made in self._part(part, at):
                out.append({**made, **parts.fields_of(extra)} if extra is not None else made)
            extra = None
        if orphan:
            self._lose(where, "an output without its call is told as text")
            self.out.append({"role": "user", "content": [parts.input_text(f"[tool result {block.id}]"), *out]})
            return
        kind = _OUTPUTS.get(block.kind, "function_call_output")
        item_: dict[str, Any] = {"type": kind, "call_id": block.id, "output": _plain(out)}
        self.out.append({**item_, **parts.fields_of(fields)} if fields is not None else item_)

    def _opaque(self, block: Opaque, where: str, item: _Item) -> None:
        if block.dialect != NAME:
            self._lose(where, f"{block.kind} is of {block.dialect} only")
        elif block.kind[:1] == ITEM_FIELDS:
            item.end()
            item.fields = block
        elif block.kind[:1] == PART_FIELDS:
            item.beside = block
        elif block.kind.startswith(PART):
            item.add(Raw(block.raw))
        else:
            item.end()
            self.out.append(Raw(block.raw))

    # parts ------------------------------------------------------------------------------------------------------------

    def _said(self, block: Block, where: str, item: _Item) -> None:
        """Write a block of an assistant's message."""
        if isinstance(block, Text):
            self._cache(block.cache, where)
            cited: list[Any] = []
            for number, citation in enumerate(block.citations):
                made = parts.write_citation(citation, len(block.text))
                if made is None:
                    self._lose(f"{where}.citations.{number}", "a citation needs a URL here")
                else:
                    cited.append(made)
            item.add(parts.output_text(block.text, cited))
        elif isinstance(block, Refusal):
            if self._wire.official or self._own:
                item.add({"type": "refusal", "refusal": block.text})
            else:  # engines' chat templates know texts only
                self._lose(f"{where}.refusal", "a refusal is sent as text")
                item.add(parts.output_text(block.text, []))
        else:
            self._lose(where, f"an assistant's message holds no {type(block).__name__} here")

    def _part(self, block: Block, where: str) -> list[dict[str, Any]]:
        """Write a block of a user's or system's message, or of an output, as a part; none (and a loss) where it has
        none."""
        if isinstance(block, Text):
            self._cache(block.cache, where)
            if block.citations:
                self._lose(f"{where}.citations", "a request's text carries no citations here")
            return [parts.input_text(block.text)]
        if isinstance(block, Image):
            source = block.source
            if isinstance(source, PlainText) or (isinstance(source, FileId) and source.family != FAMILY):
                self._lose(where, "an image is given by URL, inline or as a file of the vendor's own")
                return []
            self._cache(block.cache, where)
            return [parts.image_part(source, block.detail)]
        if isinstance(block, Document):
            return self._document(block, where)
        if isinstance(block, Audio):
            inner = {"data": block.data, "format": block.format}
            return [{"type": "input_audio", "input_audio": inner}]
        self._lose(where, f"there is no part for {type(block).__name__} here")
        return []

    def _document(self, block: Document, where: str) -> list[dict[str, Any]]:
        source = block.source
        if isinstance(source, FileId) and source.family != FAMILY:
            self._lose(where, f"a file kept by {source.family}")
            return []
        if isinstance(source, PlainText):
            self._lose(where, "sent as a text part")
            return [parts.input_text(source.text)]
        self._cache(block.cache, where)
        if block.context:
            self._lose(f"{where}.context", "a file has no side note here")
        if block.citations is not None:
            self._lose(f"{where}.citations", "citations of a file cannot be asked for here")
        return [parts.file_part(source, block.name)]

    def _cache(self, mark: CacheMark | None, where: str) -> None:
        if mark is not None:
            self._lose(f"{where}.cache", "the vendor caches by itself")


class _Item:
    """The message item being written: it takes parts until something that is no part of a message comes."""

    __slots__ = ("_out", "_parts", "beside", "fields", "role")

    def __init__(self, role: str, out: list[Any]) -> None:
        self.role = role
        self._out = out
        self._parts: list[Any] = []
        self.beside: Opaque | None = None  # fields of the part that follows
        self.fields: Opaque | None = None  # fields of the item that follows

    def add(self, part: Any) -> None:
        if self.beside is not None and isinstance(part, dict):
            part = {**part, **parts.fields_of(self.beside)}
        self.beside = None
        self._parts.append(part)

    def take_fields(self) -> Opaque | None:
        """Take the fields for an item of another type; a message that is being written keeps its own."""
        if self._parts:
            return None
        fields, self.fields = self.fields, None
        return fields

    def end(self) -> None:
        if self._parts:
            content = list(self._parts) if self.role == "assistant" else _plain(self._parts)
            made: dict[str, Any] = {"type": "message", "role": self.role, "content": content}
            if self.fields is not None:
                made.update(parts.fields_of(self.fields))
            self._out.append(made)
        elif self.fields is not None:  # a message of fields and no content
            self._out.append({"type": "message", "role": self.role, "content": [], **parts.fields_of(self.fields)})
        self._parts = []
        self.fields = None


def _plain(found: list[Any]) -> Any:
    """Return a string where one bare text, or nothing, is all there is: what most servers take."""
    if not found:
        return ""
    if len(found) == 1 and isinstance(part := found[0], dict) and part["type"] == "input_text" and len(part) == 2:
        return part["text"]
    return list(found)


def _called(request: Request) -> set[str] | None:
    """Return the ids of the calls in this request; None when calls may stand elsewhere."""
    if request.dialect == NAME or request.previous_id:
        return None
    called: set[str] = set()
    for message in request.messages:
        for block in message.blocks:
            if isinstance(block, ToolUse) and message.role == "assistant":
                called.add(block.id)
    return called
