"""Shares of a model's capacity by priority: what is kept for whom once much of it is in use. Pure.

LiteLLM's ``priority_reservation`` (its dynamic rate limiter v3). A model's capacity, the sum of its deployments'
``rpm`` and ``tpm``, is never exceeded. Until a part of it is in use (``threshold``) everybody may have of it what he
likes; from then on each priority has its share and no more. Law (``tests/laws/test_priorities_laws.py``): all shares
together are within the capacity, and whoever has a share gets it, but for what others were lent below the threshold:
with a threshold of 0 nothing is lent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from penstock.core.admit.holders import NO_PACE, Pace
from penstock.core.admit.rates import Limit

PERCENT, OF_REQUESTS, OF_TOKENS = "percent", "rpm", "tpm"  # LiteLLM's words for what a share is said in
CAPACITY, SHARE = "model_saturation_check", "priority_model"  # and for what limits it
DEFAULT, DEFAULT_POOL = "default", "default_pool"
_EVEN = 1e-9  # 0.29 of 100 is 29, which floats make 28.999999999999996


class Reserved(NamedTuple):
    """What is reserved for a priority: a part of the capacity, or so many requests or tokens in a minute."""

    value: float
    of: str = PERCENT


class Priorities(Struct, frozen=True, kw_only=True):
    """``reserved``: by priority. ``default``: the share of all who have none of these. ``threshold``: the part of the
    capacity that is in use from which on shares hold."""

    reserved: Mapping[str, Reserved]
    default: float = 0.25
    threshold: float = 0.5


class Deployment(Protocol):
    """What of a deployment counts: its requests and tokens in a minute, None where nobody said."""

    @property
    def rpm(self) -> int | None: ...
    @property
    def tpm(self) -> int | None: ...


def capacity_of(deployments: Sequence[Deployment]) -> Pace:
    """Add up what the deployments of a model take in a minute; those that do not say it add nothing."""
    requests = tokens = 0
    for one in deployments:
        requests += one.rpm or 0
        tokens += one.tpm or 0
    return Pace(requests or None, tokens or None) if requests or tokens else NO_PACE


def weigh(priorities: Priorities, capacity: Pace) -> dict[str, float]:
    """Return the part of the capacity that each priority has, "" for who has none: never more than all of it together.
    What is reserved beyond that is cut in proportion, and who has no priority gets no more than what is left. A share
    in requests of a model that has no ``rpm`` cannot be told: whoever has it is as one without a priority there."""
    parts: dict[str, float] = {}
    for name, reserved in priorities.reserved.items():
        most = {OF_REQUESTS: capacity.requests, OF_TOKENS: capacity.tokens}.get(reserved.of, 1)
        if most:
            parts[name] = reserved.value / most
    total = sum(parts.values())
    if total > 1.0:
        parts = {name: part / total for name, part in parts.items()}
        total = 1.0
    parts[""] = max(0.0, min(priorities.default, 1.0 - total))
    return parts


def limits_by_priority(priorities: Priorities, model: str, capacity: Pace, priority: str) -> tuple[Limit, Limit]:
    """Return the limits of a request for a model: that of the model, and that of the request's priority."""
    parts = weigh(priorities, capacity)
    pool = priority if priority in parts else ""
    part = parts[pool]
    requests = None if capacity.requests is None else int(capacity.requests * part + _EVEN)
    tokens = None if capacity.tokens is None else int(capacity.tokens * part + _EVEN)
    return (
        Limit(f"model:{model}", CAPACITY, model, capacity),
        Limit(f"priority:{pool}/model:{model}", SHARE, f"{model}:{pool or DEFAULT_POOL}", Pace(requests, tokens)),
    )
