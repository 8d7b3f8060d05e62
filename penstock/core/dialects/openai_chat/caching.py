"""Where a prompt is cached, in a Chat request's own fields, for the servers that take Anthropic's marks there: see
``penstock.core.caching`` for the rule."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from penstock.core.caching import WORD, Point, place_marks
from penstock.core.dialects.openai_chat.parts import cache_control
from penstock.core.dialects.openai_chat.reading import present
from penstock.core.envelope import BAD_JSON
from penstock.core.ir import CacheMark

_ITEMS = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_PIECES = msgspec.json.Decoder(list[Raw]).decode
_PIECE = msgspec.json.Decoder(dict[str, Raw]).decode
_TEXT = msgspec.json.Decoder(str).decode
_ENCODE = msgspec.json.Encoder().encode
_TYPES = tuple(Raw(b'"%b"' % name) for name in (b"text", b"image_url", b"file"))
_IS_TEXT = Raw(b'"text"')
_MARK = b'"cache_control"'
_RESULTS = ("tool", "function")
_Turn = dict[str, Raw]


def mark_cache(fields: dict[str, Raw], points: tuple[Point, ...]) -> None:
    """Mark a request at the points, in place. A list that is not of the dialect is left for the server to refuse."""
    try:
        turns = _ITEMS(fields["messages"])
        tools = _ITEMS(fields["tools"]) if present(fields, "tools") is not None else []
        named = [_TEXT(turn["role"]) for turn in turns]
    except (KeyError, *BAD_JSON):
        return
    marks = sum(bytes(fields[key]).count(_MARK) for key in ("messages", "tools") if key in fields)
    changed: set[str] = set()

    def mark_turn(place: int, mark: CacheMark) -> bool:
        turn = turns[place]
        if present(turn, WORD) is not None or not _marked(turn, named[place], _mark(mark)):
            return False
        changed.add("messages")
        return True

    def mark_tools(mark: CacheMark) -> bool:
        if not tools or present(tools[-1], WORD) is not None:
            return False
        tools[-1][WORD] = _mark(mark)
        changed.add("tools")
        return True

    roles = ["user" if role in _RESULTS else role for role in named]
    place_marks(points, roles, marks + (WORD in fields), mark_turn, mark_tools)
    if "messages" in changed:
        fields["messages"] = Raw(_ENCODE(turns))
    if "tools" in changed:
        fields["tools"] = Raw(_ENCODE(tools))


def _marked(turn: _Turn, role: str, mark: Raw) -> bool:
    """Mark a turn in place, behind the last of it that takes a mark; False when there is none, or a mark already."""
    try:
        if role in _RESULTS:
            turn[WORD] = mark
            return True
        if present(turn, "tool_calls") is not None and (calls := _PIECES(turn["tool_calls"])):
            return _behind(turn, "tool_calls", calls, mark)
        content = present(turn, "content")
        if content is None:
            return False
        if bytes(memoryview(content)[:1]) == b'"':
            whole = Raw(_ENCODE({"type": _IS_TEXT, "text": content}))
            return bool(_TEXT(content).strip()) and _behind(turn, "content", [whole], mark)
        parts = _PIECES(content)
        for number in reversed(range(len(parts))):
            part = _PIECE(parts[number])
            kind = part.get("type")
            if kind in _TYPES and not (kind == _IS_TEXT and not _TEXT(part["text"]).strip()):
                return _behind(turn, "content", parts, mark, number)
    except (KeyError, *BAD_JSON):
        pass
    return False


def _behind(turn: _Turn, key: str, items: list[Raw], mark: Raw, place: int = -1) -> bool:
    """Mark one of a turn's items; the others stay the bytes that they are."""
    item = _PIECE(items[place])
    if present(item, WORD) is not None:
        return False
    item[WORD] = mark
    items[place] = Raw(_ENCODE(item))
    turn[key] = Raw(_ENCODE(items))
    return True


def _mark(mark: CacheMark) -> Raw:
    return Raw(_ENCODE(cache_control(mark)))
