"""Seed 2: Olla in front, which speaks to ``/olla/litellm``."""

from __future__ import annotations

import json
import re
import time

import pytest

from penstock.mock import Script
from tests.door import open_door
from tests.seeds.test_s0_shared import SAYS, lines, sent, told

OLLA = "/olla/litellm"
CONFIG = """
model_list:
  - model_name: gpt-4
    litellm_params: {model: openai/gpt-4, api_base: "{mock}/v1", api_key: sk-u}
  - model_name: claude-3-opus
    litellm_params: {model: anthropic/claude-3-opus-20240229, api_base: "{mock}", api_key: sk-a}
  - model_name: gemini-pro
    litellm_params: {model: gemini/gemini-1.5-pro, api_base: "{mock}", api_key: g}
  - model_name: together_ai/llama-3-70b
    litellm_params: {model: together_ai/llama-3-70b, api_base: "{mock}/v1", api_key: t}
router_settings: {num_retries: 0}
"""


async def test_s2_01_health_counts_the_models(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        status, _, body = await door.ask("GET", OLLA + "/health")
        answer = json.loads(body)
        assert status == 200 and answer["status"] == "healthy" and answer["models"] == 4 and type(answer["models"]) is int
        assert {"openai", "anthropic", "gemini", "together_ai"} <= set(answer["providers"])


async def test_s2_02_and_s2_03_models_have_their_real_owners_and_answer_by_their_public_names(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        status, _, body = await door.ask("GET", OLLA + "/v1/models")
        answer = json.loads(body)
        assert status == 200 and answer["object"] == "list"
        owners = {row["id"]: row["owned_by"] for row in answer["data"]}
        assert owners == {"gpt-4": "openai", "claude-3-opus": "anthropic", "gemini-pro": "google", "together_ai/llama-3-70b": "together_ai"}
        assert all(row["object"] == "model" and type(row["created"]) is int for row in answer["data"])
        for name in owners:
            assert (await told(door, {"model": name, "max_tokens": 9, **SAYS}, OLLA + "/v1/chat/completions"))["model"] == name


async def test_s2_04_a_chat_has_its_usage(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        body = {"model": "gpt-4", "temperature": 0.7, "max_tokens": 100, "stream": False, **SAYS}
        answer = await told(door, body, OLLA + "/v1/chat/completions")
        assert answer["object"] == "chat.completion" and answer["model"] == "gpt-4"
        assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= set(answer["usage"])


@pytest.mark.parametrize("model", ["gpt-4", "claude-3-opus", "gemini-pro"])
async def test_s2_05_and_s2_33_chunks_are_whole_and_of_one_id(model, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        _, _, body = await door.post({"model": model, "max_tokens": 9, "stream": True, **SAYS}, OLLA + "/v1/chat/completions")
        events = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ")]
        assert events.pop() == b"[DONE]"
        chunks = [json.loads(event) for event in events]
        assert len({chunk["id"] for chunk in chunks}) == 1 and chunks[0]["id"].startswith("chatcmpl-")
        choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
        assert all({"index", "delta", "finish_reason"} <= set(choice) for choice in choices)
        assert [choice["finish_reason"] for choice in choices[:-1]] == [None] * (len(choices) - 1)
        assert choices[-1]["finish_reason"] == "stop" and {chunk["model"] for chunk in chunks} == {model}


async def test_s2_06_and_s2_07_completions_and_embeddings(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        answer = await told(door, {"model": "gpt-4", "prompt": "hi"}, OLLA + "/v1/completions")
        assert answer["object"] == "text_completion" and answer["choices"][0]["text"]
        answer = await told(door, {"model": "gpt-4", "input": "hi"}, OLLA + "/v1/embeddings")
        assert answer["object"] == "list" and answer["data"][0]["object"] == "embedding" and answer["data"][0]["index"] == 0
        assert set(answer["usage"]) >= {"prompt_tokens", "total_tokens"} and answer["model"]


@pytest.mark.parametrize("path", ["/health/readiness", "/health/liveness"])
async def test_s2_08_probes(path, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        assert (await door.ask("GET", OLLA + path))[0] == 200


async def test_s2_09_and_s2_15_what_is_served_is_served_below_the_prefix(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        for path, body in (("/chat/completions", SAYS), ("/completions", {"prompt": "x"}), ("/embeddings", {"input": "x"})):
            for prefix in (OLLA, OLLA + "/v1"):
                assert (await door.post({"model": "gpt-4", **body}, prefix + path))[0] == 200
        assert (await door.ask("GET", OLLA + "/models"))[0] == (await door.ask("GET", OLLA + "/"))[0] == 200
        status, _, body = await door.ask("GET", "/openapi.json")
        paths = json.loads(body)["paths"]
        plain = [path for path, row in paths.items() if "get" in row and "{" not in path and not path.startswith(("/olla", "/api/v1"))]
        assert status == 200 and len(plain) > 20
        for path in plain:
            one, other = await door.ask("GET", path), await door.ask("GET", OLLA + path)
            assert one[0] == other[0], path


async def test_s2_10_s2_11_s2_12_and_s2_13_without_a_database_it_is_said(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        for method, path in (("POST", "/key/generate"), ("GET", "/key/info?key=sk-x"), ("GET", "/user/info?user_id=u"), ("GET", "/team/info?team_id=t")):
            status, _, body = await door.ask(method, OLLA + path, b"{}" if method == "POST" else b"", {"content-type": "application/json"})
            assert 400 <= status < 600 and json.loads(body)["error"]["message"], path


async def test_s2_14_what_a_call_would_cost_by_get_and_post(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        query = "?model=gpt-4o&prompt_tokens=1000&completion_tokens=500"
        status, _, body = await door.ask("GET", OLLA + "/spend/calculate" + query)
        assert status == 200 and json.loads(body) == {"cost": 0.0075}
        answer = await told(door, {"model": "gpt-4o", **SAYS}, OLLA + "/spend/calculate")
        assert isinstance(answer["cost"], float) and answer["cost"] > 0


async def test_s2_17_s2_18_s2_19_s2_20_s2_21_and_s2_22_headers_on_every_answer(tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        ids = []
        for script, body in (
            (Script(), {"model": "gpt-4", **SAYS}),
            (Script(), {"model": "gpt-4", "stream": True, **SAYS}),
            (Script.always(status=429, error={"message": "slow"}), {"model": "gpt-4", **SAYS}),
        ):
            door.mock.script = script
            _, headers, _ = await door.post(body, OLLA + "/v1/chat/completions")
            assert (headers["x-olla-endpoint"], headers["x-olla-backend-type"]) == ("litellm-gateway", "litellm")
            assert headers["x-olla-model"] == "gpt-4" and re.fullmatch(r"\d+\.\d{3}s", headers["x-olla-response-time"])
            ids.append(headers["x-olla-request-id"])
        assert len(set(ids)) == 3 and all(name.startswith("req_") for name in ids)
        _, headers, _ = await door.post({"model": "gpt-4", **SAYS}, OLLA + "/v1/chat/completions", **{"x-request-id": "mine"})
        assert headers["x-olla-request-id"] == "mine"


async def test_s2_23_and_s2_24_errors_have_a_number_and_the_upstreams_words(tmp_path):
    async with open_door(tmp_path, CONFIG, script=Script.always(status=429, error={"message": "Please slow down, dear."})) as door:
        status, _, body = await door.post({"model": "gpt-4", **SAYS}, OLLA + "/v1/chat/completions")
        error = json.loads(body)["error"]
        assert status == 429 and (error["type"], error["code"], error["provider"]) == ("rate_limit_error", 429, "openai")
        assert "Please slow down, dear." in error["message"]


async def test_s2_31_health_is_quick_and_asks_nobody(tmp_path):
    dead = CONFIG.replace("{mock}", "http://127.0.0.1:9")
    async with open_door(tmp_path, dead) as door:
        took = []
        for _ in range(20):
            began = time.perf_counter()
            assert (await door.ask("GET", OLLA + "/health"))[0] == 200
            took.append(time.perf_counter() - began)
        assert sorted(took)[-2] < 0.2 and not door.mock.received


@pytest.mark.parametrize("word", ["${THE_KEY}", "os.environ/THE_KEY"])
async def test_s2_32_both_ways_to_name_a_variable(word, tmp_path):
    text = CONFIG.replace("api_key: sk-u", f'api_key: "{word}"')
    async with open_door(tmp_path, text, env={"THE_KEY": "sk-of-the-environment"}) as door:
        await told(door, {"model": "gpt-4", **SAYS}, OLLA + "/v1/chat/completions")
        assert "sk-of-the-environment" in json.dumps(lines(door))


WILD = """
model_list:
  - model_name: "*"
    litellm_params: {model: "*"}
router_settings: {num_retries: 0}
"""


@pytest.mark.parametrize("model", ["gpt-4", "gpt-4-turbo", "gpt-3.5-turbo"])
async def test_s2_25_bare_names_of_openai(model, tmp_path):
    async with open_door(tmp_path, WILD, env={"OPENAI_API_KEY": "sk-o", "OPENAI_API_BASE": "{mock}/v1"}) as door:
        await told(door, {"model": model, **SAYS}, OLLA + "/v1/chat/completions")
        assert sent(door)["model"] == model


@pytest.mark.parametrize("model", ["claude-3-opus", "claude-3-sonnet", "claude-3-haiku", "claude-2.1", "claude-2", "claude-instant"])
async def test_s2_26_bare_names_of_anthropic(model, tmp_path):
    async with open_door(tmp_path, WILD, env={"ANTHROPIC_API_KEY": "sk-a", "ANTHROPIC_API_BASE": "{mock}"}) as door:
        await told(door, {"model": model, "max_tokens": 9, **SAYS}, OLLA + "/v1/chat/completions")
        assert door.mock.received[-1].path == "/v1/messages" and sent(door)["model"].startswith(("claude-3", "claude-2", "claude-instant"))
