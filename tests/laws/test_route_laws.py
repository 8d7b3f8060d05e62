"""Who is tried next, and who is meant: the generator of attempts, the shuffle and the catalog."""

from __future__ import annotations

import asyncio
import difflib
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import TABLE, GatewayError
from penstock.core.route.catalog import Catalog, Member
from penstock.core.route.pick import simple_shuffle
from penstock.core.route.plan import LONGEST_WAIT, Outcome, Plan, Try, Wait, attempts
from penstock.core.route.stars import fill, fixed, match
from penstock.runtime.drive import drive

KINDS = sorted(TABLE)
GROUPS = ("a", "b", "c", "d")


@dataclass
class Run:
    """The steps that were asked for, the outcomes that were given to the tries, and the end."""

    steps: list[Try[str] | Wait]
    outcomes: list[Outcome]
    error: GatewayError | None

    @property
    def tries(self) -> list[Try[str]]:
        return [step for step in self.steps if isinstance(step, Try)]

    def of_group(self, group: str) -> list[tuple[Try[str], Outcome]]:
        return [(step, out) for step, out in zip(self.tries, self.outcomes, strict=True) if step.group == group]


def run(plan: Plan[str], script: Sequence[Outcome], picks: Sequence[int], jitter: float = 0.5) -> Run:
    """The driver at its simplest: a list of outcomes, the last for all tries after it."""
    steps: list[Try[str] | Wait] = []
    outcomes: list[Outcome] = []
    numbers = iter(picks)

    def pick(group: str, candidates: Sequence[str]) -> str:
        return candidates[next(numbers, 0) % len(candidates)]

    generator = attempts(plan, pick, lambda: jitter)
    answer: Outcome | None = None
    while True:
        try:
            step = generator.send(answer)
        except StopIteration as end:
            return Run(steps, outcomes, end.value)
        steps.append(step)
        assert len(steps) < 200, "does not end"
        if isinstance(step, Wait):
            answer = None
        else:
            answer = script[min(len(outcomes), len(script) - 1)]
            outcomes.append(answer)


kinds = st.sampled_from(KINDS) | st.sampled_from(
    ["upstream_error", "upstream_rate_limit", "timeout", "connect", "context_window", "upstream_auth"]
)
waits = st.none() | st.sampled_from([0.0, 0.3, 2.0, LONGEST_WAIT, 9.0, 3600.0])
failures = st.builds(
    lambda kind, wait, started: Outcome(GatewayError(kind, kind, retry_after=wait), started),
    kinds,
    waits,
    st.sampled_from([False, False, False, True]),
)
outcomes = st.lists(st.one_of(failures, failures, failures, st.just(Outcome())), min_size=1, max_size=25)


@st.composite
def plans(draw: st.DrawFn) -> Plan[str]:
    targets = {
        group: tuple(f"{group}{n}" for n in range(draw(st.integers(0 if group != "a" else 1, 4))))
        for group in draw(st.sampled_from([GROUPS, GROUPS[:2], GROUPS[:1]]))
    }
    names = st.lists(st.sampled_from([*GROUPS, "nowhere"]), max_size=5).map(tuple)
    ways = st.dictionaries(st.sampled_from(["", "", "context_window", "content_policy"]), names)
    least = draw(st.sampled_from([0.0, 0.0, 1.0, 10.0]))
    nested = draw(st.dictionaries(st.sampled_from(GROUPS[1:]), ways))
    own = draw(st.dictionaries(st.sampled_from(["a0", "a1", "b0", "c1"]), st.integers(0, 6)))
    retries, depth = draw(st.integers(0, 5)), draw(st.integers(0, 3))
    most = draw(st.none() | st.none() | st.integers(0, 8))
    return Plan("a", targets, draw(ways), retries, least, nested=nested, depth=depth, own=own, most=most)


@st.composite
def planned(draw: st.DrawFn) -> tuple[Plan[str], Run]:
    plan = draw(plans())
    return plan, run(plan, draw(outcomes), draw(st.lists(st.integers(0, 5), max_size=30)), draw(st.floats(0, 1)))


