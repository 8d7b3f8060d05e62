"""What a gateway that is told to be verbose says of each request: where it may go, where it went, what was changed on
the way, how long it took and why it failed. What clients and models say is not in it unless that is asked for.

There is a ``Trace`` in the ``Means`` of calls only while somebody wants to read it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from penstock.config.secret import is_secret_name
from penstock.core.dialects.redact import MASK
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError

if TYPE_CHECKING:
    from msgspec import Raw

    from penstock.core.route.plan import Plan
    from penstock.runtime.attempt import Attempt
    from penstock.runtime.call import Call
    from penstock.runtime.endpoint import Endpoint
    from penstock.runtime.targets import Target

log = logging.getLogger("penstock")
MOST = 20  # names in a list
LONGEST = 10_000  # bytes of a body


class Trace:
    """Writes to the log at its DEBUG level. ``bodies``: what is sent and answered, too."""

    def __init__(self, bodies: bool = False) -> None:
        self._bodies = bodies

    def planned(self, call: Call, plan: Plan[Target]) -> None:
        """Say which targets a request may go to."""
        groups = []
        for name, targets in plan.targets.items():
            shown = ", ".join(f"{target.label} ({target.id[:12]})" for target in targets[:MOST])
            groups.append(f"{name!r}: {shown or 'nobody'}{_more(len(targets))}")
        first, *others = groups or ["nobody"]
        behind = f"; fallbacks: {'; '.join(others)}" if others else ""
        stream = ", streamed" if call.stream else ""
        log.debug("call=%s %s for %s%s%s", call.call_id, call.exchange.path, first, stream, behind)

    def asks(self, attempt: Attempt, endpoint: Endpoint, body: object) -> None:
        """Say where an attempt goes, and what differs from what the client sent."""
        call, target = attempt.call, attempt.target
        timeouts = attempt.timeouts(attempt.stream)
        log.debug(
            "call=%s try %d: %s at %s (lane %s, first byte within %s s)%s",
            call.call_id,
            attempt.number,
            target.label,
            shown_url(endpoint.url),
            attempt.lane or "own",
            timeouts.first_byte,
            _changes(attempt, body),
        )
        if self._bodies and isinstance(body, bytes):
            log.debug("call=%s try %d sends %s", call.call_id, attempt.number, _text(body))

    def passes(self, attempt: Attempt, endpoint: Endpoint) -> None:
        """Say where a request goes that is passed through."""
        call = attempt.call
        where = shown_url(endpoint.url)
        log.debug("call=%s %s is passed through to %s", call.call_id, call.exchange.method, where)
        if self._bodies:
            log.debug("call=%s sends %s", call.call_id, _text(call.exchange.body))

    def ended(self, attempt: Attempt, error: GatewayError | None) -> None:
        """Say how an attempt ended, and how long it took."""
        call = attempt.call
        took = f"{attempt.upstream * 1000:.1f} ms"
        if attempt.first_at is not None:
            took += f", first byte out {(attempt.first_at - call.exchange.started) * 1000:.1f} ms after the request"
        if error is None:
            log.debug("call=%s try %d: answered; upstream %s", call.call_id, attempt.number, took)
        else:
            what = {"no": "final", "target": "another try may follow", "other": "another deployment may follow"}
            then = what.get(error.row.retry, "a fallback may follow")
            text = "call=%s try %d: %s, status %d, upstream %s (%s): %s"
            log.debug(text, call.call_id, attempt.number, error.kind, error.status, took, then, error.message)
        if self._bodies and attempt.tail:
            log.debug("call=%s try %d answers %s", call.call_id, attempt.number, _text(attempt.tail))


def shown_url(url: str) -> str:
    """Render a URL for the log: without a password, and without the values of fields that hold a key."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = "&".join(f"{k}={MASK if is_secret_name(k) else v}" for k, v in parse_qsl(parts.query, True))
    return f"{parts.scheme}://{host}{parts.path}{'?' if query else ''}{query}"


def _changes(attempt: Attempt, body: object) -> str:
    """Name the fields that were added, changed and left out, and what the target cannot be told."""
    said = ""
    if isinstance(body, bytes):
        try:
            sent = open_body(body)
        except GatewayError:
            sent = {}
        said = _differences(attempt.call.fields, sent) if sent and attempt.lane != "cross" else _translated(sent)
    if attempt.losses:
        lost = ", ".join(f"{loss.path} ({loss.why})" for loss in attempt.losses[:MOST])
        said += f"; dropped: {lost}{_more(len(attempt.losses))}"
    return said


def _translated(sent: Mapping[str, Raw]) -> str:
    return f"; translated to: {', '.join([*sent][:MOST])}{_more(len(sent))}" if sent else ""


def _differences(given: Mapping[str, Raw], sent: Mapping[str, Raw]) -> str:
    told = {
        "added": [name for name in sent if name not in given],
        "changed": [name for name in sent if name in given and bytes(sent[name]) != bytes(given[name])],
        "left out": [name for name in given if name not in sent],
    }
    return "".join(f"; {verb}: {', '.join(names[:MOST])}{_more(len(names))}" for verb, names in told.items() if names)


def _more(count: int) -> str:
    return f" and {count - MOST} more" if count > MOST else ""


def _text(data: bytes) -> str:
    more = f"... ({len(data)} bytes)" if len(data) > LONGEST else ""
    return data[:LONGEST].decode("utf-8", "replace") + more
