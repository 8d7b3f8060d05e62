"""Where a prompt is cached, in a Messages request's own fields: see ``penstock.core.caching`` for the rule."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from penstock.core.caching import WORD, Point, place_marks
from penstock.core.dialects.anthropic.blocks_in import present
from penstock.core.dialects.anthropic.blocks_out import cache_out
from penstock.core.envelope import BAD_JSON
from penstock.core.ir import CacheMark

_ITEMS = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_BLOCKS = msgspec.json.Decoder(list[Raw]).decode
_BLOCK = msgspec.json.Decoder(dict[str, Raw]).decode
_TEXT = msgspec.json.Decoder(str).decode
_ENCODE = msgspec.json.Encoder().encode
_TYPES = tuple(Raw(b'"%b"' % name) for name in (b"text", b"image", b"document", b"tool_use", b"tool_result"))
_IS_TEXT = Raw(b'"text"')
_MARK = b'"cache_control"'
_NOTHING = tuple(Raw(text) for text in (b'""', b"[]", b"null"))


def mark_cache(fields: dict[str, Raw], points: tuple[Point, ...]) -> None:
    """Mark a request at the points, in place. A list that is not of the dialect is left for the vendor to refuse."""
    try:
        turns = _ITEMS(fields["messages"])
        tools = _ITEMS(fields["tools"]) if present(fields, "tools") is not None else []
        roles = [_TEXT(turn["role"]) for turn in turns]
    except (KeyError, *BAD_JSON):
        return
    marks = sum(bytes(fields[key]).count(_MARK) for key in ("system", "messages", "tools") if key in fields)
    beside = fields.get("system", Raw(b"null")) not in _NOTHING
    changed: set[str] = set()

    def mark_turn(place: int, mark: CacheMark) -> bool:
        if beside and not place:
            made = _marked(fields["system"], mark)
            if made is not None:
                fields["system"] = made
            return made is not None
        turn = turns[place - beside]
        made = _marked(turn["content"], mark) if "content" in turn else None
        if made is not None:
            turn["content"] = made
            changed.add("messages")
        return made is not None

    def mark_tools(mark: CacheMark) -> bool:
        if not tools or present(tools[-1], WORD) is not None:
            return False
        tools[-1][WORD] = _mark(mark)
        changed.add("tools")
        return True

    place_marks(points, ["system", *roles] if beside else roles, marks + (WORD in fields), mark_turn, mark_tools)
    if "messages" in changed:
        fields["messages"] = Raw(_ENCODE(turns))
    if "tools" in changed:
        fields["tools"] = Raw(_ENCODE(tools))


def _marked(content: Raw, mark: CacheMark) -> Raw | None:
    """Mark a content behind its last block that takes a mark; None when there is none, or a mark already. The other
    blocks stay the bytes that they are."""
    try:
        if bytes(memoryview(content)[:1]) == b'"':
            blocks = [Raw(_ENCODE({"type": _IS_TEXT, "text": content}))]
        else:
            blocks = _BLOCKS(content)
        for place in reversed(range(len(blocks))):
            block = _BLOCK(blocks[place])
            kind = block.get("type")
            if kind not in _TYPES or (kind == _IS_TEXT and not _TEXT(block["text"]).strip()):
                continue
            if present(block, WORD) is not None:
                return None
            block[WORD] = _mark(mark)
            blocks[place] = Raw(_ENCODE(block))
            return Raw(_ENCODE(blocks))
    except (KeyError, *BAD_JSON):
        pass
    return None


def _mark(mark: CacheMark) -> Raw:
    return Raw(_ENCODE(cache_out(mark)))
