"""``compaction`` items: a summary that stands for the conversation before it.

The vendor's is sealed, and only the vendor can read it. One that this gateway made holds the summary itself behind a
mark of its own in ``encrypted_content``: it is the client's own conversation, kept by the client, and read back as a
user's words wherever the conversation goes on. Sources: developers.openai.com/api/docs/guides/compaction, and
openai/codex pull request 22809, by which Codex asks with a ``compaction_trigger`` and wants exactly one item back.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder, encode

from penstock.core.dialects.openai_chat.reading import items, mapping, opens, optional_text
from penstock.core.dialects.openai_responses.names import FAMILY
from penstock.core.envelope import BAD_JSON
from penstock.core.ir import Block, Seal, Text, unpack_seal

KINDS = frozenset(("compaction", "compaction_summary", "context_compaction"))
TRIGGER = "compaction_trigger"
_OWN = "penstock"
MARK = Seal(_OWN, "").pack(FAMILY).encode()
"""What a summary of our own begins with; a body without these bytes holds none."""
_LEAD = "Summary of the conversation up to here:\n\n"
_FIELDS = Decoder(dict[str, Raw]).decode


def read_summary(item: Mapping[str, Raw], path: str) -> list[Block] | None:
    """Read the summary in an item of our own; None for one that only its vendor can read."""
    seal = unpack_seal(optional_text(item, "encrypted_content", path), FAMILY)
    return [Text(_LEAD + seal.data)] if seal is not None and seal.family == _OWN else None


def write_item(summary: str) -> dict[str, Any]:
    """Write the item that a client keeps in the place of its conversation."""
    id = blake2b(summary.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return {"type": "compaction", "id": f"cmp_{id}", "encrypted_content": Seal(_OWN, summary).pack(FAMILY)}


def show_summaries(fields: dict[str, Raw]) -> dict[str, Raw]:
    """Return the fields of a request with its summaries of our own as messages, which any server can read."""
    raw = fields.get("input")
    if raw is None or not opens(raw, "["):
        return fields
    return {**fields, "input": Raw(encode([_shown(item) for item in items(raw, "input")]))}


def _shown(raw: Raw) -> Raw:
    if MARK not in bytes(raw):
        return raw
    try:
        item = mapping(raw, "input")
        known = msgspec.json.decode(item.get("type", Raw(b'""')), type=str) in KINDS
        found = read_summary(item, "input") if known else None
    except BAD_JSON:
        return raw
    if not found:
        return raw
    text = found[0].text if isinstance(found[0], Text) else ""
    return Raw(encode({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}))


def is_triggered(fields: Mapping[str, Raw]) -> bool:
    """Tell whether a request asks for a compaction: by an item of its input."""
    raw = fields.get("input")
    return raw is not None and TRIGGER.encode() in bytes(raw) and any(_is_trigger(item) for item in _list(raw))


def _list(raw: Raw) -> list[Raw]:
    return items(raw, "input") if opens(raw, "[") else []


def _is_trigger(raw: Raw) -> bool:
    return bytes(mapping(raw, "input").get("type", b"")) == b'"compaction_trigger"'


def with_trigger(fields: Mapping[str, Raw]) -> dict[str, Raw]:
    """Return the fields with the question for a compaction at the end of the input."""
    raw = fields.get("input", Raw(b"[]"))
    before = _list(raw)
    if opens(raw, '"'):
        before = [Raw(encode({"type": "message", "role": "user", "content": raw}))]
    return {**fields, "input": Raw(encode([*before, {"type": TRIGGER}]))}


def without_triggers(found: list[Raw]) -> list[Raw]:
    """Leave out the triggers: they ask, and are no part of a conversation."""
    return [raw for raw in found if not _is_trigger(raw)]


def since_compaction(answered: list[Raw]) -> list[Raw] | None:
    """Return the items of an answer from its last compaction on, which stand for all before it; None without one."""
    for place in range(len(answered) - 1, -1, -1):
        kind = mapping(answered[place], "output").get("type")
        if kind is not None and bytes(kind).strip(b'"').decode("utf-8", "replace") in KINDS:
            return answered[place:]
    return None
