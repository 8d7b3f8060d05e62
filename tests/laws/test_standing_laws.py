"""When a deployment rests and when it comes back, and who of several is picked: against the definitions."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.core.route.choose import NOTHING, PLAIN, Need, Rules, choose, choose_simply, left_out, reasons
from penstock.core.route.pick import STRATEGIES, Draw, nearest
from penstock.core.route.standing import DEAD_KEY, LONGEST, PROBE, TAU, Rests, Standing

PICKS = 10_000
USUAL = Rests()


@dataclass(eq=False)
class Made:
    """A deployment as the choice sees it."""

    live_id: str
    weight: float | None = None
    rpm: int | None = None
    tpm: int | None = None
    quotas: tuple = ()
    cost: float | None = None
    order: int | None = None
    tags: tuple[str, ...] = ()
    tag_patterns: tuple = ()
    most: int | None = None
    window: int | None = None
    lacks: frozenset[str] = frozenset()
    kind: str = ""
    blocked: bool = False
    purse: str = ""
    standing: Standing = field(default_factory=Standing)


def standing_of(made: Made) -> Standing:
    return made.standing


def many(candidates: Sequence[Made], strategy: str, seed: int = 1, **draw: float) -> Counter[str]:
    """How often each is picked."""
    dice = random.Random(seed)
    standings = [made.standing for made in candidates]
    pick = STRATEGIES[strategy]
    made = Draw(dice.random, now=draw.pop("now", 100.0), **draw)  # type: ignore[arg-type]
    return Counter(pick(candidates, standings, made).live_id for _ in range(PICKS))


def fits(found: Counter[str], wanted: dict[str, float]) -> None:
    """Pearson's test at p = 0.001 (degrees of freedom 1 to 9). Who is to have nothing has nothing."""
    critical = (10.83, 13.82, 16.27, 18.47, 20.52, 22.46, 24.32, 26.12, 27.88)
    assert {name for name in found if not wanted.get(name)} == set()
    shares = {name: share for name, share in wanted.items() if share}
    total = sum(shares.values())
    if len(shares) == 1:
        assert found == {next(iter(shares)): PICKS}
        return
    chi = 0.0
    for name, share in shares.items():
        expected = PICKS * share / total
        chi += (found[name] - expected) ** 2 / expected
    assert chi < critical[len(shares) - 2], (found, wanted)


# The strategies -------------------------------------------------------------------------------------------------------


def test_the_shuffle_goes_by_weight():
    fits(
        many([Made("a", weight=5), Made("b", weight=3), Made("c", weight=2)], "simple-shuffle"),
        {"a": 5, "b": 3, "c": 2},
    )
    fits(many([Made("a", rpm=90), Made("b", rpm=10)], "simple-shuffle"), {"a": 9, "b": 1})
    fits(many([Made("a"), Made("b"), Made("c")], "simple-shuffle"), {"a": 1, "b": 1, "c": 1})


def busy(name: str, count: int) -> Made:
    made = Made(name)
    made.standing.in_flight = count
    return made


def test_the_least_busy_is_picked_and_equals_share():
    fits(many([busy("a", 2), busy("b", 1), busy("c", 1), busy("d", 7)], "least-busy"), {"b": 1, "c": 1})


def quick(name: str, seconds: float, in_flight: int = 0, now: float = 100.0) -> Made:
    made = Made(name)
    made.standing.answered_in(now, seconds, 1)
    made.standing.began_in(now, seconds)
    made.standing.in_flight = in_flight
    return made


@pytest.mark.parametrize("stream", [False, True])
def test_the_quicker_of_two_that_are_drawn_is_picked(stream):
    """Of n candidates the best is in 2/n of the draws, the second in what is left of them, the worst in none."""
    four = [quick("a", 0.4), quick("b", 0.1), quick("c", 0.3), quick("d", 0.2)]
    fits(many(four, "latency-based-routing", stream=stream), {"b": 3, "d": 2, "c": 1})
    fits(many(four[:2], "latency-based-routing", stream=stream), {"b": 1})


