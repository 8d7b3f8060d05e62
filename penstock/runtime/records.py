"""What happened, one Record per request, handed once to every sink.

The log line is a sink too. Lines are gathered and written in batches: a write per request costs more than the request's
own bookkeeping.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Protocol, TextIO

from penstock.core.record import Record
from penstock.runtime.output import Output, PatientStream

FLUSH_AFTER = 0.05  # seconds a line may wait
FLUSH_AT = 256  # lines


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


class LogSink:
    """One line per request on a text stream, in batches: see ``Output``, by which nobody waits for the reader.
    ``call_later`` is the loop's; without one every line goes at once."""

    def __init__(self, render: Callable[[Record], str], stream: TextIO | None = None) -> None:
        self.render = render  # may be replaced: lines after that have the other form
        stream = stream or sys.stdout
        self.output = stream.output if isinstance(stream, PatientStream) else Output(stream)
        self._lines: list[str] = []
        self._timer: object | None = None
        self.call_later: Callable[[float, Callable[[], None]], object] | None = None

    def put(self, record: Record) -> None:
        self.line(self.render(record))

    def line(self, text: str) -> None:
        """Write any other line to the same stream, in order with the records."""
        lines = self._lines
        lines.append(text)
        if len(lines) >= FLUSH_AT or self.call_later is None:
            self._flush()
        elif self._timer is None:
            self._timer = self.call_later(FLUSH_AFTER, self._flush)

    def _flush(self) -> None:
        self._timer = None
        lines, self._lines = self._lines, []
        self.output.write(lines)

    def close(self) -> None:
        """Write what waits; give a stuck reader two seconds. A line after that is written at once."""
        self.call_later = None
        self._flush()
        self.output.close()
