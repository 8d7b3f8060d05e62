"""The strings of decoded JSON, for guards: what a person, a model or a tool wrote.

Walked with a list of what is left and not by functions that call themselves: a string a thousand levels down would be
handed through a thousand of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

SILENT, SPOKEN, FREE = 0, 1, 2
"""What a value is: nothing that counts, were it a string; a string that counts, or a list of such; anybody's JSON, in
which each string counts."""

Below = Callable[[dict[str, Any]], Iterable[tuple[Any, int]]]
"""The values inside an object, each with what it is."""


def walk(value: Any, what: int, below: Below) -> Iterator[str]:
    """Yield the strings that count, in the order they stand; empty ones say nothing. Keys are left out."""
    left: list[tuple[Any, int]] = [(value, what)]
    while left:
        value, what = left.pop()
        if isinstance(value, str):
            if what and value:
                yield value
        elif isinstance(value, list):
            left += [(part, what) for part in reversed(value)]
        elif isinstance(value, dict):
            left += [(part, FREE) for part in value.values()][::-1] if what == FREE else [*below(value)][::-1]


def strings(value: Any) -> Iterator[str]:
    """Yield every string in any JSON."""
    return walk(value, FREE, _nothing)


def _nothing(value: dict[str, Any]) -> Iterable[tuple[Any, int]]:
    return ()


def spoken(value: Any, silent: frozenset[str], free: frozenset[str]) -> Iterator[str]:
    """Yield every string that says something, but for those under the keys of ``silent``, which hold ids, bytes and
    words of the API. Under a key of ``free`` stands anybody's JSON."""

    def below(fields: dict[str, Any]) -> Iterable[tuple[Any, int]]:
        return [(part, FREE if key in free else SPOKEN) for key, part in fields.items() if key not in silent]

    return walk(value, SPOKEN, below)
