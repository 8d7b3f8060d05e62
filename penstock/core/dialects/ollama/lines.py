"""The framing of Ollama's streams: one JSON object a line (``application/x-ndjson``)."""

from __future__ import annotations

from penstock.core.pieces import Pieces
from penstock.core.sse import Event, TooLong

STREAM_TYPE = b"application/x-ndjson"
_ENDS = ((b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"), (b"\xc2\x85", rb"\u0085"))


def escaped(line: bytes) -> bytes:
    """Escape the line ends in JSON that only Unicode knows, which can stand in nothing but strings.

    Ollama's Python client reads lines with httpx, which cuts at all that ``str.splitlines`` cuts at; the real server
    escapes U+2028 and U+2029."""
    if not line.isascii():
        for raw, escape in _ENDS:
            if raw in line:
                line = line.replace(raw, escape)
    return line


class Lines:
    """A stream of lines cut into events, one per line that is not blank (``base.Framer``). JSON escapes the line ends
    inside it, so LF alone ends a line; a CR before it is white space to JSON. ``limit``: bytes one line may take."""

    __slots__ = ("_begun", "_limit")

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._begun = Pieces(b"")  # the line that is under way
        self._limit = limit

    def feed(self, chunk: bytes) -> list[Event]:
        if not self._begun.size and chunk.endswith(b"\n") and chunk.find(b"\n") == len(chunk) - 1:
            line = chunk[:-1]  # the usual shape, one whole line per read
            return [Event(b"", line)] if line and not line.isspace() else []
        *whole, rest = chunk.split(b"\n")
        if whole and self._begun.size:
            self._begun.add(whole[0])
            whole[0] = self._begun.take()
        if rest:
            self._begun.add(rest)
            if self._begun.size > self._limit:
                raise TooLong(f"one line is longer than {self._limit} bytes")
        return [Event(b"", line) for line in whole if line and not line.isspace()]

    def close(self) -> list[Event]:
        line = self._begun.take()
        return [Event(b"", line)] if line and not line.isspace() else []
