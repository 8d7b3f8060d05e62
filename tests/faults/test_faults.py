"""Every fault, a few requests each, all at the same time through one gateway; then what happens to the whole site.
`make faults` sends tens of thousands of requests for each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.faults import BY_NAME, FAULTS, Fault
from tests.faults.happenings import die_and_come_back, read_again
from tests.faults.judge import Verdict, judge
from tests.faults.leaving import STAGES, leave
from tests.faults.redis_away import die_and_come_back as redis_dies_and_comes_back
from tests.faults.redis_away import sharing
from tests.faults.site import Site, site

COUNT = 56  # of each fault, four in each lane
# With and without cooldowns: without, a fault strikes in each third request.
MODES: dict[str, dict[str, Any]] = {"no-rests": {"disable_cooldowns": True}, "rests": {"cooldown_time": 1}}


@pytest.fixture(scope="module", params=MODES)
def running(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("site"), MODES[request.param]) as made:
        yield made


@pytest.fixture(scope="module")
def verdicts(running: Site) -> dict[str, Verdict]:
    answers = running.run(running.requests(FAULTS, COUNT), at_once=64)
    tally = running.tally(len(answers))
    return {
        fault.name: judge(fault, [one for one in answers if one.asked.fault == fault.name], tally, running.usage)
        for fault in FAULTS
    }


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_survived(fault: Fault, verdicts: dict[str, Verdict]) -> None:
    verdict = verdicts[fault.name]
    assert verdict.requests >= round(COUNT * fault.share)
    assert verdict.told() == ""


def test_upstreams_die_and_come_back(running: Site) -> None:
    verdict = die_and_come_back(running, 600)
    assert verdict.told() == ""
    assert verdict.again > 0, "somebody had asked the dead"
    assert set(verdict.seen) <= {"200", "in band"} and verdict.seen["200"] > 500


def test_a_reload_disturbs_nobody(running: Site) -> None:
    verdict, turns = read_again(running, 400)
    assert verdict.told() == ""
    assert turns > 1 and verdict.seen == {"200": 400}


def test_rests_outlive_a_reload(running: Site) -> None:
    """A key that is refused rests its deployment for a minute, whatever is reloaded meanwhile."""
    fault = BY_NAME["401-of-one-key"]
    answers = running.run(running.requests([fault], 56))
    asked = _calls_to_a(running, len(answers))
    verdict, _ = read_again(running, 56)
    assert verdict.told() == ""
    answers = running.run(running.requests([fault], 56))
    again = _calls_to_a(running, len(answers))
    assert {one.status for one in answers} == {200}
    assert again == 0 if "cooldown_time" in running.settings else asked > 5 < again


def _calls_to_a(running: Site, count: int) -> int:
    tally = running.tally(count)
    return sum(name == "a" for lines in tally.began.values() for name, _ in lines)


def test_clients_leave_at_every_stage(running: Site) -> None:
    verdict = leave(running, 20 * len(STAGES))
    assert verdict.told() == ""
    assert verdict.seen["left (499)"] >= 60 and verdict.seen["200"] == 140


def test_redis_dies_and_comes_back(tmp_path: Path) -> None:
    with sharing(tmp_path) as (made, redis):
        told = redis_dies_and_comes_back(made, redis, 3000)
        assert told.verdict.told() == ""
        assert told.verdict.seen == {"200": 3000} and told.spent == told.counted > 0
