"""``/metrics/series``: what a gateway answered is in it, and who may not see it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from penstock.mock.script import Script, Step
from tests.door import HELLO, Door, open_door
from tests.server.keyed import MASTER, key, open_keyed

ADMIN = {"authorization": f"Bearer {MASTER}"}


async def told(door: Door, query: str = "", **headers: str) -> tuple[int, Any]:
    status, _, body = await door.ask("GET", f"/metrics/series{query}", headers=headers)
    return status, json.loads(body)


async def test_requests_tokens_and_times_are_in_the_series(tmp_path: Path):
    async with open_door(tmp_path) as door:
        for _ in range(3):
            assert (await door.post(HELLO))[0] == 200
        assert (await door.post({**HELLO, "stream": True}))[0] == 200
        assert (await door.post({**HELLO, "model": "nobody-has-this"}))[0] == 400
        await door.settle()
        records = [record for record in door.records if record.model]
        status, found = await told(door, "?minutes=1&step=5")
    assert status == 200
    totals = found["totals"]
    assert totals["requests"] == 5 and totals["client_errors"] == 1 and totals["errors"] == 0
    assert totals["input_tokens"] == sum(r.usage.input for r in records if r.usage)
    assert totals["output_tokens"] == sum(r.usage.output for r in records if r.usage) > 0
    assert totals["spend"] == pytest.approx(float(sum(r.cost for r in records if r.cost)))
    p95 = [ms for ms in found["series"]["latency_p95_ms"] if ms is not None]
    firsts = [ms for ms in found["series"]["ttft_p50_ms"] if ms is not None]
    assert p95 and 0 < p95[-1] < 60_000 and len(firsts) == 1


async def test_an_upstream_that_fails_is_an_error_of_its_own(tmp_path: Path):
    async with open_door(tmp_path) as door:
        door.mock.script = Script(default=Step(status=500))
        assert (await door.post(HELLO))[0] == 500
        await door.settle()
        failed = [record for record in door.records if record.fault == "upstream"]
        assert len(failed) == 1
        _, found = await told(door)
    assert found["totals"]["errors"] == len(failed)


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("?minutes=0", "minutes"),
        ("?minutes=x", "minutes"),
        ("?minutes=61", "minutes"),
        ("?step=1", "step"),
        ("?minutes=nan", "minutes"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(tmp_path: Path, query: str, named: str):
    async with open_door(tmp_path) as door:
        status, found = await told(door, query)
    assert status == 400 and f"'{named}'" in found["error"]["message"]


async def test_who_sees_nothing_that_is_managed_does_not_see_it(tmp_path: Path):
    rows = {"key": {"red": {"user_id": "ann"}}, "user": {"ann": {"user_role": "internal_user"}}}
    async with open_keyed(tmp_path, rows) as door:
        assert (await told(door))[0] == 401
        assert (await told(door, authorization=f"Bearer {key('red')}"))[0] == 403
        assert (await told(door, **ADMIN))[0] == 200
