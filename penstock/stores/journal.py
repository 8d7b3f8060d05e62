"""The ledger's journal: entries in files of this machine, until a store has all of them.

A file is a mark and then frames: length, checksum (CRC-32), an entry in msgpack; one bit of the length says that its
request is under way, another one that it is a short entry (``Begun``). Each process appends to files of its
own and holds a lock on them; what a dead process left is taken over by whoever starts next. An entry that is written is
safe from the death of the process at once, for it is the system's then; from the loss of power once ``sync`` came,
which whoever keeps the books calls each second. A frame that was cut off, by a full disk or a loss of power, is where a
file ends.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from penstock.stores.base import Begun, Spent
from penstock.stores.files import lock_file, open_file, read_at, write_at

_MARK = b"penstock-journal-1\n"
BEGIN = len(_MARK)
_FRAME = struct.Struct("<II")
_pack, _unpack = _FRAME.pack, _FRAME.unpack_from
_PENDING = 1 << 31  # a bit of the length: the entry says that a request is under way
_SHORT = 1 << 30
_ENDING = ".journal"
LONGEST_FRAME = 16 * 1024 * 1024
LARGEST = 32 * 1024 * 1024  # bytes of a file, after which another one is begun
KEPT = 64 * 1024 * 1024  # bytes of entries that wait in memory while the disk takes none
_BATCH = 2 << 20

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Spent).decode
_decode_begun = msgspec.msgpack.Decoder(Begun).decode


class Lost(Exception):
    """The journal takes no more, and has no room to let entries wait."""


class Entry(NamedTuple):
    """An entry as a journal has it: where it ends. ``spent`` None: of a request under way, where nobody wants these."""

    file: str
    end: int
    spent: Spent | None


class Journal:
    """What one process appends to. ``trouble``: why nothing can be written at the moment, "" when it can. Not safe for
    two threads, but for ``sync`` and ``files``."""

    def __init__(self, folder: Path, name: str) -> None:
        """``name``: one that no other process has, letters and digits."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder, self._name, self._number = folder, name, 0
        self.trouble = ""
        self.files: list[JournalFile] = []
        self.open: dict[str, str] = {}  # requests under way, and the file that says so
        self._waiting: list[bytes] = []
        self._waits = 0
        self.ended = 0  # entries of requests that are over
        self._open()

    @property
    def end(self) -> tuple[str, int]:
        """Return where the next entry goes: file and position, with those that wait counted as written."""
        return self.files[-1].name, self.files[-1].size + self._waits

    def put(self, entry: Spent | Begun) -> None:
        """Add an entry, which is written with the next ``flush``. Raises ``Lost``, where nothing can be written and
        too much waits."""
        if self._waits > KEPT:
            raise Lost(self.trouble)
        data = _encode(entry)
        if type(entry) is Begun:
            self.open[entry.call_id] = self._file_name
            frame = _pack(len(data) | _PENDING | _SHORT, crc32(data)) + data
        elif isinstance(entry, Spent) and entry.pending:
            self.open[entry.call_id] = self._file_name
            frame = _pack(len(data) | _PENDING, crc32(data)) + data
        else:
            self.ended += 1
            self.open.pop(entry.call_id, None)
            frame = _pack(len(data), crc32(data)) + data
        self._waiting.append(frame)
        self._waits += len(frame)

    def drop_last(self) -> None:
        """Take the last entry back, which waits yet: its request is not sent. That it is over is still to come."""
        self._waits -= len(self._waiting.pop())

    def told(self) -> str:
        """Return where the next entry goes, as one word."""
        file, position = self.end
        return f"{file}:{position}"

    @property
    def waits(self) -> bool:
        return bool(self._waiting)

    def flush(self) -> bool:
        """Write what waits, in one go. False where that cannot be: ``trouble`` says why, and it goes on waiting."""
        waiting = self._waiting
        if not waiting:
            return True
        file = self.files[-1]
        data = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        try:
            file.append(data)
        except OSError as error:
            self.trouble = f"{file.path.parent}: {error.strerror or error}"
            return False
        self.trouble = ""
        self._waiting, self._waits = [], 0
        if file.size > LARGEST:
            try:
                self._open()
            except OSError as error:  # then the old one goes on growing
                self.trouble = f"{self._folder}: {error.strerror or error}"
        return True

    def sync(self) -> None:
        """Make sure that what was written survives a loss of power."""
        for file in self.files[-2:]:
            file.sync()

    def close(self) -> None:
        """Write what waits, and let go of the files: what is in them is anybody's to take over."""
        self.flush()
        for file in self.files:
            file.close()

    def _open(self) -> None:
        self._number += 1
        path = self._folder / f"{self._name}-{self._number:06d}{_ENDING}"
        self.files.append(JournalFile.make(path))
        self._file_name = path.name


