"""How many bytes this process holds for requests and for whole answers, and that they are not too many.

What is streamed is not counted: whoever reads slowly holds its sender back. A body counts as long as its exchange lives
and a whole answer from when it comes until it is written; a body in memory costs up to three times its length, while
it is copied from one form into the next.
"""

from __future__ import annotations

import sys
from typing import Protocol

from penstock.core.errors import GatewayError

RETRY_AFTER = 2.0  # seconds: what is held is mostly gone by then
_SETTING = "general_settings.max_held_mb"


class Holder(Protocol):
    """Whom bytes are held for: an exchange. ``held``: how many."""

    held: int


class Held:
    """The count of one process. ``size``: bytes held now. ``limit``: bytes that may be; a reload may change it.

    Every byte is noted on the exchange that holds it, and given back once, when that ends."""

    __slots__ = ("limit", "size")

    def __init__(self, limit: int = sys.maxsize) -> None:
        self.limit = limit
        self.size = 0

    def take(self, holder: Holder, size: int) -> None:
        """Note ``size`` more bytes of a request. Raises "overloaded" when there is no room for them now, "too_large"
        when there never is."""
        if not self.fits(holder, size):
            raise self.refusal(holder.held + size)

    def fits(self, holder: Holder, size: int) -> bool:
        """Note ``size`` more bytes of a request, where there is room for them; else False."""
        if self.size + size > self.limit:
            return False
        self.size += size
        holder.held += size
        return True

    def free(self, holder: Holder) -> None:
        """Give back what a holder has taken. May be called again: it has nothing then."""
        self.size -= holder.held
        holder.held = 0

    def refusal(self, size: int) -> GatewayError:
        """Make the error of a request that would take ``size`` bytes in all."""
        if size > self.limit:
            text = f"The request needs {size} bytes of memory; all together may have {self.limit} ({_SETTING})."
            return GatewayError("too_large", text)
        text = f"The gateway holds {self.size} bytes for other requests, and may hold {self.limit} ({_SETTING}); "
        return GatewayError("overloaded", text + "send the request again.", retry_after=RETRY_AFTER)
