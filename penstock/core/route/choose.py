"""Who may be asked, and who of them is: one predicate before every strategy, and the reasons to show."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

from msgspec import Struct

from penstock.core.errors import GatewayError
from penstock.core.route.confidence import Levels
from penstock.core.route.pick import (
    LEARNING,
    STRATEGIES,
    Draw,
    Routed,
    Strategy,
    nearest,
    simple_shuffle,
)
from penstock.core.route.quotas import Asks, Quota
from penstock.core.route.standing import Rests, Standing

USUAL = 100  # priority in a line of who says nothing; lower goes first (LiteLLM's way)
DEFAULT_TAG = "default"  # of the deployments for requests without a tag, or with none that is known (LiteLLM's word)


class Rules(Struct, frozen=True, kw_only=True):
    """How a group is routed. ``strategy``: a key of ``STRATEGIES``. ``ttl`` and ``buffer``: see ``Draw``. ``strict``: a
    deployment over its rpm, tpm or quotas is not asked at all, instead of after the others. ``measured``: some have
    quotas. ``by_tags``: tags decide;
    ``any_tag``: one that both have is enough; ``prefix``: of the tags that count. ``fits``: the request's length and
    needs are compared with the model's. ``by_health``: who failed its health check is not asked, until the check is
    ``stale`` seconds old (0: never). ``budgets``: of providers and of single deployments, US dollars in so many
    seconds. ``stays``: what a request is held by to the deployment it was at: "session", "caller", "prompt".
    ``priority``: in the line, of a request that has none. ``retries``: more tries by LiteLLM's class of the error,
    where that has a figure of its own; "" for all others. ``hedge``: seconds after which another deployment is asked
    beside one that has not answered; 0 for the time in which it answers 95 of 100. ``levels``: of the strategy that
    goes by the caller's confidence. ``told``: clients are told what is left of their limits. ``simple``: while nobody
    rests, everybody may be asked, and the strategy alone decides."""

    strategy: str = "simple-shuffle"
    ttl: float = 3600.0
    buffer: float = 0.0
    rests: Rests = Rests()
    strict: bool = False
    by_tags: bool = False
    any_tag: bool = True
    fits: bool = False
    stays: frozenset[str] = frozenset()
    prefix: str = ""
    by_health: bool = False
    stale: float = 0.0
    budgets: Mapping[str, tuple[float, float]] = {}
    priority: int = USUAL
    retries: Mapping[str, int] = {}
    hedge: float | None = None
    levels: Levels = Levels()
    measured: bool = False
    told: bool = False
    simple: bool = False

    @property
    def learns(self) -> bool:
        """Tell whether the strategy goes by how answers went."""
        return not self.simple or self.strategy in LEARNING


PLAIN = Rules()


class Need(Struct, frozen=True, kw_only=True):
    """What a request brings to the choice. ``tags``: those that it names; ``agent``: its header of that name, as a
    line, which deployments may have patterns for. ``tokens``: about how many it sends; None where nobody counted.
    ``output``: those that it may get. ``needs``: capabilities (``vision``, ``tools``, ``schema``, ``audio``).
    ``stays``: what it is held by, first things first; see ``Rules.stays``. ``wants``: the kind of deployment that its
    caller's confidence asks for. ``broke``: providers whose budget is used up, and the seconds until they have another
    one."""

    stream: bool = False
    tags: Collection[str] = ()
    agent: str = ""
    tokens: int | None = None
    output: int = 0
    needs: frozenset[str] = frozenset()
    stays: tuple[bytes, ...] = ()
    wants: str = ""
    broke: Mapping[str, float] = {}


NOTHING = Need()


class Candidate(Routed, Protocol):
    """What the choice knows of a target. ``vendor``: the name of its provider; ``purse``: what its own budget is called
    among those of providers. ``most``: requests at one time. ``quotas``: what it may use beside rpm and tpm.
    ``blocked``: it takes no traffic. ``window``: tokens that the model takes; ``lacks``: what it is known not to do."""

    @property
    def vendor(self) -> str: ...

    @property
    def purse(self) -> str: ...
    @property
    def order(self) -> int | None: ...
    @property
    def tags(self) -> tuple[str, ...]: ...
    @property
    def tag_patterns(self) -> tuple[re.Pattern[str], ...]: ...
    @property
    def most(self) -> int | None: ...
    @property
    def quotas(self) -> tuple[Quota, ...]: ...
    @property
    def blocked(self) -> bool: ...
    @property
    def window(self) -> int | None: ...
    @property
    def lacks(self) -> frozenset[str]: ...


T = TypeVar("T", bound=Candidate)


class LeftOut(Struct, frozen=True):
    """Why a candidate is not asked. ``seconds``: when that is over, 0 where time does not mend it. ``full``: it has as
    many requests as it may."""

    why: str
    seconds: float = 0.0
    full: bool = False


BLOCKED = LeftOut("takes no traffic (model_info.blocked)")


def left_out(target: Candidate, standing: Standing, rules: Rules, need: Need, now: float) -> LeftOut | None:
    """Tell why a target may not be asked for this request now; None when it may."""
    if standing.rests_until and rules.rests.seconds and (why := standing.resting(now)):
        return LeftOut(why, max(standing.rests_until - now, 0.1))
    if target.blocked:
        return BLOCKED
    if target.most is not None and standing.in_flight >= target.most:
        return LeftOut(f"has {standing.in_flight} requests, as many as it may at one time", 0.0, True)
    if need.broke and target.vendor in need.broke:
        return LeftOut(f"is {target.vendor}'s, whose budget is used up", need.broke[target.vendor])
    if need.broke and target.purse in need.broke:
        return LeftOut("has used up its budget", need.broke[target.purse])
    if rules.by_health and standing.unwell and not (rules.stale and now - standing.checked > rules.stale):
        return LeftOut(f"failed its health check ({standing.unwell})", 1.0)
    if rules.strict and (over := _over(target, standing, need, now)):
        return over
    if rules.fits:
        return _unfit(target, need)
    return None


def _over(target: Candidate, standing: Standing, need: Need, now: float) -> LeftOut | None:
    """Compare what it has done in this minute, and in the windows of its quotas, with its limits."""
    requests, used, rest = standing.used(now)
    if target.rpm and requests >= target.rpm:
        return LeftOut(f"has had its {target.rpm} requests of this minute", rest)
    if target.tpm and used + (need.tokens or 0) > target.tpm:
        return LeftOut(f"has used {used} of its {target.tpm} tokens of this minute", rest)
    if target.quotas and standing.quotas is not None:
        found = standing.quotas.over(target.live_id, target.quotas, Asks(1, need.tokens or 0, need.output))
        if found is not None:
            quota = found.quota
            return LeftOut(f"has used {found.used} of its {quota.most} {quota.words}", found.seconds)
    return None


def _unfit(target: Candidate, need: Need) -> LeftOut | None:
    if target.window and need.tokens is not None and need.tokens > target.window:
        return LeftOut(f"takes {target.window} tokens, and this request has about {need.tokens}")
    missing = need.needs & target.lacks
    return LeftOut(f"does not take {', '.join(sorted(missing))}") if missing else None


def choose(
    targets: Sequence[T],
    standing_of: Callable[[T], Standing],
    rules: Rules,
    need: Need,
    random: Callable[[], float],
    now: float,
) -> T | GatewayError:
    """Choose one of the targets of a group, or return the error that says why there is none.

    Tags first, then who may be asked, then the lowest ``order`` among them, then who the request belongs to, then the
    strategy."""
    candidates: Sequence[T] = targets if not rules.by_tags else tagged(targets, need.tags, rules.any_tag, need.agent)
    if not candidates:
        return _untagged(need.tags)
    standings: Sequence[Standing] = [standing_of(target) for target in candidates]
    out = [left_out(target, s, rules, need, now) for target, s in zip(candidates, standings, strict=True)]
    if any(out):
        standings = [s for s, reason in zip(standings, out, strict=True) if reason is None]
        free = [target for target, reason in zip(candidates, out, strict=True) if reason is None]
        if not free:
            return nobody([reason for reason in out if reason is not None])
        candidates = free
    if len(candidates) > 1 and any(target.order is not None for target in candidates):
        candidates, standings = _foremost(candidates, standings)
    if not rules.strict and len(candidates) > 1 and any(t.rpm or t.tpm or t.quotas for t in candidates):
        candidates, standings = _with_room(candidates, standings, need, now)
    if len(candidates) == 1:
        return candidates[0]
    if need.stays:
        return nearest(candidates, need.stays[0])
    if rules.strategy == "simple-shuffle":
        return simple_shuffle(candidates, random)
    strategy: Strategy[T] = STRATEGIES[rules.strategy]  # type: ignore[assignment]  # each takes any candidate
    return strategy(candidates, standings, Draw(random, now, need.stream, rules.ttl, rules.buffer, need.wants))


def choose_simply(
    targets: Sequence[T],
    standings: Sequence[Standing],
    rules: Rules,
    stream: bool,
    random: Callable[[], float],
    now: float,
) -> T | None:
    """Choose as ``choose`` does where the rules are ``simple``; None while somebody rests. Most requests pass here."""
    for standing in standings:
        if standing.rests_until:
            return None
    if rules.strategy == "simple-shuffle":
        return simple_shuffle(targets, random)
    strategy: Strategy[T] = STRATEGIES[rules.strategy]  # type: ignore[assignment]  # each takes any candidate
    return strategy(targets, standings, Draw(random, now, stream, rules.ttl, rules.buffer))


def _foremost(targets: Sequence[T], standings: Sequence[Standing]) -> tuple[list[T], list[Standing]]:
    """Keep those of the lowest ``order``; who has none comes last."""
    first = min(_LAST if target.order is None else target.order for target in targets)
    kept = [n for n, target in enumerate(targets) if (_LAST if target.order is None else target.order) == first]
    return [targets[n] for n in kept], [standings[n] for n in kept]


_LAST = 1 << 62


def _with_room(
    targets: Sequence[T], standings: Sequence[Standing], need: Need, now: float
) -> tuple[Sequence[T], Sequence[Standing]]:
    """Keep those that have not used up their rpm, tpm and quotas; all, when all have: then the figures are weights,
    which is all that they are to LiteLLM's shuffle."""
    kept = [n for n, t in enumerate(targets) if _over(t, standings[n], need, now) is None]
    if not kept or len(kept) == len(targets):
        return targets, standings
    return [targets[n] for n in kept], [standings[n] for n in kept]