class JournalFile:
    """One file of a journal, locked by who holds it. ``size``: bytes that are written whole."""

    def __init__(self, path: Path, fd: int, size: int) -> None:
        self.path, self.size = path, size
        self._fd = fd

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def process(self) -> str:
        """Return the name of the process whose file it is."""
        return self.path.name.rpartition("-")[0]

    @classmethod
    def make(cls, path: Path) -> JournalFile:
        fd = open_file(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            lock_file(fd)
            file = cls(path, fd, 0)
            file.append(_MARK)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            raise
        return file

    @classmethod
    def take(cls, path: Path) -> JournalFile | None:
        """Open the file of a process that is gone; None for one that somebody holds, or that is gone itself."""
        try:
            fd = open_file(path, os.O_RDWR)
        except FileNotFoundError:
            return None
        try:
            lock_file(fd)
            if os.fstat(fd).st_nlink == 0:  # who had it has just removed it
                raise BlockingIOError
        except BlockingIOError:
            os.close(fd)
            return None
        return cls(path, fd, os.fstat(fd).st_size)

    def append(self, data: bytes) -> None:
        """Write at the end: all of it, or nothing."""
        written = 0
        try:
            while written < len(data):
                written += write_at(self._fd, data[written:] if written else data, self.size + written)
        except OSError:
            if written:
                os.ftruncate(self._fd, self.size)
            raise
        self.size += written

    def read(self, position: int, most: int = _BATCH, pending: bool = True) -> Iterator[Entry]:
        """Yield the entries from a position on, of about so many bytes; from 0: from the first. ``pending``: what those
        of requests under way say, too."""
        name = self.name
        for end, marked, body in self.frames(position, most):
            try:
                if not marked & _PENDING:
                    spent = _decode(body)
                elif not pending:
                    spent = None
                else:
                    spent = _decode_begun(body).spent() if marked & _SHORT else _decode(body)
            except (msgspec.DecodeError, msgspec.ValidationError):
                return
            yield Entry(name, end, spent)

    def frames(self, position: int, most: int = _BATCH, pending: bool = True) -> Iterator[tuple[int, int, bytes]]:
        """Yield the frames from a position on, of about so many bytes, as far as they are whole: where each ends, what
        its length says beside that (``is_ended``), and what is in it. ``pending`` False: of a row of those of requests
        under way only where it ends, and what is in them is not looked at."""
        position = max(position, BEGIN)
        data = read_at(self._fd, max(0, min(most, self.size - position)), position)
        at, frame, passed = 0, _FRAME.size, 0
        while at + frame <= len(data):
            marked, check = _unpack(data, at)
            begin = at + frame
            end = begin + (marked & ~(_PENDING | _SHORT))
            if end - begin > LONGEST_FRAME:
                break
            if end > len(data):
                if at or position + end > self.size:
                    break
                data += read_at(self._fd, end - len(data), position + len(data))  # one that is longer than all of it
                if len(data) < end:
                    break
            at = end
            if marked & _PENDING and not pending:
                passed = end
                continue
            body = data[begin:end]
            if crc32(body) != check:
                break
            yield position + end, marked, body
            passed = 0
        if passed:
            yield position + passed, _PENDING, b""

    def sync(self) -> None:
        if self._fd >= 0:
            os.fdatasync(self._fd) if hasattr(os, "fdatasync") else os.fsync(self._fd)

    def remove(self) -> None:
        """Delete it: all that is in it is kept elsewhere."""
        try:
            self.path.unlink(missing_ok=True)
        except PermissionError:  # on Windows a file that is open stays
            self.close()
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def is_ended(marked: int) -> bool:
    """Tell whether a frame is of a request that is over."""
    return not marked & _PENDING


def take_over(folder: Path) -> list[list[JournalFile]]:
    """Take the files of processes that are gone, those of each together and in order."""
    found: dict[str, list[JournalFile]] = {}
    for path in sorted(folder.glob(f"*{_ENDING}")):
        file = JournalFile.take(path)
        if file is not None:
            found.setdefault(file.process, []).append(file)
    return list(found.values())


def left_open(files: Sequence[JournalFile]) -> list[Spent]:
    """List the entries of a process that is gone which stand for requests that never ended, oldest first."""
    pending: dict[str, Spent] = {}
    for file in files:
        for entry in read_all(file):
            spent = entry.spent
            if spent is not None and spent.pending:
                pending[spent.call_id] = spent
            elif spent is not None:
                pending.pop(spent.call_id, None)
    return list(pending.values())


def read_all(file: JournalFile, position: int = 0, pending: bool = True) -> Iterator[Entry]:
    """Yield all entries of a file from a position on."""
    while True:
        last = position
        for entry in file.read(position, pending=pending):
            position = entry.end
            yield entry
        if position == last:
            return
