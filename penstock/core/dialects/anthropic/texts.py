"""Every human text of a Messages request body, for guards: system prompts, messages, documents, tool results, and the
strings inside tool calls. Unknown blocks are walked too: text in a new kind of block is still text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import decode

from penstock.core.dialects.walking import strings

_SPOKEN = ("text", "thinking", "title", "context", "content", "data")


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts in the order they stand. Inline bytes, ids and signatures are not texts."""
    for key in ("system", "messages"):
        if key in fields:
            yield from _walk(decode(fields[key]), True)


def _walk(value: Any, spoken: bool) -> Iterator[str]:
    if isinstance(value, str):
        if spoken and value:
            yield value
    elif isinstance(value, list):
        for part in value:
            yield from _walk(part, spoken)
    elif isinstance(value, dict):
        kind = value.get("type")
        for key, part in value.items():
            if key == "input":
                yield from strings(part)
            elif key == "data" and kind != "text":
                continue  # base64, or the sealed data of a thought
            else:
                yield from _walk(part, key in _SPOKEN)
