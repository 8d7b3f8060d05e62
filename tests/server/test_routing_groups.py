"""Routing groups: one name for the deployments of several models, with a strategy of its own."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from penstock.mock import Script, Step
from tests.door import HELLO, open_door
from tests.server.test_routing import ask, asked, says

ROW = '  - {{model_name: {name}, litellm_params: {{model: openai/{model}, api_base: "{{mock}}/v1", api_key: sk-u{more}}}{info}}}\n'


def row(name: str, model: str, more: str = "", info: str = "") -> str:
    return ROW.format(name=name, model=model, more=f", {more}" if more else "", info=f", model_info: {info}" if info else "")


def config(*rows: str, groups: str = "", settings: str = "", module: str = "") -> str:
    """Rows, routing groups, other settings of the router, and of LiteLLM's module."""
    text = "model_list:\n" + "".join(rows) + f"router_settings: {{num_retries: 2, routing_groups: [{groups}]{settings}}}\n"
    return text + (f"litellm_settings: {{{module}}}\n" if module else "")


FAST, SLOW = row("fast", "a"), row("slow", "b") + row("slow", "c")
BOTH = "{group_name: both, models: [fast, slow], routing_strategy: simple-shuffle}"


async def test_the_name_of_a_group_reaches_the_deployments_of_all_its_models(tmp_path):
    async with open_door(tmp_path, config(FAST, SLOW, groups=BOTH)) as door:
        for _ in range(60):
            status, headers, body = await ask(door, model="both")
            assert status == 200 and json.loads(body)["model"] == "both"
            assert headers["x-litellm-model-group"] == "both"
        found = asked(door)
        assert set(found) == {"a", "b", "c"} and min(found.values()) > 5
        assert (await ask(door, model="fast"))[0] == 200 and asked(door) == {"a": 1}


async def test_it_is_listed_and_explained(tmp_path):
    async with open_door(tmp_path, config(FAST, SLOW, groups=BOTH)) as door:
        _, _, body = await door.ask("GET", "/v1/models")
        assert [one["id"] for one in json.loads(body)["data"]] == ["fast", "slow", "both"]
        assert (await door.ask("GET", "/v1/models/both"))[0] == 200
        _, _, body = await door.ask("GET", "/model_group/info?model_group=both")
        assert [one["model_group"] for one in json.loads(body)["data"]] == ["both"]
        [group] = json.loads((await door.ask("GET", "/v1/route/explain?model=both"))[2])["groups"]
        assert [(one["model"], one["deployment"]) for one in group["candidates"]] == [
            ("fast", "openai/a"), ("slow", "openai/b"), ("slow", "openai/c"),
        ]  # fmt: skip
        _, headers, _ = await door.post({**HELLO, "model": "both"}, x_penstock_route="1")
        [tried] = json.loads(headers["x-penstock-route"])["attempts"]
        assert (tried["model"] == "fast") is (tried["deployment"] == "openai/a") and "group" not in tried


@pytest.mark.parametrize(
    ("strategy", "more", "wanted"),
    [
        ("cost-based-routing", "", {"a"}),
        ("priority, model_priorities: {fast: 2, slow: 1}", "", {"b", "c"}),
        ("priority, model_priorities: {fast: 1, slow: 2}", "", {"a"}),
        ("least-busy", ", routing_strategy: cost-based-routing", {"a", "b", "c"}),
    ],
)
async def test_its_own_strategy_picks(tmp_path, strategy, more, wanted):
    prices = [f"input_cost_per_token: {n}e-6, output_cost_per_token: {n}e-6" for n in (1, 2, 3)]
    rows = (row("fast", "a", prices[0]), row("slow", "b", prices[1]), row("slow", "c", prices[2]))
    groups = f"{{group_name: both, models: [fast, slow], routing_strategy: {strategy}}}"
    async with open_door(tmp_path, config(*rows, groups=groups, settings=more)) as door:
        for _ in range(40):
            await ask(door, model="both")
        assert set(asked(door)) == wanted


async def test_a_strategy_also_holds_for_the_members_unless_it_is_a_priority(tmp_path):
    costs = [f"input_cost_per_token: {n}e-6, output_cost_per_token: {n}e-6" for n in (1, 2)]
    rows = (row("slow", "b", costs[0]), row("slow", "c", costs[1]), row("fast", "a"))
    groups = "{group_name: g, models: [slow], routing_strategy: cost-based-routing}"
    async with open_door(tmp_path, config(*rows, groups=groups)) as door:
        for _ in range(20):
            await ask(door, model="slow")
        assert asked(door) == {"b": 20}
    groups = "{group_name: g, models: [slow, fast], routing_strategy: priority, model_priorities: {slow: 1, fast: 2}}"
    async with open_door(tmp_path, config(*rows, groups=groups)) as door:
        for _ in range(30):
            await ask(door, model="slow")
        assert set(asked(door)) == {"b", "c"}


async def test_one_of_its_models_that_fails_rests_for_the_group_and_not_for_its_own_name(tmp_path):
    """LiteLLM spares the only deployment of a model, but not where the group has others."""
    text = config(FAST, SLOW, groups=BOTH, settings=", cooldown_time: 60")
    async with open_door(tmp_path, text) as door:
        door.mock.script = says(a=Step(status=429, headers={"retry-after": None}))
        for _ in range(40):
            assert (await ask(door, model="both"))[0] == 200
        assert asked(door)["a"] == 1
        door.mock.script = Script()
        assert (await ask(door, model="fast"))[0] == 200 and asked(door) == {"a": 1}