def test_a_latency_is_weighed_with_the_requests_in_flight():
    fits(many([quick("a", 0.1, in_flight=4), quick("b", 0.3)], "latency-based-routing"), {"b": 1})


@given(
    st.lists(st.tuples(st.floats(1e-6, 1e4), st.integers(1, 50), st.floats(0, 90) | st.floats(0, 1e9)), min_size=2, max_size=2),
    st.sampled_from([1.0, 60.0, 3600.0, 1e12]),
    st.booleans(),
)
def test_the_quicker_is_the_one_with_the_smaller_latency_however_old_both_are(two, ttl, stream):
    now = 2e9
    made = [quick(str(n), seconds, in_flight, now - age) for n, (seconds, in_flight, age) in enumerate(two)]
    waits = [one.standing.latency(now, stream, ttl) * (one.standing.in_flight + 1) for one in made]
    if abs(waits[0] - waits[1]) > 1e-5 * max(waits):  # beyond what the clock's precision decides
        fits(many(made, "latency-based-routing", now=now, stream=stream, ttl=ttl), {str(int(waits[1] < waits[0])): 1})


def test_who_is_not_known_yet_is_asked_first_and_whose_sample_is_old_again():
    fits(many([quick("a", 0.1), Made("b"), Made("c")], "latency-based-routing"), {"b": 1, "c": 1})
    old = quick("b", 0.001, now=10.0)
    fits(many([quick("a", 0.1, now=100.0), old], "latency-based-routing", ttl=60.0), {"b": 1})


def test_within_the_buffer_chance_decides():
    fits(many([quick("a", 0.10), quick("b", 0.11)], "latency-based-routing", buffer=0.2), {"a": 1, "b": 1})
    fits(many([quick("a", 0.10), quick("b", 0.13)], "latency-based-routing", buffer=0.2), {"a": 1})


def used(name: str, tokens: int, requests: int = 0, **limits: int) -> Made:
    made = Made(name, **limits)  # type: ignore[arg-type]
    made.standing.use(100.0, tokens)
    made.standing.requests = requests
    return made


@pytest.mark.parametrize("strategy", ["usage-based-routing", "usage-based-routing-v2"])
def test_the_one_with_the_most_room_is_picked(strategy):
    fits(many([used("a", 500), used("b", 100), used("c", 100)], strategy), {"b": 1, "c": 1})
    fits(many([used("a", 500, tpm=10_000), used("b", 100, tpm=200)], strategy), {"a": 1})
    fits(many([used("a", 5, 8, rpm=100), used("b", 1, 1, rpm=10)], strategy), {"a": 1})
    fits(many([used("a", 500), used("b", 100)], strategy, now=200.0), {"a": 1, "b": 1})  # another minute


def test_the_cheapest_is_picked_and_free_is_cheap():
    dear, cheap, free, unknown = Made("a", cost=3e-5), Made("b", cost=2e-6), Made("c", cost=0.0), Made("d")
    fits(many([dear, cheap, unknown], "cost-based-routing"), {"b": 1})
    fits(many([dear, cheap, free, unknown], "cost-based-routing"), {"c": 1})
    fits(many([unknown, Made("e")], "cost-based-routing"), {"d": 1, "e": 1})


@given(st.lists(st.text("abcdef", min_size=1, max_size=8), unique=True, min_size=2, max_size=8), st.binary(max_size=20))
def test_what_belongs_to_one_moves_only_when_that_one_is_gone(names, mark):
    made = [Made(name) for name in names]
    mine = nearest(made, mark)
    for gone in made:
        left = [one for one in made if one is not gone]
        assert nearest(left, mark) is mine or gone is mine
    assert nearest(list(reversed(made)), mark) is mine


def test_marks_are_spread_over_all():
    made = [Made("a"), Made("b"), Made("c"), Made("d")]
    fits(Counter(nearest(made, str(n).encode()).live_id for n in range(PICKS)), dict.fromkeys("abcd", 1.0))


