"""Turns to the ``messages`` of ``/v2/chat``. What the API has no place for is put on the list of losses.

Contents are lists of parts; one text alone is written as a string. Results follow the turn that called, as the API
wants them: one message of role ``tool`` each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from penstock.core.dialects.base import Wire
from penstock.core.dialects.cohere.citations import own_forms
from penstock.core.dialects.cohere.names import MESSAGE, NAME, is_plan, thinks
from penstock.core.dialects.turns import results_by_turn
from penstock.core.ir import (
    Block,
    Document,
    FileId,
    Image,
    Loss,
    Marked,
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


def render_turns(messages: Sequence[Message], wire: Wire, losses: list[Loss]) -> list[dict[str, Any]]:
    """Render the ``messages`` array; ``losses`` grows."""
    return _Writer(messages, wire, losses).write()


class _Turn:
    """A message being written."""

    __slots__ = ("calls", "citations", "own", "parts", "plan")

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.plan: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.citations: list[Any] = []
        self.own: dict[str, Raw] = {}

    def fields(self, role: str) -> dict[str, Any] | None:
        """Return the turn's fields; None when nothing is in it."""
        out: dict[str, Any] = {"role": role}
        if self.plan:
            out["tool_plan"] = "".join(self.plan)
        if self.parts:
            out["content"] = plain(self.parts)
        if self.calls:
            out["tool_calls"] = self.calls
        if self.citations:
            out["citations"] = self.citations
        out.update(self.own)
        return out if len(out) > 1 else None


def plain(parts: list[Any]) -> Any:
    """Return one text alone as a string: the form that every server behind this API understands."""
    only = parts[0] if len(parts) == 1 else None
    return only["text"] if isinstance(only, dict) and only["type"] == "text" else parts


class _Writer:
    __slots__ = ("_homed", "_losses", "_messages", "_out", "_placed", "_wire")

    def __init__(self, messages: Sequence[Message], wire: Wire, losses: list[Loss]) -> None:
        self._messages = messages
        self._wire = wire
        self._losses = losses
        self._out: list[dict[str, Any]] = []
        self._placed, self._homed = results_by_turn(messages)

    def write(self) -> list[dict[str, Any]]:
        for number, message in enumerate(self._messages):
            path = f"messages.{number}"
            if message.name:
                self._lose(f"{path}.name", "a message has no name here")
            role: str = message.role
            if role == "developer":
                role = "system"
                self._lose(f"{path}.role", "sent as system")
            turn = _Turn()
            for place, block in enumerate(message.blocks):
                self._block(block, f"{path}.blocks.{place}", turn, role)
            fields = turn.fields(role)
            if fields is not None:
                self._out.append(fields)
            for path, _, result in self._placed.get(number, ()):
                self._result(path, result)
        return self._out

    def _lose(self, path: str, why: str) -> None:
        self._losses.append(Loss(path, why))

    def _block(self, block: Block, where: str, turn: _Turn, role: str) -> None:
        if isinstance(block, Marked) and block.cache is not None and where not in self._homed:
            self._lose(f"{where}.cache", "the vendor caches by itself")
        if isinstance(block, Text):
            self._text(block, where, turn, role)
        elif isinstance(block, Image) and role == "user":
            self._image(block, where, turn)
        elif isinstance(block, Document) and isinstance(block.source, PlainText):
            self._lose(where, "sent as text")
            _say(block.source.text, turn)
        elif isinstance(block, ToolResult):
            if where not in self._homed:
                self._orphan(block, where, turn)
        elif isinstance(block, Opaque) and block.dialect == NAME:
            if block.kind.startswith(MESSAGE):
                turn.own[block.kind[len(MESSAGE) :]] = Raw(block.raw)
            else:
                turn.parts.append(Raw(block.raw))
        elif role == "assistant" and isinstance(block, (Thinking, Refusal, ToolUse)):
            self._said(block, where, turn)
        else:
            self._lose(where, f"a message of role {role} holds no {type(block).__name__} here")

    def _text(self, block: Text, where: str, turn: _Turn, role: str) -> None:
        _say(block.text, turn)
        own = own_forms(block) if role == "assistant" and block.text else []
        turn.citations += own
        kept = own and all(cited.opaque is not None and cited.opaque.dialect == NAME for cited in block.citations)
        if block.citations and not kept:
            self._lose(f"{where}.citations", "only the vendor's own citations go back")

    def _said(self, block: Thinking | Refusal | ToolUse, where: str, turn: _Turn) -> None:
        if isinstance(block, ToolUse):
            turn.calls.append(self._call(block, where))
        elif isinstance(block, Refusal):
            _say(block.text, turn)
            self._lose(where, "sent as text")
        elif is_plan(block, self._wire.family):
            turn.plan.append(block.text)
        elif block.seal is not None or block.redacted or block.summary or not block.text:
            self._lose(where, "reasoning of another model family is of no use here")
        elif not thinks(self._wire.model):
            self._lose(where, "this model does not think")
        else:
            turn.parts.append({"type": "thinking", "thinking": block.text})
            if block.id:
                self._lose(f"{where}.id", "a thought has no id here")

    def _image(self, block: Image, where: str, turn: _Turn) -> None:
        source = block.source
        if isinstance(source, (FileId, PlainText)):
            self._lose(where, "an image is given by its address or inline here")
            return
        url = source.url if isinstance(source, Url) else f"data:{source.media_type};base64,{source.data}"
        inner = {"url": url} | ({"detail": block.detail} if block.detail else {})
        turn.parts.append({"type": "image_url", "image_url": inner})
        if isinstance(source, Url) and source.media_type:
            self._lose(f"{where}.media_type", "an address stands alone here")

    def _call(self, block: ToolUse, where: str) -> dict[str, Any]:
        arguments = block.args or "{}"
        if block.kind != "function":
            self._lose(f"{where}.kind", "a call is of a function here; sent as its 'input'")
            arguments = encode({"input": block.args}).decode()
        if block.seal is not None:
            self._lose(f"{where}.seal", "it belongs to another model family")
        return {"id": block.id, "type": "function", "function": {"name": block.name, "arguments": arguments}}

    def _result(self, path: str, result: ToolResult) -> None:
        turn = _Turn()
        self._inside(result, path, turn)
        if result.cache is not None:
            self._lose(f"{path}.cache", "the vendor caches by itself")
        content = plain(turn.parts) if turn.parts else ""
        self._out.append({"role": "tool", "tool_call_id": result.id, "content": content, **turn.own})

    def _inside(self, result: ToolResult, path: str, turn: _Turn) -> None:
        if result.is_error:
            self._lose(f"{path}.is_error", "a tool message has no mark for failure")
        if result.kind != "function":
            self._lose(f"{path}.kind", "a result is of a function here")
        for place, block in enumerate(result.content):
            self._block(block, f"{path}.content.{place}", turn, "tool")

    def _orphan(self, result: ToolResult, where: str, turn: _Turn) -> None:
        self._lose(where, "no call with this id stands before it; sent as a user's text")
        inner = _Turn()
        self._inside(result, where, inner)
        _say(f"[tool result {result.id}]", turn)
        turn.parts += [part for part in inner.parts if isinstance(part, dict)]


def _say(text: str, turn: _Turn) -> None:
    if text:
        turn.parts.append({"type": "text", "text": text})
