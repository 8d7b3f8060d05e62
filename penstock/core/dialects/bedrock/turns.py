"""The turns of a conversation as Converse wants them.

System prompts at the start go to ``system``. The rest alternates between user and assistant; the results of a turn's
calls stand first in the user turn directly after it; a result that no call asked for is told as text; a turn with a
document has a text, too. Source: https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html
"""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from penstock.core.dialects.bedrock.blocks_out import SEE_DOCUMENT, Item, Out, Writer, is_instead
from penstock.core.dialects.bedrock.wire import NAME
from penstock.core.ir import Message, Opaque, Refusal, Text, ToolResult, ToolUse

_ID = re.compile(r"[a-zA-Z0-9_.:-]{1,64}")
_NOT_IN_IDS = re.compile(r"[^a-zA-Z0-9_.:-]")


class Turn:
    __slots__ = ("items", "role")

    def __init__(self, role: str, items: list[Item] | None = None) -> None:
        self.role = role
        self.items: list[Item] = [] if items is None else items


def split_system(messages: tuple[Message, ...], writer: Writer) -> tuple[list[Item], int]:
    """The blocks of the leading system turns, and how many turns they were. A conversation of nothing else keeps its
    last one as the user's turn."""
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
            if isinstance(block, Text) or (isinstance(block, Opaque) and block.dialect == NAME):
                items.append((path, block))
            else:
                writer.lose(path, "a system prompt is text only")
    return items, len(messages)


def _says(message: Message) -> bool:
    return any(isinstance(block, Text) and block.text.strip() for block in message.blocks)


def build_turns(messages: tuple[Message, ...], start: int, writer: Writer) -> list[Turn]:
    """Turns from ``start`` on, neighbours of one role joined."""
    turns: list[Turn] = []
    calls = False
    for number in range(start, len(messages)):
        message = messages[number]
        role: str = message.role
        if message.name:
            writer.lose(f"messages.{number}.name", "turns have no names here")
        kept = role == "system" and writer.own
        wrapped = not kept and role in ("system", "developer")
        if wrapped:
            writer.lose(f"messages.{number}.role", f"a later {role} turn is sent as the user's, marked <system>")
            role = "user"
        if not turns or turns[-1].role != role or kept:
            turns.append(Turn(role))
        for at, block in enumerate(message.blocks):
            if isinstance(block, (ToolUse, ToolResult)):
                calls = True
            elif wrapped and isinstance(block, Text) and block.text:
                block = replace(block, text=f"<system>{block.text}</system>")
            turns[-1].items.append((f"messages.{number}.blocks.{at}", block))
    return place_results(turns, writer) if calls else turns


def place_results(turns: list[Turn], writer: Writer) -> list[Turn]:
    """Every result directly after the turn that called, in the order they came. Ids are matched to the nearest open
    call before them (small models count from ``call_0`` again in every turn); a result that came before its call is
    matched to that."""
    open_calls: dict[str, int] = {}
    placed: dict[int, list[Item]] = {}
    strays: list[tuple[int, Item]] = []
    ids = _Ids(writer)
    for number, turn in enumerate(turns):
        kept: list[Item] = []
        for item in turn.items:
            block = item[1]
            if isinstance(block, ToolUse) and turn.role == "assistant":
                open_calls[block.id] = number
                item = (item[0], ids.call(block, item[0]))
            elif isinstance(block, ToolResult):
                called = open_calls.pop(block.id, None)
                if called is not None:
                    whole = [kept.pop()] if kept and is_instead(kept[-1][1]) else []
                    placed.setdefault(called, []).extend([*whole, (item[0], ids.result(block))])
                    continue
                strays.append((number, item))
            kept.append(item)
        turn.items = kept
    for number, item in strays:
        block = item[1]
        assert isinstance(block, ToolResult)
        called = open_calls.pop(block.id, None)
        items = turns[number].items
        at = items.index(item)
        if called is None:
            items[at : at + 1] = _as_text(item[0], block, writer)
        else:
            placed.setdefault(called, []).append((item[0], ids.result(block)))
            del items[at]
    return _insert(turns, placed)


def _insert(turns: list[Turn], placed: dict[int, list[Item]]) -> list[Turn]:
    out: list[Turn] = []
    for number, turn in enumerate(turns):
        head = placed.get(number - 1)
        if head is not None and turn.role == "user":
            turn.items = head + turn.items
        elif head is not None:
            out.append(Turn("user", head))
        if turn.items:
            out.append(turn)
    last = placed.get(len(turns) - 1)
    return [*out, Turn("user", last)] if last is not None else out


def _as_text(at: str, block: ToolResult, writer: Writer) -> list[Item]:
    if writer.own:
        return [(at, block)]
    writer.lose(at, "a result without its call is told as text")
    out: list[Item] = [(at, Text(f"[tool result {block.id}]"))]
    out.extend((f"{at}.content.{number}", part) for number, part in enumerate(block.content))
    return out


class _Ids:
    """Ids the API accepts: 1 to 64 of letters, digits, ``_.:-``, each once in a conversation. Others are respelled,
    alike in the call and its result."""

    __slots__ = ("current", "seen", "writer")

    def __init__(self, writer: Writer) -> None:
        self.current: dict[str, str] = {}
        self.seen: set[str] = set()
        self.writer = writer

    def call(self, block: ToolUse, at: str) -> ToolUse:
        if self.writer.own:
            return block
        plain = block.id if _ID.fullmatch(block.id) else _NOT_IN_IDS.sub("_", block.id)[-64:] or "call"
        unique, count = plain, 1
        while unique in self.seen:
            count += 1
            unique = f"{plain[-58:]}_{count}"
        self.seen.add(unique)
        self.current[block.id] = unique
        if unique == block.id:
            return block
        self.writer.lose(f"{at}.id", "respelled: the API takes 64 letters, digits and _.:-, each id once")
        return replace(block, id=unique)

    def result(self, block: ToolResult) -> ToolResult:
        unique = self.current.get(block.id, block.id)
        return block if unique == block.id else replace(block, id=unique)


def write_turn(turn: Turn, writer: Writer, last: bool) -> dict[str, Any] | None:
    """The turn for the wire, None when nothing of it is left."""
    blocks = writer.blocks(turn.items, turn.role)  # type: ignore[arg-type]
    if not blocks:
        return None
    if last and turn.role == "assistant" and not writer.own:
        _trim(blocks, turn, writer)
    if not writer.own and _bare(blocks):
        blocks.append({"text": SEE_DOCUMENT})
    return {"role": turn.role, "content": blocks}


def _bare(blocks: list[Out]) -> bool:
    """A document and no text in one turn."""
    keys = [key for block in blocks if isinstance(block, dict) for key in block]
    return "document" in keys and "text" not in keys


def _trim(blocks: list[Out], turn: Turn, writer: Writer) -> None:
    """A prefill may not end in white space: Claude answers 400."""
    final = blocks[-1]
    if isinstance(final, dict) and isinstance(final.get("text"), str) and final["text"] != final["text"].rstrip():
        # Not simply the last item: what leaves no block (an empty text, a thought) would be named instead.
        told = (at for at, block in reversed(turn.items) if isinstance(block, (Text, Refusal)) and block.text.strip())
        writer.lose(f"{next(told)}.text", "white space at the end of a prefill is refused")
        final["text"] = final["text"].rstrip()


def used_tools(messages: tuple[Message, ...]) -> list[str]:
    """The names of the tools that were called before, each once."""
    calls = (block for message in messages if message.role == "assistant" for block in message.blocks)
    return list(dict.fromkeys(block.name for block in calls if isinstance(block, ToolUse)))