# The rest -------------------------------------------------------------------------------------------------------------


def fail(
    standing: Standing, kind: str = "upstream_error", now: float = 1.0, rests: Rests = USUAL, alone: bool = False,
    told: float | None = None,
) -> float:  # fmt: skip
    return standing.fail(kind, GatewayError(kind, "x").row.litellm, told, now, rests, alone)


@pytest.mark.parametrize("kind", ["upstream_rate_limit", "upstream_not_found", "upstream_auth", "upstream_payment"])
def test_some_failures_let_it_rest_at_once_where_others_can_stand_in(kind):
    standing = Standing()
    seconds = fail(standing, kind)
    assert seconds == (DEAD_KEY if kind in ("upstream_auth", "upstream_payment") else 5.0)
    assert "rests for" in standing.resting(1.0) and standing.resting(1.0 + seconds) == ""
    assert fail(Standing(), kind, alone=True) == 0.0


def test_three_in_a_row_let_it_rest_and_a_success_between_them_does_not():
    standing = Standing()
    for _ in range(20):
        standing.ask(1.0)
        standing.succeeded(1.0)
    assert [fail(standing), fail(standing)] == [0.0, 0.0]
    standing.succeeded(1.0)
    assert [fail(standing), fail(standing), fail(standing)] == [0.0, 0.0, 5.0]


def test_more_than_half_of_a_minute_s_requests_let_it_rest():
    standing = Standing()
    rested = []
    for number in range(8):
        standing.ask(1.0)
        if number % 4 == 3:
            standing.succeeded(1.0)
        else:
            rested.append(fail(standing))
        if rested[-1]:
            break
    assert rested[-1] == 5.0 and standing.requests >= 3


@pytest.mark.parametrize("allowed", [1, 2, 3, 10])
def test_allowed_fails_counts_in_a_row_and_in_the_window(allowed):
    """C-16: both readings of the key are in the field, "disable after N in a row" and "more than N in the window"."""
    rests = Rests(fails=allowed)
    row = Standing()
    assert [fail(row, rests=rests) for _ in range(allowed)] == [0.0] * (allowed - 1) + [5.0]
    mixed, count = Standing(), 0
    while not mixed.rests_until:
        assert fail(mixed, rests=rests, now=1.0 + count) == 0.0 or count == allowed or allowed == 1
        mixed.row = 0
        count += 1
    assert count == allowed + 1 or allowed == 1
    slow = Standing()
    for number in range(10):  # never more than allowed within a minute
        assert fail(slow, rests=Rests(fails=max(allowed, 2)), now=number * 61.0) == 0.0
        slow.succeeded(number * 61.0)


def test_a_class_of_errors_may_have_a_figure_of_its_own():
    rests = Rests(fails=100, by_class={"RateLimitError": 2})
    standing = Standing()
    assert [fail(standing, "upstream_rate_limit", rests=rests) for _ in range(2)] == [0.0, 5.0]


def test_the_upstream_s_own_wait_lengthens_the_rest_up_to_a_bound():
    for told, wanted in ((2.0, 5.0), (40.0, 40.0), (1e6, LONGEST)):
        assert fail(Standing(), "upstream_rate_limit", told=told) == wanted


def test_no_rest_where_none_is_wanted():
    standing = Standing()
    assert [fail(standing, rests=Rests(seconds=0.0)) for _ in range(50)] == [0.0] * 50


def test_after_the_rest_one_request_goes_at_a_time_until_one_succeeds():
    standing = Standing()
    fail(standing, "upstream_rate_limit", now=10.0)
    assert standing.resting(14.9) and not standing.resting(15.0)
    standing.ask(15.0)
    assert "tried again" in standing.resting(15.1)
    assert not standing.resting(15.0 + PROBE), "a trial that hangs does not block it for ever"
    assert fail(standing, now=16.0) == 5.0, "the trial failed: it rests again, after one"
    standing.ask(21.5)
    standing.succeeded(21.6)
    assert standing.resting(21.6) == "" and fail(standing, now=22.0) == 0.0


