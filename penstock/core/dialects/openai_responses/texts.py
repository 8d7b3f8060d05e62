"""Every text a person or a model wrote in a Responses request, for guards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Raw
from msgspec.json import decode

from penstock.core.dialects.walking import FREE, SILENT, SPOKEN, walk

# Keys whose strings are said or read by someone. Ids, names, URLs, inline bytes and sealed reasoning are not.
_SPOKEN = frozenset(
    ("text", "content", "refusal", "output", "input", "arguments", "summary", "code", "query", "result", "transcript")
)
_STRINGS = frozenset(("action", "operation", "variables"))  # any string inside: commands, patches, a template's values


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts: instructions, messages, what calls were made with and what they returned."""
    for key in ("instructions", "input"):
        if key in fields:
            yield from walk(decode(fields[key]), SPOKEN, _below)
    if "prompt" in fields:
        yield from walk(decode(fields["prompt"]), SILENT, _below)


def _below(value: dict[str, Any]) -> Iterator[tuple[Any, int]]:
    if value.get("type") == "image_generation_call":  # its result is inline bytes
        return
    for key, part in value.items():
        if key in _STRINGS:
            yield part, FREE
        else:
            yield part, SPOKEN if key in _SPOKEN else SILENT
