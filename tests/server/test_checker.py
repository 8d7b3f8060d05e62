"""Health checks at intervals: a free question to each deployment, no model runs."""

from __future__ import annotations

import json

import pytest

from penstock.core.providers.free import free_path
from penstock.mock import Rule, Script, Step
from penstock.server.checker import Checker
from tests.door import open_door
from tests.server.test_routing import ask

TARGETS = {
    "openai/a": "/v1", "anthropic/claude-sonnet-4-5": "", "gemini/gemini-2.5-pro": "", "ollama/llama3": "",
    "cohere/command-a": "", "hosted_vllm/b": "/v1",
}  # fmt: skip


def yaml(general: str = "", router: str = "") -> str:
    rows = "".join(
        f'  - {{model_name: m{n}, litellm_params: {{model: {model}, api_base: "{{mock}}{base}", api_key: sk-u}}}}\n'
        for n, (model, base) in enumerate(TARGETS.items())
    )
    return f"model_list:\n{rows}general_settings: {{{general}}}\nrouter_settings: {{{router}}}\n"


@pytest.mark.parametrize(
    ("dialect", "url", "path"),
    [
        ("openai_chat", "https://api.openai.com/v1/chat/completions", "/v1/models"),
        ("openai_chat", "https://x.openai.azure.com/openai/deployments/d/chat/completions?api-version=1", "/openai/models?api-version=1"),
        ("openai_responses", "https://h/v1/responses", "/v1/models"),
        ("anthropic", "https://api.anthropic.com/v1/messages", "/v1/models"),
        ("gemini", "https://g/v1beta/models/gemini-2.5-pro:generateContent", "/v1beta/models/gemini-2.5-pro"),
        ("ollama", "http://h:11434/api/chat", "/api/tags"),
        ("cohere", "https://api.cohere.com/v2/chat", "/v1/models"),
        ("bedrock", "https://h/model/x/converse", None),
        ("openai_chat", "https://h/odd", None),
    ],
)  # fmt: skip
def test_the_free_page_of_each(dialect, url, path):
    assert free_path(dialect, url) == path


async def test_every_deployment_is_asked_and_no_model_runs(tmp_path):
    async with open_door(tmp_path, yaml()) as door:
        await Checker(door.gateway).round()
        seen = {(one.method, one.path) for one in door.mock.received}
        assert seen == {
            ("GET", "/v1/models"), ("GET", "/v1beta/models/gemini-2.5-pro"), ("GET", "/api/tags"),
        }  # fmt: skip
        assert len(door.mock.received) == len(TARGETS)
        told = json.loads((await door.ask("GET", "/health"))[2])
        assert told["unhealthy_count"] == 0, told


async def test_a_refused_key_and_a_dead_engine_are_found_and_found_well_again(tmp_path):
    router = "enable_health_check_routing: true, fallbacks: [{m0: [m5]}]"
    async with open_door(tmp_path, yaml(router=router)) as door:
        checker = Checker(door.gateway)
        refused = Step(status=401)
        door.mock.script = Script(rules=[Rule(path="/v1/models", header={"x-api-key": None}, nth=1, step=refused)])
        await checker.round()
        told = json.loads((await door.ask("GET", "/health"))[2])
        wrong = {row["model"]: row["error"] for row in told["unhealthy_endpoints"]}
        assert "its key is refused (401)" in wrong["openai/a"] and "anthropic/claude-sonnet-4-5" not in wrong
        door.mock.script = Script()
        assert (await ask(door, model="m0"))[1]["x-litellm-model-group"] == "m5"
        await checker.round()
        assert json.loads((await door.ask("GET", "/health"))[2])["unhealthy_count"] == 0
        assert (await ask(door, model="m0"))[1]["x-litellm-model-group"] == "m0"


async def test_groups_and_lenience(tmp_path):
    router = "background_health_check_model_groups: [m0], health_check_ignore_transient_errors: true"
    async with open_door(tmp_path, yaml(router=router)) as door:
        door.mock.script = Script(default=Step(status=429))
        await Checker(door.gateway).round()
        assert [one.path for one in door.mock.received] == ["/v1/models"]
        assert json.loads((await door.ask("GET", "/health"))[2])["unhealthy_count"] == 0
        door.mock.script = Script(default=Step(status=500))
        await Checker(door.gateway).round()
        assert json.loads((await door.ask("GET", "/health"))[2])["unhealthy_count"] == 1


async def test_only_where_it_is_wanted(tmp_path):
    async with open_door(tmp_path, yaml("background_health_checks: true, health_check_interval: 300")) as door:
        checker = Checker(door.gateway)
        checker.start()
        await door.mock.wait_for(len(TARGETS), complete=True)
        await checker.stop()
    async with open_door(tmp_path, yaml()) as door:
        checker = Checker(door.gateway)
        checker.start()
        await ask(door, model="m0")
        await checker.stop()
        assert [one.method for one in door.mock.received] == ["POST"]