@given(planned())
def test_a_group_gets_at_most_one_try_and_the_retries(pair):
    plan, ran = pair
    for group, number in Counter(step.group for step in ran.tries).items():
        first = ran.of_group(group)[0][0].target
        assert number <= plan.own.get(first, plan.retries) + 1, "as many as who was asked first says, else the plan"
    for step in ran.tries:
        assert step.target in plan.targets[step.group]


@given(planned())
def test_a_request_gets_no_more_tries_than_it_may(pair):
    """litellm_settings.num_retries_per_request counts all groups; the first try is always made (LiteLLM's way)."""
    plan, ran = pair
    assert plan.most is None or len(ran.tries) <= max(plan.most, 1)
    assert ran.tries or ran.error is not None


@given(planned())
def test_a_target_is_tried_again_only_after_all_others_that_may_be(pair):
    plan, ran = pair
    for group in plan.targets:
        dead: set[str] = set()
        since: dict[str, set[str]] = {}
        for step, outcome in ran.of_group(group):
            target = step.target
            assert target not in dead, "an error that would only repeat"
            if target in since:
                assert set(plan.targets[group]) - dead - {target} <= since[target]
            for other in since:
                since[other].add(target)
            since[target] = set()
            if outcome.error is not None and outcome.error.row.retry == "other":
                dead.add(target)


@given(planned())
def test_nothing_is_tried_after_success_after_the_first_byte_or_after_a_final_error(pair):
    _, ran = pair
    for outcome in ran.outcomes[:-1]:
        assert outcome.error is not None and not outcome.started and outcome.error.row.retry != "no"
    if ran.steps:
        assert isinstance(ran.steps[-1], Try), "a wait is for a try"


@given(planned())
def test_the_end_is_the_success_the_broken_answer_or_the_first_group_s_error(pair):
    plan, ran = pair
    last = ran.outcomes[-1]
    if last.error is None:
        assert ran.error is None
    elif last.started:
        assert ran.error is last.error
    else:
        first = [outcome.error for _, outcome in ran.of_group(plan.group)]
        assert ran.error is first[-1]


@given(planned())
def test_after_an_error_for_the_group_s_others_the_group_is_left_or_another_is_tried(pair):
    """ "target" goes on in the group, "other" with its other targets, "fallback" leaves it."""
    plan, ran = pair
    told = list(zip(ran.tries, ran.outcomes, strict=True))
    for (step, outcome), (after, _) in zip(told, told[1:], strict=False):
        assert outcome.error is not None
        retry = outcome.error.row.retry
        if retry == "fallback":
            assert after.group != step.group
        elif retry == "other" and after.group == step.group:
            assert after.target != step.target


@given(planned())
def test_fallbacks_are_those_of_the_error_s_kind_in_their_order(pair):
    plan, ran = pair
    visited = list(dict.fromkeys(step.group for step in ran.tries))
    assert visited[0] == plan.group
    left = [step.group for step, after in zip(ran.tries, ran.tries[1:], strict=False) if step.group != after.group]
    assert len(left) == len(visited) - 1, "no group is come back to"
    usable: list[str] = []
    known = {plan.group}

    def visit(group: str, depth: int) -> None:
        """The rule as it is said: a fallback's own fallbacks come before its neighbours, down to the depth."""
        if not plan.targets.get(group):
            return
        usable.append(group)
        if group not in visited or depth >= plan.depth:
            return
        ended = ran.of_group(group)[-1][1].error
        ways = plan.fallbacks if group == plan.group else plan.nested.get(group, {})
        wanted = ways.get(ended.kind if ended is not None else "") or ways.get("", ())
        new = [name for name in dict.fromkeys(wanted) if name not in known]
        known.update(new)
        for name in new:
            visit(name, depth + 1)

    visit(plan.group, 0)
    assert visited == usable[: len(visited)]
    failed = ran.outcomes[-1]
    bounded = plan.most is not None and len(ran.tries) >= plan.most
    if failed.error is not None and not failed.started and failed.error.row.retry != "no" and not bounded:
        assert visited == usable, "all of them were tried before the error was told"


