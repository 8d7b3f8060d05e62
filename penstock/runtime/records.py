"""What happened, one Record per request, handed once to every sink.

The log line is a sink too. Lines are gathered and written by a thread in batches: a reader that stops reading our
standard output must not stop the gateway, and a write per request costs more than the request's own bookkeeping.
"""

from __future__ import annotations

import os
import select
import stat
import sys
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from queue import SimpleQueue
from typing import Protocol, TextIO

import msgspec

from penstock.core.price import plain
from penstock.core.record import Record

FLUSH_AFTER = 0.05  # seconds a line may wait
FLUSH_AT = 256  # lines
KEEP_AT_MOST = 100_000  # lines waiting for a reader that does not read


class Sink(Protocol):
    """Gets every Record once. Must not block and must not raise."""

    def put(self, record: Record) -> None: ...
    def close(self) -> None: ...


class Records:
    """Passes each record on to every sink."""

    def __init__(self, sinks: list[Sink]) -> None:
        self.sinks = sinks

    def put(self, record: Record) -> None:
        for sink in self.sinks:
            sink.put(record)

    def close(self) -> None:
        for sink in self.sinks:
            sink.close()


_second: tuple[int, str] = (0, "")


def stamp(at: float) -> str:
    """Render Unix time as RFC 3339 in UTC with milliseconds; the part down to the second is made once a second."""
    global _second
    whole = int(at)
    if _second[0] != whole:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((at - whole) * 1000):03d}Z"


LONGEST = 300  # characters of a client's own words in a line


def _word(text: str) -> str:
    """Render a name or path of a client's as one word: what would end the line or look like another field is quoted."""
    if len(text) > LONGEST:
        text = text[:LONGEST] + "..."
    return text if text.isprintable() and " " not in text else ascii(text)


_name = lru_cache(1024)(_word)  # names come again and again; paths may be anything and are not kept


def as_text(r: Record) -> str:
    """Render a record as ``2026-11-20T09:00:00.123Z call=.. key=.. model=.. target=.. 200 12.3ms in=9 out=3
    cost=0.00005 bytes=812``."""
    ttft = f" ttft={r.ttft_ms:.1f}ms" if r.ttft_ms is not None else ""
    usage = r.usage
    tokens = f" in={usage.input} out={usage.output}{'~' if usage.estimated else ''}" if usage is not None else ""
    cost = f" cost={plain(r.cost)}" if r.cost is not None else ""
    error = f" error={r.error} {r.message!r}" if r.error else ""
    name = f" model={_name(r.model)} target={_name(r.target) or '-'}" if r.model else f" {r.method} {_word(r.path)}"
    return (
        f"{stamp(r.at)} call={r.call_id} key={_name(r.key) or '-'}{name} {r.status} {r.ms:.1f}ms"
        f"{ttft}{tokens}{cost} bytes={r.bytes_out}{error}\n"
    )


def as_json(r: Record) -> str:
    """Render a record as one line of JSON; keys as in the text form, times in milliseconds."""
    line: dict[str, object] = {
        "time": stamp(r.at),
        "level": "INFO" if r.status < 500 else "ERROR",
        "call_id": r.call_id,
        "request_id": r.request_id,
        "key": r.key or None,
        "method": r.method,
        "path": r.path,
        "model": r.model or None,
        "target": r.target or None,
        "status": r.status,
        "ms": round(r.ms, 3),
        "ttft_ms": None if r.ttft_ms is None else round(r.ttft_ms, 3),
        "tokens_in": r.usage.input if r.usage else None,
        "tokens_out": r.usage.output if r.usage else None,
        "cost": None if r.cost is None else float(r.cost),
        "bytes": r.bytes_out,
        "stream": r.stream,
        "tries": r.tries,
    }
    if r.dropped:
        line["dropped"] = r.dropped
    if r.error:
        line["error"] = r.error
        line["message"] = r.message
    return msgspec.json.encode(line).decode() + "\n"


def quiet(render: Callable[[Record], str]) -> Callable[[Record], str]:
    """Make a rendering of failures of ours and of upstreams only: a log that is told to be quiet has no others."""
    return lambda record: render(record) if record.status >= 500 else ""