def test_what_began_before_a_rest_neither_ends_it_nor_begins_it_again():
    """A stream that ended well a second after its deployment had said 429 ended that rest; and of fifty requests under
    way each that failed began it again, with a line in the log."""
    standing = Standing()
    assert fail(standing, "upstream_rate_limit", now=10.0, told=30.0) == 30.0
    standing.succeeded(11.0)
    assert standing.resting(11.0) and standing.resting(39.9)
    assert [fail(standing, now=12.0) for _ in range(50)] == [0.0] * 50
    assert standing.rests_until == 40.0
    assert fail(standing, "upstream_auth", now=13.0) == DEAD_KEY, "unless it is to rest longer for that"
    standing.ask(73.0)
    standing.succeeded(73.5)
    assert standing.resting(74.0) == "" and [fail(standing, now=75.0) for _ in range(3)] == [0.0, 0.0, 5.0]


def test_the_only_deployment_rests_when_everything_fails_for_a_thousand_requests():
    standing = Standing()
    for _ in range(999):
        standing.ask(1.0)
        assert fail(standing, alone=True) == 0.0
    standing.ask(1.0)
    assert fail(standing, alone=True) == 5.0


@given(st.lists(st.tuples(st.floats(0.001, 5.0), st.floats(0.001, 30.0)), min_size=1, max_size=30))
def test_a_latency_is_a_peak_that_fades(samples):
    standing, now = Standing(), 0.0
    for seconds, later in samples:
        now += later
        standing.began_in(now, seconds)
        known = standing.latency(now, True, 3600.0)
        assert seconds * 0.999 <= known <= max(s for s, _ in samples) * 1.001
    assert standing.latency(now + 20 * TAU, True, 3600.0) < known * 1e-6
    assert standing.latency(now + 4000, True, 3600.0) == 0.0


# The choice -----------------------------------------------------------------------------------------------------------


def chosen(made: Sequence[Made], rules: Rules = PLAIN, need: Need = NOTHING, now: float = 100.0) -> object:
    found = choose(made, standing_of, rules, need, random.Random(1).random, now)
    return found if isinstance(found, GatewayError) else found.live_id


def test_the_lowest_order_that_may_be_asked_goes_first():
    made = [Made("a", order=2), Made("b", order=1), Made("c")]
    assert chosen(made) == "b"
    made[1].standing.rest(100.0, 5.0, "x")
    assert chosen(made) == "a"
    made[0].standing.rest(100.0, 5.0, "x")
    assert chosen(made) == "c"


def test_who_is_full_is_passed_over():
    made = [Made("a", most=1), Made("b", most=1)]
    made[0].standing.in_flight = 1
    assert chosen(made) == "b"
    made[1].standing.in_flight = 1
    error = chosen(made)
    assert isinstance(error, GatewayError) and error.status == 429 and error.retry_after


def test_rpm_and_tpm_are_kept_where_a_strategy_asks_for_it_and_are_weights_where_none_does():
    made = [used("a", 0, 10, rpm=10), used("b", 90, tpm=100)]
    strict = Rules(strategy="usage-based-routing", strict=True)
    assert chosen(made, strict, Need(tokens=5)) == "b"
    full = chosen(made, strict, Need(tokens=50))
    assert isinstance(full, GatewayError) and full.kind == "no_deployment"
    assert full.retry_after == pytest.approx(20.0), "until the minute ends"
    assert chosen(made, Rules(), Need(tokens=50)) in ("a", "b")
    assert chosen([used("a", 0, 10, rpm=10), used("b", 0, 1, rpm=10)]) == "b", "who has room goes before who has none"


