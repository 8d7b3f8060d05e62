"""LAR-1 (LiteLLM's strategy ``lar1``): how sure a caller is says which kind of deployment answers it.

A request says so in ``metadata.lar1``; a deployment's kind is its ``model_info.type``.
"""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple

from msgspec import Meta, Struct

UNVERIFIED = "UNVERIFIED"
MEMORY = "MEM"


class Levels(NamedTuple):
    """The confidences at which another kind begins: `routing_strategy_args`, `confidence_threshold_low` and so on."""

    low: float = 0.3
    medium: float = 0.5
    high: float = 0.7

    @property
    def hold(self) -> bool:
        """Tell whether they stand in their order, between 0 and 1."""
        return 0 < self.low < self.medium < self.high < 1


class Stated(Struct, frozen=True):
    """What ``metadata.lar1`` says; LiteLLM's words and defaults."""

    act: Literal["INF", "OBS", "RET", "GEN"] = "INF"
    time: Literal["NOW", "MEM", "CTX", "PRE"] = "NOW"
    mind: Literal["REF", "REC", "HYP", "ACT"] = "REF"
    confidence: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.5
    evidence: tuple[Literal["SYNTH", "RETRIEVED", "UNVERIFIED", "CONFIRMED"], ...] = ()


def kind_for(stated: Stated, levels: Levels) -> str:
    """Name the kind of deployment for a request: what is not verified goes to the cleverest, what is only remembered to
    the quickest, everything else by its confidence."""
    if UNVERIFIED in stated.evidence:
        return "cloud-smart"
    if stated.time == MEMORY:
        return "cloud-fast"
    steps = zip(levels, ("cloud-smart", "cloud-fast", "local"), strict=True)
    return next((kind for level, kind in steps if stated.confidence < level), "deep")