@given(planned())
def test_waits_are_bounded_and_only_before_the_same_target_again(pair):
    plan, ran = pair
    seen: dict[str, set[str]] = {}
    for step, after in zip(ran.steps, [*ran.steps[1:], None], strict=True):
        if isinstance(step, Wait):
            assert plan.retry_after <= step.seconds <= LONGEST_WAIT and step.seconds >= 0
            assert isinstance(after, Try) and after.target in seen[after.group]
        else:
            again = step.target in seen.setdefault(step.group, set())
            alone = len(plan.targets[step.group]) == 1
            if again and alone:
                assert isinstance(ran.steps[ran.steps.index(step) - 1], Wait) or ran.steps.count(step) > 1
            seen[step.group].add(step.target)


@given(planned(), st.floats(0, 1))
def test_a_told_wait_is_kept_and_an_untold_one_grows(pair, jitter):
    plan, ran = pair
    last: Outcome | None = None
    outcomes_left = iter(ran.outcomes)
    for step in ran.steps:
        if isinstance(step, Wait):
            assert last is not None and last.error is not None
            if last.error.retry_after is not None:
                assert step.seconds == max(last.error.retry_after, plan.retry_after)
            else:
                assert step.seconds >= 0.5
        else:
            last = next(outcomes_left)


@given(planned(), st.sampled_from(KINDS))
def test_an_error_that_is_final_for_the_plan_is_the_last(pair, kind):
    plan, _ = pair
    final = plan._replace(final=frozenset((kind,)))
    ran = run(final, [Outcome(GatewayError(kind, "x"))], [])
    assert len(ran.tries) <= 1 and (not ran.tries or ran.error is ran.outcomes[-1].error)


def test_who_is_limited_goes_to_the_fallback_at_once_and_waits_without_one():
    limited = Outcome(GatewayError("upstream_rate_limit", "slow down", retry_after=2.0))
    alone = run(Plan("a", {"a": ("a0",)}, {}), [limited], [])
    assert alone.steps == [Try("a0", "a"), Wait(2.0), Try("a0", "a"), Wait(2.0), Try("a0", "a")]
    with_b = run(Plan("a", {"a": ("a0",), "b": ("b0",)}, {"": ("b",)}), [limited, Outcome()], [])
    assert with_b.steps == [Try("a0", "a"), Try("b0", "b")] and with_b.error is None


def test_a_wrong_key_is_not_tried_twice_and_the_next_deployment_is():
    wrong = Outcome(GatewayError("upstream_auth", "no"))
    assert run(Plan("a", {"a": ("a0",)}, {}), [wrong], []).steps == [Try("a0", "a")]
    assert run(Plan("a", {"a": ("a0", "a1")}, {}), [wrong, Outcome()], []).steps == [Try("a0", "a"), Try("a1", "a")]


def test_a_missing_key_of_one_deployment_does_not_cost_the_group():
    missing = Outcome(GatewayError("not_configured", "no key"))
    ran = run(Plan("a", {"a": ("a0", "a1")}, {}), [missing, Outcome()], [])
    assert ran.error is None and [step.target for step in ran.tries] == ["a0", "a1"]


def test_a_fallback_without_deployments_is_passed_over():
    down = Outcome(GatewayError("upstream_not_found", "gone"))
    ran = run(Plan("a", {"a": ("a0",), "b": (), "c": ("c0",)}, {"": ("b", "c")}), [down, Outcome()], [])
    assert ran.error is None and [step.group for step in ran.tries] == ["a", "c"]


def test_a_group_without_deployments_is_an_unknown_model():
    ran = run(Plan("a", {"a": ()}, {"": ("b",)}), [Outcome()], [])
    assert ran.steps == [] and ran.error is not None and ran.error.kind == "unknown_model"


@given(plans(), outcomes, st.lists(st.integers(0, 5), max_size=30))
def test_the_asynchronous_driver_takes_the_same_decisions(plan, script, picks):
    expected = run(plan, script, picks)
    steps: list[Try[str] | Wait] = []
    numbers = iter(picks)

    async def send(step: Try[str]) -> Outcome:
        steps.append(step)
        tried = sum(isinstance(s, Try) for s in steps)
        return script[min(tried, len(script)) - 1]

    async def sleep(seconds: float) -> None:
        steps.append(Wait(seconds))

    def pick(group: str, candidates: Sequence[str]) -> str:
        return candidates[next(numbers, 0) % len(candidates)]

    error = asyncio.run(drive(attempts(plan, pick, lambda: 0.5), send, wait=sleep))
    assert steps == expected.steps
    assert error is expected.error


