"""Seals of calls and of texts in dialects whose calls and texts have no field for one.

Gemini signs calls and texts, and answers 400 (or thinks worse) when its signature does not come back
(https://ai.google.dev/gemini-api/docs/thought-signatures). In Messages, Responses and ``thinking_blocks`` a signature
stands on a thought. So it rides on a thought without words, whose packed seal says where it belongs: to the next call,
to the call before, or behind the next text. Clients send thoughts back where they found them.

``arranged`` puts seals so, ``bound`` gives them back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from penstock.core.ir import Block, Opaque, Seal, Text, Thinking, ToolUse

_MARK = "penstock."
CALL = "call"  # of the call that follows
CALLED = "called"  # of the call before: it came when that was told already
TEXT = "text"  # to stand behind the text that follows
_MARKS = (CALL, CALLED, TEXT)


def pack(seal: Seal, mark: str, native: str) -> Seal:
    """Pack a seal with its place as one that ``native``'s clients keep."""
    return Seal(native, f"{_MARK}{mark}.{seal.family}.{seal.data}")


def split(seal: Seal | None) -> tuple[str, Seal | None]:
    """Return the place that a packed seal tells, "" for one that tells none, and the seal itself."""
    if seal is None or not seal.data.startswith(_MARK):
        return "", seal
    mark, _, rest = seal.data[len(_MARK) :].partition(".")
    if mark not in _MARKS:
        return "", seal
    family, _, data = rest.partition(".")
    return mark, Seal(family, data)


def is_wordless(block: Block, native: str) -> bool:
    """Tell whether a block is a thought without words that another family sealed: behind a text it is the text's
    signature, and as a block of its own nothing that a reader should see."""
    return (
        isinstance(block, Thinking)
        and not block.text
        and not block.redacted
        and block.seal is not None
        and block.seal.family != native
    )


def arranged(items: Iterable[tuple[str, Block]], native: str) -> list[tuple[str, Block]]:
    """Return an answer's blocks, each with its path, with a thought before each call that is sealed, and the seal
    behind a text before it."""
    out: list[tuple[str, Block]] = []
    for item in items:
        at, block = item
        if type(block) is ToolUse:
            if block.seal is not None:
                out.insert(_before(out, len(out)), (f"{at}.seal", Thinking("", pack(block.seal, CALL, native))))
                item = at, replace(block, seal=None)
        elif type(block) is Thinking and is_wordless(block, native):
            if out and isinstance(last := out[-1][1], Text) and last.text and block.seal is not None:
                out.insert(_before(out, len(out) - 1), (at, Thinking("", pack(block.seal, TEXT, native))))
                continue
        out.append(item)
    return out


def _before(items: list[tuple[str, Block]], place: int) -> int:
    """Return the place before ``place`` and the fields that are kept beside the block there, which stay with it."""
    while place and isinstance(held := items[place - 1][1], Opaque) and held.kind[:1] == "+":
        place -= 1
    return place


def bound(blocks: Sequence[Block]) -> Sequence[Block]:
    """Return the blocks of a turn with the seals where they belong. One whose call or text is gone stays a thought."""
    if not any(isinstance(block, Thinking) and split(block.seal)[0] for block in blocks):
        return blocks
    out: list[Block] = []
    calls: list[tuple[int, Seal]] = []  # where a thought stood, and what it held for a later block
    texts: list[tuple[int, Seal]] = []
    taken: set[int] = set()
    for block in blocks:
        mark, seal = split(block.seal) if isinstance(block, Thinking) else ("", None)
        if mark and seal is not None:
            before = out[-1] if out else None
            if mark == CALLED and isinstance(before, ToolUse):
                out[-1] = replace(before, seal=seal)
                continue
            if mark != CALLED:
                (calls if mark == CALL else texts).append((len(out), seal))
            out.append(Thinking("", seal))
        elif isinstance(block, ToolUse) and calls:
            place, seal = calls.pop(0)
            taken.add(place)
            out.append(replace(block, seal=seal))
        elif isinstance(block, Text) and texts:
            out.append(block)
            for place, seal in texts:
                taken.add(place)
                out.append(Thinking("", seal))
            texts = []
        else:
            out.append(block)
    return [block for place, block in enumerate(out) if place not in taken]