def tagged(targets: Sequence[T], tags: Collection[str], any_tag: bool, agent: str = "") -> Sequence[T]:
    """Keep those with the request's tags, or with a pattern for its ``agent``; without a match, those that are tagged
    ``default``; without any of these, those without tags and patterns."""
    if tags or agent:
        wanted = frozenset(tags)
        found = [target for target in targets if _is_tagged(target, wanted, any_tag) or _is_known(target, agent)]
        if found:
            return found
    default = [target for target in targets if DEFAULT_TAG in target.tags]
    return default or [target for target in targets if not target.tags and not target.tag_patterns]


def _is_tagged(target: Candidate, wanted: frozenset[str], any_tag: bool) -> bool:
    if any_tag:
        return not wanted.isdisjoint(target.tags)
    return bool(wanted) and wanted.issubset(target.tags)


def _is_known(target: Candidate, agent: str) -> bool:
    return any(pattern.search(agent) for pattern in target.tag_patterns)


def _untagged(tags: Collection[str]) -> GatewayError:
    named = ", ".join(sorted(tags)) or "none"
    text = f"No deployment of this model is for requests with these tags ({named}), and none is tagged 'default'."
    return GatewayError("no_deployment", text, status=401)


def nobody(reasons: Sequence[LeftOut]) -> GatewayError:
    """Make the error of a group in which nobody may be asked."""
    waits = [reason.seconds for reason in reasons if reason.seconds]
    if all(reason is BLOCKED for reason in reasons):
        text = f"No deployments available for selected model. Each of them {BLOCKED.why}."
        return GatewayError("no_deployment", text)
    if all(reason.seconds == 0.0 and not reason.full for reason in reasons):
        reasons = [reason for reason in reasons if reason is not BLOCKED]
        return GatewayError("context_window", f"No deployment of this model takes this request: it {reasons[0].why}.")
    wait = min(waits, default=1.0)
    full = any(reason.full for reason in reasons)
    said = "; ".join(dict.fromkeys(reason.why for reason in reasons[:5]))
    # LiteLLM's words first, which rules over logs match.
    text = f"No deployments available for selected model, Try again in {wait:.0f} seconds. Each of them {said}."
    return GatewayError("no_room" if full else "no_deployment", text, retry_after=wait)


def reasons(
    targets: Sequence[T], standing_of: Callable[[T], Standing], rules: Rules, need: Need, now: float
) -> Iterator[tuple[T, str]]:
    """Yield each target of a group and why it is not asked now, "" for one that may be."""
    right = targets if not rules.by_tags else tagged(targets, need.tags, rules.any_tag, need.agent)
    for target in targets:
        if target not in right:
            yield target, "has other tags than the request"
            continue
        reason = left_out(target, standing_of(target), rules, need, now)
        yield target, reason.why if reason is not None else ""
