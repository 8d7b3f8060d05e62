"""Entries of a journal in groups: those of one key that asked one model of one provider have most fields in common.

In an entry's msgpack these are one run of bytes (see ``base.Spent``). A run that was seen before is not read again, and
what is left of all its entries is read in one go: so an entry costs a third of what it costs to read it alone, and what
is done with the common fields is done once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, overload

import msgspec

from penstock.stores.base import Spent, SpentTexts
from penstock.stores.journal import BEGIN, JournalFile, is_ended

_FIELDS = Spent.__struct_fields__
_FIRST, _LAST = _FIELDS.index("kind"), _FIELDS.index("cost")
SHARED = _FIELDS[_FIRST:_LAST]
OWN = (*_FIELDS[:_FIRST], *_FIELDS[_LAST:])
_WIDTH = len(OWN)
shared_of = attrgetter(*SHARED)
_own_of = attrgetter(*OWN)

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Spent).decode
_decode_texts = msgspec.msgpack.Decoder(SpentTexts).decode
_decode_all = msgspec.msgpack.Decoder(list[Any]).decode
# How the usual entry begins: an array of all fields, an id of 36 characters; then come two times.
_HEAD = b"\xdc" + len(_FIELDS).to_bytes(2) + b"\xd9\x24"
_WITH_TEXTS = b"\xdc" + len(SpentTexts.__struct_fields__).to_bytes(2)
_TIME = b"\xcb"
_AT = len(_HEAD) + 36
_BEGAN = _AT + 9
_RUN = _BEGAN + 9
_ARRAY = 3  # bytes of the head of an array of 16 to 65,535 values
MOST_TRIED = 8  # lengths of runs, after which an entry is read as a whole


class Group:
    """Entries with the same ``SHARED`` fields, which those of ``of`` are. ``size``: how many."""

    def __init__(self, of: Spent) -> None:
        self.of, self.size = of, 0
        self._parts: list[bytes] = []

    def add(self, head: bytes, tail: bytes) -> None:
        """Add the fields that an entry has for itself, in msgpack."""
        self._parts += head, tail
        self.size += 1

    @cached_property
    def values(self) -> list[Any]:
        """Return the ``OWN`` fields of the first entry, then those of the next, and so on."""
        parts, self._parts = self._parts, []
        return _decode_all(b"\xdd%b%b" % ((self.size * _WIDTH).to_bytes(4), b"".join(parts)))

    def column(self, name: str) -> list[Any]:
        """Return one of the ``OWN`` fields of all."""
        return self.values[OWN.index(name) :: _WIDTH]

    def entries(self) -> Iterator[Spent]:
        values, shared = self.values, shared_of(self.of)
        for at in range(0, len(values), _WIDTH):
            yield Spent(*values[at : at + _FIRST], *shared, *values[at + _FIRST : at + _WIDTH])


class Batch(Sequence[Spent]):
    """Entries of a file up to ``end``, group by group. ``texts``: those of them that have what their requests asked and
    were answered."""

    def __init__(self, groups: Sequence[Group], end: int, texts: Sequence[SpentTexts] = ()) -> None:
        self.groups, self.end, self.texts = groups, end, texts

    @cached_property
    def _entries(self) -> list[Spent]:
        return [one for group in self.groups for one in group.entries()]

    def __len__(self) -> int:
        return sum([group.size for group in self.groups])

    def __iter__(self) -> Iterator[Spent]:
        return iter(self._entries)

    @overload
    def __getitem__(self, at: int) -> Spent: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Spent]: ...
    def __getitem__(self, at: int | slice) -> Spent | Sequence[Spent]:
        return self._entries[at]


def read_batch(file: JournalFile, position: int, most: int, until: int | None = None) -> Batch:
    """Read entries of requests that are over, from a position of a file on: at most so many, and up to another
    position."""
    groups: dict[bytes, Group] = {}
    texts: list[SpentTexts] = []
    lengths: list[int] = []  # of runs, that of the last entry first
    end = max(position, BEGIN)
    # Where it must end at a certain frame, each is looked at.
    for number, (behind, marked, body) in enumerate(file.frames(position, pending=until is not None)):
        if number == most or (until is not None and behind > until):
            break
        if is_ended(marked):
            usual = body.startswith(_HEAD) and body[_AT : _AT + 1] == body[_BEGAN : _BEGAN + 1] == _TIME
            group = None
            if usual:
                for length in lengths:
                    behind_run = _RUN + length
                    group = groups.get(body[_RUN:behind_run])
                    if group is not None:
                        group.add(body[_ARRAY:_RUN], body[behind_run:])
                        if length != lengths[0]:
                            lengths.remove(length)
                            lengths.insert(0, length)
                        break
            if group is None:
                try:
                    _add_whole(body, groups, lengths)
                    if body.startswith(_WITH_TEXTS):
                        texts.append(_decode_texts(body))
                except (msgspec.DecodeError, msgspec.ValidationError):
                    break
        end = behind
    return Batch(list(groups.values()), end, texts)


def _add_whole(body: bytes, groups: dict[bytes, Group], lengths: list[int]) -> None:
    """Add an entry to its group, by reading it."""
    spent = _decode(body)
    run = _encode(shared_of(spent))[_ARRAY:]
    group = groups.get(run)
    if group is None:
        group = groups[run] = Group(spent)
    own = _encode(_own_of(spent))
    group.add(own[_ARRAY:], b"")
    if len(run) in lengths:
        lengths.remove(len(run))
    lengths.insert(0, len(run))
    del lengths[MOST_TRIED:]
