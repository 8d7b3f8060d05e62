"""Answers of pages that are sent piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.runtime.call import Call

LIVE = b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
"""Lines for pieces that come as something happens."""
DOWNLOAD = b"x-content-type-options: nosniff\r\ncontent-disposition: attachment\r\n"
"""Lines for what a browser is to show in no page."""


class Streamed:
    """An answer that is sent no faster than its client reads. ``size`` None: not known before. ``lines``: of its
    head."""

    def __init__(
        self, content_type: bytes, size: int | None, pieces: AsyncIterator[bytes], lines: bytes = b""
    ) -> None:
        self._content_type, self._size, self._pieces, self._lines = content_type, size, pieces, lines
        self._room = asyncio.Event()
        self._room.set()

    def pause(self) -> None:
        """Wait with the next piece."""
        self._room.clear()

    def resume(self) -> None:
        """Go on."""
        self._room.set()

    async def send(self, call: Call) -> None:
        """Send it by the call's outlet."""
        outlet = call.outlet
        head = b"content-type: %b\r\n%bx-litellm-call-id: %b\r\n"
        head %= (self._content_type, self._lines, call.call_id.encode())
        framing = None if self._size is None else b"content-length: %d\r\n" % self._size
        outlet.pass_head(call, 200, head, b"" if framing is None and call.exchange.method == "HEAD" else framing)
        if call.exchange.method != "HEAD":
            outlet.feed_from(self)
            try:
                async for piece in self._pieces:
                    await self._room.wait()
                    outlet.pass_on(piece)
            finally:
                outlet.feed_from(None)
        outlet.finish()
