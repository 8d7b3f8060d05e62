"""Says that there are no descriptors left for new connections, once in a while and not per connection."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from penstock.runtime.http import out_of_files

log = logging.getLogger("penstock")
AGAIN = 60.0  # seconds between two such lines


class Descriptors:
    """The watch over the descriptors of one process.

    uvloop takes no connection while there are none left and says nothing of it; asyncio logs a traceback for each
    place in the queue of the socket, two thousand a second."""

    def __init__(self) -> None:
        self._said_at = float("-inf")

    def look(self, now: float) -> None:
        """Try whether there is a descriptor left, and say so when there is none. Called about once a second."""
        if text := out_of_files():
            self._say(text, now)

    def on_error(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle what nobody has handled in a loop: what is not about descriptors, as the loop would by itself."""
        error = context.get("exception")
        if isinstance(error, OSError) and (text := out_of_files(error)):
            self._say(text, loop.time())
        else:
            loop.default_exception_handler(context)

    def _say(self, text: str, now: float) -> None:
        if now - self._said_at >= AGAIN:
            self._said_at = now
            log.error("%s; until then new connections wait or are closed", text)
