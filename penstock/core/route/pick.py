"""Strategies: which of the available candidates. They never see a target that may not be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Weighted(Protocol):
    @property
    def weight(self) -> float | None: ...
    @property
    def rpm(self) -> float | None: ...
    @property
    def tpm(self) -> float | None: ...


T = TypeVar("T", bound=Weighted)


def simple_shuffle(candidates: Sequence[T], random: Callable[[], float]) -> T:
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
