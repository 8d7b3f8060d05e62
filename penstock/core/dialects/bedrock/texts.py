"""Every human text of a Converse body, for guards: system prompts, messages, results of calls, the strings inside calls
and guarded content. Unknown blocks are walked too: text in a new kind is still text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec import Raw
from msgspec.json import decode

from penstock.core.dialects.walking import spoken

_TOP = ("system", "messages", "promptVariables")
_SILENT = frozenset(
    "bytes format signature redactedContent role toolUseId name status type ttl uri bucketOwner qualifiers".split()
)
_FREE = frozenset(("input", "json"))  # any JSON of the model's or a tool's: every string in it counts


def texts(fields: Mapping[str, Raw]) -> Iterator[str]:
    """Yield the texts in the order they stand. Inline bytes, ids and signatures are not texts."""
    for key in _TOP:
        if key in fields:
            yield from spoken(decode(fields[key]), _SILENT, _FREE)
