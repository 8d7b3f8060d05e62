"""Seed 2: the names by which its users ask for models, and the database that it has its keys in."""

from __future__ import annotations

import json

import pytest

from penstock.core.providers import PROVIDERS
from penstock.core.providers.resolve import endpoint, resolve
from penstock.mock import Script
from penstock.mock.script import Step
from tests.databases import (  # noqa: F401
    empty_mariadb,
    empty_postgres,
    empty_sqlite,
    mariadb,
    postgres,
    session_mariadb,
    session_postgres,
    session_sqlite,
)
from tests.door import open_door
from tests.seeds.test_s0_shared import SAYS, lines, sent, told
from tests.seeds.test_s2_olla import OLLA, WILD
from tests.served import MASTER, open_service


@pytest.mark.parametrize("model", ["gemini-pro", "gemini-pro-vision", "palm-2", "chat-bison"])
async def test_s2_27_bare_names_of_google(model, tmp_path):
    async with open_door(tmp_path, WILD, env={"GEMINI_API_KEY": "g", "GEMINI_API_BASE": "{mock}"}) as door:
        await told(door, {"model": model, **SAYS}, OLLA + "/v1/chat/completions")
        assert door.mock.received[-1].path.endswith(f"/models/{model}:generateContent")
        gone = {"message": f"models/{model} is not found for API version v1beta", "code": 404, "status": "NOT_FOUND"}
        door.mock.script = Script(default=Step(status=404, error=gone))
        status, _, body = await door.post({"model": model, **SAYS}, OLLA + "/v1/chat/completions")
        error = json.loads(body)["error"]
        assert status == 404 and "is not found for API version" in error["message"] and error["provider"] == "gemini"


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("bedrock/claude-3-opus", "anthropic.claude-3-opus-20240229-v1:0"),
        ("bedrock/claude-3-sonnet", "anthropic.claude-3-sonnet-20240229-v1:0"),
        ("bedrock/llama2-70b", "meta.llama2-70b-chat-v1"),
        ("bedrock/mistral-7b", "mistral.mistral-7b-instruct-v0:2"),
    ],
)
async def test_s2_28_short_names_of_bedrock(model, wanted, tmp_path):
    pytest.importorskip("botocore")
    more = '{model: "*", aws_access_key_id: AKIDEXAMPLE, aws_secret_access_key: s, aws_region_name: us-east-1, aws_bedrock_runtime_endpoint: "{mock}"}'
    async with open_door(tmp_path, WILD.replace('{model: "*"}', more)) as door:
        await door.post({"model": model, "max_tokens": 9, **SAYS}, OLLA + "/v1/chat/completions")
        asked = door.mock.received[-1]
        assert asked.path.replace("%3A", ":").startswith(f"/model/{wanted}/") and lines(door)["authorization"].startswith("AWS4-")


@pytest.mark.parametrize(
    ("model", "wanted"),
    [
        ("together_ai/llama-3-70b", "meta-llama/Llama-3-70b-chat-hf"),
        ("together_ai/mixtral-8x7b", "mistralai/Mixtral-8x7B-Instruct-v0.1"),
        ("together_ai/qwen-72b", "Qwen/Qwen2.5-72B-Instruct-Turbo"),
        ("together_ai/deepseek-coder", "deepseek-ai/deepseek-coder-33b-instruct"),
    ],
)
async def test_s2_29_short_names_of_together(model, wanted, tmp_path):
    provider, upstream = resolve(model)
    assert (provider, upstream) == ("together_ai", wanted)
    assert endpoint(PROVIDERS[provider], None, {}, "openai_chat").startswith("https://api.together.")
    entry = WILD.replace('{model: "*"}', f'{{model: {model}, api_base: "{{mock}}/v1", api_key: t}}')
    async with open_door(tmp_path, entry) as door:  # a server of the user's own may know the short name
        await told(door, {"model": model, **SAYS}, OLLA + "/v1/chat/completions")
        assert sent(door)["model"] == model.partition("/")[2] and lines(door)["authorization"] == "Bearer t"


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "mariadb"])
async def test_s2_16_s3_25_and_s3_27_the_same_on_every_database_and_its_tables_come_by_themselves(kind, tmp_path, request):
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/new.db"
    else:
        url = request.getfixturevalue(kind).fresh()  # without a table
    config = f"""
model_list:
  - model_name: gpt-4
    litellm_params: {{model: openai/gpt-4, api_base: "{{mock}}/v1", api_key: sk-u, input_cost_per_token: 0.01}}
general_settings: {{master_key: {MASTER}, database_url: '{url}'}}
"""
    async with open_service(tmp_path, config, state_dir=tmp_path / "state") as door:
        status, made = await door.call(OLLA + "/key/generate", {"user_id": "u", "key_alias": "mine"})
        assert status == 200 and made["key"].startswith("sk-"), made
        status, answer = await door.call(OLLA + "/v1/chat/completions", {"model": "gpt-4", **SAYS}, key=made["key"])
        assert status == 200 and answer["model"] == "gpt-4"
        assert (await door.call(f"{OLLA}/key/info?key={made['key']}"))[1]["info"]["key_alias"] == "mine"
        assert (await door.call(f"{OLLA}/user/new", {"user_id": "v", "auto_create_key": False}))[0] == 200
        assert (await door.call(f"{OLLA}/user/info?user_id=v"))[1]["user_id"] == "v"
        status, team = await door.call(f"{OLLA}/team/new", {"team_alias": "t"})
        assert status == 200 and (await door.call(f"{OLLA}/team/info?team_id={team['team_id']}"))[0] == 200
    async with open_service(tmp_path, config, state_dir=tmp_path / "state") as door:  # what was kept is there again
        assert (await door.call(f"{OLLA}/key/info?key={made['key']}"))[1]["info"]["key_alias"] == "mine"
