"""Standard output and standard error of a process that must not wait for whoever reads them, nor end with them.

A full pipe blocks who writes to it, a full disk and a dead reader raise. Here what can be written at once is written at
once; the rest waits for a thread, up to a bound; and what cannot be written is counted, and told when it can be again.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TextIO

KEEP_AT_MOST = 100_000  # lines waiting for a reader that does not read
PATIENCE = 2.0  # seconds that a stuck reader has when the process ends
PIPE_BUF = 4096  # what a pipe that poll calls writable takes without blocking (POSIX)
_END = ord("\n")
_GONE = frozenset({errno.EPIPE, errno.EBADF, errno.ENXIO, errno.ECONNRESET})  # it will never be there again
NOBODY_READS = "nobody read the log"


class Output:
    """Lines for one text stream. Nothing here raises or waits, but for ``close``.

    ``elsewhere``: another output, which is told when this one is gone for good. ``remark``: renders what is said of the
    output itself, in the form that its other lines have."""

    def __init__(self, stream: TextIO, name: str = "the log") -> None:
        self.name = name
        self.elsewhere: Output | None = None
        self.remark: Callable[[str], str] = str
        self._stream = stream
        self._encoding = getattr(stream, "encoding", None) or "utf-8"
        self._fd, self._poll = _descriptor(stream)
        self._queue: SimpleQueue[tuple[int, bytes, bool] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        # Counters with one writer each: one that two threads change drifts, and lines would be lost for good.
        self._queued = 0  # lines handed to the thread
        self._written = 0  # and done with
        self._lost = 0  # lines that were not even handed over
        self._failed = 0  # lines that the thread could not write
        self._told = 0  # lines lost that the reader knows of
        self._why = NOBODY_READS
        self._gone = False
        self._torn = False  # the last line is there in part

    @property
    def waiting(self) -> int:
        """Count the lines that wait for the thread."""
        return self._queued - self._written

    @property
    def lost(self) -> int:
        """Count the lines that were not written, since the process began."""
        return self._lost + self._failed

    def write(self, lines: Sequence[str]) -> None:
        """Write whole lines, in their order, now or as soon as there is a reader. Without lines: tell what was lost."""
        if self._gone or (lines and self.waiting >= KEEP_AT_MOST):
            self._lose(len(lines), NOBODY_READS if not self._gone else self._why)
            return
        lost = self.lost
        untold = lost - self._told
        if untold:
            lines = [self.remark(f"{untold} lines were not written: {self._why}\n"), *lines]
        if not lines:
            return
        if self._fd is not None and self._poll is None:
            self._to_file(self._fd, "".join(lines).encode(self._encoding, "backslashreplace"))
        else:
            self._to_reader([line.encode(self._encoding, "backslashreplace") for line in lines])
        if self.lost == lost:
            self._told = lost
        elif untold:
            self._lost -= 1  # the line that would have told of it was no loss

    def close(self) -> None:
        """Write what waits; give a stuck reader two seconds. What is written after that goes the same way."""
        self.write(())
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(PATIENCE)

    # -- at once

    def _to_file(self, fd: int, data: bytes) -> None:
        """Write to what does not block. A disk that is nearly full takes a part, and says so then."""
        if self._torn:
            data = self._mended(data)
        try:
            while data:
                data = data[self._write(fd, data) :]
        except OSError as error:
            self._lose(data.count(b"\n"), self._note(error))

    def _to_reader(self, lines: list[bytes]) -> None:
        begun = False
        if self._fd is not None and self._poll is not None and not self.waiting:
            lines, begun = self._at_once(self._fd, self._poll, lines)
        if lines:
            self._hand_over(lines, begun)

    def _at_once(self, fd: int, poll: select.poll, lines: list[bytes]) -> tuple[list[bytes], bool]:
        """Write what a write takes that does not block; return the rest, and whether the first of it is the end of a
        line that was begun."""
        done = 0
        try:
            while done < len(lines):
                size, upto = 0, done
                while upto < len(lines) and size + len(lines[upto]) <= PIPE_BUF:
                    size += len(lines[upto])
                    upto += 1
                if upto == done or poll.poll(0) != [(fd, select.POLLOUT)]:
                    break
                data = self._mended(b"".join(lines[done:upto]))
                rest = data[self._write(fd, data) :]
                if rest:  # a terminal that is nearly full: the thread has the patience
                    return [rest, *lines[upto:]], True
                done = upto
        except BlockingIOError:
            return lines[done:], False
        except OSError as error:
            self._lose(len(lines) - done, self._note(error))
            return [], False
        return lines[done:], False

    def _hand_over(self, lines: list[bytes], begun: bool) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, args=(self._queue,), name="log", daemon=True)
            self._thread.start()
        self._queued += len(lines)
        self._queue.put((len(lines), b"".join(lines), begun))

    def _lose(self, lines: int, why: str) -> None:
        self._lost += lines
        self._why = why

    # -- the thread

    def _run(self, queue: SimpleQueue[tuple[int, bytes, bool] | None]) -> None:
        while (batch := queue.get()) is not None:
            count, data, begun = batch
            try:
                if self._gone:
                    self._failed += count
                elif self._fd is None:
                    self._stream.write(data.decode(self._encoding))
                    self._stream.flush()
                else:
                    self._patiently(self._fd, data if begun else self._mended(data))
            except (OSError, ValueError) as error:  # ValueError: the stream was closed under us
                self._why = self._note(error)
                self._failed += count
            self._written += count

    def _patiently(self, fd: int, data: bytes) -> None:
        while data:
            try:
                data = data[self._write(fd, data) :]
            except BlockingIOError:  # somebody made it non-blocking: a terminal that is shared
                if self._poll is not None:
                    self._poll.poll(1000)

    # -- both

    def _write(self, fd: int, data: bytes) -> int:
        written = os.write(fd, data)
        self._torn = data[written - 1] != _END
        return written

    def _mended(self, data: bytes) -> bytes:
        """Begin a new line behind one that is there in part."""
        if self._torn:
            return b"\n" + data
        return data

    def _note(self, error: OSError | ValueError) -> str:
        """Note what keeps us from writing; return it in words."""
        number = error.errno if isinstance(error, OSError) else errno.EBADF
        why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        if number in _GONE and not self._gone:
            self._gone = True
            other, self.elsewhere = self.elsewhere, None
            if other is not None:
                other.write([self.remark(f"{self.name} cannot be written any more ({why}): what goes there is lost\n")])
        return why


def _descriptor(stream: TextIO) -> tuple[int | None, select.poll | None]:
    """Return the descriptor of a stream, and who can be asked whether a write to it would block: nobody for a file,
    which does not. Without a descriptor, and where nobody can be asked, all is left to the thread."""
    try:
        stream.flush()
        fd = stream.fileno()
        mode = os.fstat(fd).st_mode
    except (OSError, ValueError, AttributeError):
        return None, None
    if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(fd)):
        return fd, None
    if not hasattr(select, "poll"):
        return None, None
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    return fd, poll


class PatientStream(io.TextIOBase):
    """A text stream over an ``Output``, for what is printed: ``print`` neither waits nor raises."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self.output = Output(stream, name)
        self._under = stream
        self._begun = ""

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._under, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._under.fileno()

    def isatty(self) -> bool:
        return self._under.isatty()

    def write(self, text: str) -> int:
        whole, end, rest = (self._begun + text).rpartition("\n")
        self._begun = rest
        if end:
            self.output.write([line + "\n" for line in whole.split("\n")])
        return len(text)

    def flush(self) -> None:
        begun, self._begun = self._begun, ""
        if begun:
            self.output.write([begun])
