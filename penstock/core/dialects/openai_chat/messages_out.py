"""Turns to ``messages``. What Chat has no place for is left out and put on the list of losses.

Chat wants the results of a call directly behind the message that made it, as messages of their own, in text: they are
brought there from wherever they stood; a result nobody asked for is told to the model as a user's text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw

from penstock.core.dialects.base import Wire
from penstock.core.dialects.openai_chat.names import CALL, CALL_FAMILY, MESSAGE, NAME, PART, THOUGHT_FAMILY, TOOL_CALL
from penstock.core.dialects.openai_chat.parts import NO_MARKS, cache_control, file_part, image_part, text_part
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
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Url,
)

_Placed = tuple[str, ToolResult]  # its path and itself


def render_turns(messages: Sequence[Message], wire: Wire, losses: list[Loss]) -> list[dict[str, Any]]:
    """Render the ``messages`` array; ``losses`` grows."""
    return _Writer(messages, wire, losses).write()


class _Writer:
    __slots__ = ("_homed", "_losses", "_messages", "_out", "_placed", "_wire")

    def __init__(self, messages: Sequence[Message], wire: Wire, losses: list[Loss]) -> None:
        self._messages = messages
        self._wire = wire
        self._losses = losses
        self._out: list[dict[str, Any]] = []
        self._placed, self._homed = _place(messages)

    def write(self) -> list[dict[str, Any]]:
        for turn, message in enumerate(self._messages):
            path = f"messages.{turn}"
            if message.role == "assistant":
                self._assistant(message, path)
                if results := self._placed.get(turn):
                    self._results(results)
            elif message.role == "user":
                self._user(message, path)
            else:
                self._system(message, path)
        return self._out

    def _lose(self, path: str, why: str) -> None:
        self._losses.append(Loss(path, why))

    def _emit(self, role: str, message: Message, fields: dict[str, Any], own: dict[str, Any]) -> None:
        out: dict[str, Any] = {"role": role}
        if message.name:
            out["name"] = message.name
        self._out.append({**out, **fields, **own})

    # system, user ---------------------------------------------------------------------------------------------------

    def _system(self, message: Message, path: str) -> None:
        parts = _Parts()
        for place, block in enumerate(message.blocks):
            where = f"{path}.blocks.{place}"
            if isinstance(block, Text):
                self._part(parts, text_part(block.text), block.cache, where)
                self._cited(block, where)
            elif not parts.take(block):
                self._lose(where, "a system prompt is text here")
        role: str = message.role
        if role == "developer" and not self._wire.official:
            # Chat templates of open models refuse a role that they do not know.
            role = "system"
            self._lose(f"{path}.role", "compatible servers know no developer role; sent as system")
        if parts or parts.own:
            self._emit(role, message, {"content": parts.content()}, parts.own)
        elif message.blocks and message.name:
            self._lose(f"{path}.name", "nothing is left of the message")

    def _user(self, message: Message, path: str) -> None:
        parts = _Parts()
        for place, block in enumerate(message.blocks):
            where = f"{path}.blocks.{place}"
            if isinstance(block, ToolResult):
                if where not in self._homed:
                    self._orphan(block, where, parts)
            else:
                self._block(block, where, parts)
        if parts or parts.own:
            self._emit("user", message, {"content": parts.content()}, parts.own)
        elif message.blocks and message.name:
            self._lose(f"{path}.name", "tool messages have no name")

    def _block(self, block: Block, where: str, parts: _Parts) -> bool:
        """Write one block of a user's turn as a part; False (and a loss) when Chat has none for it."""
        if isinstance(block, Text):
            self._part(parts, text_part(block.text), block.cache, where)
            self._cited(block, where)
        elif isinstance(block, Image):
            if isinstance(block.source, (FileId, PlainText)):
                self._lose(where, "an image is given by URL or inline here")
                return False
            self._part(parts, image_part(block.source, block.detail), block.cache, where)
        elif isinstance(block, Document):
            return self._document(block, where, parts)
        elif isinstance(block, Audio):
            parts.append({"type": "input_audio", "input_audio": {"data": block.data, "format": block.format}})
        elif not parts.take(block):
            self._lose(where, f"a user's message holds no {type(block).__name__} here")
            return False
        return True

    def _document(self, block: Document, where: str, parts: _Parts) -> bool:
        source = block.source
        if isinstance(source, Url):
            self._lose(where, "a file is given inline or by id here, not by URL")
            return False
        if isinstance(source, FileId) and source.family != "openai":
            self._lose(where, f"a file kept by {source.family} is of no use here")
            return False
        if isinstance(source, PlainText):
            self._lose(where, "sent as a text part")
            part = text_part(source.text)
        else:
            part = file_part(source, block.name)
            if block.context:
                self._lose(f"{where}.context", "a file has no side note here")
            if block.citations is not None:
                self._lose(f"{where}.citations", "citations of a file cannot be asked for here")
        self._part(parts, part, block.cache, where)
        return True

    def _part(self, parts: _Parts, part: dict[str, Any], cache: CacheMark | None, where: str) -> None:
        if cache is not None:
            if not self._wire.cache_marks:
                self._lose(f"{where}.cache", NO_MARKS)
            else:
                part["cache_control"] = cache_control(cache)
        parts.append(part)

    def _cited(self, block: Text, where: str) -> None:
        if block.citations:
            self._lose(f"{where}.citations", "a request's text carries no citations here")

    # assistant ------------------------------------------------------------------------------------------------------

    def _assistant(self, message: Message, path: str) -> None:
        parts, thoughts, calls = _Parts(), _Thoughts(), _Parts(CALL)
        refusals = 0
        for place, block in enumerate(message.blocks):
            where = f"{path}.blocks.{place}"
            if isinstance(block, Text):
                self._part(parts, text_part(block.text), block.cache, where)
                self._cited(block, where)
            elif isinstance(block, ToolUse):
                self._call(block, where, calls)
            elif isinstance(block, Thinking):
                self._thought(block, where, thoughts)
            elif isinstance(block, Refusal):
                parts.append({"type": "refusal", "refusal": block.text})
                refusals += 1
            elif not (calls.take(block) or parts.take(block)):
                self._lose(where, f"an assistant's message holds no {type(block).__name__} here")
        fields: dict[str, Any] = {}
        refusal = None
        # The last part may be a raw one of a type that nobody knows, which a refusal may stand before.
        if refusals == 1 and isinstance(last := parts[-1], dict) and last["type"] == "refusal" and len(last) == 2:
            refusal = parts.pop()["refusal"]
        if not (parts or calls or refusal or thoughts.text or thoughts.blocks or parts.own):
            if message.blocks and message.name:
                self._lose(f"{path}.name", "nothing is left of the message")
            return
        fields["content"] = parts.content() if parts else None
        if refusal:
            fields["refusal"] = refusal
        if thoughts.text:
            fields["reasoning_content"] = "".join(thoughts.text)
        if thoughts.blocks:
            fields["thinking_blocks"] = thoughts.blocks
        if calls:
            fields["tool_calls"] = list(calls)
        self._emit("assistant", message, fields, parts.own)

    def _thought(self, block: Thinking, where: str, thoughts: _Thoughts) -> None:
        if not self._wire.replay_reasoning:
            self._lose(where, "earlier reasoning has no field here")
            return
        seal = block.seal
        if seal is not None and seal.family == self._wire.family == THOUGHT_FAMILY and not self._wire.official:
            if block.redacted:
                thoughts.blocks.append({"type": "redacted_thinking", "data": seal.data})
            else:
                thoughts.blocks.append({"type": "thinking", "thinking": block.text, "signature": seal.data})
        elif block.redacted or not block.text:
            self._lose(where, "its seal belongs to another model family")
            return
        elif seal is not None:
            self._lose(f"{where}.seal", "it belongs to another model family")
        if block.text:
            thoughts.text.append(block.text)

    def _call(self, block: ToolUse, where: str, calls: _Parts) -> None:
        if block.kind == "custom":
            call: dict[str, Any] = {"id": block.id, "type": "custom"}
            call["custom"] = {"name": block.name, "input": block.args}
        else:
            call = {"id": block.id, "type": "function"}
            call["function"] = {"name": block.name, "arguments": block.args or "{}"}
        if block.cache is not None:
            if not self._wire.cache_marks:
                self._lose(f"{where}.cache", NO_MARKS)
            else:
                call["cache_control"] = cache_control(block.cache)
        if block.seal is not None:
            if block.seal.family == self._wire.family == CALL_FAMILY:
                call["extra_content"] = {"google": {"thought_signature": block.seal.data}}
            else:
                self._lose(f"{where}.seal", "it belongs to another model family")
        calls.append(call)

    # results --------------------------------------------------------------------------------------------------------

    def _results(self, results: list[_Placed]) -> None:
        moved = _Parts()
        for path, result in results:
            parts, media = self._result(result, path)
            out: dict[str, Any] = {
                "role": "tool",
                "tool_call_id": result.id,
                "content": parts.content() if parts else "",
            }
            if result.cache is not None:
                if not self._wire.cache_marks:
                    self._lose(f"{path}.cache", NO_MARKS)
                else:
                    out["cache_control"] = cache_control(result.cache)
            self._out.append({**out, **parts.own})
            if media:
                moved.append(text_part(f"[content of tool result {result.id}]"))
                moved.extend(media)
        if moved:
            self._out.append({"role": "user", "content": moved.content()})

    def _result(self, result: ToolResult, path: str) -> tuple[_Parts, _Parts]:
        """Split a result into its text, and its media, which a tool message cannot hold."""
        parts, media = _Parts(), _Parts()
        if result.is_error:
            self._lose(f"{path}.is_error", "a tool message has no mark for failure")
        for place, block in enumerate(result.content):
            where = f"{path}.content.{place}"
            if isinstance(block, Text):
                self._part(parts, text_part(block.text), block.cache, where)
                self._cited(block, where)
            elif isinstance(block, Opaque):
                if not parts.take(block):
                    self._lose(where, "only its own dialect understands it")
            elif isinstance(block, Document) and isinstance(block.source, PlainText):
                self._document(block, where, parts)
            elif self._block(block, where, media):
                self._lose(where, "moved to a user's message: tool messages are text")
        return parts, media

    def _orphan(self, result: ToolResult, where: str, parts: _Parts) -> None:
        self._lose(where, "no call with this id stands before it; sent as a user's text")
        texts, media = self._result(result, where)
        lines = [part["text"] for part in texts if isinstance(part, dict) and "text" in part]
        parts.append(text_part(" ".join([f"[tool result {result.id}]", *lines])))
        parts.extend(media)


