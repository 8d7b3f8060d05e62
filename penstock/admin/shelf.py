"""What long lists need again each time they are asked for: which rows belong together, and what was written of them.

A list of 10,000 teams is 30 MB of JSON out of 80,000 rows, of which few change between two looks at it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

if TYPE_CHECKING:
    from penstock.runtime.keyring import Keyring
    from penstock.stores.base import Row

MOST = 64 * 1024 * 1024
"""Bytes of JSON that are kept."""
_AT_ONCE = 2000  # rows that are read before others have their turn


class Written(NamedTuple):
    """A part of an answer as JSON, with a gap for each amount spent: there is one piece more than ``accounts``.
    It stays as it is while its rows do, whatever is spent."""

    pieces: tuple[bytes, ...]
    accounts: tuple[str, ...]

    def fill(self, amounts: Mapping[str, bytes]) -> bytes:
        """Return the JSON with what the accounts have spent in its gaps."""
        parts = [b""] * (2 * len(self.pieces) - 1)
        parts[::2] = self.pieces
        parts[1::2] = [amounts[account] for account in self.accounts]
        return b"".join(parts)


class Shelf:
    """Of one process. ``keyring``: the rows as they are now."""

    def __init__(self, keyring: Keyring, most: int = MOST) -> None:
        self._keyring, self._most = keyring, most
        self._groups: dict[tuple[str, str], tuple[int, Mapping[str, Sequence[Row]]]] = {}
        self._same: dict[str, Sequence[Row]] = {}
        self._kept: dict[str, tuple[Sequence[Any], float, Written]] = {}
        self._size = 0

    async def rows_by(self, kind: str, field: str) -> Mapping[str, Sequence[Row]]:
        """Return the rows of a kind by what a field of theirs says; without those that say nothing."""
        keyring = self._keyring
        kept = self._groups.get((kind, field))
        if kept is not None and kept[0] == keyring.revision:
            return kept[1]
        revision, read = keyring.revision, _reader(field)
        found: dict[str, list[Row]] = {}
        for number, row in enumerate(keyring.rows(kind)):
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)
            value = read(row.body).value
            if isinstance(value, str) and value:
                found.setdefault(value, []).append(row)
        self._groups[kind, field] = revision, found
        return found

    def same(self, name: str, rows: Collection[Row]) -> Sequence[Row]:
        """Return rows as the very object that they were before, if they are the same: so that it is quickly seen."""
        before, now = self._same.get(name), tuple(rows)
        if before is None or before != now:
            before = self._same[name] = now
        return before

    def find(self, name: str, made_of: Sequence[Any], now: float) -> Written | None:
        """Return what was written under a name, if it was made of the same, and holds at a time."""
        kept = self._kept.get(name)
        return kept[2] if kept is not None and kept[0] == made_of and now < kept[1] else None

    def keep(self, name: str, made_of: Sequence[Any], written: Written, until: float = float("inf")) -> None:
        """Keep what was written under a name. ``until``: it may say something else from then on."""
        before = self._kept.pop(name, None)
        self._size += _size_of(written) - (0 if before is None else _size_of(before[2]))
        if self._size > self._most:  # of what is gone, too: rather all anew than a look at each
            self._kept.clear()
            self._size = _size_of(written)
        self._kept[name] = made_of, until, written


class _Said(msgspec.Struct):
    value: Any = None


@lru_cache
def _reader(field: str) -> Any:
    """Return what reads one field of a row's body and skips the others, in a tenth of the time."""
    one = msgspec.defstruct("One", [("value", Any, None)], bases=(_Said,), rename={"value": field})
    return msgspec.json.Decoder(one).decode


def _size_of(written: Written) -> int:
    return sum(map(len, written.pieces))
