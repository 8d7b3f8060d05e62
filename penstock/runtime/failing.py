"""What a client is told of a try that failed: what ended it, as an error of the gateway's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.core.envelope import MAX_DEPTH_TEXT
from penstock.core.errors import GatewayError, shed
from penstock.runtime.held import RETRY_AFTER
from penstock.runtime.http import (
    BodyTruncated,
    ConnectTimeout,
    FirstByteTimeout,
    LocalLimit,
    PoolTimeout,
    ProtocolError,
    StallTimeout,
    TooLarge,
    TotalTimeout,
    TransportError,
)

if TYPE_CHECKING:
    from penstock.runtime.attempt import Attempt

# Transport errors to kinds; the first class that fits.
_TRANSPORT: tuple[tuple[type[TransportError] | tuple[type[TransportError], ...], str], ...] = (
    (LocalLimit, "overloaded"),
    ((ConnectTimeout, FirstByteTimeout, StallTimeout, TotalTimeout, PoolTimeout), "timeout"),
    ((ProtocolError, BodyTruncated, TooLarge), "broken_answer"),
    (TransportError, "connect"),
)


def failure_of(attempt: Attempt, error: GatewayError | TransportError | RecursionError) -> GatewayError:
    """Turn what ended a try into what its client is told."""
    if isinstance(error, RecursionError):  # what passed the door's reader may be too deep for one that stands deeper
        return _too_deep(attempt)
    shed(error)
    if isinstance(error, TransportError):
        return client_error(error, attempt.first_at is not None)
    if error.kind == "broken_stream" and attempt.first_at is None:
        # Nothing of it has reached the client: another target can still answer.
        return GatewayError("broken_answer", error.message)
    return error


def _too_deep(attempt: Attempt) -> GatewayError:
    """Blame who sent what is nested too deeply: the upstream, once it was asked."""
    if not attempt.since and not attempt.upstream:
        return GatewayError("bad_request", MAX_DEPTH_TEXT)
    kind = "broken_answer" if attempt.first_at is None else "broken_stream"
    return GatewayError(kind, "The upstream's answer is nested too deeply.")


def client_error(error: TransportError, begun: bool) -> GatewayError:
    """Turn a transport error into what a client is told of it. ``begun``: a part of the answer is out."""
    kind = next(kind for classes, kind in _TRANSPORT if isinstance(error, classes))
    if begun and kind not in ("timeout", "overloaded"):
        kind = "broken_stream"
    return GatewayError(kind, str(error), retry_after=RETRY_AFTER if kind == "overloaded" else None)
