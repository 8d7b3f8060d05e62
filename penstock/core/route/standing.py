"""What traffic tells of a deployment: what it is doing, how quick it is, how it fails, whether it rests.

One per deployment, in its ``Live``. Pure: ``now`` is an argument, seconds of one clock that only goes forward.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import exp, inf
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from msgspec.structs import replace

if TYPE_CHECKING:
    from penstock.core.route.quotas import Quotas

WINDOW = 60.0  # seconds in which failures are counted together, and requests and tokens against rpm and tpm
TAU = 10.0  # seconds after which a latency sample has lost two thirds of its weight
OFTEN = 0.01  # seconds between two samples that are no worse: one sooner would weigh a thousandth
PROBE = 30.0  # seconds after which a trial that has not ended yet does not keep another one from being made
RECENT = 200  # times to an answer that are remembered
ENOUGH = 20  # of them that say what is usual
NEVER = -inf
FEW = 1  # failures in a minute that are no trouble yet: LiteLLM's figure
KEEP = 10_000  # failures that are remembered, at most
LONGEST = 600.0  # seconds that an upstream's Retry-After may let a deployment rest
DEAD_KEY = 60.0  # seconds, at least, that a deployment rests whose key the vendor refuses: nobody mends that in five
TIMED_OUT = 1000.0  # seconds that a timeout counts as in the latency (LiteLLM's figure)

CREDENTIAL = frozenset(("upstream_auth", "upstream_payment", "upstream_forbidden"))
_AT_ONCE = CREDENTIAL | {"upstream_not_found", "upstream_rate_limit"}


class Rests(Struct, frozen=True, kw_only=True):
    """When a deployment rests, and for how long. ``seconds``: 0 for never. ``fails``: the failures that are allowed,
    None where nobody said. ``by_class``: the same by LiteLLM's class of the error (``RateLimitError``)."""

    seconds: float = 5.0
    fails: int | None = None
    by_class: Mapping[str, int] = {}

    def with_own(self, fails: int | None, by_class: Mapping[str, int]) -> Rests:
        """Return the same with a deployment's own figures. One that says how many, of whatever class, does not mean
        those of the router's classes."""
        if fails is not None:
            return replace(self, fails=fails, by_class=by_class)
        return replace(self, by_class={**self.by_class, **by_class}) if by_class else self


class Common(Protocol):
    """What all processes know of one deployment, where they share it. ``cooled``: tell the others that it rests.
    ``count``: tell them what it is asked for. ``used``: the requests and tokens of all in the minute under way, and the
    seconds until that ends."""

    def cooled(self, seconds: float, why: str) -> None: ...
    def count(self, requests: int, tokens: int) -> None: ...
    def used(self) -> tuple[int, int, float]: ...


