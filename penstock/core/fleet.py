"""Which local engines are loaded, who waits for one, and what is started or stopped next.

A machine of states without a clock and without a process. Whoever runs it tells what happened (``ask``, ``leave``,
``started``, ``ended``, ...), each with the time, and carries out what ``decide`` returns. Laws, which
tests/laws/test_fleet_laws.py holds it to: what is loaded fits, also while one ends and another starts; no engine is
stopped while it answers; nobody is overtaken for longer than ``swap_after`` by requests for an engine that stands in
the way.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal, NamedTuple

from msgspec import Struct

State = Literal["unloaded", "starting", "ready", "stopping"]
OFF: State = "unloaded"
STARTING: State = "starting"
READY: State = "ready"
STOPPING: State = "stopping"
ANYBODY = "*"  # for whom an engine closes that is to end whoever waits: it is stopped by hand, or is another one now
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before an engine that failed is started again
NEVER = float("inf")
STEADY = 60.0  # seconds of service after which a failure counts as the first


class Member(Struct, frozen=True):
    """What an engine takes. ``vram``: bytes. ``ttl``: seconds without a request after which it ends, None for never.
    ``together``: the group with which it shares a slot, empty for none. ``apart``: those that are never loaded beside
    it."""

    vram: int = 0
    ttl: float | None = None
    together: frozenset[str] = frozenset()
    apart: frozenset[str] = frozenset()


class Share(Struct, frozen=True):
    """What the engines share. ``slots`` and ``vram`` (bytes): None for any number. ``swap_after``: seconds that an
    engine may take new requests while another waits for its place. ``max_wait``: seconds that anybody waits.
    ``default``: the one that is loaded whenever there is room, "" for none."""

    members: Mapping[str, Member]
    slots: int | None = 1
    vram: int | None = None
    swap_after: float = 10.0
    max_wait: float = 300.0
    default: str = ""

    def fits(self, loaded: Mapping[str, Member]) -> bool:
        """Tell whether engines may be loaded at the same time."""
        if self.slots is not None and count_slots(loaded.values()) > self.slots:
            return False
        if self.vram is not None and sum(member.vram for member in loaded.values()) > self.vram:
            return False
        return not any(member.apart.intersection(loaded) for member in loaded.values())


def count_slots(loaded: Collection[Member]) -> int:
    """Count the slots that engines take: those of a group that is loaded together take one."""
    alone = sum(not member.together for member in loaded)
    return alone + len({member.together for member in loaded if member.together})


class Seat(Struct):
    """Where one engine stands. ``member``: what it takes, where it is loaded. ``entered``: when its state began.
    ``queue``: who waits for it, by number, with the time since when; ``running``: who was let in. ``idle_since``: when
    it had its last request. ``closing``: for whom it takes no new requests, "" for nobody. ``fresh``: ready, and who
    waited for that was not let in yet. ``held``: stopped by hand, so requests are refused. ``dismissed``: unloaded by
    hand, so it comes back for requests alone. ``wanted``: to be there also without a request. ``failures``: in a row;
    ``retry_at``: when it may be started again; ``why``: how it ended last. ``failed_start``: it was never ready
    then."""

    member: Member
    state: State = OFF
    entered: float = 0.0
    queue: dict[int, float] = {}
    running: set[int] = set()
    idle_since: float = 0.0
    closing: str = ""
    fresh: bool = False
    held: bool = False
    dismissed: bool = False
    wanted: bool = False
    failures: int = 0
    retry_at: float = 0.0
    why: str = ""
    failed_start: bool = False

    @property
    def head(self) -> tuple[float, int]:
        """Return when the one came that waits longest, and its number."""
        number = next(iter(self.queue))
        return self.queue[number], number

    def move(self, state: State, now: float) -> None:
        """Note a new state."""
        self.state, self.entered = state, now


class Start(NamedTuple):
    """Start an engine."""

    engine: str


class Stop(NamedTuple):
    """Stop an engine."""

    engine: str


class Admit(NamedTuple):
    """Let somebody in."""

    number: int
    engine: str


class Refuse(NamedTuple):
    """Send somebody away. ``why``: "late" (waited too long), "failed" (the engine does not start), "held" (it is
    stopped), "gone" (there is no such engine any more)."""

    number: int
    engine: str
    why: Literal["late", "failed", "held", "gone"]


Step = Start | Stop | Admit | Refuse


class Fleet:
    """Engines that share a machine. ``seats``: by name, also of engines that are gone from the config and still run."""

    def __init__(self, share: Share) -> None:
        self.share = share
        self.seats: dict[str, Seat] = {name: Seat(member) for name, member in share.members.items()}
        self._engine_of: dict[int, str] = {}
        self._count = 0
        self._due: list[float] = []  # when an engine must make room, as far as that is known
        self._gone: list[Refuse] = []
        self._places: dict[int, int] | None = None  # of all who wait, until something happens

    # What happened. ---------------------------------------------------------------------------------------------------

    def ask(self, now: float, engine: str) -> int:
        """Put somebody into the line before an engine, and return his number. Raises ``KeyError`` for one that is not
        there."""
        if engine not in self.share.members:
            raise KeyError(engine)
        self._count += 1
        self._places = None
        seat = self.seats[engine]
        seat.queue[self._count] = now
        seat.dismissed = False
        self._engine_of[self._count] = engine
        return self._count

    def leave(self, now: float, number: int) -> None:
        """Note that somebody is done, or waits no longer. May be called again."""
        engine, self._places = self._engine_of.pop(number, ""), None
        if not engine or engine not in self.seats:
            return
        seat = self.seats[engine]
        seat.queue.pop(number, None)
        if number in seat.running:
            seat.running.discard(number)
            seat.idle_since = now

    def started(self, now: float, engine: str) -> None:
        """Note that an engine is ready."""
        seat = self.seats[engine]
        if seat.state is STARTING:
            seat.move(READY, now)
            seat.idle_since = now
            seat.fresh, seat.wanted, seat.why, seat.failed_start = True, False, "", False

    def ended(self, now: float, engine: str, why: str = "") -> None:
        """Note that nothing is left of an engine. ``why``: how it ended, where nobody had stopped it."""
        seat = self.seats[engine]
        before, stood = seat.state, now - seat.entered
        seat.move(OFF, now)
        asked = before is STOPPING
        if not asked:
            seat.failures = 1 if before is READY and stood >= STEADY else seat.failures + 1
            seat.retry_at = now + min(FIRST_PAUSE * 2.0 ** min(seat.failures - 1, 10), LONGEST_PAUSE)
            seat.why, seat.failed_start = why, before is STARTING
            # What served so far is to serve again; what has never been ready waits for somebody who wants it.
            seat.wanted = before is READY and not seat.closing
        else:
            seat.wanted, seat.failures, seat.retry_at = False, 0, 0.0
        seat.closing, seat.fresh = "", False
        if engine in self.share.members:
            seat.member = self.share.members[engine]
        else:
            del self.seats[engine]

    # What is wished. --------------------------------------------------------------------------------------------------

    def unload(self, engine: str) -> None:
        """End an engine once it has nothing to do; the next request for it starts it again."""
        seat = self.seats[engine]
        seat.dismissed, seat.wanted = True, False
        if seat.state in (STARTING, READY):
            seat.closing = ANYBODY

    def hold(self, engine: str) -> None:
        """End an engine, and refuse requests for it until ``let_go``."""
        self.unload(engine)
        self.seats[engine].held = True

    def let_go(self, engine: str) -> None:
        """Let an engine be started again, at once where it had failed."""
        seat = self.seats[engine]
        seat.held, seat.dismissed, seat.retry_at = False, False, 0.0

    def put(self, share: Share, changed: Collection[str]) -> None:
        """Take other rules. ``changed``: engines that run otherwise from now on; those and the ones that are gone end,
        once they have nothing to do."""
        self.share = share
        for name, member in share.members.items():
            seat = self.seats.setdefault(name, Seat(member))
            if seat.state is OFF or name not in changed:
                seat.member = member
        for name, seat in list(self.seats.items()):
            there = name in share.members
            if not there:
                self._gone += [Refuse(number, name, "gone") for number in seat.queue]
                seat.queue.clear()
            if there and name not in changed:
                continue
            seat.wanted, seat.failures, seat.retry_at, seat.why = False, 0, 0.0, ""
            if seat.state in (STARTING, READY):
                seat.closing = ANYBODY
            elif not there and seat.state is OFF:
                del self.seats[name]
        self._shrink()

    def _shrink(self) -> None:
        """Close what no longer fits beside the others: first what was used least lately."""
        kept: set[str] = set()
        open_ = [name for name, seat in self.seats.items() if seat.state in (STARTING, READY) and not seat.closing]
        for name in sorted(open_, key=lambda name: (not self.seats[name].running, -self.seats[name].idle_since)):
            if self._fits(kept, name):
                kept.add(name)
            else:
                self.seats[name].closing = ANYBODY

    # What follows. ----------------------------------------------------------------------------------------------------

    def decide(self, now: float) -> list[Step]:
        """Return what is to be done now, and take it as done: starts and stops as begun."""
        self._places = None
        steps: list[Step] = [*self._turned_away(now), *self._let_in(now, fresh=True)]
        closing, self._due = self._reopened(), []
        steps += self._outdated(now)
        work = {name for name, seat in self.seats.items() if seat.state in (STARTING, READY) and not seat.closing}
        for name in self._needy(now):
            steps += self._make_room(now, name, work, closing)
        steps += self._let_in(now)
        steps += self._unneeded(now)
        steps += self._unasked(now, work)
        return steps

    def next_at(self, now: float) -> float | None:
        """Return the time at which there is something to decide, if nothing happens before; None for never."""
        times = [at for at in self._due if now < at < NEVER]
        for name, seat in self.seats.items():
            member = self.share.members.get(name)
            times += [seat.head[0] + self.share.max_wait] if seat.queue else []
            if seat.state is OFF and seat.retry_at > now and (seat.queue or seat.wanted or name == self.share.default):
                times.append(seat.retry_at)
            if member is not None and self._rests(name, seat) and member.ttl is not None:
                times.append(seat.idle_since + member.ttl)
        return min(times, default=None)

    def engine_of(self, number: int) -> str:
        """Return the engine that somebody asked for."""
        return self._engine_of[number]

    def place(self, number: int) -> tuple[int, int]:
        """Return the place of somebody, from 1, and how many wait: first those for engines that are there or are
        started, then by who has waited longest. (0, 0) for who does not wait."""
        if self._places is None:  # for all at once: everybody who waits is told in the same turn
            waiting = [(seat.state is OFF, seat.head, name) for name, seat in self.seats.items() if seat.queue]
            order = [other for _, _, name in sorted(waiting) for other in self.seats[name].queue]
            self._places = {other: place for place, other in enumerate(order, 1)}
        place = self._places.get(number, 0)
        return (place, len(self._places)) if place else (0, 0)

    # Its parts. -------------------------------------------------------------------------------------------------------

    def _fits(self, names: Collection[str], more: str) -> bool:
        """Tell whether an engine may be loaded beside others, by what each of them takes."""
        return self.share.fits({name: self.seats[name].member for name in (*names, more)})

    def _loaded(self) -> set[str]:
        """Return the engines that take room, those that end included."""
        return {name for name, seat in self.seats.items() if seat.state is not OFF}

    def _turned_away(self, now: float) -> Iterator[Refuse]:
        """Send away who has waited too long, and who waits for an engine that does not come."""
        yield from self._gone
        for told in self._gone:
            self._engine_of.pop(told.number, None)
        self._gone = []
        for name, seat in self.seats.items():
            failed = seat.state is OFF and seat.failed_start and seat.retry_at > now
            while seat.queue:  # who came first is late first
                at, number = seat.head
                if not (seat.held or failed or now >= at + self.share.max_wait):
                    break
                del seat.queue[number], self._engine_of[number]
                yield Refuse(number, name, "held" if seat.held else "failed" if failed else "late")

    def _let_in(self, now: float, fresh: bool = False) -> Iterator[Admit]:
        """Let in who waits for an engine that is ready. ``fresh``: only where it has just become so; those are let in
        whoever else waits, so that every start serves somebody."""
        for name, seat in self.seats.items():
            if seat.state is READY and (seat.fresh if fresh else not seat.closing):
                seat.fresh = False
                for number in seat.queue:
                    seat.running.add(number)
                    yield Admit(number, name)
                seat.queue.clear()

    def _reopened(self) -> dict[str, str]:
        """Open what closes for somebody, to be closed again where he still needs it. Return who closed for whom."""
        closing = {name: seat.closing for name, seat in self.seats.items() if seat.closing not in ("", ANYBODY)}
        for name in closing:
            self.seats[name].closing = ""
        return closing

    def _outdated(self, now: float) -> Iterator[Stop]:
        """Stop what is to end whoever waits, once it answers nobody."""
        for name, seat in self.seats.items():
            if seat.closing == ANYBODY and seat.state in (STARTING, READY) and not seat.running:
                seat.move(STOPPING, now)
                yield Stop(name)

    def _needy(self, now: float) -> list[str]:
        """List the engines that somebody waits for and that could be started: who has waited longest comes first, and
        last what nobody waits for."""
        found = [
            (not seat.queue, seat.head if seat.queue else (0.0, 0), name)
            for name, seat in self.seats.items()
            if seat.state is OFF and not seat.held and seat.retry_at <= now and (seat.queue or seat.wanted)
        ]
        return [name for _, _, name in sorted(found)]

    def _make_room(self, now: float, name: str, work: set[str], closing: Mapping[str, str]) -> Iterator[Step]:
        """Start an engine where there is room; else close what stands in its way, as soon as that may be. ``work``:
        what is loaded once everything is done that was decided before; here it is added to that."""
        seat = self.seats[name]
        if self._fits(self._loaded(), name) and self._fits(work, name):
            work.add(name)
            seat.move(STARTING, now)
            yield Start(name)
            return
        if not seat.queue:
            seat.wanted = False  # another has taken its place meanwhile
            return
        victims = self._victims(name, work, closing)
        if any(self.seats[victim].state is OFF for victim in victims):
            return  # it stands behind somebody who has waited longer, whose room nobody may take
        work.difference_update(victims)
        work.add(name)
        due = max((self._closes_at(victim, seat.head[0], now) for victim in victims), default=now)
        if due > now:
            self._due.append(due)
            return
        for victim in victims:
            other = self.seats[victim]
            other.closing = name
            if not other.running:
                other.move(STOPPING, now)
                yield Stop(victim)

    def _victims(self, name: str, work: set[str], closing: Mapping[str, str]) -> list[str]:
        """Choose who makes room: who closes for it already, then who has nothing to do, then who was used least
        lately; and of them no more than needed."""

        def rank(other: str) -> tuple[bool, bool, bool, bool, float, str]:
            seat = self.seats[other]
            return (
                seat.state is OFF,
                seat.state is STARTING and bool(seat.queue),
                closing.get(other) != name,
                bool(seat.running or seat.queue),
                seat.idle_since,
                other,
            )

        left, chosen = set(work), list[str]()
        for other in sorted(work, key=rank):
            if self._fits(left, name):
                break
            left.discard(other)
            chosen.append(other)
        for other in list(chosen):
            if self._fits({*left, other}, name):
                left.add(other)
                chosen.remove(other)
        return chosen

    def _closes_at(self, victim: str, asked: float, now: float) -> float:
        """Return when an engine closes for somebody who came at ``asked``: at once where it has nothing to do. One that
        is just started for others serves them first."""
        seat = self.seats[victim]
        if seat.state is STARTING and seat.queue:
            return NEVER
        if not seat.running and not seat.queue:
            return now
        return max(asked, seat.entered) + self.share.swap_after

    def _rests(self, name: str, seat: Seat) -> bool:
        """Tell whether an engine is ready and has nothing to do."""
        return seat.state is READY and not (seat.running or seat.queue) and name != self.share.default

    def _unneeded(self, now: float) -> Iterator[Stop]:
        """Stop what nobody has used for as long as it is kept."""
        for name, member in self.share.members.items():
            seat = self.seats[name]
            if member.ttl is not None and self._rests(name, seat) and now >= seat.idle_since + member.ttl:
                seat.move(STOPPING, now)
                yield Stop(name)

    def _unasked(self, now: float, work: set[str]) -> Iterator[Start]:
        """Start the default where nobody waits for another and there is room."""
        name = self.share.default
        seat = self.seats.get(name)
        if seat is None or seat.state is not OFF or seat.held or seat.dismissed or seat.retry_at > now:
            return
        waits = any(other.queue and other.state is OFF and not other.held for other in self.seats.values())
        if not waits and self._fits(self._loaded(), name) and self._fits(work, name):
            seat.move(STARTING, now)
            yield Start(name)
