"""A stream as one JSON array: what ``:streamGenerateContent`` answers without ``alt=sse``.

The lanes write server-sent events; this exchange stands before the door's own and turns each event into an element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from penstock.core import sse

if TYPE_CHECKING:
    from penstock.runtime.exchange import Exchange

CONTENT_TYPE = b"application/json; charset=utf-8"


class Arrays:
    """An ``Exchange`` whose writes are events and whose client reads an array. All else is the door's."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._events = sse.Decoder()
        self._lead = b"["

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exchange, name)

    def write(self, data: bytes) -> None:
        out = b""
        for event in self._events.feed(data):
            out += self._lead + event.data
            self._lead = b",\r\n"
        # A sign of life is a comment, which JSON has not; white space it has, wherever it comes.
        self._exchange.write(out or b"\n")

    def finish(self, close: bool = False) -> None:
        self._exchange.write(b"[]" if self._lead == b"[" else b"]")
        self._exchange.finish(close)
