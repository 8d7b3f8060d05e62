"""Server-sent events on bytes: any cut of the bytes gives the same events.

Line ends are LF, CR and CRLF and nothing else (WHATWG HTML, 9.2.6). ``str.splitlines`` would also cut at U+2028,
U+0085 and \\x0b, which models do write; and a CRLF may be cut between two chunks.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from penstock.core.pieces import Pieces

# As numbers: CPython looks for a number in bytes at once, but for bytes it raises and drops a TypeError first, which
# takes eight times as long. So longer pieces are looked for with ``find`` where every chunk passes.
LF, CR = 10, 13
_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """One event. ``name`` is b"" for an unnamed event; ``data`` has its lines joined by LF."""

    name: bytes
    data: bytes


class TooLong(ValueError):
    """One event grew past the limit: the upstream does not speak SSE, or means harm."""


class Decoder:
    """A stream's bytes cut into events (``base.Framer``). A missing final blank line is tolerated, as browsers do not
    but every LLM client does. ``limit``: bytes one event may take."""

    __slots__ = ("_begun", "_data", "_first", "_limit", "_name", "_size", "_swallow")

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._begun = Pieces(b"")  # the line that is under way
        self._name = b""
        self._data: list[bytes] = []
        self._size = 0
        self._first = True  # no line was read yet
        self._swallow = False  # a CR ended the previous chunk: an LF that follows belongs to it
        self._limit = limit

    def feed(self, chunk: bytes) -> list[Event]:
        if not self._begun.size and not self._data and not self._swallow and not self._name:
            # The usual shape, one or more whole events per read, needs no line walk.
            if chunk.startswith(b"data: ") and chunk.endswith(b"\n\n") and CR not in chunk:
                if chunk.find(LF) == len(chunk) - 2:
                    self._first = False
                    return [Event(b"", chunk[6:-2])]
                parts = chunk[6:-2].split(b"\n\ndata: ")
                if not any(LF in part for part in parts):
                    self._first = False
                    return [Event(b"", part) for part in parts]
        return self._walk(chunk)

    def _walk(self, chunk: bytes) -> list[Event]:
        if self._swallow and chunk:
            if chunk[:1] == b"\n":
                chunk = chunk[1:]
            self._swallow = False
        out: list[Event] = []
        at = 0
        for match in _END.finditer(chunk):
            if match.end() == len(chunk) and chunk[match.start()] == CR:  # a lone CR at the end may be half a CRLF
                self._swallow = True
            line = chunk[at : match.start()]
            if self._begun.size:
                self._begun.add(line)
                line = self._begun.take()
            self._line(line, out)
            at = match.end()
        rest = chunk[at:] if at else chunk
        if rest:
            self._begun.add(rest)
        if self._begun.size + self._size > self._limit:
            raise TooLong(f"one event is longer than {self._limit} bytes")
        return out

    def close(self) -> list[Event]:
        out: list[Event] = []
        if self._begun.size:
            self._line(self._begun.take(), out)
        self._line(b"", out)
        return out

    def _line(self, line: bytes, out: list[Event]) -> None:
        if self._first:  # a byte order mark may begin the stream; left in, it would cost the first event
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            if self._data:
                out.append(Event(self._name, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
            self._name = b""
            self._data = []
            self._size = 0
            return
        field, _, value = line.partition(b":")
        if value[:1] == b" ":
            value = value[1:]
        if field == b"data":
            self._data.append(value)
            self._size += len(line) + 1
        elif field == b"event":
            self._name = value


def encode(data: bytes, name: bytes = b"") -> bytes:
    """Encode one event. ``data`` is one line of JSON (no CR, no LF: JSON escapes them)."""
    if name:
        return b"event: " + name + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"


COMMENT = b": penstock keep-alive\n\n"
DONE = b"data: [DONE]\n\n"
