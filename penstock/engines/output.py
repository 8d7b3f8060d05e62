"""What whoever started the engines sees: their lines with a prefix, progress, and what went wrong."""

from __future__ import annotations

import re
import sys
import threading

# Control sequences of terminals, and control characters: an engine's log has words of its clients in it.
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return the text without what would change a terminal."""
    return _CONTROL.sub("", text)


class Output:
    """Two streams that several threads write whole lines to. A reader that has left ends nothing."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Write lines to standard output."""
        self._write(text, False)

    def complain(self, text: str) -> None:
        """Write lines to standard error."""
        self._write(text, True)

    def _write(self, text: str, error: bool) -> None:
        stream = sys.stderr if error else sys.stdout
        with self._lock:
            try:
                stream.write(text + "\n")
                stream.flush()
            except (OSError, ValueError):  # closed: an engine is not stopped because nobody reads its log
                return
