"""What one process has counted, in a file without a name that others read: each worker of a gateway has one.

The process that starts workers opens the files and keeps them open, so a worker that is killed loses nothing it had
written, and the one that takes its place goes on where it was: counters never go back. A file is a head, two places for
a note (the one that holds is named in the head, so no note is ever half written), a ring of rows, and entries: each a
text and a row of numbers. One process writes; a number of eight bytes is written whole.
"""

from __future__ import annotations

import mmap
import os
import struct
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MARK = 0x50454E5354434E31
HEAD = struct.Struct("<QQQQQQ")  # mark, layout, number of notes, lengths of both places, where the entries end
_NOTES = 4096
_NOTE = 1024 * 1024  # bytes of a note
_ENTRY = struct.Struct("<II")  # bytes of the text, numbers
SIZE = 96 * 1024 * 1024  # of addresses: memory is taken for what is written
_MARKED, _LAYOUT, _COUNT, _LENGTHS, _END = 0, 8, 16, 24, 40


class Entry(NamedTuple):
    """An entry: where its numbers stand, what it is of, and they themselves."""

    place: int
    text: bytes
    values: tuple[float, ...]


def make_counts_file() -> int:
    """Open a file for what one process counts. Return its descriptor."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("penstock-counts")
    else:
        import tempfile

        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, SIZE)
    return fd


class CountsFile:
    """A file that ``make_counts_file`` made. ``layout``: a number that is another one where the numbers of entries mean
    something else; ``slots`` and ``width``: rows of the ring, and numbers of each. ``kept``: what was in it, of that
    layout; what is of another one is let go by who writes, and not seen by who reads."""

    def __init__(self, fd: int, layout: int, slots: int, width: int, writes: bool) -> None:
        self._map = mmap.mmap(fd, SIZE, access=mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ)
        self.layout, self._slots, self._width = layout, slots, width
        self._ring = _NOTES + 2 * _NOTE
        self._begin = self._ring + slots * (width + 1) * 8
        self._notes = 0
        if writes:
            if not self.holds:
                self._map[: HEAD.size] = HEAD.pack(MARK, layout, 0, 0, 0, self._begin)
                self._map[self._ring : self._begin] = bytes(self._begin - self._ring)
            self._notes = self._number(_COUNT)

    def _number(self, at: int) -> int:
        found: int = struct.unpack_from("<Q", self._map, at)[0]
        return found

    @property
    def holds(self) -> bool:
        """Tell whether something of this layout is in it."""
        return self._number(_MARKED) == MARK and self._number(_LAYOUT) == self.layout

    @property
    def end(self) -> int:
        """Return where the entries end."""
        return min(self._number(_END), SIZE) if self.holds else 0

    def entries(self, begin: int = 0) -> Iterator[Entry]:
        """Yield the entries, from the end of another look on; those that are being written are left for the next."""
        at, end = begin or self._begin, self.end
        while at < end:
            length, count = _ENTRY.unpack_from(self._map, at)
            text_at = at + _ENTRY.size
            place = text_at + (length + 7) // 8 * 8
            at = place + count * 8
            if at > end:
                return
            yield Entry(place, self._map[text_at : text_at + length], self.values(place, count))

    def values(self, place: int, count: int) -> tuple[float, ...]:
        """Return the numbers of an entry as they are now."""
        return struct.unpack_from(f"<{count}d", self._map, place)

    def add(self, text: bytes, values: Sequence[float]) -> int:
        """Write a new entry. Return its place; -1 where there is no room."""
        at = self._number(_END)
        place = at + _ENTRY.size + (len(text) + 7) // 8 * 8
        end = place + len(values) * 8
        if end > SIZE:
            return -1
        _ENTRY.pack_into(self._map, at, len(text), len(values))
        self._map[at + _ENTRY.size : at + _ENTRY.size + len(text)] = text
        self.write(place, values)
        struct.pack_into("<Q", self._map, _END, end)
        return place

    def write(self, place: int, values: Sequence[float]) -> None:
        """Write the numbers of an entry."""
        struct.pack_into(f"<{len(values)}d", self._map, place, *values)

    def put_note(self, note: bytes) -> bool:
        """Write a note in the place of the one before. False where it is too long."""
        if len(note) > _NOTE:
            return False
        self._notes += 1
        which = self._notes % 2
        begin = _NOTES + which * _NOTE
        self._map[begin : begin + len(note)] = note
        struct.pack_into("<Q", self._map, _LENGTHS + 8 * which, len(note))
        struct.pack_into("<Q", self._map, _COUNT, self._notes)
        return True

    def note(self) -> bytes:
        """Return the note that holds; b"" for none."""
        if not self.holds:
            return b""
        which = self._number(_COUNT) % 2
        begin = _NOTES + which * _NOTE
        return self._map[begin : begin + min(self._number(_LENGTHS + 8 * which), _NOTE)]

    def put_slot(self, number: int, values: Sequence[float]) -> None:
        """Write a row of the ring, in the place of the one that had its place before."""
        struct.pack_into(f"<{self._width + 1}d", self._map, self._slot(number), number, *values)

    def slots(self) -> dict[int, array[float]]:
        """Return the rows of the ring by number."""
        found: dict[int, array[float]] = {}
        if not self.holds:
            return found
        wide = (self._width + 1) * 8
        for at in range(self._ring, self._begin, wide):
            number = int(struct.unpack_from("<d", self._map, at)[0])
            if number:
                found[number] = array("d", self._map[at + 8 : at + wide])
        return found

    def _slot(self, number: int) -> int:
        return self._ring + number % self._slots * (self._width + 1) * 8

    def close(self) -> None:
        self._map.close()