class Told:
    """What other processes know: they have used what is given, and hear what they are told."""

    def __init__(self, requests: int = 0, tokens: int = 0) -> None:
        self.requests, self.tokens = requests, tokens
        self.rests: list[tuple[float, str]] = []

    def cooled(self, seconds: float, why: str) -> None:
        self.rests.append((seconds, why))

    def count(self, requests: int, tokens: int) -> None:
        self.requests += requests
        self.tokens += tokens

    def used(self) -> tuple[int, int, float]:
        return self.requests, self.tokens, 7.0


@pytest.mark.parametrize("strategy", ["usage-based-routing", "usage-based-routing-v2"])
def test_what_all_processes_have_used_counts_where_they_share_it(strategy):
    made = [Made("a", rpm=10), Made("b", rpm=10)]
    made[0].standing.common, made[1].standing.common = Told(8, 1), Told(3, 900)
    made[1].standing.ask(100.0)
    made[1].standing.use(100.0, 5)
    assert made[1].standing.used(100.0) == (4, 905, 7.0) and made[1].standing.requests == 1
    fits(many(made, strategy), {"b": 1})
    strict = Rules(strategy=strategy, strict=True)
    made[1].standing.common = Told(10)
    assert chosen(made, strict) == "a"
    made[0].standing.common = Told(10)
    full = chosen(made, strict)
    assert isinstance(full, GatewayError) and full.retry_after == 7.0


def test_others_are_told_of_a_rest_and_of_no_failure_that_lets_nobody_rest():
    standing = Standing()
    told = standing.common = Told()
    fail(standing, alone=True)
    assert told.rests == []
    assert fail(standing, "upstream_rate_limit") == 5.0
    assert told.rests == [(5.0, "RateLimitError")]
    standing.rest(1.0, 9.0, "as another process says")
    assert len(told.rests) == 1, "what was heard is not told again"


def test_tags_choose_and_default_is_for_the_others():
    made = [Made("a", tags=("free",)), Made("b", tags=("paid", "eu")), Made("c", tags=("default",)), Made("d")]
    rules = Rules(by_tags=True)
    assert chosen(made, rules, Need(tags=("free",))) == "a"
    assert chosen(made, rules, Need(tags=("unknown",))) == "c"
    assert chosen(made, rules) == "c"
    assert chosen(made[:2] + made[3:], rules) == "d"
    both = Rules(by_tags=True, any_tag=False)
    assert chosen(made, both, Need(tags=("paid", "eu"))) == "b"
    assert chosen(made, both, Need(tags=("paid", "free"))) == "c"
    refused = chosen(made[:2], rules)
    assert isinstance(refused, GatewayError) and refused.status == 401


def test_who_cannot_take_the_request_is_not_asked():
    made = [Made("a", window=1000), Made("b", window=9000), Made("c", lacks=frozenset(("vision",)))]
    rules = Rules(fits=True)
    assert chosen(made[:2], rules, Need(tokens=5000)) == "b"
    assert chosen(made[1:], rules, Need(tokens=50, needs=frozenset(("vision",)))) == "b"
    refused = chosen(made[:1], rules, Need(tokens=5000))
    assert isinstance(refused, GatewayError) and refused.kind == "context_window"


def test_a_session_stays_while_its_deployment_may_be_asked():
    made = [Made(name) for name in "abcd"]
    need = Need(stays=(b"session 1",))
    mine = chosen(made, Rules(), need)
    assert {chosen(made, Rules(), need) for _ in range(20)} == {mine}
    next(one for one in made if one.live_id == mine).standing.rest(100.0, 5.0, "x")
    other = chosen(made, Rules(), need)
    assert other != mine and {chosen(made, Rules(), need) for _ in range(20)} == {other}


def test_nobody_is_told_when_to_come_back():
    made = [Made("a"), Made("b")]
    made[0].standing.rest(100.0, 5.0, "RateLimitError")
    made[1].standing.rest(100.0, 3.0, "Timeout")
    error = chosen(made)
    assert isinstance(error, GatewayError) and error.retry_after == pytest.approx(3.0)
    assert error.message.startswith("No deployments available for selected model, Try again in 3 seconds.")
    told = {one.live_id: why for one, why in reasons(made, standing_of, PLAIN, NOTHING, 100.0)}
    assert "RateLimitError" in told["a"] and "Timeout" in told["b"]


