"""How much at once and in a time: requests, tokens and what is under way, counted in windows that slide. Pure: ``now``
is an argument, seconds of one clock that only goes forward.

What is counted stands in slices of a second (five minutes, for limits of a day), and a slice counts until all of it is
over a minute (a day) old. So whatever stretch of 60 seconds one looks at, no more is let in there than the limit: the
bound is exact. The price is that room comes back up to one slice late. Nothing is reset, and no job runs.

Tokens are taken when a request comes, by an estimate, and corrected when it is over: what it did not use is given back
in the slice in which it was taken, what it used beyond is counted when that is known. So tokens go over a limit by what
estimates were too low, and by nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from penstock.core.admit.holders import NO_PACE, Holder, Pace

MINUTE, DAY = 60.0, 86400.0
PARTS = 60  # slices of a minute: of a second each
DAY_PARTS = 288  # of a day: of five minutes each
SWEEP_FROM = 10_000  # meters, at least, that are kept without looking for idle ones
REQUESTS, TOKENS, PARALLEL = "requests", "tokens", "max_parallel_requests"  # LiteLLM's words
# LiteLLM's words for whose limit it is; those of one model have a suffix.
OF_MODEL = "model_per_"
_KINDS = {"key": "api_key", "member": "team_member", "customer": "end_user"}


Slice = list[int]
"""The number of a slice of time, -1 when it counts no more, and the requests and tokens that came in it."""


_NO_SLICE: Slice = [-1, 0, 0]
_NEVER = float("inf")


class Window:
    """What came within ``length`` seconds, in slices. ``requests`` and ``tokens`` hold as of the last ``turn``, and
    until ``until``."""

    __slots__ = ("_ends", "_last", "_parts", "_size", "_slices", "requests", "tokens", "until")

    def __init__(self, length: float = MINUTE, parts: int = PARTS) -> None:
        self._size = length / parts
        self._parts = parts
        self._slices: deque[Slice] = deque()  # oldest first
        self._last: Slice = _NO_SLICE
        self._ends = 0.0  # of the last slice
        self.requests = self.tokens = 0
        self.until = _NEVER

    def turn(self, now: float) -> Window:
        """Forget what is over; return itself."""
        if now >= self.until:
            slices = self._slices
            oldest = int(now // self._size) - self._parts
            while slices and slices[0][0] < oldest:
                over = slices.popleft()
                self.requests -= over[1]
                self.tokens -= over[2]
                over[0] = -1
            if slices:
                self.until = (slices[0][0] + self._parts + 1) * self._size
            else:
                self.until, self._ends = _NEVER, 0.0
        return self

    def add(self, requests: int, tokens: int, now: float) -> Slice:
        """Count an amount; return the slice that it is in."""
        if now < self._ends:  # also of a clock that stood still
            last = self._last
            last[1] += requests
            last[2] += tokens
        else:
            number, slices = int(now // self._size), self._slices
            last = self._last = [number, requests, tokens]
            slices.append(last)
            self._ends = (number + 1) * self._size
            if len(slices) == 1:
                self.until = (number + self._parts + 1) * self._size
        self.requests += requests
        self.tokens += tokens
        return last

    def give_back(self, requests: int, tokens: int, slice_: Slice) -> None:
        """Take an amount out of a slice, if that still counts."""
        if slice_[0] >= 0:
            slice_[1] -= requests
            slice_[2] -= tokens
            self.requests -= requests
            self.tokens -= tokens

    def correct(self, more: int, slice_: Slice, now: float) -> None:
        """Count so many tokens more than were counted in a slice, or fewer."""
        if more < 0:
            self.give_back(0, -more, slice_)
        elif more:
            self.turn(now).add(0, more, now)

    def idle(self, now: float) -> bool:
        """Tell whether it counts nothing."""
        self.turn(now)
        return not self.requests and not self.tokens

    def free_in(self, what: str, amount: int, limit: int, now: float) -> float:
        """Return the seconds until so many more of REQUESTS or TOKENS are within a limit. For an amount that never is:
        until all is over."""
        self.turn(now)
        which = 1 if what == REQUESTS else 2
        over = (self.requests if which == 1 else self.tokens) + amount - limit
        at = now
        for slice_ in self._slices:
            if over <= 0:
                break
            over -= slice_[which]
            at = (slice_[0] + self._parts + 1) * self._size
        return max(0.0, at - now)


Left = tuple[int, int, int]


class Meter:
    """What counts of one account."""

    __slots__ = ("day", "minute", "parallel")

    def __init__(self) -> None:
        self.minute = Window()
        self.day: Window | None = None
        self.parallel = 0

    def idle(self, now: float) -> bool:
        """Tell whether it is as good as a new one."""
        return not self.parallel and self.minute.idle(now) and (self.day is None or self.day.idle(now))


class Limit(NamedTuple):
    """A pace that somebody has to keep. ``account``: of what it counts; ``kind`` and ``id``: as LiteLLM's messages and
    headers name it."""

    account: str
    kind: str
    id: str
    pace: Pace


class Over(NamedTuple):
    """Why a request has to wait. ``what``: REQUESTS, TOKENS or PARALLEL; ``wait``: seconds until there is room."""

    limit: Limit
    what: str
    most: int
    left: int
    wait: float

    @property
    def in_one_model(self) -> bool:
        """Tell whether the limit is one in a model, and not of all that somebody asks."""
        return self.limit.kind.startswith(OF_MODEL)


class Held(Struct, frozen=True, gc=False):
    """What a request has taken of one limit. ``minute``, ``day``: the slices in which it counts, None where it counts
    in none. ``left``: requests, tokens and places that are left after it, -1 where there is no such limit."""

    limit: Limit
    meter: Meter
    minute: Slice | None
    day: Slice | None
    left: Left


class Taken(Struct, eq=False, gc=False):
    """What a request has taken of the limits that it counts against."""

    held: list[Held]
    tokens: int
    over: bool = False


class Common(Protocol):
    """What other processes have counted. ``count``: tell them. ``others``: requests and tokens that they have had in
    about the last minute: those of the minute under way, and of the one before the part that is not over yet.
    ``connected``: what they say is heard."""

    @property
    def connected(self) -> bool: ...

    def count(self, name: str, requests: int, tokens: int) -> None: ...
    def others(self, name: str) -> tuple[int, int]: ...


class Rates:
    """All meters of a process, by account. ``common``: what other processes count; None where nothing is shared: then
    of each limit a process has its part, of as many ``processes``. Of what is under way it has that in any case."""

    def __init__(self, common: Common | None = None, processes: int = 1) -> None:
        self.common = common
        self.processes = processes
        self._meters: dict[str, Meter] = {}
        self._sweep_at = SWEEP_FROM

    def take(self, limits: Sequence[Limit], tokens: int, now: float) -> Taken | Over:
        """Count a request against all its limits, or against none of them and say which keeps it out: of several the
        one that does so longest. ``tokens``: that it may use."""
        if len(self._meters) >= self._sweep_at:
            self._sweep(now)
        worst: Over | None = None
        held: list[Held] = []
        meters, least = self._meters, max(1, tokens)
        for limit in limits:
            meter = meters.get(limit.account) or self._make(limit)
            pace, room = limit.pace, self._room(limit, meter, now)
            requests, some, places = room
            if requests == 0 or places == 0 or 0 <= some < least or pace.a_day is not None:
                found = self._over(limit, meter, room, tokens, now)
                if found is not None and (worst is None or found.wait > worst.wait):
                    worst = found
            if worst is not None:
                continue
            meter.parallel += 1
            minute = day = None
            if requests >= 0 or some >= 0:
                minute = meter.minute.add(1, tokens, now)
            if pace.a_day is not None and meter.day is not None:
                day = meter.day.add(0, tokens, now)
            left = (
                requests - 1 if requests >= 0 else -1,
                some - tokens if some >= 0 else -1,
                places - 1 if places >= 0 else -1,
            )
            held.append(Held(limit, meter, minute, day, left))
        if worst is not None:
            self._give_back(held, tokens)
            return worst
        if self.common is not None:
            for limit in limits:
                self.common.count(limit.account, 1, 0)
        return Taken(held, tokens)

    def settle(self, taken: Taken, tokens: int, now: float) -> None:
        """End a request: it is not under way any more, and has used so many tokens."""
        if taken.over:
            return
        taken.over = True
        more, common = tokens - taken.tokens, self.common
        for held in taken.held:
            meter, minute, day = held.meter, held.minute, held.day
            meter.parallel -= 1
            if minute is not None:
                if more:
                    meter.minute.correct(more, minute, now)
                if common is not None and tokens and held.left[1] >= 0:
                    common.count(held.limit.account, 0, tokens)
            if day is not None and meter.day is not None:
                meter.day.correct(more, day, now)

    def _give_back(self, held: Sequence[Held], tokens: int) -> None:
        """Give back what a request has taken that another one of its limits keeps out."""
        for one in held:
            one.meter.parallel -= 1
            if one.minute is not None:
                one.meter.minute.give_back(1, tokens, one.minute)
            if one.day is not None and one.meter.day is not None:
                one.meter.day.give_back(0, tokens, one.day)

    def cancel(self, taken: Taken, now: float) -> None:
        """Give back all that a request has taken: it was kept out by something else."""
        if not taken.over:
            for held in taken.held:
                if held.minute is not None:
                    held.meter.minute.give_back(1, 0, held.minute)
            self.settle(taken, 0, now)

    def left(self, limit: Limit, now: float) -> Left:
        """Return how many requests, tokens and places are left of a limit; -1 where there is none."""
        return self._room(limit, self._meters.get(limit.account) or self._make(limit), now)

    def used(self, account: str, now: float) -> tuple[int, int, int, int]:
        """Return what counts of an account now: requests and tokens of the last minute, requests under way, and tokens
        of the last day. Only what somebody limits is counted."""
        requests, tokens = (0, 0) if self.common is None else self.common.others(account)
        meter = self._meters.get(account)
        if meter is None:
            return requests, tokens, 0, 0
        minute, day = meter.minute.turn(now), meter.day
        today = 0 if day is None else day.turn(now).tokens
        return requests + minute.requests, tokens + minute.tokens, meter.parallel, today

    def usage(self, limit: Limit, now: float) -> float:
        """Return the part of a limit's requests or tokens that is in use, of both the larger one: from 0 to 1."""
        requests, tokens, _ = self.left(limit, now)
        parts = ((requests, limit.pace.requests), (tokens, limit.pace.tokens))
        return max((1.0 - left / self._part(most) for left, most in parts if most), default=0.0)

    def _room(self, limit: Limit, meter: Meter, now: float) -> Left:
        """Return what a limit has room for: requests, tokens, and requests under way; -1 where it has no such bound."""
        pace, common, processes = limit.pace, self.common, self.processes
        requests = tokens = places = -1
        if pace.parallel is not None:
            places = max(0, _part(pace.parallel, processes) - meter.parallel)
        theirs = (0, 0)
        if common is not None and (pace.requests is not None or pace.tokens is not None):
            theirs, processes = common.others(limit.account), 1
        of = meter.minute
        if now >= of.until:
            of.turn(now)
        # Each request passes here for each of its limits: a call less is worth a line more.
        if (most := pace.requests) is not None:
            requests = (most if processes == 1 else _part(most, processes)) - of.requests - theirs[0]
            requests = requests if requests > 0 else 0
        if (most := pace.tokens) is not None:
            tokens = (most if processes == 1 else _part(most, processes)) - of.tokens - theirs[1]
            tokens = tokens if tokens > 0 else 0
        return requests, tokens, places

    def _over(self, limit: Limit, meter: Meter, room: Left, tokens: int, now: float) -> Over | None:
        pace, tokens = limit.pace, max(1, tokens)  # where all are used up nothing more comes in
        if room[2] == 0:
            return Over(limit, PARALLEL, pace.parallel or 0, 0, 1.0)
        if room[0] == 0:
            assert pace.requests is not None
            wait = meter.minute.free_in(REQUESTS, 1, self._part(pace.requests), now) or 1.0
            return Over(limit, REQUESTS, pace.requests, 0, wait)
        if 0 <= room[1] < tokens:
            assert pace.tokens is not None
            wait = meter.minute.free_in(TOKENS, tokens, self._part(pace.tokens), now) or 1.0
            return Over(limit, TOKENS, pace.tokens, room[1], wait)
        if pace.a_day is not None:
            day = meter.day = meter.day or Window(DAY, DAY_PARTS)
            most = _part(pace.a_day, self.processes)
            if day.turn(now).tokens + tokens > most:
                wait = day.free_in(TOKENS, tokens, most, now) or 1.0
                return Over(limit, TOKENS, pace.a_day, max(0, most - day.tokens), wait)
        return None

    def _part(self, most: int) -> int:
        return most if self.common is not None else _part(most, self.processes)

    def _make(self, limit: Limit) -> Meter:
        made = self._meters[limit.account] = Meter()
        return made

    def _sweep(self, now: float) -> None:
        """Let go of meters that count nothing, when there are twice as many as after the last time: how many stay is
        bound by how many requests come in a window."""
        self._meters = {name: meter for name, meter in self._meters.items() if not meter.idle(now)}
        self._sweep_at = max(SWEEP_FROM, 2 * len(self._meters))


def limits_of(holders: Sequence[Holder], model: str, of_keys: Pace = NO_PACE) -> list[Limit]:
    """List the limits that a request for a model counts against. ``of_keys``: in this model, of keys that have none of
    their own in it."""
    found = []
    for holder in holders:
        if holder.pace is not NO_PACE:
            kind = _KINDS.get(holder.kind, holder.kind)
            id_ = holder.id.replace("/", ":") if holder.kind == "member" else holder.id
            found.append(Limit(f"{holder.kind}:{holder.id}", kind, id_, holder.pace))
        pace = holder.by_model.get(model) if holder.by_model else None
        if pace is None and holder.kind == "key" and of_keys is not NO_PACE:
            pace = of_keys
        if pace is not None:
            account = f"{holder.kind}:{holder.id}/model:{model}"
            found.append(Limit(account, f"{OF_MODEL}{holder.kind}", f"{holder.id}:{model}", pace))
    return found


def _part(most: int, processes: int) -> int:
    """Return a process's part of a limit: at least one of it, unless it is nothing."""
    return most if processes == 1 or not most else max(1, most // processes)
