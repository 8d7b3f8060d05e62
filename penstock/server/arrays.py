"""A stream as one JSON array: what ``:streamGenerateContent`` answers without ``alt=sse``."""

from __future__ import annotations

from penstock.core import sse


class Arrays:
    """An ``outlet.Shape``: server-sent events in, elements of an array out."""

    content_type = b"application/json; charset=utf-8"

    def __init__(self) -> None:
        self._events = sse.Decoder()
        self._lead = b"["

    def feed(self, data: bytes) -> bytes:
        """Turn events into elements. A sign of life is a comment, which JSON has not; white space it has, wherever it
        comes."""
        out = b""
        for event in self._events.feed(data):
            out += self._lead + event.data
            self._lead = b",\r\n"
        return out or b"\n"

    def close(self) -> bytes:
        """End the array."""
        return b"[]" if self._lead == b"[" else b"]"
