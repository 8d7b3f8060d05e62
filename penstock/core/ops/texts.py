"""Every text of a small operation's request, for guards: what is embedded, ranked, judged, spoken or drawn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Raw
from msgspec.json import decode

from penstock.core.dialects.walking import spoken

_FIELDS = (
    "input", "prompt", "query", "documents", "texts", "instructions", "suffix", "messages", "negative_prompt", "text",
    "content", "contents", "requests", "title", "generateContentRequest", "generate_content_request", "system",
    "systemInstruction", "system_instruction",
)  # fmt: skip
_SILENT = frozenset("type role model url image_url data mimeType mime_type id tool_call_id taskType task_type".split())
_FREE = frozenset(("arguments", "args"))


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts in the order of the fields above. Tokens, addresses and inline bytes are not texts."""
    for name in _FIELDS:
        if name in fields:
            yield from spoken(decode(fields[name]), _SILENT, _FREE)
