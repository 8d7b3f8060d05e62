"""What a deployment may use beside its requests and tokens of a minute: a row each. Pure.

A window is of the calendar: a minute, or a day that begins when the provider's does. The others (``rpm``, ``tpm``) are
weights, too, and stand with ``standing``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

MINUTE, DAY = 60, 86_400
CLOCK_FORMS = "a time of day such as 00:00, 07:30 or 00:00-08:00 (with what it is ahead of UTC)"
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?\s*(?:Z|UTC|([+-])(0\d|1[0-4]):?([0-5]\d)?)?", re.I)


class Span(NamedTuple):
    """Windows of so many seconds, the first of which begins ``begins`` seconds after 1970 did."""

    seconds: int
    begins: int = 0

    def number(self, wall: float) -> int:
        """Return the number of the window of a time, in seconds since 1970."""
        return int((wall - self.begins) // self.seconds)

    def left(self, wall: float) -> float:
        """Return the seconds until the window of a time ends."""
        return self.seconds - (wall - self.begins) % self.seconds


class Asks(NamedTuple):
    """What a request takes, or has taken: of each ``what`` of a quota."""

    requests: int = 0
    input: int = 0
    output: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output


class Quota(NamedTuple):
    """At most ``most`` of ``what`` in each window. ``key``: what it is called in a config; ``words``: in a message."""

    key: str
    what: str
    span: Span
    most: int
    words: str


class Exhausted(NamedTuple):
    """A quota that has no room for a request. ``seconds``: until its window ends."""

    quota: Quota
    used: int
    seconds: float


class Quotas(Protocol):
    """What deployments have used of their quotas. ``over``: the first one that has no room for what a request asks."""

    def over(self, live_id: str, quotas: Sequence[Quota], asks: Asks) -> Exhausted | None: ...


# key: what counts, the length of its windows, and its words.
KINDS: Mapping[str, tuple[str, int, str]] = {
    "itpm": ("input", MINUTE, "input tokens of this minute"),
    "otpm": ("output", MINUTE, "output tokens of this minute"),
    "rpd": ("requests", DAY, "requests of this day"),
    "tpd": ("tokens", DAY, "tokens of this day"),
}


def read_quotas(params: Mapping[str, Any]) -> tuple[Quota, ...]:
    """Read the quotas of a deployment's parameters."""
    begins = seconds_of(str(params.get("daily_reset_time") or "00:00"))
    return tuple(
        Quota(key, what, Span(seconds, begins if seconds == DAY else 0), params[key], words)
        for key, (what, seconds, words) in KINDS.items()
        if params.get(key)
    )


def seconds_of(clock: str) -> int:
    """Read a time of day as the seconds after midnight in UTC. Raises ``ValueError`` with the forms that would do."""
    found = _CLOCK.fullmatch(clock.strip()) if len(clock) <= 20 else None
    if found is None:
        raise ValueError(f"{clock[:40]!r} is no time of day: write {CLOCK_FORMS}")
    hours, minutes, seconds, sign, ahead, more = found.groups()
    offset = (int(ahead or 0) * 3600 + int(more or 0) * 60) * (-1 if sign == "-" else 1)
    return (int(hours) * 3600 + int(minutes) * 60 + int(seconds or 0) - offset) % DAY
