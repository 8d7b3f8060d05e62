"""Prompt caching that a deployment asks for: LiteLLM's `cache_control_injection_points`.

A point is ``{location: message, role: system}``, ``{location: message, index: -1}`` or ``{location: tool_config}``, all
with an optional ``control: {type: ephemeral, ttl: 1h}``: behind the last block of these messages, or of the tools, the
prompt is cached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from penstock.core.ir import Block, CacheMark, Document, Image, Message, Request, Text, ToolResult, ToolUse

_MARKED = (Text, Image, Document, ToolUse, ToolResult)
MOST = 4  # Anthropic refuses more ("A maximum of 4 blocks with cache_control may be provided")


class Point(Struct, frozen=True):
    """One place to cache behind: messages of ``role``, or the one at ``index``; neither: the tools."""

    role: str
    index: int | None
    mark: CacheMark


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


def mark_points(request: Request, points: tuple[Point, ...]) -> Request:
    """Mark a request at the points, the last places first, as long as the vendor takes more marks."""
    room = MOST - _marks(request)
    messages = list(request.messages)
    tools = request.tools
    for point in points:
        if not point.role and point.index is None:
            if tools and tools[-1].cache is None and room > 0:
                tools = (*tools[:-1], replace(tools[-1], cache=point.mark))
                room -= 1
            continue
        for place in _places(messages, point):
            marked = _marked(messages[place], point.mark) if room > 0 else None
            if marked is not None:
                messages[place] = marked
                room -= 1
    return replace(request, messages=tuple(messages), tools=tools)


def _places(messages: list[Message], point: Point) -> list[int]:
    if point.index is not None:
        place = point.index if point.index >= 0 else len(messages) + point.index
        return [place] if 0 <= place < len(messages) else []
    return [place for place in reversed(range(len(messages))) if messages[place].role == point.role]


def _marked(message: Message, mark: CacheMark) -> Message | None:
    """Mark a message behind its last block that takes a mark; None when there is none, or a mark already."""
    blocks: list[Block] = list(message.blocks)
    for place in reversed(range(len(blocks))):
        block = blocks[place]
        if isinstance(block, _MARKED):
            if block.cache is not None:
                return None
            blocks[place] = replace(block, cache=mark)
            return replace(message, blocks=tuple(blocks))
    return None


def _marks(request: Request) -> int:
    blocks = (block for message in request.messages for block in message.blocks)
    marked = sum(isinstance(block, _MARKED) and block.cache is not None for block in blocks)
    return marked + sum(tool.cache is not None for tool in request.tools)
