"""Which target next: a generator that is told how each try went. No socket, no clock, no randomness of its own.

Server and SDKs drive the same generator; tests drive it with lists.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from msgspec import Struct

from penstock.core.errors import GatewayError, Retry
from penstock.core.route.choose import Rules

T = TypeVar("T")
R = TypeVar("R")
# A wait that the client would not sit through is not begun: it is told to come back instead (its SDK retries by
# itself).
LONGEST_WAIT = 8.0
# Who is told to come back later goes to the fallbacks now, when there are any (LiteLLM's contract, 3.3).
_NOT_WORTH_A_WAIT = frozenset(("upstream_rate_limit", "no_deployment"))


class Try(Struct, Generic[T], frozen=True):
    """Send the request to ``target``, a member of ``group``; answer with an ``Outcome``. ``goes_on``: part of an answer
    is out, and this target is asked for the rest of it."""

    target: T
    group: str
    goes_on: bool = False


class Wait(NamedTuple):
    """Sleep, then go on (answer with None)."""

    seconds: float


class Room(NamedTuple):
    """Wait until a deployment of the group may have one more request, then go on; answer with whether it may."""

    group: str


class Outcome(NamedTuple):
    """How a try ended. ``error`` None = answered. ``started``: bytes of an answer reached the client, which gets no
    second one. ``resumable``: but another target may go on with it."""

    error: GatewayError | None = None
    started: bool = False
    resumable: bool = False

    @property
    def kind(self) -> str:
        """Return the kind of the error, "" without one."""
        return "" if self.error is None else self.error.kind

    @property
    def retry(self) -> Retry:
        """Return what may be tried after this error. A target that refuses to go on with an answer of another's says
        nothing of the request; one whose stream broke may be asked for the rest itself."""
        assert self.error is not None
        how = self.error.row.retry
        if how == "no" and self.resumable:
            return "target" if self.error.kind == "broken_stream" else "other"
        return how

    @property
    def is_final(self) -> bool:
        """Tell whether nobody may be tried after this."""
        return (self.started and not self.resumable) or self.retry == "no"


ANSWERED = Outcome()


class Late(NamedTuple):
    """Say, in the place of an outcome, that a try has not answered in the time after which another is asked beside it.
    The next step is that ``Try``, or None where there is nobody; it is answered with ``Both``, or the one outcome."""


class Both(NamedTuple):
    """How two tries ended that ran side by side: the first one's, and the later one's. Either may have answered."""

    first: Outcome
    second: Outcome


LATE = Late()


class Plan(NamedTuple, Generic[T]):
    """Which targets to try for a request, and how often. ``group``: the name asked for. ``targets``: by group.
    ``fallbacks``: for an error kind, the groups to go to then; key "" is for any other kind. ``retries``: more tries
    per group after the first; ``rules``: of the groups, where there is more to see to than that. ``nested``: the
    fallbacks of the other groups; ``depth``: how many may follow from one another. ``own``: targets with a figure of
    their own for the tries that follow when they are asked first. ``most``: tries in all its groups together, at
    least one; None: no bound but those of the groups."""

    group: str
    targets: Mapping[str, Sequence[T]]
    fallbacks: Mapping[str, Sequence[str]]
    retries: int = 2
    retry_after: float = 0.0  # seconds, the least wait before the same target is tried again
    only: Try[T] | None = None  # the first step, where there is but one candidate for it
    rules: Mapping[str, Rules] = {}
    final: frozenset[str] = frozenset()  # kinds of errors after which nobody else is asked
    continues: bool = False  # streams that break off go on at another target
    nested: Mapping[str, Mapping[str, Sequence[str]]] = {}
    depth: int = 1
    own: Mapping[T, int] = {}
    most: int | None = None

    def allowed(self, group: str, error: GatewayError | None, first: T | None = None) -> int:
        """Return how many more tries a group has after the one of ``first``, when this error came last."""
        if first is not None and first in self.own:
            return self.own[first]
        rules = self.rules.get(group)
        if rules is None or error is None or not rules.retries:
            return self.retries
        return rules.retries.get(error.row.litellm, rules.retries.get("", self.retries))


Pick = Callable[[str, Sequence[T]], T | GatewayError]
"""Chooses among candidates of a group, or says why none of them may be asked."""
Steps = Generator[Try[T] | Wait | Room | None, Outcome | Late | Both | bool | None, R]


def attempts(
    plan: Plan[T], pick: Pick[T], jitter: Callable[[], float], begun: T | None = None
) -> Steps[T, GatewayError | None]:
    """Yield ``Try`` and ``Wait``; return None after success, else the error to tell the client.

    Laws: no group is visited twice; at most ``(retries + 1)`` tries per group; a target is tried again only when every
    other one of its group that may be asked was tried since, and never after an error that it would only repeat;
    nothing after success or after a final error; after the first byte only tries that go on with that answer, and if
    none of them can, the error that broke it off. ``jitter`` returns 0..1. ``begun``: the target of the first step,
    whoever may be asked by now: it was taken already."""
    groups, known = [(plan.group, 0)], {plan.group}
    error: GatewayError | None = None
    broken: GatewayError | None = None
    at, left = 0, plan.most
    while at < len(groups) and (left is None or left > 0 or at == 0):
        group, depth = groups[at]
        at += 1
        if at > 1 and not plan.targets.get(group):
            continue  # a fallback that leads nowhere must not keep the next one from being tried
        ways = (plan.fallbacks if at == 1 else plan.nested.get(group, {})) if depth < plan.depth else {}
        elsewhere = at < len(groups) or not known.issuperset(ways.get("", ()))
        line = _Line(plan.targets.get(group, ()), partial(pick, group), broken, None if left is None else max(left, 1))
        if begun is not None and at == 1:
            line.begin_with(begun)
        failed = yield from _group(plan, group, elsewhere, line, jitter)
        if failed is None:
            return None
        outcome, last = failed
        broken = line.broken
        left = line.most
        # The first group's error is the answer to the question asked; a fallback's trouble is not the client's.
        error = error or last
        if outcome.is_final or (outcome.kind in plan.final and not outcome.resumable):
            return broken or (last if outcome.started else error)
        more = [name for name in dict.fromkeys(ways.get(last.kind) or ways.get("", ())) if name not in known]
        groups[at:at] = [(name, depth + 1) for name in more]  # its own fallbacks come before those of its neighbours
        known.update(more)
    return broken or error


class _Line(Generic[T]):
    """Who of a group is next. ``left``: who was not tried in this round; ``tried``: who was and may be again, longest
    ago first. In the first round the strategy picks, in the later ones it goes by the order. ``broken``: what broke an
    answer off that others may go on with. ``most``: tries that its call may still make, None for any number."""

    def __init__(
        self,
        targets: Sequence[T],
        pick: Callable[[Sequence[T]], T | GatewayError],
        broken: GatewayError | None = None,
        most: int | None = None,
    ) -> None:
        self._pick = pick
        self.broken = broken
        self.most = most
        self.left = list(targets)
        self.tried: list[T] = []
        self._first: T | None = None
        self._again = False

    def begin_with(self, target: T) -> None:
        """Make a target the next one, without asking whether it may be asked."""
        self._first = target

    def next(self) -> T | GatewayError | None:
        """Take the next target of this round; None when the round is over, an error when nobody else may be asked."""
        if not self.left:
            return None
        if self._first is not None:
            first, self._first = self._first, None
            self.left.remove(first)
            return first
        found: T | GatewayError | None = None
        for candidates in [[target] for target in self.left] if self._again else [self.left]:
            found = self._pick(candidates)
            if not isinstance(found, GatewayError):
                self.left = [target for target in self.left if target is not found]
                break
        return found

    def count(self) -> None:
        """Note a try."""
        if self.most is not None:
            self.most -= 1

    def begin_again(self) -> None:
        """Begin another round, with those that may be tried again."""
        self.left, self.tried, self._again = [*self.left, *self.tried], [], True


def _group(
    plan: Plan[T], group: str, elsewhere: bool, line: _Line[T], jitter: Callable[[], float]
) -> Steps[T, tuple[Outcome, GatewayError] | None]:
    """Try the targets of one group. ``elsewhere``: there are groups to go to when this one fails."""
    outcome, count, first = Outcome(), 0, None
    while count <= plan.allowed(group, outcome.error, first) and line.most != 0:
        target = line.next()
        if target is None or isinstance(target, GatewayError):
            if isinstance(target, GatewayError) and target.kind == "no_room" and not elsewhere:
                if (yield Room(group)) is True:
                    continue
            if not count:
                outcome = Outcome(target or _empty(group))
                break
            if elsewhere and (target is not None or (outcome.error and outcome.error.kind in _NOT_WORTH_A_WAIT)):
                break  # the others rest, or this one wants to be left alone
            target = yield from _wait_for_one(line, _wait(outcome.error, count, plan.retry_after, jitter))
            if target is None:
                break
        line.count()
        answer = yield Try(target, group, line.broken is not None)
        count, first = count + 1, target if first is None else first
        second: T | None = None
        if isinstance(answer, Late):
            other = line.next() if count <= plan.retries and line.most != 0 else None
            if other is not None and not isinstance(other, GatewayError):
                second, count = other, count + 1
                line.count()
            answer = yield None if second is None else Try(second, group, line.broken is not None)
        told = _outcomes(answer, target, second)
        if any(one.error is None for _, one in told):
            return None
        outcome = next((one for _, one in told if one.started or _ends(one)), told[-1][1])
        if outcome.started:
            line.broken = line.broken or outcome.error
        line.tried += [tried for tried, one in told if one.error is not None and one.retry == "target"]
        if _ends(outcome) or (outcome.kind in plan.final and not outcome.resumable):
            break
    assert outcome.error is not None
    return outcome, outcome.error


def _wait_for_one(line: _Line[T], seconds: float | None) -> Steps[T, T | None]:
    """Wait, and begin another round; wait once more where all of the group rest and one of them soon rests no more."""
    if seconds is None or not (line.tried or line.left):
        return None
    yield Wait(seconds)
    line.begin_again()
    target = line.next()
    if isinstance(target, GatewayError):
        rest = target.retry_after
        if rest is None or rest > LONGEST_WAIT:
            return None
        yield Wait(rest)
        target = line.next()
    return None if isinstance(target, GatewayError) else target


def _outcomes(answer: Outcome | Late | Both | bool | None, first: T, second: T | None) -> list[tuple[T, Outcome]]:
    if isinstance(answer, Both) and second is not None:
        return [(first, answer.first), (second, answer.second)]
    assert isinstance(answer, Outcome), "a Try is answered with an Outcome"
    return [(first, answer)]


def _ends(outcome: Outcome) -> bool:
    """Tell whether no other target of the group may be tried after this."""
    return outcome.error is not None and (outcome.is_final or outcome.retry not in ("target", "other"))


def _empty(group: str) -> GatewayError:
    return GatewayError("unknown_model", f"The model group {group!r} has no deployment.")


def _wait(error: GatewayError | None, number: int, least: float, jitter: Callable[[], float]) -> float | None:
    """Return the seconds until the same target may be tried again; None when that is longer than anyone should wait
    here."""
    told = error.retry_after if error is not None else None
    wait = told if told is not None else min(0.5 * 2 ** min(number - 1, 10), LONGEST_WAIT - 0.25) + 0.25 * jitter()
    wait = max(wait, least)
    return wait if wait <= LONGEST_WAIT else None
