"""Requests and answers as the ledger keeps them where somebody asked for that: JSON, each text cut to a length, and
without what looks like a secret."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

MOST_REQUEST = 256 * 1024  # bytes of a request that are looked at; of a larger one is kept how large it was
MOST_ANSWER = 512 * 1024  # bytes of an answer; of a stream, with all that stands around its words
MOST_KEPT = 64 * 1024  # bytes of either that are kept
LENGTHS = (8192, 1024, 128)  # characters of each text: the shorter ones where all together would be too long
_DEEPEST = 64

Clean = Callable[[str], str]


def kept_json(raw: bytes, clean: Clean, most: int = MOST_KEPT, lengths: tuple[int, ...] = LENGTHS) -> bytes:
    """Return JSON as it is kept; b"" for what is none. ``clean`` takes secrets out of a text; ``most`` and ``lengths``:
    see ``MOST_KEPT`` and ``LENGTHS``."""
    if not raw:
        return b""
    try:
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return b""
    for length in lengths:
        found = msgspec.json.encode(_cut(value, clean, length, 0))
        if len(found) <= most:
            return found
    return too_large(len(raw))


def too_large(size: int) -> bytes:
    """Return what is kept of something that is too large."""
    return msgspec.json.encode({"truncated": True, "bytes": size})


def _cut(value: Any, clean: Clean, most: int, depth: int) -> Any:
    if isinstance(value, str):
        if len(value) <= most:
            return clean(value)
        return f"{clean(value[:most])}... ({len(value) - most:,} more characters)"
    if depth >= _DEEPEST:
        return None
    if isinstance(value, dict):
        return {key: _cut(one, clean, most, depth + 1) for key, one in value.items()}
    if isinstance(value, list):
        return [_cut(one, clean, most, depth + 1) for one in value]
    return value
