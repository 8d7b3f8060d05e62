"""What both doors hold a client to while the body of its request comes, and behind an answer that came before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from penstock.runtime.coming import Coming
    from penstock.runtime.http.source import Source

BODY_STALL = 30.0  # seconds without a body byte
BODY_TIME = 300.0  # seconds for a whole body
SLOWEST = 16 * 1024  # bytes per second that an upload must have after that, on the average of the whole
SWALLOWED = 64 * 1024  # bytes left of a body that are read for the sake of the connection: a new one costs more


def length_of(headers: Mapping[bytes, bytes]) -> int | None:
    """Return the length of a body as its head tells it; None where it does not."""
    told = headers.get(b"content-length")
    return int(told[:20]) if told is not None and told.isdigit() else None


def expects_word(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether the client waits for "100 Continue" before it sends the body."""
    return headers.get(b"expect", b"").lower() == b"100-continue"


def swallows(coming: Coming | Source, asked: bool) -> bool:
    """Tell whether so little is left of a body that nobody wants that its connection can go on. ``asked``: the client
    was told to send it, or did not wait to be."""
    if coming.length is None or not asked or coming.failed or coming.given_up:
        return False
    return coming.length - coming.received <= SWALLOWED


def stalled() -> GatewayError:
    """Make the error of a client that has stopped sending."""
    return GatewayError("request_timeout", f"No byte of the request's body came for {BODY_STALL:g} s.")


def too_slow(received: int, seconds: float, upload: bool) -> GatewayError | None:
    """Judge a body of which this much has come in so many seconds: the error of a client that is slow on purpose."""
    if seconds <= BODY_TIME + (received / SLOWEST if upload else 0.0):
        return None
    text = f"The request's body came too slowly: {received} bytes in {seconds:.0f} s."
    return GatewayError("request_timeout", text)
