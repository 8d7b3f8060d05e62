"""Which target next: a generator that is told how each try went. No socket, no clock, no randomness of its own.

Server and SDKs drive the same generator; tests drive it with lists.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from penstock.core.errors import GatewayError

T = TypeVar("T")
# A wait that the client would not sit through is not begun: it is told to come back instead (its SDK retries by
# itself).
LONGEST_WAIT = 8.0
# Who is told to come back later goes to the fallbacks now, when there are any (LiteLLM's contract, 3.3).
_NOT_WORTH_A_WAIT = frozenset({"upstream_rate_limit"})


class Try(NamedTuple, Generic[T]):
    """Send the request to ``target``, a member of ``group``; answer with an ``Outcome``."""

    target: T
    group: str


class Wait(NamedTuple):
    """Sleep, then go on (answer with None)."""

    seconds: float


class Outcome(NamedTuple):
    """How a try ended. ``error`` None = answered. ``started``: bytes reached the client, there is no second answer."""

    error: GatewayError | None = None
    started: bool = False


class Plan(NamedTuple, Generic[T]):
    """Which targets to try for a request, and how often. ``group``: the name asked for. ``targets``: by group.
    ``fallbacks``: for an error kind, the groups to go to then; key "" is for any other kind. ``retries``: more tries
    per group after the first."""

    group: str
    targets: Mapping[str, Sequence[T]]
    fallbacks: Mapping[str, Sequence[str]]
    retries: int = 2
    retry_after: float = 0.0  # seconds, the least wait before the same target is tried again
    only: Try[T] | None = None  # the first step, where there is but one candidate for it


def attempts(
    plan: Plan[T], pick: Callable[[Sequence[T]], T], jitter: Callable[[], float]
) -> Generator[Try[T] | Wait, Outcome | None, GatewayError | None]:
    """Yield ``Try`` and ``Wait``; return None after success, else the error to tell the client.

    Laws: at most ``(retries + 1)`` tries per group; a target is tried again only when every other one of its group was
    tried since, and never after an error that it would only repeat; nothing after success, after the first byte, or
    after a final error. ``pick`` chooses among candidates; ``jitter`` returns 0..1."""
    groups = [plan.group]
    error: GatewayError | None = None
    at = 0
    while at < len(groups):
        group = groups[at]
        at += 1
        if at > 1 and not plan.targets.get(group):
            continue  # a fallback that leads nowhere must not keep the next one from being tried
        elsewhere = at < len(groups) or at == 1 and bool(plan.fallbacks.get(""))
        failed = yield from _group(plan, group, elsewhere, pick, jitter)
        if failed is None:
            return None
        outcome, last = failed
        # The first group's error is the answer to the question asked; a fallback's trouble is not the client's.
        error = error or last
        if outcome.started or last.row.retry == "no":
            return last if outcome.started else error
        if at == 1:
            more = plan.fallbacks.get(last.kind) or plan.fallbacks.get("", ())
            groups += [name for name in dict.fromkeys(more) if name not in groups]
    return error


def _group(
    plan: Plan[T], group: str, elsewhere: bool, pick: Callable[[Sequence[T]], T], jitter: Callable[[], float]
) -> Generator[Try[T] | Wait, Outcome | None, tuple[Outcome, GatewayError] | None]:
    """Try the targets of one group. ``elsewhere``: there are groups to go to when this one fails."""
    left: Sequence[T] = plan.targets.get(group, ())
    tried: list[T] = []  # and may be again, longest ago first
    again = False
    outcome = Outcome()
    for number in range(plan.retries + 1):
        if not left:
            if not tried or (elsewhere and outcome.error is not None and outcome.error.kind in _NOT_WORTH_A_WAIT):
                break
            wait = _wait(outcome.error, number, plan.retry_after, jitter)
            if wait is None:
                break
            yield Wait(wait)
            left, tried, again = tried, [], True
        target = left[0] if again or len(left) == 1 else pick(left)
        left = [other for other in left if other is not target]
        answer = yield Try(target, group)
        assert answer is not None, "a Try is answered with an Outcome"
        if answer.error is None:
            return None
        outcome = answer
        retry = answer.error.row.retry
        if answer.started or retry not in ("target", "other"):
            break
        if retry == "target":
            tried.append(target)
    if outcome.error is None:
        outcome = Outcome(GatewayError("unknown_model", f"The model group {group!r} has no deployment."))
    assert outcome.error is not None
    return outcome, outcome.error


def _wait(error: GatewayError | None, number: int, least: float, jitter: Callable[[], float]) -> float | None:
    """Return the seconds until the same target may be tried again; None when that is longer than anyone should wait
    here."""
    told = error.retry_after if error is not None else None
    wait = told if told is not None else 0.5 * 2 ** (number - 1) + 0.25 * jitter()
    wait = max(wait, least)
    return wait if wait <= LONGEST_WAIT else None
