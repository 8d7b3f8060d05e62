"""The bytes of files: one file of the disk each, in one folder, written and read in portions.

A file that is being received has another name until it is whole. Results are appended line by line: one that a dead
process had half written is cut off by whoever goes on. All of it waits for the disk, so it is called in threads.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

from penstock.stores.files import lock_file

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_PART, _LOCK = ".part", ".lock"
PORTION = 256 * 1024
_OLD = 24 * 3600.0  # seconds after which a file that never became whole is nobody's


class FileFolder:
    """A folder of files by id. ``kept_free``: tells how many bytes of the disk no file is given, for the database and
    the journal stand there, too. Raises ``OSError``."""

    def __init__(self, path: Path, kept_free: Callable[[], int] = lambda: 0) -> None:
        self.path, self._kept_free = path, kept_free

    def place(self, id: str) -> Path:
        """Return where a file stands. Raises ``FileNotFoundError`` for what is no id."""
        if not _ID.fullmatch(id):
            raise FileNotFoundError(2, "no such file", id[:64])
        return self.path / id

    def create(self, id: str) -> Incoming:
        """Begin to receive a file."""
        self._make()
        return Incoming(self.place(id), self._kept_free())

    def put(self, id: str, lines: list[bytes]) -> int:
        """Keep a file that is there as lines; return its length."""
        incoming = self.create(id)
        try:
            for line in lines:
                incoming.write(line)
            return incoming.close()
        finally:
            incoming.discard()

    def check_room(self) -> None:
        """Refuse to write where the disk is nearly full. Raises ``OSError``."""
        self._make()
        _check_room(self.path, self._kept_free(), 0)

    def link(self, id: str, other: str) -> None:
        """Keep a file under another id as well: what is in it stays until both are deleted."""
        os.link(self.place(id), self.place(other))

    def names(self, before: float, *prefixes: str) -> list[str]:
        """List the ids that begin so, of files that have their name since a time before that."""
        found = list(self.path.iterdir()) if self.path.is_dir() else []
        named = [path for path in found if path.name.startswith(prefixes) and _ID.fullmatch(path.name)]
        return [path.name for path in named if path.stat().st_ctime < before]

    def size(self, id: str) -> int:
        return self.place(id).stat().st_size

    def has(self, id: str) -> bool:
        try:
            return self.place(id).is_file()
        except FileNotFoundError:
            return False

    def open(self, id: str) -> IO[bytes]:
        return self.place(id).open("rb")

    def delete(self, id: str) -> None:
        """Delete a file, if it is there."""
        self.place(id).unlink(missing_ok=True)
        with suppress(PermissionError):  # of Windows, while somebody has it open
            (self.path / f"{id}{_LOCK}").unlink(missing_ok=True)

    def append_to(self, id: str) -> Appended:
        """Open a file of results to add to, and mend its last line."""
        self._make()
        return Appended(self.place(id))

    def lock(self, id: str) -> IO[bytes] | None:
        """Take a batch for this process; None while another one on this machine has it. Closing gives it back."""
        self._make()
        file = (self.path / f"{id}{_LOCK}").open("ab")
        try:
            lock_file(file.fileno())
        except BlockingIOError:
            file.close()
            return None
        return file

    def sweep(self, now: float) -> None:
        """Delete what was never received to its end."""
        if self.path.is_dir():
            for path in self.path.glob(f"*{_PART}"):
                if path.stat().st_mtime < now - _OLD:
                    path.unlink(missing_ok=True)

    def _make(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)


class Incoming:
    """A file that is being received. ``close`` gives it its name and returns its length; ``discard`` drops one that has
    none yet. ``size``: bytes so far. ``write`` raises ``OSError`` also where less than ``kept_free`` bytes of the disk
    would be left."""

    def __init__(self, place: Path, kept_free: int = 0) -> None:
        self._kept_free = kept_free
        self._place, self._part = place, place.with_name(place.name + _PART)
        self._file: IO[bytes] | None = open(self._part, "xb", opener=_owners_own)
        self.size = 0

    def write(self, data: bytes) -> None:
        assert self._file is not None
        _check_room(self._part.parent, self._kept_free, len(data))
        self._file.write(data)
        self.size += len(data)

    def flushed(self) -> Path:
        """Return where the bytes are that were received so far."""
        assert self._file is not None
        self._file.flush()
        return self._part

    def close(self) -> int:
        file, self._file = self._file, None
        assert file is not None
        try:
            with file:
                file.flush()
                os.fsync(file.fileno())
            os.replace(self._part, self._place)
        finally:
            self._part.unlink(missing_ok=True)
        return self.size

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
            self._part.unlink(missing_ok=True)


class Appended:
    """A file of lines that grows. A line that ``add`` has taken outlives this process at once, and a loss of power
    after ``sync``."""

    def __init__(self, place: Path, mode: int = 0o600) -> None:
        self._file = open(place, "a+b", buffering=0, opener=lambda path, flags: os.open(path, flags, mode))
        self._end = self._mend()
        self._synced = -1

    def add(self, line: bytes) -> None:
        """Add a line, whole or not at all."""
        rest = memoryview(line)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
        except OSError:
            self._file.truncate(self._end)  # else the next line would go on with a half of this one
            raise
        self._end += len(line)

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are there, each with where it begins."""
        at = 0
        with open(self._file.name, "rb") as file:
            for line in file:
                yield at, line
                at += len(line)

    def lock(self) -> bool:
        """Take the file for this process; False where another one on this machine has it."""
        try:
            lock_file(self._file.fileno())
        except BlockingIOError:
            return False
        return True

    def cut(self, at: int) -> None:
        """Cut off everything from there on."""
        self._file.truncate(at)
        self._end = at

    def sync(self) -> None:
        if self._synced != self._end:
            os.fsync(self._file.fileno())
            self._synced = self._end

    def close(self) -> None:
        self._file.close()

    def _mend(self) -> int:
        """Cut off a last line without an end; return the length that is left."""
        end = self._file.seek(0, os.SEEK_END)
        at = end
        while at:
            begin = max(0, at - PORTION)
            self._file.seek(begin)
            found = self._file.read(at - begin).rfind(b"\n")
            if found >= 0:
                at = begin + found + 1
                break
            at = begin
        if at != end:
            self._file.truncate(at)
        return at


def read_lines(file: IO[bytes], longest: int) -> Iterator[bytes]:
    """Yield the lines of a file without their ends. Of a line that is too long no more than ``longest`` + 1 bytes."""
    while raw := file.readline(longest + 2):
        if not raw.endswith(b"\n") and len(raw) > longest + 1:
            while (rest := file.readline(PORTION)) and not rest.endswith(b"\n"):
                pass
            yield raw[: longest + 1]
        else:
            yield raw.rstrip(b"\r\n")


def _check_room(folder: Path, kept_free: int, wanted: int) -> None:
    if shutil.disk_usage(folder).free - wanted < kept_free:
        raise OSError(errno.ENOSPC, "the disk is nearly full")


def _owners_own(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
