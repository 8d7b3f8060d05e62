"""What the process says beside its records: log messages as lines of the request log, in its format, and the few lines
before there is a log. With JSON lines nothing else is written, whoever says it."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from penstock.runtime.record_text import as_json, as_text, quiet, stamp

if TYPE_CHECKING:
    from penstock.config import Config
    from penstock.runtime.records import LogSink
    from penstock.server.options import ServeOptions

LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR,
          "CRITICAL": logging.CRITICAL}  # fmt: skip
_MOST = 20_000  # characters of a traceback: its end tells most
_YES = frozenset(("true", "1", "yes", "on"))


def wants_json(options: ServeOptions, env: Mapping[str, str], config: Config | None = None) -> bool:
    """Tell whether lines are JSON: as the command line says, else when `JSON_LOGS` or the config says so (LiteLLM's
    names)."""
    if options.json_logs is not None:
        return options.json_logs
    return env.get("JSON_LOGS", "").strip().lower() in _YES or (config is not None and config.general.json_logs)


def level_of(options: ServeOptions, env: Mapping[str, str], config: Config | None = None) -> int:
    """Return the level of the log: as the command line says, else `LITELLM_LOG` (LiteLLM's name), else the config."""
    if options.verbose:
        return logging.DEBUG
    named = LEVELS.get(env.get("LITELLM_LOG", "").strip().upper())
    if named is not None:
        return named
    verbose = config is not None and (config.general.set_verbose or config.router.verbose)
    return logging.DEBUG if verbose else logging.INFO


def tell(text: str, json_lines: bool, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Say something where no log is yet: on standard error, or on ``stream``. As JSON it is one line, however many the
    text has."""
    stream = stream or sys.stderr
    try:
        stream.write(json_line(level, text) if json_lines else text + "\n")
        stream.flush()
    except (OSError, ValueError):
        return  # nobody can read it; the gateway serves all the same


def json_line(level: str, text: str, **more: str) -> str:
    """Render a message as a line of the JSON log."""
    line = {"time": stamp(time.time()), "level": level, "logger": "penstock", "message": text, **more}
    return json.dumps(line) + "\n"


def write_lines(sink: LogSink, level: int, json_lines: bool, clean: Callable[[str], str] = str) -> None:
    """Write records and log messages of ``level`` and above to ``sink``, in one form. ``clean`` takes secrets out of a
    message. May be called again with another form or level."""
    render = as_json if json_lines else as_text
    sink.render = render if level <= logging.INFO else quiet(render)
    sink.output.remark = _remark if json_lines else str
    root = logging.getLogger()
    root.handlers[:] = [_LineHandler(sink, json_lines, clean)]
    # Libraries at their DEBUG tell signatures and heads of requests: of them only what is wrong is of use.
    root.setLevel(max(level, logging.WARNING))
    logging.getLogger("penstock").setLevel(level)
    logging.captureWarnings(True)
    _catch_the_rest(json_lines)


def _remark(text: str) -> str:
    """Render a remark of the log's own as a line of JSON."""
    return json_line("WARNING", text.rstrip("\n"))


def _catch_the_rest(json_lines: bool) -> None:
    """Log what ends the process or a thread, which Python would write to standard error in lines of its own."""
    if not json_lines:
        sys.excepthook, threading.excepthook = sys.__excepthook__, threading.__excepthook__
        return

    def ends(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        lines = "".join(traceback.format_exception(kind, error, trace))
        os.write(2, json_line("CRITICAL", f"{kind.__name__}: {error}", traceback=lines).encode())

    def thread_ends(told: threading.ExceptHookArgs) -> None:
        ends(told.exc_type, told.exc_value or told.exc_type(), told.exc_traceback)

    sys.excepthook, threading.excepthook = ends, thread_ends


class _LineHandler(logging.Handler):
    def __init__(self, sink: LogSink, json_lines: bool, clean: Callable[[str], str]) -> None:
        super().__init__()
        self._sink = sink
        self._json = json_lines
        self._clean = clean
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # arguments that do not fit: a slip in some library, and no reason to be silent
            message = f"{record.msg} {record.args!r}"
        trace = logging.Formatter().formatException(record.exc_info)[-_MOST:] if record.exc_info else ""
        if not self._json:
            text = f"{record.levelname} {record.name}: {message}" + (f"\n{trace}" if trace else "")
            self._sink.line(f"{stamp(record.created)} {self._clean(text)}\n")
            return
        line = {
            "time": stamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": self._clean(message),
        }
        if trace:
            line["traceback"] = self._clean(trace)
        self._sink.line(json.dumps(line) + "\n")
