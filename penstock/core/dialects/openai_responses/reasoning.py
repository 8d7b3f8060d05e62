"""``reasoning`` items and neutral thoughts.

An item has summaries, the thought itself (``content``, open models only) and ``encrypted_content``. Each summary and
each content part is one ``Thinking`` with the item's id, summaries first; the seal is the last one's. Neighbours of
one id are one item again until a seal ends it.

Seals of other families ride in ``encrypted_content`` with their owner's name (``Seal.pack``); Anthropic's redacted
thoughts carry a mark more, since the API that issued them takes them back only as what they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Raw

from penstock.core.dialects.openai_chat.reading import items, mapping, optional_text, present
from penstock.core.dialects.openai_responses.names import FAMILY
from penstock.core.ir import Seal, Thinking, unpack_seal

_REDACTED = "penstock.redacted."
KNOWN = ("id", "status", "summary", "content", "encrypted_content")


def read_reasoning(item: Mapping[str, Raw], path: str) -> list[Thinking]:
    """Read the thoughts of an item: at least one, empty where the item holds nothing but its id."""
    id = optional_text(item, "id", path)
    texts = [(body, True) for body in _texts(item, "summary", path)]
    texts += [(body, False) for body in _texts(item, "content", path)]
    seal, redacted = unpack(optional_text(item, "encrypted_content", path))
    if not texts:
        return [Thinking("", seal, redacted, False, id)]
    last = len(texts) - 1
    return [Thinking(body, seal if n == last else None, False, summary, id) for n, (body, summary) in enumerate(texts)]


def _texts(item: Mapping[str, Raw], key: str, path: str) -> list[str]:
    raw = present(item, key)
    if raw is None:
        return []
    where = f"{path}.{key}"
    found = [optional_text(mapping(part, where), "text", where) for part in items(raw, where)]
    return [body for body in found if body]


def unpack(packed: str) -> tuple[Seal | None, bool]:
    """Return the seal in ``encrypted_content``, and whether its thought was redacted."""
    if packed.startswith(_REDACTED):
        family, _, data = packed[len(_REDACTED) :].partition(".")
        return Seal(family, data), True
    return unpack_seal(packed, FAMILY), False


def pack(seal: Seal, redacted: bool) -> str:
    """Pack a seal as the ``encrypted_content`` that a client keeps for us."""
    return f"{_REDACTED}{seal.family}.{seal.data}" if redacted else seal.pack(FAMILY)


def joins(before: Thinking, after: Thinking) -> bool:
    """Tell whether two neighbours are parts of one item."""
    if not before.id or before.id != after.id or before.seal is not None or before.redacted or after.redacted:
        return False
    return before.summary or not after.summary


def write_reasoning(id: str, group: Sequence[Thinking], encrypted: str) -> dict[str, Any]:
    """Write the item for one group. ``encrypted``: its ``encrypted_content``, "" for none."""
    out: dict[str, Any] = {"type": "reasoning"}
    if id:
        out["id"] = id
    out["summary"] = [summary_part(block.text) for block in group if block.summary and block.text]
    content = [content_part(block.text) for block in group if not block.summary and block.text]
    if content:
        out["content"] = content
    if encrypted:
        out["encrypted_content"] = encrypted
    return out


def summary_part(body: str) -> dict[str, str]:
    return {"type": "summary_text", "text": body}


def content_part(body: str) -> dict[str, str]:
    return {"type": "reasoning_text", "text": body}
