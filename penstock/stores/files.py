"""Opens, locks and writes files where the system has no calls of Unix for it.

On Windows there is no ``flock``, no ``pwrite``, and a file that is opened by number turns line ends about.
"""

from __future__ import annotations

import os
import threading

_FAR = 1 << 40  # what is locked on Windows: a byte that no file has, for a locked one can be read by nobody else
_BINARY: int = getattr(os, "O_BINARY", 0)
_CLOSE: int = getattr(os, "O_CLOEXEC", 0)  # Windows hands no descriptor on
_turn = threading.Lock()  # to move a descriptor and to use it there are two calls


def open_file(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file as it is, for its owner alone and for no child process. Return its descriptor."""
    return os.open(path, flags | _BINARY | _CLOSE, 0o600)


def lock_file(fd: int) -> None:
    """Lock a file for whoever has opened it. Raises ``BlockingIOError`` where somebody holds it."""
    try:
        import fcntl
    except ImportError:
        _lock_byte(fd)
    else:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _lock_byte(fd: int) -> None:
    import msvcrt

    os.lseek(fd, _FAR, os.SEEK_SET)
    try:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]  # Windows alone has it
    except OSError as error:
        raise BlockingIOError(error.errno, error.strerror) from error


def write_at(fd: int, data: bytes, place: int) -> int:
    """Write bytes at a place of a file. Return how many were written."""
    if hasattr(os, "pwrite"):
        return os.pwrite(fd, data, place)
    with _turn:
        os.lseek(fd, place, os.SEEK_SET)
        return os.write(fd, data)


def read_at(fd: int, size: int, place: int) -> bytes:
    """Read at most so many bytes from a place of a file on."""
    if hasattr(os, "pread"):
        return os.pread(fd, size, place)
    with _turn:
        os.lseek(fd, place, os.SEEK_SET)
        return os.read(fd, size)
