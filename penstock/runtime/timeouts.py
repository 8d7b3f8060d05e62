"""How long a target is waited for: as its deployment says, or as the request does."""

from __future__ import annotations

from penstock.runtime.http import Timeouts

CONNECT_TIMEOUT = 10.0


def of_whole(seconds: float) -> Timeouts:
    """Make the timeouts of an answer that is there as a whole after so many seconds."""
    connect = min(CONNECT_TIMEOUT, seconds)
    return Timeouts(connect=connect, first_byte=seconds, stall=seconds, total=seconds, pool=seconds)


def of_stream(seconds: float, connect: float = CONNECT_TIMEOUT) -> Timeouts:
    """Make the timeouts of a stream: so many seconds to its first byte, and between two of them."""
    connect = min(CONNECT_TIMEOUT, connect)
    return Timeouts(connect=connect, first_byte=seconds, stall=seconds, total=None, pool=seconds)
