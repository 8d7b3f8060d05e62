"""The turns of a conversation for APIs in which user and assistant alternate.

What Messages, Converse and ``generateContent`` want alike: system prompts at the start stand apart; neighbours of one
role are one turn; the results of a turn's calls stand first in the user turn directly after it, whatever the order they
came in (each API answers 400 otherwise); a result that no call asked for is told as text. In what they differ is a
``Policy``, and how a turn is written is each dialect's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from penstock.core.ir import Block, Message, Opaque, Text, ToolResult, ToolUse

Item = tuple[str, Block]
"""A block and its path in the neutral form."""
SYSTEM = ("system", "developer")


class Policy(Struct, frozen=True, kw_only=True):
    """What a dialect wants differently.

    ``dialect``: whose own blocks may stand in a system prompt. ``opaque_stays``: a system turn that holds what only
    some dialect knows is no prompt, but stays a turn. ``blank_says``: white space is a text, too, where a conversation
    of system turns alone keeps its last one as the user's. ``system_stays``: a later system turn of the dialect's own
    clients stays one. ``calls_anywhere``: a call outside an assistant's turn is left to the writer of blocks.
    ``strays_stay``: so is a result without a call that one of the dialect's own clients sent.
    ``turn_fields`` and ``block_fields``: the marks of kinds that keep a turn's fields, as its first block, and a
    block's, before it ("" for a dialect that has none): they move with what they belong to.
    """

    dialect: str
    opaque_stays: bool = False
    blank_says: bool = True
    system_stays: bool = True
    calls_anywhere: bool = True
    strays_stay: bool = False
    turn_fields: str = ""
    block_fields: str = ""


class Writer(Protocol):
    """Who writes the blocks. ``own``: the client spoke this dialect. ``lose``: puts something on the list of losses."""

    own: bool

    def lose(self, path: str, why: str) -> None: ...


class Turn:
    """One turn. ``fields``: those of its own that only the dialect knows."""

    __slots__ = ("fields", "items", "role")

    def __init__(self, role: str, items: list[Item] | None = None, fields: Opaque | None = None) -> None:
        self.role = role
        self.items: list[Item] = [] if items is None else items
        self.fields = fields


def split_system(messages: tuple[Message, ...], writer: Writer, policy: Policy) -> tuple[list[Item], int]:
    """Return the blocks of the leading system turns, and how many turns they were. A conversation of nothing else keeps
    its last one as the user's turn: the APIs refuse an empty list."""
    items: list[Item] = []
    last = len(messages) - 1
    for number, message in enumerate(messages):
        if message.role not in SYSTEM or (number == last and not writer.own and _says(message, policy)):
            return items, number
        if policy.opaque_stays and any(isinstance(block, Opaque) for block in message.blocks):
            return items, number
        if message.role == "developer":
            writer.lose(f"messages.{number}.role", "developer is sent as system")
        if message.name:
            writer.lose(f"messages.{number}.name", "turns have no names here")
        for at, block in enumerate(message.blocks):
            path = f"messages.{number}.blocks.{at}"
            if isinstance(block, Text) or (isinstance(block, Opaque) and block.dialect == policy.dialect):
                items.append((path, block))
            else:
                writer.lose(path, "a system prompt is text only")
    return items, len(messages)


def _says(message: Message, policy: Policy) -> bool:
    texts = (block.text for block in message.blocks if isinstance(block, Text))
    return any(text if policy.blank_says else text.strip() for text in texts)


def build_turns(
    messages: tuple[Message, ...],
    start: int,
    writer: Writer,
    policy: Policy,
    names: dict[str, str] | None = None,
) -> list[Turn]:
    """Build the turns from ``start`` on, neighbours of one role joined, also over a turn in which nothing is said.
    ``names``: filled with the function's name for the path of each result."""
    turns: list[Turn] = []
    calls = False
    for number in range(start, len(messages)):
        message = messages[number]
        if message.name:
            writer.lose(f"messages.{number}.name", "turns have no names here")
        if not message.blocks:
            continue
        role: str = message.role
        fields = _fields(message, policy)
        kept = role == "system" and policy.system_stays and writer.own
        wrapped = not kept and role in SYSTEM
        if wrapped:
            writer.lose(f"messages.{number}.role", f"a later {role} turn is sent as the user's, marked <system>")
            role = "user"
        if not turns or turns[-1].role != role or kept or fields is not None or turns[-1].fields is not None:
            turns.append(Turn(role, fields=fields))
        add = turns[-1].items.append
        for at, block in enumerate(message.blocks):
            path = f"messages.{number}.blocks.{at}"
            if type(block) is ToolUse or type(block) is ToolResult:
                calls = True
                if type(block) is ToolUse and role != "assistant" and not policy.calls_anywhere:
                    writer.lose(path, "a tool call outside an assistant turn")
                    continue
            elif wrapped and type(block) is Text and block.text:
                block = replace(block, text=f"<system>{block.text}</system>")
            add((path, block))
    return _Results(turns, writer, policy, names).place() if calls else turns


