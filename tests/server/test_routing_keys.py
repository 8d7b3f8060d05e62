"""Keys of single deployments that say how they are routed: service tiers, rests, tags, traffic, health checks."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.mock import Script, Step
from penstock.runtime.attempt import Attempt
from penstock.server.checker import Checker
from tests.door import HELLO, open_door
from tests.server.test_routing import ask, asked, says
from tests.server.test_routing_groups import config, row


def first_bytes(door) -> dict[str, float | None]:
    """The wait for the first byte of each attempt's answer, by model, as it is made."""
    found: dict[str, float | None] = {}
    before = Attempt.timeouts

    def noted(self: Attempt, stream: bool):
        made = before(self, stream)
        found[self.target.model] = made.first_byte
        return made

    door.undo = lambda: setattr(Attempt, "timeouts", before)
    Attempt.timeouts = noted  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize(
    ("more", "whole", "stream"),
    [
        ({}, 30.0, 10.0), ({"service_tier": "flex"}, 900.0, 90.0), ({"service_tier": "priority"}, 5.0, 10.0),
        ({"service_tier": "auto"}, 30.0, 10.0), ({"service_tier": 7}, 30.0, 10.0), ({"service_tier": None}, 30.0, 10.0),
        ({"service_tier": "flex", "timeout": 3}, 3.0, 3.0),
    ],
)  # fmt: skip
async def test_a_service_tier_has_timeouts_of_its_own(tmp_path, more, whole, stream):
    tiers = "timeout_by_service_tier: {flex: 900, priority: 5}, stream_timeout_by_service_tier: {flex: 90}"
    text = config(row("m", "a", f"timeout: 30, stream_timeout: 10, {tiers}"))
    async with open_door(tmp_path, text) as door:
        found = first_bytes(door)
        try:
            assert (await ask(door, model="m", **more))[0] == 200 and found == {"a": whole}
            assert (await ask(door, model="m", stream=True, **more))[0] == 200 and found == {"a": stream}
        finally:
            door.undo()
        sent = [json.loads(seen.body).get("service_tier") for seen in door.mock.received]
        assert sent == [more.get("service_tier")] * 2, "it still goes to the vendor"


async def test_a_service_tier_is_given_up_after_its_own_time(tmp_path):
    text = config(row("m", "a", "timeout: 30, timeout_by_service_tier: {flex: 0.2}, num_retries: 0"))
    async with open_door(tmp_path, text) as door:
        door.mock.script = Script(default=Step(latency_ms=600))
        assert (await ask(door, model="m", service_tier="flex"))[0] == 408
        assert (await ask(door, model="m"))[0] == 200


async def test_a_deployment_says_itself_after_how_many_failures_it_rests(tmp_path):
    rows = (row("m", "a", info="{allowed_fails: 2}"), row("m", "b", info="{allowed_fails_policy: {InternalServerErrorAllowedFails: 5}}"))
    rows += (row("m", "c"), row("m", "d"))
    async with open_door(tmp_path, config(*rows, settings=", cooldown_time: 60, allowed_fails: 3")) as door:
        door.mock.script = says(**{name: Step(status=500) for name in "abc"})
        for _ in range(120):
            await ask(door, model="m")
        found = asked(door)
        assert (found["a"], found["b"], found["c"]) == (2, 5, 3)


async def test_who_takes_no_traffic_is_not_asked_and_not_listed(tmp_path):
    rows = (row("m", "a", info="{blocked: true}"), row("m", "b"), row("gone", "c", info="{blocked: true}"))
    async with open_door(tmp_path, config(*rows, row("e", "d"), settings=", fallbacks: [{gone: [m]}]")) as door:
        for _ in range(20):
            assert (await ask(door, model="m"))[0] == 200
        assert asked(door) == {"b": 20}
        status, headers, _ = await ask(door, model="gone")
        assert status == 200 and headers["x-litellm-model-group"] == "m" and asked(door) == {"b": 1}
        status, _, body = await ask(door, model="gone", disable_fallbacks=True)
        assert status == 429 and "takes no traffic" in json.loads(body)["error"]["message"] and not asked(door)
        _, _, body = await door.ask("GET", "/v1/models")
        assert [one["id"] for one in json.loads(body)["data"]] == ["m", "e"]
        [group, _] = json.loads((await door.ask("GET", "/v1/route/explain?model=gone"))[2])["groups"]
        assert "blocked" in group["candidates"][0]["left_out"]


@pytest.mark.parametrize(("everywhere", "here"), [("true", "false"), ("false", "true")])
async def test_tags_route_one_model_alone(tmp_path, everywhere, here):
    rows = [row(name, f"{name}-{tag}", f"tags: [{tag}]", f"{{enable_tag_filtering: {here}}}" if name == "own" else "")
            for name in ("own", "usual") for tag in ("free", "paid")]  # fmt: skip
    async with open_door(tmp_path, config(*rows, settings=f", enable_tag_filtering: {everywhere}")) as door:
        for name, by_tags in (("own", here), ("usual", everywhere)):
            for _ in range(25):
                assert (await ask(door, model=name, tags=["paid"]))[0] == 200
            assert (set(asked(door)) == {f"{name}-paid"}) is (by_tags == "true")


async def test_a_deployment_is_left_out_of_health_checks(tmp_path):
    rows = (row("m", "a", info="{disable_background_health_check: true}"), row("m", "b"))
    async with open_door(tmp_path, config(*rows)) as door:
        await Checker(door.gateway).round()
        lives = door.gateway.engine.means.lives
        checked = {target.model: lives.of(target).standing.checked > 0 for target in door.gateway.state.targets}
        assert checked == {"a": False, "b": True}
        assert (await door.post(HELLO | {"model": "m"}))[0] == 200
        await asyncio.sleep(0)


async def test_a_deployment_that_has_used_up_its_budget_is_left_out(tmp_path):
    price = "input_cost_per_token: 0.1, output_cost_per_token: 0.1"
    rows = (row("m", "a", f"{price}, max_budget: 0.5, budget_duration: 1d"), row("m", "b", price), row("alone", "c", f"{price}, max_budget: 0.1, budget_duration: 1h"))
    async with open_door(tmp_path, config(*rows)) as door:
        for _ in range(30):
            assert (await ask(door, model="m"))[0] == 200
        found = asked(door)
        assert found["a"] == 1 and found["b"] >= 28
        [group] = json.loads((await door.ask("GET", "/v1/route/explain?model=m"))[2])["groups"]
        assert [one.get("left_out") for one in group["candidates"]] == ["has used up its budget", None]
        assert (await ask(door, model="alone"))[0] == 200, "a window begins with the first amount"
        status, headers, _ = await ask(door, model="alone")
        assert status == 429 and 3500 < float(headers["retry-after"]) <= 3600 and asked(door) == {"c": 1}
