"""Strategies: which of the candidates. They never see a target that may not be used.

One pure function each, in ``STRATEGIES`` by its name in a config. A candidate is a target with its standing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import exp
from typing import Protocol, TypeVar

from msgspec import Struct

from penstock.core.route.standing import TAU, Standing

LATENCY = "latency-based-routing"
CONFIDENCE = "lar1"
COUNTS = frozenset(("usage-based-routing", "usage-based-routing-v2"))  # go by what was used
LEARNING = COUNTS | {LATENCY}  # go by how answers went
UNKNOWN_PRICE = 5.0  # US dollars a token: who has no price is asked last


class Weighted(Protocol):
    @property
    def weight(self) -> float | None: ...
    @property
    def rpm(self) -> float | None: ...
    @property
    def tpm(self) -> float | None: ...


class Routed(Weighted, Protocol):
    """What strategies know of a target. ``cost``: US dollars of an input token and an output token, None where the
    price is not known. ``live_id``: what it is called among all. ``kind``: what the caller's confidence asks for."""

    @property
    def cost(self) -> float | None: ...
    @property
    def live_id(self) -> str: ...
    @property
    def kind(self) -> str: ...


W = TypeVar("W", bound=Weighted)
T = TypeVar("T", bound=Routed)


class Draw(Struct, frozen=True, gc=False):
    """What a strategy decides by, beside the candidates. ``random`` returns 0 <= x < 1. ``now``: the clock. ``stream``:
    a stream is asked for. ``ttl``: seconds that a latency counts. ``buffer``: the share over the best latency that is
    as good. ``wants``: the kind of deployment that the request asks for."""

    random: Callable[[], float]
    now: float = 0.0
    stream: bool = False
    ttl: float = 3600.0
    buffer: float = 0.0
    wants: str = ""


Strategy = Callable[[Sequence[T], Sequence[Standing], Draw], T]


def simple_shuffle(candidates: Sequence[W], random: Callable[[], float]) -> W:
    """Pick by LiteLLM's default: by ``weight`` if any has one, else by ``rpm``, else by ``tpm``, else uniform.

    ``random`` returns 0 <= x < 1. A candidate without the deciding figure counts as 0 unless all are 0."""
    weights = _weights(candidates)
    total = sum(weights)
    if total <= 0:
        return candidates[int(random() * len(candidates))]
    mark = random() * total
    for candidate, weight in zip(candidates, weights, strict=True):
        mark -= weight
        if mark < 0:
            return candidate
    return next(c for c, w in zip(reversed(candidates), reversed(weights), strict=True) if w > 0)


def _weights(candidates: Sequence[Weighted]) -> list[float]:
    for name in ("weight", "rpm", "tpm"):
        values = [getattr(c, name) for c in candidates]
        if any(value is not None for value in values):
            return [float(value or 0) for value in values]
    return [0.0] * len(candidates)


def _shuffle(candidates: Sequence[T], standings: Sequence[Standing], draw: Draw) -> T:
    return simple_shuffle(candidates, draw.random)


def _least(candidates: Sequence[T], costs: Sequence[float], draw: Draw) -> T:
    """Pick the cheapest; one of them at random where several are."""
    least = min(costs)
    best = [candidate for candidate, cost in zip(candidates, costs, strict=True) if cost == least]
    return best[0] if len(best) == 1 else best[int(draw.random() * len(best))]


def least_busy(candidates: Sequence[T], standings: Sequence[Standing], draw: Draw) -> T:
    """Pick the one with the fewest requests in flight."""
    return _least(candidates, [standing.in_flight for standing in standings], draw)


