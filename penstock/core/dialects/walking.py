"""The strings of decoded JSON, for guards: what a person, a model or a tool wrote."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def strings(value: Any) -> Iterator[str]:
    """Yield every string in any JSON, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for part in value if isinstance(value, list) else value.values():
            yield from strings(part)


def spoken(value: Any, silent: frozenset[str], free: frozenset[str]) -> Iterator[str]:
    """Yield every string that says something, but for those under the keys of ``silent``, which hold ids, bytes and
    words of the API. Under a key of ``free`` stands anybody's JSON, in which each string counts."""
    if isinstance(value, str):
        if value:
            yield value
    elif isinstance(value, list):
        for part in value:
            yield from spoken(part, silent, free)
    elif isinstance(value, dict):
        for key, part in value.items():
            if key in free:
                yield from (text for text in strings(part) if text)
            elif key not in silent:
                yield from spoken(part, silent, free)
