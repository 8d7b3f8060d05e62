"""Quotas of deployments: input and output tokens of a minute, requests and tokens of a day."""

from __future__ import annotations

import json

import pytest

from penstock.core.route.quotas import KINDS
from tests.door import open_door
from tests.server.test_routing import ask, asked, config

STRICT = "optional_pre_call_checks: [enforce_model_rate_limits]"
NOON = 1_793_448_000.0  # of a day in UTC


def at(door, wall: float) -> None:
    door.gateway.engine.means.lives.quotas.wall = lambda: wall


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
@pytest.mark.parametrize("key", KINDS)
async def test_a_quota_is_kept_and_the_error_says_when_there_is_room(tmp_path, key, names, stream):
    async with open_door(tmp_path, config(*names, settings=STRICT, more=f"{key}: 30")) as door:
        at(door, NOON)
        answers = [await ask(door, stream=stream) for _ in range(100)]
        statuses = [status for status, _, _ in answers]
        good = statuses.index(429)
        assert good >= 2 * len(names) and set(statuses[good:]) == {429}, statuses
        _, head, body = answers[-1]
        error = json.loads(body)["error"]
        assert KINDS[key][2] in error["message"] and "of its 30" in error["message"], error
        assert 0 < int(head["retry-after"]) <= KINDS[key][1] / (1 if KINDS[key][1] == 60 else 2) + 1
        found = asked(door)
        assert sum(found.values()) == good and set(found) == set(names)
        at(door, NOON + KINDS[key][1])
        assert (await ask(door, stream=stream))[0] == 200


@pytest.mark.parametrize("key", KINDS)
async def test_where_limits_are_not_kept_who_has_room_goes_first(tmp_path, key):
    rows = config("a", more=f"{key}: 5") + ""
    text = rows.replace("router_settings", config("b").split("\n")[1] + "\nrouter_settings")
    async with open_door(tmp_path, text) as door:
        at(door, NOON)
        assert {(await ask(door))[0] for _ in range(60)} == {200}
        assert asked(door)["a"] <= 6
    async with open_door(tmp_path, rows) as door:
        at(door, NOON)
        assert {(await ask(door))[0] for _ in range(20)} == {200}, "LiteLLM keeps them only where it is told to"


async def test_what_is_used_is_told(tmp_path):
    more = "itpm: 30000, otpm: 20000, rpd: 100, tpd: 90000"
    async with open_door(tmp_path, config("a", settings=STRICT, more=more)) as door:
        at(door, NOON)
        assert (await ask(door))[0] == 200
        lives = door.gateway.engine.means.lives
        target = door.gateway.state.plan("m").targets["m"][0]
        used = {quota.key: lives.quotas.used(target.live_id, quota) for quota in target.quotas}
        assert used["rpd"] == 1 and used["tpd"] == used["itpm"] + used["otpm"] > 0
        status, _, body = await door.ask("GET", "/model_group/info", b"", {})
        (group,) = json.loads(body)["data"]
        assert status == 200 and (group["itpm"], group["otpm"]) == (30000, 20000)


async def test_a_day_begins_when_the_provider_says(tmp_path):
    more = 'rpd: 1, daily_reset_time: "13:00"'
    async with open_door(tmp_path, config("a", settings=STRICT, more=more)) as door:
        at(door, NOON)
        assert [(await ask(door))[0] for _ in range(2)] == [200, 429]
        at(door, NOON + 3601)
        assert [(await ask(door))[0] for _ in range(2)] == [200, 429]
