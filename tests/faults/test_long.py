"""Every fault by itself, tens of thousands of requests each: `make faults`, which prints and keeps the table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from tests.faults.faults import FAULTS, HEALTHY, Fault
from tests.faults.happenings import die_and_come_back, read_again
from tests.faults.judge import Verdict, judge
from tests.faults.leaving import leave
from tests.faults.site import Site, site
from tests.faults.table import Row
from tests.faults.test_faults import MODES

pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

COUNT = int(os.environ.get("PENSTOCK_FAULTS", "20000"))
ALL_MODES = {**MODES, "hedged": {"cooldown_time": 1, "hedge_after": "50ms"}}
NAMED = {"no-rests": "off", "rests": "1 s", "hedged": "1 s, hedged after 50 ms"}
BASE: dict[str, Verdict] = {}


def run(site: Site, fault: Fault) -> Verdict:
    answers = site.run(site.requests([fault], COUNT))
    return judge(fault, answers, site.tally(len(answers), 60), site.usage, hedged=site.hedged)


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


def note(rows: list[Row], mode: str, name: str, verdict: Verdict) -> None:
    rows.append(Row(name, NAMED[mode], verdict, BASE.get(mode)))
    if name == HEALTHY.name:
        BASE[mode] = verdict
    assert verdict.told() == ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_survived(fault: Fault, running: tuple[str, Site], rows: list[Row]) -> None:
    mode, made = running
    verdict = run(made, fault)
    if mode != "no-rests" and fault.strikes and len(verdict.ms[False]) > 100:
        assert verdict.rests, "who fails again and again is cooled"
    note(rows, mode, fault.name, verdict)


@pytest.mark.parametrize("name", HAPPENINGS)
def test_the_site_survives(name: str, running: tuple[str, Site], rows: list[Row]) -> None:
    mode, made = running
    note(rows, mode, name, HAPPENINGS[name](made, COUNT))
