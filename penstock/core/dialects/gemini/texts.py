"""Every human text of a ``generateContent`` body, for guards: system prompts, contents, results of calls, and the
strings inside calls, in both spellings of the keys. Unknown parts are walked too: text in a new kind is still text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Raw
from msgspec.json import decode

from penstock.core.dialects.walking import spoken

_TOP = ("systemInstruction", "system_instruction", "contents", "generateContentRequest", "generate_content_request")
_SILENT = frozenset(
    """data mimeType mime_type fileUri file_uri thoughtSignature thought_signature role id name inlineData inline_data
    language outcome mediaResolution videoMetadata model""".split()
)
_FREE = frozenset(("args", "response"))  # any JSON of the model's or a tool's: every string in it counts


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts in the order they stand. Inline bytes, ids and signatures are not texts."""
    for key in _TOP:
        if key in fields:
            yield from spoken(decode(fields[key]), _SILENT, _FREE)
