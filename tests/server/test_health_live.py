"""``/health``: of one model, and live: a real request to each deployment, for who may manage the gateway and asks for it."""

from __future__ import annotations

import json

import pytest

from penstock.mock import Rule, Script, Step
from penstock.server.health import MOST_TOKENS
from tests.door import open_door
from tests.doors import each_door

MASTER = "sk-health-key-1234567"
KEY = {"authorization": f"Bearer {MASTER}"}
YAML = """
model_list:
  - model_name: chat
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: k-one}
  - model_name: chat
    litellm_params: {model: openai/broken, api_base: "{mock}/v1", api_key: k-two}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: k-three}
    model_info: {health_check_max_tokens: 5}
  - model_name: vectors
    litellm_params: {model: openai/text-embedding-3-small, api_base: "{mock}/v1", api_key: k-four}
  - model_name: pictures
    litellm_params: {model: openai/gpt-image-1, api_base: "{mock}/v1", api_key: k-five}
  - model_name: "any/*"
    litellm_params: {model: "openai/*", api_base: "{mock}/v1", api_key: k-six}
    model_info: {health_check_model: any/tiny}
  - model_name: "other/*"
    litellm_params: {model: "openai/*", api_base: "{mock}/v1", api_key: k-seven}
router_settings: {num_retries: 2, fallbacks: [{chat: [claude]}], default_fallbacks: [claude], model_group_alias: {alias: chat}}
"""
BROKEN = Script(rules=(Rule(model="broken", step=Step(status=500, error={"message": "Out of order."})),))


async def ask(door, query: str = "", headers=KEY, path: str = "/health"):
    status, told, body = await door.ask("GET", path + query, b"", headers)
    return status, json.loads(body)


def names(rows: list[dict]) -> list[str]:
    return [row["model"] for row in rows]


@each_door
async def test_live_asks_each_deployment_once_and_tells_how_it_went(tmp_path, opened):
    async with opened(tmp_path, yaml=YAML, master_key=MASTER, script=BROKEN) as door:
        status, told = await ask(door, "?live=true")
        assert status == 200 and told["status"] == "healthy"
        assert (told["healthy_count"], told["unhealthy_count"]) == (6, 1)
        [broken] = told["unhealthy_endpoints"]
        assert broken["model"] == "openai/broken" and "Out of order." in broken["error"]
        asked = [row for row in told["healthy_endpoints"] if "not_asked" not in row]
        assert names(asked) == [
            "openai/gpt-4o",
            "anthropic/claude-sonnet-4-5",
            "openai/text-embedding-3-small",
            "openai/*",
        ]
        assert all(row["response_time_ms"] > 0 and row["model_id"] for row in asked)
        left = {row["model_name"]: row["not_asked"] for row in told["healthy_endpoints"] if "not_asked" in row}
        assert "image_generation" in left["pictures"] and "health_check_model" in left["other/*"] and len(left) == 2
        # One short question each: no retry, no fallback, whatever the config says.
        seen = sorted((one.json["model"], one.json.get("max_tokens")) for one in door.mock.received)
        models = ["broken", "claude-sonnet-4-5", "gpt-4o", "text-embedding-3-small", "tiny"]
        assert [model for model, _ in seen] == models and dict(seen)["claude-sonnet-4-5"] == 5
        assert all(most is None or most <= MOST_TOKENS for _, most in seen)
        records = [record for record in door.records if record.path != "/health"]
        assert len(records) == 5 and all(record.key == "master" for record in records)
        assert sum(record.cost or 0 for record in records) > 0  # it is told what it cost
        # What was learned is there for who asks without it.
        door.mock.received.clear()
        status, told = await ask(door)
        assert names(told["unhealthy_endpoints"]) == ["openai/broken"] and door.mock.received == []
        await door.settle()


@each_door
async def test_model_asks_for_the_deployments_of_one_name_and_no_tokens_are_burnt(tmp_path, opened):
    async with opened(tmp_path, yaml=YAML, master_key=MASTER) as door:
        ids = {target.id: target.label for target in door.gateway.state.targets}
        wanted = {"chat": ["openai/gpt-4o", "openai/broken"], "alias": ["openai/gpt-4o", "openai/broken"]}
        wanted |= {
            "claude": ["anthropic/claude-sonnet-4-5"],
            "anthropic/claude-sonnet-4-5": ["anthropic/claude-sonnet-4-5"],
        }
        wanted |= {id_: [label] for id_, label in ids.items()}
        for name, models in wanted.items():
            for query in (f"?model={name}", f"?model_id={name}"):
                status, told = await ask(door, query)
                assert status == 200 and names(told["healthy_endpoints"]) == models and told["models"] == 7, name
        status, told = await ask(door, "?model=claud")
        assert status == 404 and "claude" in told["error"]["message"]
        assert door.mock.received == []
        status, told = await ask(door, "?model=claude&live=true")
        assert told["healthy_count"] == 1 and len(door.mock.received) == 1


@each_door
async def test_a_stranger_starts_nothing_and_learns_nothing(tmp_path, opened):
    async with opened(tmp_path, yaml=YAML, master_key=MASTER) as door:
        for headers in ({}, {"authorization": "Bearer sk-wrong-wrong-wrong"}):
            for query in ("?live=true", "?live=1&model=chat", "?live=TRUE"):
                assert (await ask(door, query, headers))[0] == 401
            for query in ("?model=chat", "?model=nobody", "?live=false", "?live="):
                status, told = await ask(door, query, headers)
                assert status == 200 and set(told) == {"status", "models", "providers"}
        assert (await door.ask("HEAD", "/health?live=true", b"", KEY))[0] == 405
        assert door.mock.received == []


async def test_a_web_page_cannot_make_a_gateway_without_a_key_ask(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"host": "evil.example"}):
            assert (await ask(door, "?live=true", headers))[0] == 403
        assert door.mock.received == []
        assert (await ask(door, "?live=true&model=claude", {}))[1]["healthy_count"] == 1  # who is here may


@pytest.mark.parametrize("path", ["/health", "/olla/litellm/health"])
async def test_who_does_not_answer_is_not_waited_for(tmp_path, path):
    yaml = """
model_list:
  - model_name: slow
    litellm_params: {model: openai/slow, api_base: "{mock}/v1", api_key: k}
    model_info: {health_check_timeout: 0.2}
"""
    async with open_door(tmp_path, yaml, script=Script.always(latency_ms=20_000)) as door:
        status, told = await ask(door, "?live=true", {}, path)
        assert status == 200 and told["unhealthy_endpoints"][0]["error"] == "no answer within 0.2 s"
        await door.settle()
