"""What is left of a group's limits is told with its answers, in LiteLLM's names; nothing where nobody has limits."""

from __future__ import annotations

import pytest

from tests.door import HELLO, open_door
from tests.server.keyed import key, open_keyed
from tests.server.test_quotas import NOON, at
from tests.server.test_routing import ask, config

PAIRS = {"rpm": "requests", "tpm": "tokens", "itpm": "input-tokens", "otpm": "output-tokens"}


def told(head: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in head.items() if name.startswith("x-ratelimit-")}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("settings", ["", "optional_pre_call_checks: [enforce_model_rate_limits]"])
@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
@pytest.mark.parametrize("limit", PAIRS)
async def test_what_is_left_of_a_group_is_told(tmp_path, limit, names, settings, stream) -> None:
    most = 100_000
    async with open_door(tmp_path, config(*names, settings=settings, more=f"{limit}: {most}")) as door:
        at(door, NOON + 7)
        clock = door.gateway.engine.means.clock
        door.gateway.engine.means = door.gateway.engine.means._replace(clock=lambda: clock() // 60 * 60 + 30)
        left = []
        for _ in range(3):
            status, head, _ = await ask(door, stream=stream)
            assert status == 200
            word = PAIRS[limit]
            assert head[f"x-ratelimit-limit-{word}"] == str(most * len(names))
            left.append(int(head[f"x-ratelimit-remaining-{word}"]))
            reset = {"x-ratelimit-reset-" + word} if "-" in word else set()
            assert set(told(head)) == {f"x-ratelimit-{one}-{word}" for one in ("limit", "remaining")} | reset
            assert not reset or head[f"x-ratelimit-reset-{word}"] == str(int(60 - (NOON + 7) % 60) + 1)
            await door.settle()
        assert left[0] > left[1] > left[2] >= 0 and left[0] <= most * len(names)
        assert limit != "rpm" or left == [most * len(names) - n for n in (1, 2, 3)]


async def test_nothing_is_told_or_counted_where_nobody_has_limits(tmp_path) -> None:
    async with open_door(tmp_path, config("a")) as door:
        status, head, _ = await ask(door)
        assert status == 200 and told(head) == {}
        plan = door.gateway.state.plan("m")
        assert plan.only is not None and plan.rules == {}
    async with open_door(tmp_path, config("a", more="rpm: 5")) as door:
        plan = door.gateway.state.plan("m")
        assert plan.only is not None, "a lone deployment is tried at once all the same"
        assert [(await ask(door))[0] for _ in range(8)] == [200] * 8, "and only where that is asked for it is a limit"
        assert (await ask(door))[1]["x-ratelimit-remaining-requests"] == "0"


async def test_who_has_limits_of_its_own_is_told_those(tmp_path) -> None:
    yaml = config("a", more="rpm: 500, tpm: 900000")
    async with open_keyed(tmp_path, {"key": {"a": {"rpm_limit": 7}, "b": {}}}, yaml) as door:
        found = {}
        for who in "ab":
            status, head, _ = await door.post(HELLO, authorization=f"Bearer {key(who)}")
            assert status == 200
            found[who] = told(head)
        assert found["a"]["x-ratelimit-limit-requests"] == "7" and found["a"]["x-ratelimit-remaining-requests"] == "6"
        assert found["a"]["x-ratelimit-limit-tokens"] == "900000"
        assert found["b"]["x-ratelimit-limit-requests"] == "500" and found["b"]["x-ratelimit-limit-tokens"] == "900000"