# The shuffle ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Weighty:
    name: str
    weight: float | None = None
    rpm: float | None = None
    tpm: float | None = None


STEPS = 600
SPREAD = [(n + 0.5) / STEPS for n in range(STEPS)]  # every random number once: a distribution without luck


def shares(candidates: Sequence[Weighty]) -> dict[str, float]:
    got = Counter(simple_shuffle(candidates, lambda mark=mark: mark).name for mark in SPREAD)
    return {candidate.name: got[candidate.name] / STEPS for candidate in candidates}


figures = st.none() | st.just(0) | st.integers(1, 1000) | st.floats(0.01, 100)


@given(st.lists(st.tuples(figures, figures, figures), min_size=1, max_size=6))
def test_the_shuffle_gives_each_its_share(rows):
    candidates = [Weighty(f"t{n}", *row) for n, row in enumerate(rows)]
    deciding: list[float] = [1.0] * len(rows)
    for column in range(3):
        values = [row[column] for row in rows]
        if any(value is not None for value in values):
            if sum(value or 0 for value in values) > 0:
                deciding = [float(value or 0) for value in values]
            break
    total = sum(deciding)
    for name, share in shares(candidates).items():
        assert share == pytest.approx(deciding[int(name[1:])] / total, abs=(len(rows) + 1) / STEPS)