class Standing:
    """``in_flight``: tries under way. ``minute``: when the minute ends that ``requests``, ``tokens`` and ``failed``
    count. ``rests_until``: when its rest ends or has ended, 0 while nothing is held against it; ``why``: it rests.
    ``row``: failures since the last success. ``trial``: when a request was sent to see whether it is well again.
    ``unwell``: why its last health check failed; ``checked``: when that was. ``whole``: seconds a token of whole
    answers, ``first``: seconds to the first byte of streams, both as the peak that fades; ``whole_seen`` and
    ``first_seen``: when the last of either came. ``recent``: the last times to an answer, where somebody asks for them.
    ``common``: what other processes know of it, None where nothing is shared; the other figures are this process's
    own. ``quotas``: where its quotas are counted, if it has any."""

    __slots__ = (
        "checked", "common", "failed", "failures", "first", "first_seen", "in_flight", "minute", "quotas", "recent",
        "requests", "rests_until", "row", "tokens", "trial", "unwell", "whole", "whole_seen", "why",
    )  # fmt: skip

    def __init__(self) -> None:
        self.common: Common | None = None
        self.quotas: Quotas | None = None
        self.in_flight = 0
        self.requests = self.tokens = self.failed = 0
        self.minute = NEVER
        self.row = 0
        self.recent: deque[float] = deque(maxlen=RECENT)
        self.failures: deque[tuple[float, str]] = deque(maxlen=KEEP)
        self.rests_until = self.trial = 0.0
        self.why = self.unwell = ""
        self.checked = 0.0
        self.whole = self.first = 0.0
        self.whole_seen = self.first_seen = NEVER

    # What it does ----------------------------------------------------------------------------------------------------

    def turn(self, now: float) -> None:
        """Begin the minute that ``now`` is in, if it has not begun."""
        if now >= self.minute:
            self.minute = (now // WINDOW + 1.0) * WINDOW
            self.requests = self.tokens = self.failed = 0

    def ask(self, now: float) -> None:
        """Note that a request is sent to it."""
        if now >= self.minute:
            self.turn(now)
        self.requests += 1
        if self.common is not None:
            self.common.count(1, 0)
        if self.rests_until:
            self.trial = now

    def use(self, now: float, tokens: int) -> None:
        """Note the tokens of an answer."""
        self.turn(now)
        self.tokens += tokens
        if self.common is not None:
            self.common.count(0, tokens)

    def used(self, now: float) -> tuple[int, int, float]:
        """Return the requests and tokens of the minute under way, and the seconds until it ends."""
        if self.common is not None:
            return self.common.used()
        self.turn(now)
        return self.requests, self.tokens, WINDOW - now % WINDOW

    # How quick it is -------------------------------------------------------------------------------------------------

    def answered_in(self, now: float, seconds: float, tokens: int) -> None:
        """Note the time that a whole answer took."""
        sample = seconds / tokens if tokens > 1 else seconds
        if sample > self.whole or now - self.whole_seen > OFTEN:
            self.whole = _peak(self.whole, self.whole_seen, now, sample)
            self.whole_seen = now

    def began_in(self, now: float, seconds: float) -> None:
        """Note the time to the first byte of a stream."""
        if seconds > self.first or now - self.first_seen > OFTEN:
            self.first = _peak(self.first, self.first_seen, now, seconds)
            self.first_seen = now

    def latency(self, now: float, stream: bool, ttl: float) -> float:
        """Return how long it takes: 0 where that is not known, so that it is found out. What is old fades."""
        if stream:
            age = now - self.first_seen
            return self.first * exp(-age / TAU) if age < ttl else 0.0
        age = now - self.whole_seen
        return self.whole * exp(-age / TAU) if age < ttl else 0.0

    def quickness(self, stream: bool) -> tuple[float, float]:
        """Return the latency as it was seen last, and when."""
        return (self.first, self.first_seen) if stream else (self.whole, self.whole_seen)

    def hear(self, stream: bool, value: float, seen: float) -> None:
        """Note a latency that another process has seen."""
        if stream:
            self.first, self.first_seen = value, seen
        else:
            self.whole, self.whole_seen = value, seen

    def usual(self) -> float | None:
        """Return the time in which it answers 95 of 100 requests; None while too few are known."""
        if len(self.recent) < ENOUGH:
            return None
        return sorted(self.recent)[int(len(self.recent) * 0.95)]

    # How it fails ----------------------------------------------------------------------------------------------------

    def succeeded(self, now: float) -> None:
        """Note a success: what was held against it is over. While it rests, that is no news: the try had begun before,
        and a stream's may have begun long before."""
        if now < self.rests_until:
            return
        self.row = 0
        if self.rests_until:
            self.rests_until = self.trial = 0.0
            self.why = ""

    def count_failure(self, now: float) -> None:
        """Count a failure of the upstream's in its minute."""
        self.turn(now)
        self.failed += 1

    def has_trouble(self, now: float) -> bool:
        """Tell whether it rests, or has failed more than once in the minute under way."""
        return now < self.rests_until or (self.failed > FEW and now < self.minute)

    def fail(self, kind: str, name: str, told: float | None, now: float, rests: Rests, alone: bool) -> float:
        """Note a failure of the upstream's; return the seconds that it rests from now on, 0 for none.

        ``kind``: of ``errors.TABLE``; ``name``: its class in LiteLLM's words. ``told``: the wait that the upstream asks
        for. ``alone``: it is the only deployment of its group, which rests only when nearly everything fails (and the
        group is blocked only where there is another one to go to)."""
        self.count_failure(now)
        least = max(DEAD_KEY if kind in CREDENTIAL else 0.0, min(told or 0.0, LONGEST))
        if now < self.rests_until and now + least < self.rests_until + 1.0:
            return 0.0  # a try from before the rest says nothing new: fifty under way began it fifty times
        self.row += 1
        self.failures.append((now, name))
        if not rests.seconds or not self._should_rest(kind, name, now, rests, alone):
            return 0.0
        seconds = max(rests.seconds, least)
        self.rest(now, seconds, name)
        if self.common is not None:
            self.common.cooled(seconds, name)
        return seconds

    def rest(self, now: float, seconds: float, why: str) -> None:
        """Let it rest, at least so long."""
        self.rests_until = max(self.rests_until, now + seconds)
        self.why = why
        self.trial = 0.0
        self.row = 0
        self.failures.clear()

    def _should_rest(self, kind: str, name: str, now: float, rests: Rests, alone: bool) -> bool:
        if self.rests_until and now >= self.rests_until:
            return True  # the trial failed
        allowed = rests.by_class.get(name, rests.fails)
        if allowed is not None:  # in a row, or in the window (C-16: both readings of the key are in the field)
            return self.row >= max(1, allowed) or self._in_window(name, now, rests) > allowed
        if kind in _AT_ONCE and not alone:
            return True
        if alone:  # LiteLLM's rule for a deployment that nobody can stand in for
            return self.requests >= 1000 and self.failed >= self.requests
        return self.row >= 3 or (self.requests >= 5 and self.failed * 2 > self.requests)

    def _in_window(self, name: str, now: float, rests: Rests) -> int:
        """Count the failures of the window: of one class where that has a figure of its own, else of all that have
        none."""
        while self.failures and now - self.failures[0][0] > WINDOW:
            self.failures.popleft()
        if name in rests.by_class:
            return sum(other == name for _, other in self.failures)
        return sum(other not in rests.by_class for _, other in self.failures)

    # Whether it may be asked ------------------------------------------------------------------------------------------

    def resting(self, now: float) -> str:
        """Tell why it may not be asked now, "" when it may. After its rest one request goes at a time, until one
        succeeds."""
        if not self.rests_until:
            return ""
        if now < self.rests_until:
            return f"rests for {self.rests_until - now:.1f} s more after {self.why}"
        if self.trial and now - self.trial < PROBE:
            return f"is being tried again after {self.why}"
        return ""


def _peak(value: float, seen: float, now: float, sample: float) -> float:
    """Return the peak of a series that fades: a worse sample counts at once, a better one by and by (Finagle's Peak
    EWMA)."""
    if sample >= value:
        return sample
    weight = exp((seen - now) / TAU) if seen < now else 1.0
    return sample + (value - sample) * weight