@st.composite
def deployments(draw: st.DrawFn) -> list[Made]:
    made = []
    for number in range(draw(st.integers(1, 6))):
        one = Made(
            f"d{number}",
            weight=draw(st.sampled_from([None, None, 0, 1, 5])),
            rpm=draw(st.sampled_from([None, None, 1, 10])),
            tpm=draw(st.sampled_from([None, None, 10, 1000])),
            cost=draw(st.sampled_from([None, 0.0, 1e-6])),
            order=draw(st.sampled_from([None, None, 0, 1])),
            tags=draw(st.sampled_from([(), ("x",), ("x", "y"), ("default",)])),
            most=draw(st.sampled_from([None, None, 1, 3])),
            window=draw(st.sampled_from([None, 10, 10_000])),
            lacks=draw(st.sampled_from([frozenset(), frozenset(("vision",))])),
        )
        one.standing.in_flight = draw(st.integers(0, 3))
        one.standing.use(100.0, draw(st.integers(0, 100)))
        one.standing.requests = draw(st.integers(0, 10))
        if draw(st.booleans()):
            one.standing.rest(90.0, draw(st.sampled_from([5.0, 60.0])), "x")
        if draw(st.booleans()):
            one.standing.answered_in(99.0, draw(st.floats(0.01, 3.0)), 1)
        made.append(one)
    return made


@given(
    st.lists(st.tuples(st.sampled_from([None, 1, 5]), st.integers(0, 3), st.floats(0.0, 3.0)), min_size=2, max_size=5),
    st.sampled_from(sorted(STRATEGIES)),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1 << 30),
)
def test_the_simple_way_chooses_as_the_general_one(rows, strategy, stream, rests, seed):
    made = [Made(f"d{number}", weight=weight, cost=1e-6 * number) for number, (weight, _, _) in enumerate(rows)]
    for one, (_, in_flight, seconds) in zip(made, rows, strict=True):
        one.standing.in_flight = in_flight
        one.standing.use(100.0, in_flight)
        if seconds:
            one.standing.answered_in(99.0, seconds, 1)
            one.standing.began_in(99.0, seconds)
    if rests:
        made[0].standing.rest(99.0, 5.0, "x")
    rules, need = Rules(strategy=strategy), Need(stream=stream)
    standings = [one.standing for one in made]
    simple = choose_simply(made, standings, rules, stream, random.Random(seed).random, 100.0)
    general = choose(made, standing_of, rules, need, random.Random(seed).random, 100.0)
    assert simple is None if rests else simple is general


@given(
    deployments(), st.sampled_from(sorted(STRATEGIES)), st.booleans(), st.booleans(), st.booleans(),
    st.sampled_from([(), ("x",), ("z",)]), st.sampled_from([None, 5, 50]), st.booleans(), st.integers(0, 1 << 30),
)  # fmt: skip
def test_a_strategy_never_sees_who_may_not_be_asked(made, strategy, strict, by_tags, fits_, tags, tokens, sees, seed):
    rules = Rules(strategy=strategy, strict=strict, by_tags=by_tags, fits=fits_)
    need = Need(tags=tags, tokens=tokens, needs=frozenset(("vision",)) if sees else frozenset())
    found = choose(made, standing_of, rules, need, random.Random(seed).random, 100.0)
    told = {one.live_id: why for one, why in reasons(made, standing_of, rules, need, 100.0)}
    if isinstance(found, GatewayError):
        assert all(told.values())
        return
    assert told[found.live_id] == ""
    assert left_out(found, found.standing, rules, need, 100.0) is None
    free = [one for one in made if not told[one.live_id]]
    first = min(1 << 62 if one.order is None else one.order for one in free)
    assert (1 << 62 if found.order is None else found.order) == first
