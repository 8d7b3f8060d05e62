"""The turns of a conversation as the Messages API wants them.

System prompts at the start go to ``system``. The rest alternates between user and assistant; the results of a turn's
calls stand first in the user turn directly after it, whatever the order they came in (the API answers 400 otherwise);
a result that no call asked for is told as text.
"""

from __future__ import annotations

import re

from msgspec import Raw
from msgspec.json import decode, encode
from msgspec.structs import replace

from penstock.core.dialects.anthropic import wire
from penstock.core.dialects.anthropic.blocks_in import TURN
from penstock.core.dialects.anthropic.blocks_out import Item, Out, Writer, is_fields
from penstock.core.ir import Message, Opaque, Refusal, Text, ToolResult, ToolUse

_ID = re.compile(r"[a-zA-Z0-9_-]+")


class Turn:
    __slots__ = ("fields", "items", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.items: list[Item] = []
        self.fields: Opaque | None = None


def split_system(messages: tuple[Message, ...], writer: Writer) -> tuple[list[Item], int]:
    """The blocks of the leading system turns, and how many turns they were. A conversation of nothing else keeps its
    last one as the user's turn: the API refuses an empty list of messages."""
    items: list[Item] = []
    last = len(messages) - 1
    for number, message in enumerate(messages):
        if message.role not in ("system", "developer"):
            return items, number
        carried = any(isinstance(block, Opaque) for block in message.blocks)
        if carried or (number == last and not writer.own and not _blank(message)):
            return items, number
        if message.role == "developer":
            writer.lose(f"messages.{number}.role", "developer is sent as system")
        if message.name:
            writer.lose(f"messages.{number}.name", "turns have no names here")
        for at, block in enumerate(message.blocks):
            path = f"messages.{number}.blocks.{at}"
            if isinstance(block, Text):
                items.append((path, block))
            else:
                writer.lose(path, "a system prompt is text only")
    return items, len(messages)


def _blank(message: Message) -> bool:
    return not any(isinstance(block, Text) and block.text for block in message.blocks)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Turns from ``start`` on, neighbours of one role joined."""
    turns: list[Turn] = []
    calls = False
    for number in range(start, len(messages)):
        message = messages[number]
        role, fields = message.role, _fields(message)
        if message.name:
            writer.lose(f"messages.{number}.name", "turns have no names here")
        kept = role == "system" and writer.own
        wrapped = not kept and role in ("system", "developer")
        if wrapped:
            writer.lose(f"messages.{number}.role", f"a later {role} turn is sent as the user's, marked <system>")
            role = "user"
        if not turns or turns[-1].role != role or kept or fields is not None or turns[-1].fields is not None:
            turns.append(Turn(role))
            turns[-1].fields = fields
        add = turns[-1].items.append
        for at, block in enumerate(message.blocks):
            if type(block) is ToolUse or type(block) is ToolResult:
                calls = True
            elif wrapped and type(block) is Text and block.text:
                block = replace(block, text=f"<system>{block.text}</system>")
            add((f"messages.{number}.blocks.{at}", block))
    return place_results(turns, writer) if calls else turns


def _fields(message: Message) -> Opaque | None:
    first = message.blocks[0] if message.blocks else None
    if isinstance(first, Opaque) and first.dialect == wire.NAME and first.kind[:1] == TURN:
        return first
    return None


def place_results(turns: list[Turn], writer: Writer) -> list[Turn]:
    """Every result directly after the turn that called, in the order they came.

    Ids are matched to the nearest open call before them, because small models count from ``call_0`` again in every
    turn; a result that came before its call is matched to that."""
    open_calls: dict[str, int] = {}
    placed: dict[int, list[Item]] = {}
    strays: list[tuple[int, Item]] = []
    ids = _Ids(writer)
    for number, turn in enumerate(turns):
        kept: list[Item] = []
        for item in turn.items:
            block = item[1]
            if type(block) is ToolUse and turn.role == "assistant":
                open_calls[block.id] = number
                item = (item[0], ids.call(block, item[0]))
            elif type(block) is ToolResult:
                called = open_calls.pop(block.id, None)
                if called is None:
                    strays.append((number, item))
                else:
                    home = placed.setdefault(called, [])
                    home.extend(_take_fields(kept, len(kept)))
                    home.append((item[0], ids.result(block)))
                    continue
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
            placed.setdefault(called, []).extend([*beside, (item[0], ids.result(block))])
            del items[at]
    return _insert(turns, placed)


def _take_fields(items: list[Item], at: int) -> list[Item]:
    """Takes out the fields that were kept beside the block at ``at``: they move with it."""
    return [items.pop(at - 1)] if at and is_fields(items[at - 1][1]) else []


def _insert(turns: list[Turn], placed: dict[int, list[Item]]) -> list[Turn]:
    out: list[Turn] = []
    for number, turn in enumerate(turns):
        head = placed.get(number - 1)
        if head is not None:
            if turn.role == "user":
                turn.items = head + turn.items
            else:
                out.append(Turn("user"))
                out[-1].items = head
        if turn.items:
            out.append(turn)
    tail = placed.get(len(turns) - 1)
    if tail is not None:
        out.append(Turn("user"))
        out[-1].items = tail
    return out


def _as_text(at: str, block: ToolResult, writer: Writer) -> list[Item]:
    writer.lose(at, "a result without its call is told as text")
    out: list[Item] = [(at, Text(f"[tool result {block.id}]"))]
    out.extend((f"{at}.content.{number}", part) for number, part in enumerate(block.content))
    return out


class _Ids:
    """Ids the API accepts: ``[a-zA-Z0-9_-]+``, each once in a conversation. Others' ids ("functions.f:0", a "call_0"
    in every turn) are respelled, alike in the call and its result."""

    __slots__ = ("current", "seen", "writer")

    def __init__(self, writer: Writer) -> None:
        self.current: dict[str, str] = {}
        self.seen: set[str] = set()
        self.writer = writer

    def call(self, block: ToolUse, at: str) -> ToolUse:
        if self.writer.own or not self.writer.official:
            return block
        spelled = block.id if _ID.fullmatch(block.id) else re.sub(r"[^a-zA-Z0-9_-]", "_", block.id) or "call"
        unique, count = spelled, 1
        while unique in self.seen:
            count += 1
            unique = f"{spelled}_{count}"
        self.seen.add(unique)
        self.current[block.id] = unique
        if unique == block.id:
            return block
        self.writer.lose(f"{at}.id", "respelled: the API takes letters, digits, _ and -, each id once")
        return replace(block, id=unique)

    def result(self, block: ToolResult) -> ToolResult:
        unique = self.current.get(block.id, block.id)
        return block if unique == block.id else replace(block, id=unique)


def write_turn(turn: Turn, writer: Writer, last: bool) -> dict[str, object] | None:
    """The turn for the wire, None when nothing of it is left."""
    role = turn.role
    blocks = writer.blocks(turn.items, role)  # type: ignore[arg-type]
    if not blocks and turn.fields is None:
        return None
    if last and role == "assistant" and writer.official and not writer.own:
        _trim(blocks, turn, writer)
    out: dict[str, object] = {"role": role, "content": _content(blocks)}
    if turn.fields is not None:
        out.update(decode(turn.fields.raw, type=dict[str, Raw]))
        if not blocks:
            del out["content"]
    return out


def _content(blocks: list[Out]) -> str | list[Out]:
    if len(blocks) == 1:
        only = blocks[0]
        if type(only) is wire.TextBlock and only.cache_control is None and only.citations is None:
            return only.text
    return blocks


def _trim(blocks: list[Out], turn: Turn, writer: Writer) -> None:
    """A prefill may not end in white space: the API answers 400."""
    final = blocks[-1] if blocks else None
    if isinstance(final, wire.TextBlock) and final.text != final.text.rstrip():
        # Not simply the last item: an empty text behind it leaves no block, and the wrong one would be named.
        told = (at for at, block in reversed(turn.items) if isinstance(block, (Text, Refusal)) and block.text.strip())
        writer.lose(f"{next(told)}.text", "white space at the end of a prefill is refused")
        blocks[-1] = wire.TextBlock(final.text.rstrip(), final.cache_control, final.citations)


def write_system(items: list[Item], writer: Writer) -> Raw | None:
    blocks = writer.blocks(items, "system")
    return Raw(encode(_content(blocks))) if blocks else None
