"""Ids of calls that an API does not take go under others, alike in the call and its result, each once.

Kimi's "functions.f:0", the "call_0" that small models count from in every turn, ids of 116 characters that hold
another vendor's signature: Anthropic and Bedrock refuse the first two, OpenAI the last (openai/codex issue 14355). Only
replayed calls have ids here; those of an answer are the vendor's own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from msgspec.structs import replace

from penstock.core.fit.base import Takes, Undo
from penstock.core.fit.limits import Spelling
from penstock.core.fit.respell import respell
from penstock.core.ir import Block, Loss, Message, Request, ToolResult, ToolUse

_Place = tuple[int, int]  # number of the turn, of the block in it
_NAMELESS = "call"


def fit_ids(request: Request, takes: Takes, losses: list[Loss]) -> tuple[Request, Undo | None]:
    """Respell the ids of calls. Nothing is lost: they only say which result belongs to which call."""
    spelling = takes.limits.call_ids
    if spelling is None or request.dialect == takes.dialect:
        return request, None
    ids = [block.id for message in request.messages for block in message.blocks if type(block) is ToolUse]
    if not ids or (len(set(ids)) == len(ids) and all(map(spelling.accepted.fullmatch, ids))):
        return request, None
    new = _respelled(request.messages, Ids(spelling))
    messages = tuple(_message(message, turn, new) for turn, message in enumerate(request.messages))
    return replace(request, messages=messages), None


def _respelled(messages: tuple[Message, ...], ids: Ids) -> dict[_Place, str]:
    """Give each call an id, and each result the one of its call: of the nearest turn before it that called by this id,
    there in the order of the calls; of what is left then, of a later turn."""
    new: dict[_Place, str] = {}
    waiting: dict[str, tuple[int, deque[str]]] = {}  # id -> the turn that called, the calls without a result
    strays: list[tuple[_Place, str]] = []
    for place, block in _calls(messages):
        if isinstance(block, ToolUse):
            turn, calls = waiting.get(block.id, (place[0], deque()))
            if turn != place[0]:
                calls = deque()
            new[place] = ids.spell(block.id)
            calls.append(new[place])
            waiting[block.id] = place[0], calls
        elif block.id in waiting and waiting[block.id][1]:
            new[place] = waiting[block.id][1].popleft()
        else:
            strays.append((place, block.id))
    for place, id in strays:
        if id in waiting and waiting[id][1]:
            new[place] = waiting[id][1].popleft()
    return new


def _calls(messages: tuple[Message, ...]) -> Iterator[tuple[_Place, ToolUse | ToolResult]]:
    for turn, message in enumerate(messages):
        for number, block in enumerate(message.blocks):
            if isinstance(block, (ToolUse, ToolResult)):
                yield (turn, number), block


def _message(message: Message, turn: int, new: dict[_Place, str]) -> Message:
    blocks = tuple(_block(block, new.get((turn, number))) for number, block in enumerate(message.blocks))
    return message if blocks == message.blocks else replace(message, blocks=blocks)


def _block(block: Block, id: str | None) -> Block:
    if id is None or not isinstance(block, (ToolUse, ToolResult)) or block.id == id:
        return block
    return replace(block, id=id)


class Ids:
    """Ids that ``spelling`` accepts, each given out once."""

    __slots__ = ("_counts", "_seen", "_spelling")

    def __init__(self, spelling: Spelling) -> None:
        self._spelling = spelling
        self._seen: set[str] = set()
        self._counts: dict[str, int] = {}  # how often an id was given out: the next search begins there

    def spell(self, id: str) -> str:
        """Return an id for the next call that has ``id``."""
        spelled = self._accepted(id)
        if spelled in self._seen:
            count = self._counts.get(spelled, 1) + 1
            while (unique := self._numbered(spelled, count)) in self._seen:
                count += 1
            self._counts[spelled] = count
            spelled = unique
        self._seen.add(spelled)
        return spelled

    def _accepted(self, id: str) -> str:
        accepts = self._spelling.accepted.fullmatch
        if accepts(id):
            return id
        plain = self._spelling.refused.sub("_", id) or _NAMELESS
        return plain if accepts(plain) else respell(id, self._spelling)

    def _numbered(self, id: str, count: int) -> str:
        tail = f"_{count}"
        return id[: self._spelling.longest - len(tail)] + tail