@given(st.lists(figures, min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_a_weight_of_nothing_is_never_picked_while_another_has_one(weights, mark):
    candidates = [Weighty(f"t{n}", weight) for n, weight in enumerate(weights)]
    picked = simple_shuffle(candidates, lambda: mark)
    assert picked in candidates
    if any(weight for weight in weights):
        assert picked.weight


# The catalog ----------------------------------------------------------------------------------------------------------


NAMES = ["gpt", "GPT", "openai/gpt", "openai/gpt-4", "anthropic/claude", "x", "id-1", "id-2", "openai/", "fast"]
PATTERNS = ["*", "openai/*", "openai/gpt*", "*-4", "anthropic/*", "openai/*-4", "x*"]


@st.composite
def catalogs(draw: st.DrawFn) -> tuple[list[Member[int]], dict[str, str], Catalog[int]]:
    names = draw(st.lists(st.sampled_from(NAMES + PATTERNS), max_size=8))
    members = [Member(name, draw(st.sampled_from([f"id-{n}", f"hash{n}"])), n) for n, name in enumerate(names)]
    aliases = draw(
        st.dictionaries(st.sampled_from(["fast", "gpt", "id-1", "alias"]), st.sampled_from(NAMES), max_size=3)
    )
    return members, aliases, Catalog(members, aliases)


def stars_of(pattern: str, name: str) -> tuple[str, ...] | None:
    found = re.fullmatch("(.+)".join(map(re.escape, pattern.split("*"))), name, re.DOTALL)
    return found.groups() if found else None


def meant(members: list[Member[int]], aliases: dict[str, str], name: str) -> tuple[list[int], tuple[str, ...]] | None:
    """The rule, written as slowly as it reads: exact name, alias, id, the wildcard with most fixed characters."""
    exact = [m.target for m in members if m.name == name and "*" not in name]
    if exact:
        return exact, ()
    if name in aliases and (found := meant(members, {}, aliases[name])) is not None:
        return found
    by_id = [m.target for m in members if m.id == name]
    if by_id:
        return by_id[-1:], ()
    fits = [m.name for m in members if "*" in m.name and stars_of(m.name, name) is not None]
    if not fits:
        return None
    best = max(fits, key=lambda p: len(p) - p.count("*"))
    return [m.target for m in members if m.name == best], stars_of(best, name)


@given(catalogs(), st.sampled_from([*NAMES, "hash0", "alias", "openai/o3", "unknown-4", "", "xx", "anthropic/a-4"]))
def test_the_catalog_finds_what_the_rule_says(built, name):
    members, aliases, catalog = built
    found, wanted = catalog.find(name), meant(members, aliases, name)
    if wanted is None:
        assert found is None
        return
    assert found is not None
    fits = {m.name for m in members if "*" in m.name and stars_of(m.name, name) is not None}
    if found.stars and sum(fixed(p) == fixed(found.group) for p in fits) > 1:
        return  # as specific as each other: either will do
    assert (list(found.targets), found.stars) == wanted


@given(catalogs())
def test_names_are_the_public_ones(built):
    members, aliases, catalog = built
    names = catalog.names()
    assert len(set(names)) == len(names)
    public = {m.name for m in members} | set(aliases)
    assert set(names) <= public
    assert {m.name for m in members} <= set(names)
    for name in names:
        if "*" not in name:
            assert catalog.find(name) is not None
    assert len(catalog) == len({m.name for m in members})


@given(
    catalogs(), st.sampled_from(NAMES) | st.text(max_size=12) | st.text(min_size=5000, max_size=5001), st.integers(1, 5)
)
def test_near_names_exist_are_few_and_begin_with_the_same_in_another_case(built, wrong, count):
    _, _, catalog = built
    names = catalog.names()
    near = catalog.near(wrong, count)
    assert len(near) <= count and len(set(near)) == len(near) and set(near) <= set(names)
    assert bool(near) == bool(names)
    same = {n for n in names if n.lower() == wrong.lower()}
    if same:
        assert near[0] in same
    elif names and difflib.get_close_matches(wrong.lower(), [n.lower() for n in names], 1, 0.8):
        best = max(difflib.SequenceMatcher(None, n.lower(), wrong.lower()).ratio() for n in names)
        assert difflib.SequenceMatcher(None, near[0].lower(), wrong.lower()).ratio() >= best - 0.2


def test_a_megabyte_of_name_is_compared_in_no_time():
    catalog: Catalog[int] = Catalog([Member("gpt-4o", "1", 1), Member("claude", "2", 2)])
    began = time.perf_counter()
    assert catalog.near("gpt-4o" * 2_000_000) == ["gpt-4o", "claude"]
    assert time.perf_counter() - began < 0.3


def test_an_alias_of_a_name_that_a_wildcard_serves():
    catalog: Catalog[int] = Catalog([Member("openai/*", "1", 1)], {"fast": "openai/gpt-4o-mini"})
    found = catalog.find("fast")
    assert found is not None and found.stars == ("gpt-4o-mini",) and found.targets == (1,)
    assert catalog.names() == ["fast", "openai/*"]


def test_a_hidden_alias_works_and_is_not_listed():
    catalog: Catalog[int] = Catalog([Member("g", "1", 1)], {"secret": "g", "open": "g"}, {"secret"})
    assert catalog.find("secret") == catalog.find("g")
    assert catalog.names() == ["g", "open"] and "secret" not in catalog.near("secret")


@given(st.text("a*:", min_size=1, max_size=8).filter(lambda p: "*" in p), st.text("a:b", max_size=12))
def test_stars_stand_for_what_the_greedy_expression_finds(pattern, name):
    assert match(pattern, name) == stars_of(pattern, name)
    found = match(pattern, name)
    if found is not None:
        assert fill(pattern, found) == name


def test_a_pattern_of_many_stars_takes_no_time():
    """As an expression it would take the name's length to the power of the stars."""
    began = time.perf_counter()
    assert match("*a" * 30, "a" * 5000 + "b") is None
    assert match("*a" * 30, "a" * 5000) is not None
    assert time.perf_counter() - began < 0.2


@pytest.mark.parametrize(
    ("model", "stars", "filled"),
    [
        ("gpt-*", ("a", "5"), "gpt-5"),
        ("*-x-*", ("a", "b"), "a-x-b"),
        ("plain", ("a",), "plain"),
        ("*-*", ("a",), "a-*"),
        ("*", ("a*b",), "a*b"),
    ],
)
def test_stars_are_filled_in(model, stars, filled):
    assert fill(model, stars) == filled
