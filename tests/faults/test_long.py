"""Every fault by itself, tens of thousands of requests each: `make faults`, which prints and keeps the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.faults import FAULTS, HEALTHY, Fault
from tests.faults.happenings import die_and_come_back, read_again
from tests.faults.judge import Verdict, judge
from tests.faults.leaving import leave
from tests.faults.redis_away import die_and_come_back as redis_dies_and_comes_back
from tests.faults.redis_away import sharing
from tests.faults.site import Site, site
from tests.faults.table import Row
from tests.faults.test_faults import MODES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

COUNT = int(os.environ.get("PENSTOCK_FAULTS", "20000"))
ALL_MODES = {**MODES, "hedged": {"cooldown_time": 1, "hedge_after": "50ms"}}
NAMED = {"no-rests": "off", "rests": "1 s", "hedged": "1 s, hedged after 50 ms"}


def run(site: Site, fault: Fault) -> tuple[Verdict, Verdict | None]:
    """Send a fault's requests, and as many as a quarter of them to the healthy group at the same time, with which the
    latency is compared; return the verdicts on both."""
    beside = replace(HEALTHY, share=fault.share / 4)
    both = [fault] if fault is HEALTHY else [fault, beside]
    answers = site.run(site.requests(both, COUNT))
    tally = site.tally(len(answers), 60)
    own, other = (
        judge(one, [answer for answer in answers if answer.asked.fault == one.name], tally, site.usage, (), site.hedged)
        for one in (fault, beside)
    )
    return own, None if fault is HEALTHY else other


HAPPENINGS: dict[str, Callable[[Site, int], Verdict]] = {
    "two of three die and come back": die_and_come_back,
    "reload under load": lambda site, count: read_again(site, count)[0],
    "clients leave at every stage": leave,
}


@pytest.fixture(scope="module", params=ALL_MODES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Site]]:
    with site(tmp_path_factory.mktemp("site"), ALL_MODES[request.param]) as made:
        made.run(made.requests([HEALTHY], min(COUNT, 2000)))  # what is loaded late, is
        made.tally(min(COUNT, 2000))
        yield request.param, made


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_survived(fault: Fault, running: tuple[str, Site], rows: list[Row]) -> None:
    mode, made = running
    verdict, base = run(made, fault)
    rows.append(Row(fault.name, NAMED[mode], verdict, base))
    assert verdict.told() == ""
    assert base is None or base.told() == "", "the healthy group beside it"
    if mode != "no-rests" and fault.strikes and len(verdict.ms[False]) > 100:
        assert verdict.rests, "who fails again and again is cooled"


@pytest.mark.parametrize("name", HAPPENINGS)
def test_the_site_survives(name: str, running: tuple[str, Site], rows: list[Row]) -> None:
    mode, made = running
    verdict = HAPPENINGS[name](made, COUNT)
    rows.append(Row(name, NAMED[mode], verdict))
    assert verdict.told() == ""


def test_redis_dies_and_comes_back(tmp_path: Path, rows: list[Row]) -> None:
    with sharing(tmp_path) as (made, redis):
        told = redis_dies_and_comes_back(made, redis, COUNT)
        name = f"Redis is killed and comes back; two workers spend ${told.spent / 1e9:,.3f}, ${told.counted / 1e9:,.3f} are counted"
        rows.append(Row(name, NAMED["rests"], told.verdict))
        assert told.verdict.told() == ""
