"""Log messages as lines of the request log, in its format."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

from penstock.runtime.records import as_json, as_text, stamp

if TYPE_CHECKING:
    from penstock.runtime.records import LogSink


def write_lines(sink: LogSink, verbose: bool, json_lines: bool) -> None:
    """Write records and log messages to ``sink``, in one form. May be called again with another."""
    sink.render = as_json if json_lines else as_text
    root = logging.getLogger()
    root.handlers[:] = [_LineHandler(sink, json_lines)]
    root.setLevel(logging.DEBUG if verbose else logging.WARNING)
    logging.getLogger("penstock").setLevel(logging.DEBUG if verbose else logging.INFO)
    # uvicorn's own lines are about things that we say ourselves.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)


class _LineHandler(logging.Handler):
    def __init__(self, sink: LogSink, json_lines: bool) -> None:
        super().__init__()
        self._sink = sink
        self._json = json_lines
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        if not self._json:
            self._sink.line(f"{stamp(record.created)} {self.format(record)}\n")
            return
        line = {
            "time": stamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._sink.line(json.dumps(line) + "\n")