class _Ready:
    """Writes to a descriptor as far as that does not block."""

    PIPE_BUF = 4096  # what a pipe that poll calls writable takes without blocking (POSIX)

    def __init__(self, fd: int, poll: select.poll | None, encoding: str) -> None:
        self._fd = fd
        self._poll = poll
        self._encoding = encoding

    @classmethod
    def of(cls, stream: TextIO) -> _Ready | None:
        """Return a writer that never waits for ``stream``; None for a stream that is no file of the system's, or that
        nobody can ask."""
        try:
            stream.flush()
            fd = stream.fileno()
            mode = os.fstat(fd).st_mode
            encoding = stream.encoding or "utf-8"
        except (OSError, ValueError, AttributeError):
            return None
        if stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(fd)):
            return cls(fd, None, encoding)
        if not hasattr(select, "poll"):
            return None
        poll = select.poll()
        poll.register(fd, select.POLLOUT)
        return cls(fd, poll, encoding)

    def write(self, lines: list[str]) -> list[str]:
        """Write what can be written now, and return the lines that are left: to be written by someone who may wait."""
        try:
            if self._poll is None:
                self._all("".join(lines).encode(self._encoding, "backslashreplace"))
                return []
            return self._some(lines, self._poll)
        except OSError:
            return lines

    def _all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._fd, data) :]

    def _some(self, lines: list[str], poll: select.poll) -> list[str]:
        done = 0
        while done < len(lines):
            data = b""
            upto = done
            while upto < len(lines):
                line = lines[upto].encode(self._encoding, "backslashreplace")
                if len(data) + len(line) > self.PIPE_BUF:
                    break
                data += line
                upto += 1
            if not data or poll.poll(0) != [(self._fd, select.POLLOUT)]:
                break
            os.write(self._fd, data)
            done = upto
        return lines[done:]


class LogSink:
    """One line per request on a text stream, in batches.

    A batch is written at once where that cannot block (a file, a pipe or terminal with room), for a thread's turn at
    the interpreter lock is a millisecond in some request's latency. Otherwise a thread writes it. When nobody reads,
    up to ``KEEP_AT_MOST`` lines wait; beyond that lines are counted, and the count is written as soon as there is a
    reader again. ``call_later`` is the loop's; without one every line goes at once."""

    def __init__(self, render: Callable[[Record], str], stream: TextIO | None = None) -> None:
        self.render = render  # may be replaced: lines after that have the other form
        self.note: Callable[[str], str] = str  # what the log says of itself, in that form
        self._stream = stream or sys.stdout
        self._lines: list[str] = []
        self._queue: SimpleQueue[tuple[int, str] | None] = SimpleQueue()
        # Two counters with one writer each: one that two threads change drifts, and lines would be lost for good.
        self._queued = 0
        self._written = 0
        self._lost = 0
        self._timer: object | None = None
        self.call_later: Callable[[float, Callable[[], None]], object] | None = None
        self._thread: threading.Thread | None = None
        self._ready = _Ready.of(self._stream)

    def put(self, record: Record) -> None:
        self.line(self.render(record))

    def line(self, text: str) -> None:
        """Write any other line to the same stream, in order with the records."""
        if self._queued - self._written >= KEEP_AT_MOST:
            self._lost += 1
            return
        lines = self._lines
        lines.append(text)
        if len(lines) >= FLUSH_AT or self.call_later is None:
            self._flush()
        elif self._timer is None:
            self._timer = self.call_later(FLUSH_AFTER, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if not self._lines and not self._lost:
            return
        if self._lost:
            self._lines.append(self.note(f"{self._lost} lines were not written: nobody read the log\n"))
            self._lost = 0
        if self._ready is not None and self._queued == self._written:
            self._lines = self._ready.write(self._lines)
            if not self._lines:
                return
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="log", daemon=True)
            self._thread.start()
        self._queued += len(self._lines)
        self._queue.put((len(self._lines), "".join(self._lines)))
        self._lines = []

    def _write(self) -> None:
        while (batch := self._queue.get()) is not None:
            count, text = batch
            try:
                try:
                    self._stream.write(text)
                except UnicodeEncodeError:  # a Latin-1 terminal, and a model's name that it has no letters for
                    self._stream.write(text.encode("ascii", "backslashreplace").decode("ascii"))
                self._stream.flush()
            except (OSError, ValueError):
                # Our output was closed under us (a pager quit, a pipe broke): the gateway goes on without a log.
                self._stream = open(os.devnull, "w", encoding="utf-8")
            self._written += count

    def close(self) -> None:
        """Write what waits; give a stuck reader two seconds. A line after that is written at once."""
        self.call_later = None
        self._flush()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            thread.join(2.0)
