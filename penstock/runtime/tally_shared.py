"""What the workers of one gateway count, as one: each writes into a file of its own, and whoever is asked reads all.

Numbers are written when they are counted, so at most a second of them is lost with a worker that is killed.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec

from penstock.runtime import series
from penstock.runtime.tally import COST, Cell, Event, Labels, Tally
from penstock.stores.counts import CountsFile

log = logging.getLogger("penstock")
FRESH = 10.0  # seconds after which what stood with a process is not told any more: it is gone, or stuck
Note = Sequence[tuple[str, tuple[str, ...], float]]
_encode = msgspec.msgpack.Encoder().encode
_read_labels = msgspec.msgpack.Decoder(Labels).decode
_read_event = msgspec.msgpack.Decoder(Event).decode
_read_note = msgspec.msgpack.Decoder(tuple[float, list[tuple[str, tuple[str, ...], float]]]).decode
_LABELS, _EVENT = b"L", b"E"


def layout_of(tally: Tally) -> int:
    """Return a number that is another one where cells have other numbers."""
    return zlib.crc32(repr((Labels._fields, tally.width, tally.buckets, series.WIDTH, series.STEP)).encode())


def _cell_of(text: bytes, values: Sequence[float], place: int) -> Cell | None:
    try:
        labels: Labels | Event = _read_labels(text[1:]) if text[:1] == _LABELS else _read_event(text[1:])
    except msgspec.MsgspecError:
        return None
    cell = Cell(labels, 0)
    cell.values, cell.place = _numbers(labels, values), place
    return cell


def _numbers(labels: Labels | Event, values: Sequence[float]) -> list[Any]:
    """Return the numbers of a cell: what was spent is a decimal."""
    found: list[Any] = list(values)
    if isinstance(labels, Labels):
        found[COST] = Decimal(found[COST])
    return found


class Peer:
    """What another worker has counted, as it was at the last ``look``."""

    def __init__(self, file: CountsFile) -> None:
        self.file = file
        self.cells: list[Cell] = []
        self.events: list[Cell] = []
        self._seen = 0

    def look(self) -> None:
        """Read what is new."""
        file = self.file
        if file.end < self._seen:  # another layout
            self.cells, self.events, self._seen = [], [], 0
        for cell in (*self.cells, *self.events):
            cell.values = _numbers(cell.labels, file.values(cell.place, len(cell.values)))
        for entry in file.entries(self._seen):
            cell_ = _cell_of(entry.text, entry.values, entry.place)
            self._seen = entry.place + len(entry.values) * 8
            if cell_ is not None:
                (self.cells if isinstance(cell_.labels, Labels) else self.events).append(cell_)


class SharedTally:
    """One worker's part: ``tally.Shared``. ``mine``: which of the files is its own."""

    def __init__(self, tally: Tally, fds: Sequence[int], mine: int) -> None:
        self._tally = tally
        layout = layout_of(tally)
        self._file = CountsFile(fds[mine], layout, series.SLOTS, series.WIDTH, True)
        self._peers = [
            Peer(CountsFile(fd, layout, series.SLOTS, series.WIDTH, False)) for at, fd in enumerate(fds) if at != mine
        ]
        self._full = False
        self._go_on()

    def _go_on(self) -> None:
        """Take over what the worker before this one had counted in its place."""
        tally = self._tally
        for entry in self._file.entries():
            cell = _cell_of(entry.text, entry.values, entry.place)
            if cell is None:
                continue
            if isinstance(cell.labels, Event):
                tally.events[cell.labels] = cell
            else:
                tally.cells[tally.key_of(cell.labels)] = cell
        for number, row in self._file.slots().items():
            tally.series.kept[number] = row

    def write(self, cell: Cell) -> None:
        """Let the others see a cell as it is now."""
        if cell.place >= 0:
            self._file.write(cell.place, cell.values)
            return
        kind = _LABELS if isinstance(cell.labels, Labels) else _EVENT
        cell.place = self._file.add(kind + _encode(cell.labels), cell.values)
        if cell.place < 0 and not self._full:
            self._full = True
            log.error("metrics: the file that workers share is full; new labels are told by the worker that has them")

    def tell(self, note: Iterable[tuple[str, tuple[str, ...], float]]) -> None:
        """Let the others see what stands here now, and the slot of the series that is under way."""
        if not self._file.put_note(_encode((time.time(), list(note)))) and not self._full:
            self._full = True
            log.error("metrics: what stands now is more than a megabyte; the other workers do not tell it")
        now = self._tally.series
        self.put_slot(now.number, now.now)

    def put_slot(self, number: int, values: Sequence[Any]) -> None:
        """Let the others see a slot of the series."""
        if values[series.REQUESTS]:
            self._file.put_slot(number, values)

    def others(self) -> Iterator[Peer]:
        """Yield what the other workers have counted, as it is now."""
        for peer in self._peers:
            peer.look()
            yield peer

    def notes(self) -> Iterator[Note]:
        """Yield what stands with the workers that live."""
        for peer in self._peers:
            raw = peer.file.note()
            try:
                at, note = _read_note(raw) if raw else (0.0, [])
            except msgspec.MsgspecError:  # read while it was written twice
                continue
            if abs(time.time() - at) < FRESH:
                yield note

    def slots(self) -> Iterator[Mapping[int, Sequence[float]]]:
        """Yield the slots of the series of the other workers."""
        for peer in self._peers:
            yield peer.file.slots()
