"""Every human text of a Messages request body, for guards: system prompts, messages, documents, tool results, and the
strings inside tool calls. Unknown blocks are walked too: text in a new kind of block is still text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import decode

from penstock.core.dialects.walking import FREE, SILENT, SPOKEN, walk

_SPOKEN = ("text", "thinking", "title", "context", "content", "data")


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts in the order they stand. Inline bytes, ids and signatures are not texts."""
    for key in ("system", "messages"):
        if key in fields:
            yield from walk(decode(fields[key]), SPOKEN, _below)


def _below(value: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    kind = value.get("type")
    for key, part in value.items():
        if key == "input":
            yield part, FREE
        elif key != "data" or kind == "text":  # else base64, or the sealed data of a thought
            yield part, SPOKEN if key in _SPOKEN else SILENT
