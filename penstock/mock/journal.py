"""The mock's journal: a line of JSON when a request has come and one when it is over, in a file that outlives the mock.

What a mock that is killed had received and served can be counted from it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from penstock.mock.reply import encode

if TYPE_CHECKING:
    from penstock.mock.server import Received  # circle: the server that writes its journal makes what stands in it


class Journal:
    """An open journal. A line is one `write` of its own: what was written is in the file, whatever happens then.

    `id` is the request's `x-request-id`, by which a gateway's callers and its upstreams know the same request. `end`:
    `began`; `answered`; `cut` (the script had the mock hang up); `left` (the client did, before the answer was out).
    `bytes`, `events` and `sum` (CRC-32) are the body's, without the framing. Raises OSError where it cannot be."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def began(self, one: Received) -> None:
        """Write that a request has come."""
        self._write({"number": one.number, "id": one.header("x-request-id"), "path": one.path, "end": "began"})

    def ended(self, one: Received) -> None:
        """Write how a request ended."""
        self._write(
            {
                "number": one.number,
                "id": one.header("x-request-id"),
                "path": one.path,
                "end": "left" if one.closed_early else "cut" if one.cut else "answered",
                "status": one.status,
                "events": one.sent_events,
                "bytes": one.sent_bytes,
                "sum": one.sum,
            }
        )

    def _write(self, line: dict[str, object]) -> None:
        os.write(self._file, encode(line) + b"\n")

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
