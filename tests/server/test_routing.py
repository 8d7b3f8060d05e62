"""A group's deployments under faults: who rests, who is asked, what the client sees."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest

from penstock.mock import Rule, Script, Step
from penstock.runtime.line import Line, Places
from tests.door import HELLO, Door, open_door

ENTRY = '  - {{model_name: m, litellm_params: {{model: openai/{name}, api_base: "{{mock}}/v1", api_key: sk-u{more}}}}}\n'


def config(*names: str, settings: str = "", more: str = "") -> str:
    rows = "".join(ENTRY.format(name=name, more=f", {more}" if more else "") for name in names)
    return f"model_list:\n{rows}router_settings: {{num_retries: 2, {settings}}}\n"


def says(**steps: Step) -> Script:
    """A script by upstream model."""
    return Script(rules=[Rule(model=name, step=step) for name, step in steps.items()])


async def ask(door: Door, **more: Any) -> tuple[int, dict[str, str], bytes]:
    return await door.post({**HELLO, **more})


def asked(door: Door) -> Counter[str]:
    """How often each upstream model was asked since the last look."""
    found = Counter(json.loads(seen.body)["model"] for seen in door.mock.received)
    door.mock.received.clear()
    return found


async def test_who_is_rate_limited_rests_and_comes_back(tmp_path):
    async with open_door(tmp_path, config("a", "b", settings="cooldown_time: 0.4")) as door:
        door.mock.script = says(a=Step(status=429, headers={"retry-after": None}))
        answers = [await ask(door) for _ in range(20)]
        assert {status for status, _, _ in answers} == {200}
        assert asked(door) == {"a": 1, "b": 20}
        await asyncio.sleep(0.45)
        door.mock.script = Script()
        assert {(await ask(door))[0] for _ in range(40)} == {200}
        assert set(asked(door)) == {"a", "b"}


async def test_three_failures_in_a_row_and_no_more_traffic(tmp_path):
    """S3-22."""
    settings = "allowed_fails: 3, cooldown_time: 60"
    async with open_door(tmp_path, config("a", "b", settings=settings)) as door:
        door.mock.script = says(a=Step(status=500))
        for _ in range(60):
            assert (await ask(door))[0] == 200
        assert asked(door)["a"] == 3


async def test_one_deployment_is_never_blocked(tmp_path):
    async with open_door(tmp_path, config("a", settings="allowed_fails: 1, cooldown_time: 60")) as door:
        door.mock.script = Script(default=Step(status=500, headers={"retry-after": "0"}))
        for _ in range(4):
            assert (await ask(door))[0] == 500
        assert asked(door) == {"a": 12}
        door.mock.script = Script()
        assert (await ask(door))[0] == 200


async def test_all_rest_and_the_client_is_told_when_to_come_back(tmp_path):
    async with open_door(tmp_path, config("a", "b", settings="cooldown_time: 30")) as door:
        door.mock.script = Script(default=Step(status=401))
        assert (await ask(door))[0] == 401
        assert asked(door) == {"a": 1, "b": 1}
        status, headers, body = await ask(door)
        assert status == 429 and 0 < float(headers["retry-after"]) <= 60
        assert json.loads(body)["error"]["message"].count("No deployments available for selected model") == 1
        assert not asked(door)


async def test_a_group_that_rests_goes_to_its_fallback(tmp_path):
    more = '  - {model_name: other, litellm_params: {model: openai/c, api_base: "{mock}/v1", api_key: sk-u}}\n'
    text = config("a", settings="cooldown_time: 30, allowed_fails: 1, fallbacks: [{m: [other]}]")
    text = text.replace("router_settings", more + "router_settings")
    async with open_door(tmp_path, text) as door:
        door.mock.script = says(a=Step(status=401))
        for _ in range(5):
            status, headers, body = await ask(door)
            assert (status, headers.get("x-litellm-model-group")) == (200, "other"), body
        assert asked(door) == {"a": 1, "c": 5}


@pytest.mark.parametrize(
    ("policy", "calls"),
    [("RateLimitErrorRetries: 0", 1), ("RateLimitErrorRetries: 1", 2), ("DefaultRetries: 3", 4), ("TimeoutErrorRetries: 0", 3)],
)
async def test_retries_by_the_class_of_the_error(tmp_path, policy, calls):
    settings = f"retry_policy: {{{policy}}}"
    async with open_door(tmp_path, config("a", settings=settings)) as door:
        door.mock.script = Script(default=Step(status=429, headers={"retry-after": "0"}))
        assert (await ask(door))[0] == 429
        assert asked(door) == {"a": calls}


@pytest.mark.parametrize(
    "strategy",
    ["simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing", "usage-based-routing-v2",
     "cost-based-routing"],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_every_strategy_serves_and_uses_who_is_left(tmp_path, strategy, stream):
    """S3-19."""
    settings = f"routing_strategy: {strategy}, cooldown_time: 30"
    async with open_door(tmp_path, config("a", "b", "c", settings=settings)) as door:
        door.mock.script = says(a=Step(status=503))
        answers = await asyncio.gather(*(ask(door, stream=stream) for _ in range(30)))
        assert {status for status, _, _ in answers} == {200}
        answers = [await ask(door, stream=stream) for _ in range(10)]
        assert {status for status, _, _ in answers} == {200}
        assert {"b", "c"} & set(asked(door))


async def test_the_quick_one_gets_the_traffic(tmp_path):
    async with open_door(tmp_path, config("a", "b", settings="routing_strategy: latency-based-routing")) as door:
        door.mock.script = says(a=Step(latency_ms=500), b=Step(latency_ms=1))
        for _ in range(2):
            await ask(door)
        asked(door)
        for _ in range(20):
            assert (await ask(door))[0] == 200
        assert asked(door)["b"] == 20


async def test_requests_per_deployment_are_bounded_and_the_others_wait(tmp_path):
    async with open_door(tmp_path, config("a", "b", more="max_parallel_requests: 2")) as door:
        door.mock.script = Script(default=Step(latency_ms=100))
        seen = []

        async def watch() -> None:
            while True:
                lives = door.gateway.engine.means.lives.values()
                seen.append(max((live.standing.in_flight for live in lives), default=0))
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        answers = await asyncio.gather(*(ask(door) for _ in range(11)))
        watching.cancel()
        assert {status for status, _, _ in answers} == {200} and max(seen) == 2
        assert sum(asked(door).values()) == 11


async def test_the_line_is_bounded_and_by_priority(tmp_path):
    async with open_door(tmp_path, config("a", more="max_parallel_requests: 1")) as door:
        door.mock.script = Script(default=Step(latency_ms=60))
        door.gateway.engine.lines["m"] = Line(most=3, patience=5.0)
        order = []

        async def one(name: str, delay: float, **more: Any) -> int:
            await asyncio.sleep(delay)
            status, headers, _ = await ask(door, **more)
            order.append(name)
            return status if status == 200 or "retry-after" in headers else 0

        told = await asyncio.gather(
            one("first", 0.0), one("last", 0.01, priority=200), one("usual", 0.015), one("vip", 0.02, priority=1),
            one("too many", 0.03),
        )  # fmt: skip
        assert told == [200, 200, 200, 200, 429]
        assert order == ["too many", "first", "vip", "usual", "last"]
        door.gateway.engine.lines["m"] = Line(patience=0.03)
        assert sorted(await asyncio.gather(one("a", 0.0), one("b", 0.005))) == [200, 429]
        assert "priority" not in json.loads(door.mock.received[-1].body)


async def test_who_leaves_the_line_holds_nobody_up(tmp_path):
    async with open_door(tmp_path, config("a", more="max_parallel_requests: 1")) as door:
        door.mock.script = Script(default=Step(latency_ms=80))
        first = asyncio.create_task(ask(door))
        await asyncio.sleep(0.02)
        leaves = asyncio.create_task(ask(door))
        stays = asyncio.create_task(ask(door))
        await asyncio.sleep(0.02)
        leaves.cancel()
        assert (await first)[0] == (await stays)[0] == 200
        await door.settle()
        assert door.gateway.engine.lines["m"].waiting == 0


async def test_requests_of_the_whole_gateway_are_bounded(tmp_path):
    async with open_door(tmp_path, config("a", "b")) as door:
        door.mock.script = Script(default=Step(latency_ms=60))
        gate = door.gateway.gate
        gate.places = Places(2, Line(most=3, patience=5.0))
        answers = await asyncio.gather(*(ask(door) for _ in range(8)))
        statuses = Counter(status for status, _, _ in answers)
        assert statuses == {200: 5, 429: 3}
        assert all(float(headers["retry-after"]) > 0 for status, headers, _ in answers if status == 429)
        await door.settle()
        assert gate.places.taken == 0 and not gate.inside
        assert (await door.ask("GET", "/v1/models"))[0] == 200


async def test_rpm_is_kept_by_the_strategies_that_keep_it(tmp_path):
    settings = "routing_strategy: usage-based-routing-v2"
    async with open_door(tmp_path, config("a", "b", settings=settings, more="rpm: 3")) as door:
        statuses = Counter([(await ask(door))[0] for _ in range(8)])
        assert statuses in ({200: 6, 429: 2}, {200: 8})  # the minute may turn
        if statuses[429]:
            assert asked(door) == {"a": 3, "b": 3}


async def test_tags_route(tmp_path):
    rows = "".join(ENTRY.format(name=name, more=f", tags: [{tag}]") for name, tag in (("a", "free"), ("b", "default")))
    text = f"model_list:\n{rows}router_settings: {{enable_tag_filtering: true}}\n"
    async with open_door(tmp_path, text) as door:
        for more, headers, wanted in (
            ({"tags": ["free"]}, {}, "a"),
            ({"metadata": {"tags": ["free"]}}, {}, "a"),
            ({}, {"x_litellm_tags": "free, x"}, "a"),
            ({"tags": ["nope"]}, {}, "b"),
            ({}, {}, "b"),
        ):
            assert (await door.post({**HELLO, **more}, **headers))[0] == 200
            assert asked(door) == {wanted: 1}
        status, _, body = await ask(door, tags="free")
        assert status == 400 and "'tags'" in json.loads(body)["error"]["message"]


async def test_a_session_stays_at_its_deployment(tmp_path):
    settings = "optional_pre_call_checks: [session_affinity]"
    async with open_door(tmp_path, config("a", "b", "c", settings=settings)) as door:
        homes = set()
        for session in range(12):
            for _ in range(3):
                assert (await door.post(HELLO, x_litellm_session_id=f"s{session}"))[0] == 200
            found = asked(door)
            assert len(found) == 1
            homes |= set(found)
        assert len(homes) > 1


async def test_a_reload_keeps_who_rests(tmp_path):
    async with open_door(tmp_path, config("a", "b", settings="cooldown_time: 30")) as door:
        door.mock.script = says(a=Step(status=429))
        for _ in range(10):
            await ask(door)
        asked(door)
        door.gateway.state = type(door.gateway.state)(door.gateway.state.config, door.gateway.state.env)
        for _ in range(10):
            assert (await ask(door))[0] == 200
        assert asked(door) == {"b": 10}


async def test_a_provider_s_budget_sends_the_rest_elsewhere(tmp_path):
    more = "input_cost_per_token: 1.0, output_cost_per_token: 1.0"
    rows = "".join(ENTRY.format(name=name, more=f", {more}") for name in "a").replace("openai/a", "openai/a")
    rows += rows.replace("openai/a", "groq/b")
    settings = "provider_budget_config: {openai: {budget_limit: 0.5, time_period: 1d}}"
    async with open_door(tmp_path, f"model_list:\n{rows}router_settings: {{{settings}}}\n") as door:
        for _ in range(30):
            assert (await ask(door))[0] == 200
        assert asked(door)["a"] == 1
        told = json.loads((await door.ask("GET", "/v1/route/explain?model=m"))[2])["groups"][0]["candidates"]
        assert any("budget is used up" in one.get("left_out", "") for one in told)


async def test_clients_route_by_their_name(tmp_path):
    """`tag_regex`: beside tags, and before what is tagged default; what has patterns takes nobody else."""
    more = {"a": r", tag_regex: ['^User-Agent: claude-code\/', 'codex']", "b": ", tags: [default]", "c": ", tags: [paid], tag_regex: ['^User-Agent: x$']"}
    rows = "".join(ENTRY.format(name=name, more=text) for name, text in more.items())
    text = f"model_list:\n{rows}router_settings: {{enable_tag_filtering: true}}\n"
    async with open_door(tmp_path, text) as door:
        for agent, fields, wanted in (
            ("claude-code/2.1", {}, "a"), ("my codex", {}, "a"), ("claude-codes", {}, "b"), ("x", {}, "c"), ("xx", {}, "b"),
            ("curl", {"tags": ["paid"]}, "c"), ("curl", {"tags": ["none"]}, "b"), ("", {}, "b"),
        ):  # fmt: skip
            assert (await door.post({**HELLO, **fields}, user_agent=agent))[0] == 200
            assert asked(door) == {wanted: 1}, (agent, fields)


async def test_only_tags_with_the_prefix_route(tmp_path):
    rows = "".join(ENTRY.format(name=name, more=f", tags: ['{tag}']") for name, tag in (("a", "r:x"), ("b", "default")))
    text = f"model_list:\n{rows}router_settings: {{enable_tag_filtering: true, tag_routing_prefix: 'r:'}}\n"
    async with open_door(tmp_path, text) as door:
        for tags, wanted in ((["r:x", "team"], "a"), (["team"], "b"), (["x"], "b")):
            assert (await ask(door, tags=tags))[0] == 200
            assert asked(door) == {wanted: 1}


async def test_parameters_of_all_deployments(tmp_path):
    settings = "default_litellm_params: {temperature: 0.5, max_tokens: 7}"
    async with open_door(tmp_path, config("a", settings=settings, more="max_tokens: 9")) as door:
        assert (await ask(door))[0] == 200
        sent = json.loads(door.mock.received[-1].body)
        assert (sent["temperature"], sent["max_tokens"]) == (0.5, 9)


async def test_who_failed_its_health_check_is_passed_over_where_that_is_wanted(tmp_path):
    for wanted in (True, False):
        settings = f"enable_health_check_routing: {str(wanted).lower()}"
        async with open_door(tmp_path, config("a", "b", settings=settings)) as door:
            [first, _] = door.gateway.state.targets
            door.live(first).standing.unwell = "no connection"
            for _ in range(20):
                assert (await ask(door))[0] == 200
            assert ("a" in asked(door)) is not wanted


@pytest.mark.parametrize("falls", [True, False])
async def test_a_parameter_that_is_not_supported_falls_back_or_not(tmp_path, falls):
    more = '  - {model_name: other, litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-u}}\n'
    entry = '  - {model_name: m, litellm_params: {model: anthropic/claude-opus-4-8, api_base: "{mock}", api_key: k}}\n'
    settings = f"fallbacks: [{{m: [other]}}], fallback_on_unsupported_params: {str(falls).lower()}"
    text = f"model_list:\n{entry}{more}router_settings: {{{settings}}}\nlitellm_settings: {{drop_params: false}}\n"
    async with open_door(tmp_path, text) as door:
        status, _, body = await ask(door, temperature=0.3, top_p=0.5)
        assert status == (200 if falls else 400), body


async def test_several_keys_of_one_entry_and_one_that_is_dead(tmp_path):
    entry = '  - {model_name: m, litellm_params: {model: openai/a, api_base: "{mock}/v1", api_key: [sk-one, sk-two, sk-three]}}\n'
    async with open_door(tmp_path, f"model_list:\n{entry}") as door:
        assert len({target.id for target in door.gateway.state.targets}) == 3
        dead = Rule(header={"authorization": "Bearer sk-two"}, step=Step(status=401))
        door.mock.script = Script(rules=[dead])
        for _ in range(40):
            assert (await ask(door))[0] == 200
        keys = Counter(dict(seen.headers)["authorization"] for seen in door.mock.received)
        assert keys["Bearer sk-two"] == 1 and keys["Bearer sk-one"] > 5 and keys["Bearer sk-three"] > 5
        door.mock.received.clear()
        told = json.loads((await door.ask("GET", "/health"))[2])
        assert told["unhealthy_count"] == 1 and "rests" in told["unhealthy_endpoints"][0]
        assert b"sk-two" not in (await door.ask("GET", "/health"))[2]
        for live in door.gateway.engine.means.lives.values():
            if live.standing.rests_until:
                live.standing.rests_until = 0.001  # its rest is over
        door.mock.script = Script()
        for _ in range(40):
            assert (await ask(door))[0] == 200
        assert len(Counter(dict(seen.headers)["authorization"] for seen in door.mock.received)) == 3