class _Thoughts:
    __slots__ = ("blocks", "text")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.blocks: list[dict[str, str]] = []


class _Parts(list[Any]):
    """Parts (or calls) being written. ``own``: the dialect's own fields of the message around them."""

    def __init__(self, prefix: str = PART) -> None:
        super().__init__()
        self._prefix = prefix
        self.own: dict[str, Any] = {}

    def take(self, block: Block) -> bool:
        """Put an ``Opaque`` of this dialect back to where it stood; False for anything else."""
        if not isinstance(block, Opaque) or block.dialect != NAME:
            return False
        raw, kind = Raw(block.raw), block.kind
        if self._prefix == CALL:
            if kind == TOOL_CALL:
                self.append(raw)
                return True
            if not kind.startswith(CALL) or not self or not isinstance(self[-1], dict):
                return False
            self[-1][kind[len(CALL) :]] = raw
        elif kind.startswith(MESSAGE):
            self.own[kind[len(MESSAGE) :]] = raw
        elif kind.startswith(PART):
            if not self or not isinstance(self[-1], dict):
                return False
            self[-1][kind[len(PART) :]] = raw
        else:
            self.append(raw)
        return True

    def content(self) -> Any:
        """Return a string when one bare text is all there is: older servers take nothing else."""
        if len(self) == 1 and isinstance(part := self[0], dict) and part.get("type") == "text" and len(part) == 2:
            return part["text"]
        return list(self)


def _place(messages: Sequence[Message]) -> tuple[dict[int, list[_Placed]], set[str]]:
    """Place each result with the turn of the call it answers; return the paths of these results, too. The call is the
    latest with its id, since some engines count ids anew in every turn. A result that answers none is in neither."""
    calls: dict[str, int] = {}
    placed: dict[int, list[_Placed]] = {}
    homed: set[str] = set()
    for turn, message in enumerate(messages):
        for place, block in enumerate(message.blocks):
            if isinstance(block, ToolUse) and message.role == "assistant":
                calls[block.id] = turn
            elif isinstance(block, ToolResult) and message.role == "user" and block.id in calls:
                path = f"messages.{turn}.blocks.{place}"
                placed.setdefault(calls[block.id], []).append((path, block))
                homed.add(path)
    return placed, homed
