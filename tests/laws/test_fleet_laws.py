"""What holds for engines that share a machine, whatever happens in whatever order (``core/fleet.py``)."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.fleet import (
    ANYBODY,
    OFF,
    READY,
    STARTING,
    Admit,
    Fleet,
    Member,
    Refuse,
    Share,
    Start,
    Stop,
    count_slots,
)

NAMES = ("a", "b", "c", "d")
GB = 1 << 30


@st.composite
def shares(draw: st.DrawFn, ttls: bool = True) -> Share:
    """Rules under which every engine alone can be loaded."""
    apart = draw(
        st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)).filter(lambda pair: pair[0] < pair[1]))
    )
    together = frozenset(draw(st.sets(st.sampled_from(NAMES), max_size=3)))
    together = together if len(together) > 1 else frozenset()
    vram = draw(st.one_of(st.none(), st.integers(8, 24)))
    members = {
        name: Member(
            vram=draw(st.integers(1, 8)) * GB,
            ttl=draw(st.one_of(st.none(), st.integers(1, 40))) if ttls else None,
            together=together if name in together else frozenset(),
            apart=frozenset(
                other
                for pair in apart
                if name in pair
                for other in pair
                if other != name and not {name, other} <= together
            ),
        )
        for name in NAMES
    }
    return Share(
        members,
        slots=draw(st.one_of(st.none(), st.integers(1, 3))),
        vram=None if vram is None else vram * GB,
        swap_after=float(draw(st.sampled_from((0, 1, 5, 20)))),
        max_wait=float(draw(st.sampled_from((10, 60, 100_000)))),
        default=draw(st.sampled_from(("", *NAMES))),
    )


@dataclass
class World:
    """Engines, clients and a clock around a fleet. ``loads``, ``serves``: seconds that a start and an answer take."""

    fleet: Fleet
    loads: float = 3.0
    serves: float = 2.0
    now: float = 0.0
    running: dict[int, str] = field(default_factory=dict)
    waiting: dict[int, tuple[str, float]] = field(default_factory=dict)
    waited: list[float] = field(default_factory=list)
    refused: list[Refuse] = field(default_factory=list)
    physical: set[str] = field(default_factory=set)
    ready: set[str] = field(default_factory=set)
    fails: set[str] = field(default_factory=set)
    events: list[tuple[float, int, Any]] = field(default_factory=list)
    starts: int = 0
    count: int = 0

    def later(self, seconds: float, what: Any) -> None:
        self.count += 1
        heapq.heappush(self.events, (self.now + seconds, self.count, what))

    def ask(self, engine: str) -> int:
        number = self.fleet.ask(self.now, engine)
        self.waiting[number] = (engine, self.now)
        return number

    def leave(self, number: int) -> None:
        self.fleet.leave(self.now, number)
        self.waiting.pop(number, None)
        self.running.pop(number, None)

    def crash(self, engine: str) -> None:
        if engine in self.physical:
            self.physical.discard(engine)
            self.ready.discard(engine)
            self.fleet.ended(self.now, engine, "it crashed")

    def settle(self) -> None:
        """Carry out what is decided, and check each step."""
        for _ in range(50):
            steps = self.fleet.decide(self.now)
            for step in steps:
                self._carry_out(step)
            if not steps:
                break
        else:
            raise AssertionError("it never comes to an end")
        for name, seat in self.fleet.seats.items():
            assert (seat.state is not OFF) == (name in self.physical)
        for number, (engine, since) in self.waiting.items():
            assert self.now < since + self.fleet.share.max_wait, "who waited too long was told"
            place, of = self.fleet.place(number)
            assert 1 <= place <= of == len(self.waiting), (engine, place, of)
        places = sorted(self.fleet.place(number)[0] for number in self.waiting)
        assert places == list(range(1, len(places) + 1)), "nobody has another's place"
        nxt = self.fleet.next_at(self.now)
        assert nxt is None or nxt > self.now, "what is due is done"

    def _carry_out(self, step: Any) -> None:
        match step:
            case Start(name):
                self.starts += 1
                assert name not in self.physical
                self.physical.add(name)
                self._check_fits()
                self.later(self.loads, ("loaded", name, self.starts))
            case Stop(name):
                assert name in self.physical
                assert name not in self.running.values(), "it answers somebody"
                self.ready.discard(name)
                self.later(1.0, ("ended", name))
            case Admit(number, name):
                assert name in self.ready and self.waiting[number][0] == name
                self.waited.append(self.now - self.waiting.pop(number)[1])
                self.running[number] = name
                self.later(self.serves, ("served", number))
            case Refuse(number, name, why):
                asked = self.waiting.pop(number)[1]
                assert why != "late" or self.now >= asked + self.fleet.share.max_wait
                self.refused.append(step)

    def _check_fits(self) -> None:
        share, loaded = self.fleet.share, {name: self.fleet.seats[name].member for name in self.physical}
        assert share.slots is None or count_slots(loaded.values()) <= share.slots
        assert share.vram is None or sum(member.vram for member in loaded.values()) <= share.vram
        assert not any(member.apart & loaded.keys() for member in loaded.values())

    def happen(self, what: Any) -> None:
        match what:
            case ("loaded", name, number) if name in self.physical and number <= self.starts:
                if self.fleet.seats[name].state is not STARTING:
                    return
                if name in self.fails:
                    self.crash(name)
                else:
                    self.ready.add(name)
                    self.fleet.started(self.now, name)
            case ("ended", name) if name in self.physical:
                self.physical.discard(name)
                self.fleet.ended(self.now, name)
            case ("served", number):
                self.leave(number)

    def advance(self, seconds: float) -> None:
        """Let time pass: everything that is due happens at its time."""
        end = self.now + seconds
        self.settle()
        while True:
            nxt = self.fleet.next_at(self.now)
            due = min(self.events[0][0] if self.events else end, end if nxt is None else nxt, end)
            self.now = max(self.now, due)
            while self.events and self.events[0][0] <= self.now:
                self.happen(heapq.heappop(self.events)[2])
            self.settle()
            if self.now >= end:
                return


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.sampled_from(NAMES)),
        st.tuples(st.just("pass"), st.sampled_from((0.1, 1.0, 5.0, 30.0))),
        st.tuples(st.just("leave"), st.integers(0, 20)),
        st.tuples(st.sampled_from(("crash", "unload", "hold", "let_go", "break", "mend")), st.sampled_from(NAMES)),
    ),
    max_size=40,
)


@given(shares(), STEPS)
def test_whatever_happens_it_fits_nobody_is_cut_off_and_everybody_is_served_or_told(share: Share, steps: Any) -> None:
    world = World(Fleet(share))
    for what, about in steps:
        match what:
            case "ask":
                world.ask(about)
            case "pass":
                world.advance(about)
            case "leave":
                everybody = [*world.waiting, *world.running]
                if everybody:
                    world.leave(everybody[about % len(everybody)])
            case "crash":
                world.crash(about)
            case "break":
                world.fails.add(about)
            case "mend":
                world.fails.discard(about)
            case _:
                getattr(world.fleet, what)(about)
        world.settle()
    for name in NAMES:
        world.fleet.let_go(name)
    world.fails.clear()
    for name in NAMES:
        world.ask(name)
    world.settle()
    for _ in range(100):
        world.advance(10.0)
        if not world.waiting and not world.running:
            break
    assert not world.waiting and not world.running


@given(shares(), shares(), STEPS, st.sets(st.sampled_from(NAMES)))
def test_other_rules_keep_what_did_not_change(share: Share, later: Share, steps: Any, gone: set[str]) -> None:
    world = World(Fleet(share))
    for what, about in steps:
        if what == "ask":
            world.ask(about)
        elif what == "pass":
            world.advance(about)
    left = {name: member for name, member in later.members.items() if name not in gone}
    rules = Share(left, None, None, later.swap_after, later.max_wait)
    kept = {name for name in world.ready if name not in gone and world.fleet.seats[name].state is READY}
    loaded = world.physical - gone
    apart = any(left[name].apart & loaded for name in loaded)
    world.fleet.put(rules, ())
    if not apart:
        assert all(world.fleet.seats[name].closing != ANYBODY for name in kept)
    world.settle()
    world.advance(200.0)
    assert not world.waiting.keys() & {number for number, (name, _) in world.waiting.items() if name in gone}
    assert not gone & world.physical


@given(
    shares(ttls=False), st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from((0.0, 0.3, 1.0, 4.0))), max_size=60)
)
def test_nobody_is_starved(share: Share, asked: list[tuple[str, float]]) -> None:
    """Who waits is served after one turn of each engine at most, however many others come meanwhile."""
    world = World(Fleet(Share(share.members, share.slots, share.vram, share.swap_after, 1e9, share.default)))
    for name, pause in asked:
        world.ask(name)
        world.settle()
        world.advance(pause)
    world.advance(10_000.0)
    turn = share.swap_after + world.serves + 1.0 + world.loads
    assert len(world.waited) == len(asked)
    assert max(world.waited, default=0.0) <= turn * (len(NAMES) + 1)


def test_the_queue_groups_by_the_engine_that_is_loaded() -> None:
    """A B A A B A (llama-swap's issue 612) costs two starts and not five."""
    members = {name: Member() for name in "ab"}
    world = World(Fleet(Share(members, swap_after=20.0)), serves=3.0)
    for name in "abaaba":
        world.ask(name)
        world.advance(0.5)
    world.advance(100.0)
    assert world.starts == 2 and len(world.waited) == 6


def test_a_loaded_engine_gives_way_though_requests_for_it_never_end() -> None:
    world = World(Fleet(Share({name: Member() for name in "ab"}, swap_after=10.0)), serves=3.0)
    world.ask("a")
    world.advance(5.0)
    waits = world.ask("b")
    for _ in range(40):
        world.ask("a")
        world.advance(1.0)
    assert waits not in world.waiting
    assert world.starts == 3 and not world.refused


def test_the_default_comes_back_when_the_others_end() -> None:
    members = {"small": Member(ttl=5.0), "big": Member(ttl=30.0)}
    world = World(Fleet(Share(members, default="small")))
    world.settle()
    world.advance(100.0)
    assert world.ready == {"small"}, "it is not subject to its own ttl"
    world.ask("big")
    world.advance(20.0)
    assert world.ready == {"big"}
    world.advance(30.0)
    assert world.ready == {"small"}


def test_the_ttl_counts_from_the_end_of_the_last_request() -> None:
    """And not from its beginning, by which a long answer was followed by an unload at once (llama-swap's issue 25)."""
    world = World(Fleet(Share({"a": Member(ttl=5.0)})), serves=30.0)
    world.ask("a")
    world.advance(34.0)
    assert not world.running and world.ready == {"a"}
    world.advance(3.0)
    assert world.ready == {"a"}
    world.advance(3.0)
    assert not world.ready


def test_a_group_that_is_loaded_together_takes_one_slot() -> None:
    pair = frozenset(("chat", "embed"))
    members = {"chat": Member(together=pair), "embed": Member(together=pair), "big": Member()}
    world = World(Fleet(Share(members)))
    for name in ("chat", "embed"):
        world.ask(name)
    world.settle()
    world.advance(10.0)
    assert world.ready == pair
    world.ask("big")
    world.advance(10.0)
    assert world.ready == {"big"}


def test_an_engine_that_fails_is_started_again_with_longer_pauses() -> None:
    world = World(Fleet(Share({"a": Member()})), loads=0.0)
    world.ask("a")
    world.settle()
    world.advance(1.0)
    assert world.ready == {"a"}
    world.fails.add("a")
    world.crash("a")
    begun = world.starts
    world.advance(1.5)
    assert world.starts == begun + 1, "it served, so it comes back by itself"
    number = world.ask("a")
    world.settle()
    assert world.refused[-1] == Refuse(number, "a", "failed"), "and nobody waits for one that does not start"
    pauses = []
    for _ in range(8):
        seat = world.fleet.seats["a"]
        pauses.append(seat.retry_at - world.now)
        world.advance(max(pauses[-1], 0.0))
        world.ask("a")
        world.settle()
        world.advance(0.0)
    assert pauses == sorted(pauses) and pauses[-1] == 60.0
    world.fails.clear()
    world.advance(60.0)
    served = len(world.waited)
    world.ask("a")
    world.settle()
    world.advance(1.0)
    assert len(world.waited) == served + 1


def test_with_rules_that_leave_less_room_what_is_too_much_ends() -> None:
    members = {name: Member() for name in "ab"}
    world = World(Fleet(Share(members, slots=2)))
    world.ask("a")
    world.ask("b")
    world.settle()
    world.advance(20.0)
    assert world.ready == {"a", "b"}
    world.fleet.put(Share(members, slots=1), ())
    world.settle()
    world.advance(5.0)
    assert len(world.ready) == 1
