"""The contents of a conversation as the API wants them.

System prompts at the start go to ``systemInstruction``; the rest alternates between ``user`` and ``model``. The results
of a turn's calls stand first in the user turn directly after it, and as many as there were calls (the API answers 400
otherwise); a result bears the name of its function; one that no call asked for is told as text.
"""

from __future__ import annotations

from typing import Any

from msgspec.json import Decoder
from msgspec.structs import replace

from penstock.core.dialects.gemini import wire
from penstock.core.dialects.gemini.parts_in import TURN
from penstock.core.dialects.gemini.parts_out import Item, Writer, is_fields
from penstock.core.ir import Message, Opaque, Text, ToolResult, ToolUse

_OBJECT = Decoder(dict[str, Any]).decode


class Turn:
    __slots__ = ("fields", "items", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.items: list[Item] = []
        self.fields: Opaque | None = None


def split_system(messages: tuple[Message, ...], writer: Writer) -> tuple[list[Item], int]:
    """The blocks of the leading system turns, and how many turns they were. A conversation of nothing else keeps its
    last one as the user's turn: the API refuses an empty list of contents."""
    items: list[Item] = []
    last = len(messages) - 1
    for number, message in enumerate(messages):
        if message.role not in ("system", "developer") or (number == last and not writer.own and _says(message)):
            return items, number
        if message.role == "developer":
            writer.lose(f"messages.{number}.role", "developer is sent as system")
        if message.name:
            writer.lose(f"messages.{number}.name", "turns have no names here")
        for at, block in enumerate(message.blocks):
            path = f"messages.{number}.blocks.{at}"
            if isinstance(block, Text) or (isinstance(block, Opaque) and block.dialect == wire.NAME):
                items.append((path, block))
            else:
                writer.lose(path, "a system prompt is text only")
    return items, len(messages)


def _says(message: Message) -> bool:
    return any(isinstance(block, Text) and block.text for block in message.blocks)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Turns from ``start`` on, neighbours of one role joined."""
    turns: list[Turn] = []
    calls = False
    for number in range(start, len(messages)):
        message = messages[number]
        role, fields = message.role, _fields(message)
        if message.name:
            writer.lose(f"messages.{number}.name", "turns have no names here")
        wrapped = role in ("system", "developer")
        if wrapped:
            writer.lose(f"messages.{number}.role", f"a later {role} turn is sent as the user's, marked <system>")
            role = "user"
        if not turns or turns[-1].role != role or fields is not None or turns[-1].fields is not None:
            turns.append(Turn(role))
            turns[-1].fields = fields
        add = turns[-1].items.append
        for at, block in enumerate(message.blocks):
            path = f"messages.{number}.blocks.{at}"
            if type(block) is ToolUse or type(block) is ToolResult:
                calls = True
                if type(block) is ToolUse and role != "assistant":
                    writer.lose(path, "a tool call outside an assistant turn")
                    continue
            elif wrapped and type(block) is Text and block.text:
                block = replace(block, text=f"<system>{block.text}</system>")
            add((path, block))
    return place_results(turns, writer) if calls else turns


def _fields(message: Message) -> Opaque | None:
    first = message.blocks[0] if message.blocks else None
    if isinstance(first, Opaque) and first.dialect == wire.NAME and first.kind[:1] == TURN:
        return first
    return None


def place_results(turns: list[Turn], writer: Writer) -> list[Turn]:
    """Every result directly after the turn that called, in the order they came. Ids are matched to the nearest open
    call before them, because small models count from ``call_0`` again in every turn; a result that came before its call
    is matched to that."""
    open_calls: dict[str, tuple[int, str]] = {}
    placed: dict[int, list[Item]] = {}
    strays: list[tuple[int, Item]] = []
    for number, turn in enumerate(turns):
        kept: list[Item] = []
        for item in turn.items:
            block = item[1]
            if type(block) is ToolUse:
                open_calls[block.id] = number, block.name
            elif type(block) is ToolResult:
                called = open_calls.pop(block.id, None)
                if called is not None:
                    _place(item, called, _take_fields(kept, len(kept)), placed, writer)
                    continue
                strays.append((number, item))
            kept.append(item)
        turn.items = kept
    for number, item in strays:
        block = item[1]
        assert isinstance(block, ToolResult)
        called = open_calls.pop(block.id, None)
        items = turns[number].items
        beside = _take_fields(items, items.index(item))
        at = items.index(item)
        if called is None:
            items[at : at + 1] = _as_text(item[0], block, writer)
        else:
            _place(item, called, beside, placed, writer)
            del items[at]
    return _insert(turns, placed)


def _place(
    item: Item, called: tuple[int, str], beside: list[Item], placed: dict[int, list[Item]], writer: Writer
) -> None:
    turn, name = called
    writer.names[item[0]] = name
    placed.setdefault(turn, []).extend([*beside, item])


def _take_fields(items: list[Item], at: int) -> list[Item]:
    """Takes out the fields that were kept beside the block at ``at``: they move with it."""
    return [items.pop(at - 1)] if at and is_fields(items[at - 1][1]) else []


def _as_text(at: str, block: ToolResult, writer: Writer) -> list[Item]:
    writer.lose(at, "a result without its call is told as text")
    out: list[Item] = [(at, Text(f"[tool result {block.id}]"))]
    out.extend((f"{at}.content.{number}", part) for number, part in enumerate(block.content))
    return out


def _insert(turns: list[Turn], placed: dict[int, list[Item]]) -> list[Turn]:
    out: list[Turn] = []
    for number, turn in enumerate(turns):
        head = placed.get(number - 1)
        if head is not None:
            if turn.role == "user":
                turn.items = head + turn.items
            else:
                out.append(_of_results(head))
        out.append(turn)
    last = placed.get(len(turns) - 1)
    return [*out, _of_results(last)] if last else out


def _of_results(items: list[Item]) -> Turn:
    turn = Turn("user")
    turn.items = items
    return turn


def write_turn(turn: Turn, writer: Writer) -> dict[str, Any] | None:
    """The turn as a content, None when nothing of it is left."""
    parts = writer.parts(turn.items)
    if not parts and turn.fields is None:
        return None
    model = turn.role == "assistant"
    if model and writer.version >= 3:
        _mark_unsigned(parts)
    out: dict[str, Any] = {"role": "model" if model else "user", "parts": parts}
    if turn.fields is not None:
        out.update(_OBJECT(turn.fields.raw))
    return out


def _mark_unsigned(parts: list[Any]) -> None:
    """Models from 3 on answer 400 to a call of theirs without its signature. The first call of a step bears it; where
    none does, the history is another model's or the client dropped it, and the vendor's own word for that goes in."""
    calls = [part for part in parts if isinstance(part, dict) and "functionCall" in part]
    if calls and not any("thoughtSignature" in call for call in calls):
        calls[0]["thoughtSignature"] = wire.SKIP
