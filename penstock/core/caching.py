"""Prompt caching that a deployment asks for: LiteLLM's `cache_control_injection_points`.

A point is ``{location: message, role: system}``, ``{location: message, index: -1}`` or ``{location: tool_config}``, all
with an optional ``control: {type: ephemeral, ttl: 1h}``: behind the last block of these messages, or of the tools, the
prompt is cached. A system prompt that stands beside the messages is the first of them.

Here is the rule, and what it does to a neutral request; what it does to a dialect's own fields is with the dialect
(``Editor.mark_cache``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from penstock.core.ir import Block, CacheMark, Document, Image, Message, Request, Text, ToolResult, ToolUse

_MARKED = (Text, Image, Document, ToolUse, ToolResult)
WORD = "cache_control"
MOST = 4  # Anthropic refuses more ("A maximum of 4 blocks with cache_control may be provided")


class Point(Struct, frozen=True):
    """One place to cache behind: messages of ``role``, or the one at ``index``; neither: the tools. ``shy``: only in a
    request that has no marks of its own."""

    role: str
    index: int | None
    mark: CacheMark
    shy: bool = False


def usual_points(ttl: str) -> tuple[Point, ...]:
    """Return where LiteLLM caches prompts by itself (``enable_anthropic_prompt_caching``): behind the system prompt and
    the last turn."""
    mark = CacheMark(ttl)
    return Point("system", None, mark, True), Point("", -1, mark, True)


def read_points(given: Iterable[Any]) -> tuple[Point, ...]:
    """Read a deployment's points; what is none is left out, as LiteLLM does it."""
    found = []
    for one in given:
        if not isinstance(one, Mapping):
            continue
        control = one.get("control")
        ttl = control.get("ttl") if isinstance(control, Mapping) else ""
        mark = CacheMark(ttl if isinstance(ttl, str) else "")
        role, index = one.get("role"), one.get("index")
        if one.get("location") == "tool_config":
            found.append(Point("", None, mark))
        elif isinstance(index, int | str) and str(index).lstrip("-").isdigit() and len(str(index)) < 9:
            found.append(Point("", int(index), mark))
        elif isinstance(role, str) and role:
            found.append(Point(role, None, mark))
    return tuple(found)


def place_marks(
    points: Iterable[Point],
    roles: Sequence[str],
    marks: int,
    mark_turn: Callable[[int, CacheMark], bool],
    mark_tools: Callable[[CacheMark], bool],
) -> None:
    """Mark a request at the points, the last places first, as long as the vendor takes more marks. ``roles``: of its
    messages; ``marks``: that it has. ``mark_turn`` marks the message at a place, ``mark_tools`` the tools; False: there
    was nothing to mark."""
    room = MOST - marks
    for point in points:
        if point.shy and marks:
            continue
        if not point.role and point.index is None:
            room -= room > 0 and mark_tools(point.mark)
            continue
        for place in _places(roles, point):
            room -= room > 0 and mark_turn(place, point.mark)


def mark_points(request: Request, points: tuple[Point, ...]) -> Request:
    """Mark a request at the points."""
    messages = list(request.messages)
    tools = list(request.tools)

    def mark_turn(place: int, mark: CacheMark) -> bool:
        marked = _marked(messages[place], mark)
        if marked is not None:
            messages[place] = marked
        return marked is not None

    def mark_tools(mark: CacheMark) -> bool:
        if not tools or tools[-1].cache is not None:
            return False
        tools[-1] = replace(tools[-1], cache=mark)
        return True

    place_marks(points, [message.role for message in messages], _marks(request), mark_turn, mark_tools)
    return replace(request, messages=tuple(messages), tools=tuple(tools))


def _places(roles: Sequence[str], point: Point) -> list[int]:
    if point.index is not None:
        place = point.index if point.index >= 0 else len(roles) + point.index
        return [place] if 0 <= place < len(roles) else []
    wanted = (point.role, "developer") if point.role == "system" else (point.role,)  # OpenAI's newer word for it
    return [place for place in reversed(range(len(roles))) if roles[place] in wanted]


def _marked(message: Message, mark: CacheMark) -> Message | None:
    """Mark a message behind its last block that takes a mark; None when there is none, or a mark already."""
    blocks: list[Block] = list(message.blocks)
    for place in reversed(range(len(blocks))):
        block = blocks[place]
        if isinstance(block, _MARKED) and not (isinstance(block, Text) and not block.text.strip()):
            if block.cache is not None:
                return None
            blocks[place] = replace(block, cache=mark)
            return replace(message, blocks=tuple(blocks))
    return None


def _marks(request: Request) -> int:
    blocks = [block for message in request.messages for block in message.blocks]
    blocks += [inner for block in blocks if isinstance(block, ToolResult) for inner in block.content]
    marked = sum(isinstance(block, _MARKED) and block.cache is not None for block in blocks)
    whole = any(one.kind == WORD for one in request.extra)  # Anthropic's own choice of a place, which is a mark, too
    return marked + sum(tool.cache is not None for tool in request.tools) + whole