async def test_the_next_priority_is_asked_when_the_first_fails(tmp_path):
    groups = "{group_name: g, models: [fast, slow], routing_strategy: priority, model_priorities: {fast: 1, slow: 2}}"
    async with open_door(tmp_path, config(FAST, SLOW, groups=groups)) as door:
        door.mock.script = says(a=Step(status=500))
        status, headers, _ = await ask(door, model="g")
        assert status == 200 and headers["x-litellm-attempted-retries"] == "1"
        found = asked(door)
        assert found["a"] == 1 and found["b"] + found["c"] == 1


async def test_fallbacks_and_aliases_may_name_a_group_and_it_has_fallbacks_of_its_own(tmp_path):
    settings = ", fallbacks: [{lone: [both]}, {both: [lone]}], model_group_alias: {other: both}"
    text = config(FAST, SLOW, row("lone", "d"), groups=BOTH, settings=settings)
    async with open_door(tmp_path, text) as door:
        door.mock.script = says(d=Step(status=400))
        assert (await ask(door, model="other"))[0] == 200
        door.mock.script = says(d=Step(status=500, headers={"retry-after": "0"}))
        status, headers, _ = await ask(door, model="lone")
        assert status == 200 and headers["x-litellm-model-group"] == "both"
        door.mock.script = says(**{name: Step(status=500, headers={"retry-after": "0"}) for name in "abc"})
        status, headers, _ = await ask(door, model="other")
        assert status == 200 and headers["x-litellm-model-group"] == "lone"


async def test_a_model_or_an_alias_of_its_name_comes_first(tmp_path):
    groups = "{group_name: slow, models: [fast]}, {group_name: spare, models: [slow]}"
    async with open_door(tmp_path, config(FAST, SLOW, groups=groups, settings=", model_group_alias: {spare: fast}")) as door:
        await ask(door, model="slow")
        await ask(door, model="spare")
        found = asked(door)
        assert found["a"] == 1 and found["b"] + found["c"] == 1


async def test_what_a_member_forbids_the_cache_the_group_forbids_it_too(tmp_path):
    rows = (row("fast", "a", 'cache: {"no-store": true}'), SLOW)
    async with open_door(tmp_path, config(*rows, groups=BOTH, module="cache: true")) as door:
        for model, times in (("both", 3), ("slow", 1)):
            for _ in range(3):
                await ask(door, model=model)
            assert sum(asked(door).values()) == times


async def test_the_caller_s_confidence_picks_the_kind_of_deployment(tmp_path):
    kinds = {"a": "cloud-smart", "b": "cloud-fast", "c": "local", "d": "deep"}
    rows = [row("m", model, info=f"{{type: {kind}}}") for model, kind in kinds.items()]
    settings = ", routing_strategy: lar1, routing_strategy_args: {confidence_threshold_high: 0.8}"
    async with open_door(tmp_path, config(*rows, settings=settings)) as door:
        for said, model in (
            ({"confidence": 0.1}, "a"), ({"confidence": 0.3}, "b"), ({}, "c"), ({"confidence": 0.79}, "c"),
            ({"confidence": 0.8}, "d"), ({"confidence": 0.9, "evidence": ["UNVERIFIED"]}, "a"),
            ({"confidence": 0.9, "time": "MEM"}, "b"), (None, "c"),
        ):  # fmt: skip
            for _ in range(5):
                assert (await ask(door, model="m", metadata={} if said is None else {"lar1": said}))[0] == 200
            assert asked(door) == {model: 5}, said
        door.mock.script = says(d=Step(status=500))
        assert (await ask(door, model="m", metadata={"lar1": {"confidence": 1}}))[0] == 200
        for wrong in ({"confidence": 2}, {"confidence": "high"}, "sure"):
            status, _, body = await ask(door, model="m", metadata={"lar1": wrong})
            assert status == 400 and json.loads(body)["error"]["param"] == "metadata.lar1"


async def test_other_names_come_before_models_of_their_name_and_are_not_listed(tmp_path):
    text = config(FAST, SLOW, module="model_alias_map: {gpt: fast, slow: fast}")
    async with open_door(tmp_path, text) as door:
        for name in ("gpt", "slow"):
            status, _, body = await ask(door, model=name)
            assert status == 200 and json.loads(body)["model"] == name
        assert asked(door) == {"a": 2}
        _, _, body = await door.ask("GET", "/v1/models")
        assert [one["id"] for one in json.loads(body)["data"]] == ["fast", "slow"]


@pytest.mark.parametrize(("most", "tries"), [(0, 1), (1, 1), (2, 2), (4, 4), (9, 6)])
async def test_tries_of_a_request_are_bounded_over_all_its_groups(tmp_path, most, tries):
    settings = ", fallbacks: [{fast: [slow]}], disable_cooldowns: true"
    text = config(FAST, row("slow", "b"), settings=settings, module=f"num_retries_per_request: {most}")
    async with open_door(tmp_path, text) as door:
        door.mock.script = Script(default=Step(status=500, headers={"retry-after": "0"}))
        assert (await ask(door, model="fast"))[0] == 500
        assert sum(Counter(asked(door)).values()) == tries