def _fields(message: Message, policy: Policy) -> Opaque | None:
    first = message.blocks[0] if message.blocks and policy.turn_fields else None
    if isinstance(first, Opaque) and first.dialect == policy.dialect and first.kind[:1] == policy.turn_fields:
        return first
    return None


class _Results:
    """The results of a conversation, each put directly after the turn that called, in the order they came.

    Ids are matched to the nearest open call before them, because small models count from ``call_0`` again in every
    turn; a result that came before its call is matched to that."""

    __slots__ = ("_names", "_open", "_placed", "_policy", "_turns", "_writer")

    def __init__(self, turns: list[Turn], writer: Writer, policy: Policy, names: dict[str, str] | None) -> None:
        self._turns = turns
        self._writer = writer
        self._policy = policy
        self._names = names
        self._open: dict[str, tuple[int, str]] = {}  # id of a call without its result -> its turn, its function
        self._placed: dict[int, list[Item]] = {}  # turn that called -> what stands first in the one after it

    def place(self) -> list[Turn]:
        strays = [turn for number, turn in enumerate(self._turns) if self._of_calls_before(number, turn)]
        for turn in strays:
            self._of_later_calls(turn)
        return self._inserted()

    def _of_calls_before(self, number: int, turn: Turn) -> bool:
        """Take up a turn's calls and results; tell whether results are left whose calls do not stand before them."""
        left = False
        kept: list[Item] = []
        for item in turn.items:
            block = item[1]
            if type(block) is ToolUse and turn.role == "assistant":
                self._open[block.id] = number, block.name
            elif type(block) is ToolResult:
                called = self._open.pop(block.id, None)
                if called is not None:
                    self._home(called, item[0], block, self._take_fields(kept))
                    continue
                left = True
            kept.append(item)
        turn.items = kept
        return left

    def _of_later_calls(self, turn: Turn) -> None:
        kept: list[Item] = []
        for item in turn.items:
            path, block = item
            if type(block) is not ToolResult:
                kept.append(item)
                continue
            called = self._open.pop(block.id, None)
            if called is not None:
                self._home(called, path, block, self._take_fields(kept))
            elif self._policy.strays_stay and self._writer.own:
                kept.append(item)
            else:
                self._take_fields(kept)
                kept += self._as_text(path, block)
        turn.items = kept

    def _home(self, called: tuple[int, str], path: str, block: ToolResult, beside: list[Item]) -> None:
        turn, name = called
        if self._names is not None:
            self._names[path] = name
        self._placed.setdefault(turn, []).extend([*beside, (path, block)])

    def _take_fields(self, kept: list[Item]) -> list[Item]:
        """Take out the fields that were kept beside the next block: they move with it."""
        block = kept[-1][1] if kept else None
        if isinstance(block, Opaque) and block.dialect == self._policy.dialect:
            if self._policy.block_fields and block.kind[:1] == self._policy.block_fields:
                return [kept.pop()]
        return []

    def _as_text(self, path: str, block: ToolResult) -> list[Item]:
        self._writer.lose(path, "a result without its call is told as text")
        out: list[Item] = [(path, Text(f"[tool result {block.id}]"))]
        out.extend((f"{path}.content.{number}", part) for number, part in enumerate(block.content))
        return out

    def _inserted(self) -> list[Turn]:
        out: list[Turn] = []
        for number, turn in enumerate(self._turns):
            head = self._placed.get(number - 1)
            if head is not None and turn.role == "user":
                turn.items = head + turn.items
            elif head is not None:
                out.append(Turn("user", head))
            if turn.items:
                out.append(turn)
        last = self._placed.get(len(self._turns) - 1)
        return [*out, Turn("user", last)] if last is not None else out


Placed = tuple[str, str, ToolResult]
"""The path of a result, the name of the function that was called, the result."""


def results_by_turn(messages: Sequence[Message]) -> tuple[dict[int, list[Placed]], set[str]]:
    """Place each result with the turn of the call that it answers, for APIs in which a result is a message of its own:
    the latest call with its id, for engines that count anew in every turn. Return the paths of these results, too: one
    that answers none, or comes a second time, is in neither."""
    calls: dict[str, tuple[int, str]] = {}
    placed: dict[int, list[Placed]] = {}
    homed: set[str] = set()
    for turn, message in enumerate(messages):
        for place, block in enumerate(message.blocks):
            if isinstance(block, ToolUse) and message.role == "assistant":
                calls[block.id] = (turn, block.name)
            elif isinstance(block, ToolResult) and (call := calls.pop(block.id, None)) is not None:
                path = f"messages.{turn}.blocks.{place}"
                placed.setdefault(call[0], []).append((path, call[1], block))
                homed.add(path)
    return placed, homed
