"""Turns to the ``messages`` of /api/chat. What Ollama has no place for is put on the list of losses.

A message is one text, a list of inline images, the thought before it and the calls after it: several texts become one,
and where an image stood among them is not told. Results follow the turn that asked for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import DecodeError, Raw
from msgspec.json import Decoder

from penstock.core.dialects.ollama.names import MESSAGE, NAME
from penstock.core.dialects.turns import results_by_turn
from penstock.core.ir import (
    Base64,
    Block,
    Document,
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
)

_OBJECT = Decoder(dict[str, Raw]).decode


def render_turns(messages: Sequence[Message], losses: list[Loss]) -> list[dict[str, Any]]:
    """Render the ``messages`` array; ``losses`` grows."""
    return _Writer(messages, losses).write()


class _Turn:
    """A message being written."""

    __slots__ = ("calls", "images", "own", "texts", "thoughts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.images: list[str] = []
        self.thoughts: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.own: dict[str, Raw] = {}

    def fields(self, role: str, joint: str) -> dict[str, Any] | None:
        """Return the turn's fields; None when nothing is in it."""
        out: dict[str, Any] = {"role": role, "content": joint.join(self.texts)}
        if self.thoughts:
            out["thinking"] = "".join(self.thoughts)
        if self.images:
            out["images"] = self.images
        if self.calls:
            out["tool_calls"] = self.calls
        out.update(self.own)
        return out if self.texts or len(out) > 2 else None


class _Writer:
    __slots__ = ("_homed", "_losses", "_messages", "_out", "_placed")

    def __init__(self, messages: Sequence[Message], losses: list[Loss]) -> None:
        self._messages = messages
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
            # An assistant's texts are pieces of one; other roles' are paragraphs of their own.
            fields = turn.fields(role, "" if role == "assistant" else "\n\n")
            if fields is not None:
                self._out.append(fields)
            for placed in self._placed.get(number, ()):
                self._result(*placed)
        return self._out

    def _lose(self, path: str, why: str) -> None:
        self._losses.append(Loss(path, why))

    def _block(self, block: Block, where: str, turn: _Turn, role: str) -> None:
        if isinstance(block, Marked) and block.cache is not None and where not in self._homed:
            self._lose(f"{where}.cache", "the engine caches by itself")
        if isinstance(block, Text):
            turn.texts.append(block.text)
            if block.citations:
                self._lose(f"{where}.citations", "text carries no citations here")
        elif isinstance(block, Image):
            self._image(block, where, turn)
        elif isinstance(block, Document) and isinstance(block.source, PlainText):
            self._lose(where, "sent as text")
            turn.texts.append(block.source.text)
        elif isinstance(block, ToolResult):
            if where not in self._homed:
                self._orphan(block, where, turn)
        elif isinstance(block, Opaque) and block.dialect == NAME and block.kind.startswith(MESSAGE):
            turn.own[block.kind[len(MESSAGE) :]] = Raw(block.raw)
        elif role == "assistant" and isinstance(block, (Thinking, Refusal, ToolUse)):
            self._said(block, where, turn)
        else:
            self._lose(where, f"a message holds no {type(block).__name__} here")

    def _said(self, block: Thinking | Refusal | ToolUse, where: str, turn: _Turn) -> None:
        if isinstance(block, ToolUse):
            turn.calls.append(self._call(block, where, len(turn.calls)))
        elif isinstance(block, Refusal):
            turn.texts.append(block.text)
            self._lose(where, "sent as text")
        elif block.seal is not None or block.redacted or block.summary or not block.text:
            self._lose(where, "reasoning of another model family is of no use here")
        else:
            turn.thoughts.append(block.text)
            if block.id:
                self._lose(f"{where}.id", "a thought has no id here")

    def _image(self, block: Image, where: str, turn: _Turn) -> None:
        if not isinstance(block.source, Base64):
            self._lose(where, "an image is given inline here")
            return
        turn.images.append(block.source.data)
        if block.detail not in ("", "auto"):
            self._lose(f"{where}.detail", "an image has no level of detail here")

    def _call(self, block: ToolUse, where: str, place: int) -> dict[str, Any]:
        try:
            _OBJECT(block.args or "{}")
            arguments: Any = Raw((block.args or "{}").encode())
        except (DecodeError, RecursionError):
            arguments = {"input": block.args}
            self._lose(f"{where}.args", "arguments are an object here; sent as its 'input'")
        if block.kind != "function":
            self._lose(f"{where}.kind", "a call is of a function here")
        if block.seal is not None:
            self._lose(f"{where}.seal", "it belongs to another model family")
        # Servers before 0.12.4 have no ids; they ignore the field.
        return {"id": block.id, "function": {"index": place, "name": block.name, "arguments": arguments}}

    def _result(self, path: str, name: str, result: ToolResult) -> None:
        turn = _Turn()
        self._inside(result, path, turn)
        if result.cache is not None:
            self._lose(f"{path}.cache", "the engine caches by itself")
        fields = turn.fields("tool", "\n\n") or {"role": "tool", "content": ""}
        self._out.append({**fields, "tool_name": name, "tool_call_id": result.id})

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
        turn.texts.append("\n\n".join([f"[tool result {result.id}]", *inner.texts]))
        turn.images += inner.images