def lowest_latency(candidates: Sequence[T], standings: Sequence[Standing], draw: Draw) -> T:
    """Pick the quicker of two that are drawn (Mitzenmacher's power of two choices: all at once to the best would make
    it the worst). What counts is its latency times the requests that it will have; one whose latency is not known is
    asked before any other. Of two within ``buffer`` of one another the dice decide."""
    random, stream, count = draw.random, draw.stream, len(candidates)
    old = draw.now - draw.ttl
    for standing in standings:  # a list of them would cost as much as all that follows
        if (standing.first_seen if stream else standing.whole_seen) <= old and not standing.in_flight:
            return _one_unknown(candidates, standings, draw)
    if count == 1:
        return candidates[0]
    first = int(random() * count)
    second = first - 1 - int(random() * (count - 1))  # any other one, counted backwards
    here, there = standings[first], standings[second]
    if stream:
        one, other, seen, there_seen = here.first, there.first, here.first_seen, there.first_seen
    else:
        one, other, seen, there_seen = here.whole, there.whole, here.whole_seen, there.whole_seen
    one, other = one * (here.in_flight + 1), other * (there.in_flight + 1)
    if seen <= old:
        one = 0.0
    elif there_seen <= old:
        other = 0.0
    elif seen > there_seen:  # both fade alike (``Standing.latency``): only the time between the two counts
        other *= exp((there_seen - seen) / TAU)
    elif seen < there_seen:
        one *= exp((seen - there_seen) / TAU)
    if draw.buffer and abs(one - other) <= draw.buffer * min(one, other):
        return candidates[first]  # which of them was drawn first is chance already
    return candidates[first if one <= other else second]


def _one_unknown(candidates: Sequence[T], standings: Sequence[Standing], draw: Draw) -> T:
    """Pick one of those whose latency is not known."""
    old, stream = draw.now - draw.ttl, draw.stream
    new = [
        candidate
        for candidate, standing in zip(candidates, standings, strict=True)
        if (standing.first_seen if stream else standing.whole_seen) <= old and not standing.in_flight
    ]
    return new[0] if len(new) == 1 else new[int(draw.random() * len(new))]


def lowest_usage(candidates: Sequence[T], standings: Sequence[Standing], draw: Draw) -> T:
    """Pick the one with the most room in the minute under way: the smallest used share of its limits where all have
    the same kind of limit, else the fewest tokens."""
    used = [standing.used(draw.now) for standing in standings]
    if all(candidate.tpm for candidate in candidates):
        shares = [tokens / (c.tpm or 1) for c, (_, tokens, _) in zip(candidates, used, strict=True)]
    elif all(candidate.rpm for candidate in candidates):
        shares = [requests / (c.rpm or 1) for c, (requests, _, _) in zip(candidates, used, strict=True)]
    else:
        shares = [float(tokens) for _, tokens, _ in used]
    return _least(candidates, shares, draw)


def lowest_cost(candidates: Sequence[T], standings: Sequence[Standing], draw: Draw) -> T:
    """Pick the one with the lowest price of an input and an output token together. (A price of 0 is one: LiteLLM takes
    it for unknown, and local models are asked last there.)"""
    costs = [UNKNOWN_PRICE if candidate.cost is None else candidate.cost for candidate in candidates]
    return _least(candidates, costs, draw)


def by_confidence(candidates: Sequence[T], standings: Sequence[Standing], draw: Draw) -> T:
    """Pick one of the kind that the caller's confidence asks for, by weight; of all where there is none."""
    of_kind = [candidate for candidate in candidates if candidate.kind == draw.wants]
    return simple_shuffle(of_kind or candidates, draw.random)


STRATEGIES: Mapping[str, Strategy[Routed]] = {
    "simple-shuffle": _shuffle,
    "least-busy": least_busy,
    LATENCY: lowest_latency,
    "usage-based-routing": lowest_usage,
    "usage-based-routing-v2": lowest_usage,
    "cost-based-routing": lowest_cost,
    CONFIDENCE: by_confidence,
}


def nearest(candidates: Sequence[T], mark: bytes) -> T:
    """Pick the one that a mark (a session, the beginning of a prompt) belongs to, by rendezvous hashing: the same one
    as long as it is there, and when it is gone, only its own marks move."""

    def rank(candidate: T) -> bytes:
        return blake2b(candidate.live_id.encode() + b"\n" + mark, digest_size=8).digest()

    return max(candidates, key=rank)
