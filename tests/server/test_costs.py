"""Costs on answers, in records and on the pages about money and models, through the gateway's own door."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from penstock.runtime.prices import MAP, UNPRICED
from penstock.runtime.record_text import as_json, as_text
from tests.door import open_door

YAML = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-not-to-be-seen, rpm: 60}
    model_info: {id: dep-gpt4o}
  - model_name: own
    litellm_params:
      {model: openai/my-custom, api_base: "{mock}/v1", api_key: k, input_cost_per_token: 0.001, output_cost_per_token: 0.002}
  - model_name: local
    litellm_params: {model: hosted_vllm/llama, api_base: "http://me:hush@127.0.0.1:1/v1?token=hush"}
  - model_name: near
    litellm_params: {model: hosted_vllm/llama, api_base: "{mock}/v1"}
  - model_name: nobody-knows
    litellm_params: {model: openai/nobody-knows, api_base: "{mock}/v1", api_key: k}
  - model_name: my-azure
    litellm_params: {model: azure/deployment-7, api_base: "http://127.0.0.1:1", api_key: k}
    model_info: {base_model: azure/gpt-4o}
  - model_name: "claude-*"
    litellm_params: {model: "anthropic/claude-*", api_base: "{mock}", api_key: k}
router_settings: {num_retries: 0}
"""
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def door(tmp_path):
    async with open_door(tmp_path, YAML) as opened:
        yield opened


async def get(door, path: str) -> Any:
    status, _, body = await door.ask("GET", path)
    assert status == 200, body
    return json.loads(body)


async def post(door, path: str, body: Any, expected: int = 200) -> Any:
    status, _, answer = await door.post(body, path)
    assert status == expected, answer
    return json.loads(answer)


# Answers and records --------------------------------------------------------------------------------------------------


async def test_a_whole_answer_tells_its_cost_and_so_do_record_and_log_line(door):
    status, headers, body = await door.post({"model": "gpt-4o", **HELLO})
    usage = json.loads(body)["usage"]
    cost = usage["prompt_tokens"] * Decimal("2.5e-6") + usage["completion_tokens"] * Decimal("1e-5")
    assert status == 200 and Decimal(headers["x-litellm-response-cost"]) == cost > 0
    assert "e" not in headers["x-litellm-response-cost"].lower()
    record = door.records[-1]
    assert record.cost == cost and record.price_version == MAP.version
    assert f" cost={headers['x-litellm-response-cost']} " in as_text(record)
    assert json.loads(as_json(record))["cost"] == float(cost)


async def test_a_stream_has_its_cost_in_the_record_only(door):
    status, headers, _ = await door.post({"model": "gpt-4o", "stream": True, **HELLO})
    assert status == 200 and "x-litellm-response-cost" not in headers
    record = door.records[-1]
    assert record.usage and record.cost
    assert record.cost == record.usage.fresh * Decimal("2.5e-6") + record.usage.output * Decimal("1e-5")


async def test_another_dialects_answer_has_the_same_cost(door):
    _, headers, body = await door.post({"model": "gpt-4o", "max_tokens": 50, **HELLO}, "/v1/messages")
    record = door.records[-1]
    assert record.lane == "cross" and Decimal(headers["x-litellm-response-cost"]) == record.cost > 0


async def test_own_prices_win(door):
    _, headers, _ = await door.post({"model": "own", **HELLO})
    record = door.records[-1]
    cost = record.usage.fresh * Decimal("0.001") + record.usage.output * Decimal("0.002")
    assert Decimal(headers["x-litellm-response-cost"]) == cost == record.cost and record.price_version == "config"


async def test_a_local_engine_costs_nothing(door):
    _, headers, _ = await door.post({"model": "near", **HELLO})
    assert headers["x-litellm-response-cost"] == "0"
    assert door.records[-1].cost == 0 and door.records[-1].price_version == "local"


async def test_unknown_is_not_zero_and_is_said_once(door, caplog):
    UNPRICED.counts.clear()
    for _ in range(3):
        status, headers, _ = await door.post({"model": "nobody-knows", **HELLO})
        assert status == 200 and "x-litellm-response-cost" not in headers
    assert door.records[-1].cost is None and door.records[-1].price_version == ""
    assert " cost=" not in as_text(door.records[-1])
    assert UNPRICED.counts == {"openai/nobody-knows": 3}
    assert [r.message for r in caplog.records if "openai/nobody-knows" in r.message] == [
        "No price is known for openai/nobody-knows: its cost is recorded as unknown, not as 0. Set input_cost_per_token "
        "and output_cost_per_token, or base_model, in its model_info."
    ]


async def test_an_error_has_no_cost(door):
    status, headers, _ = await door.post({"model": "my-azure", **HELLO})
    assert status >= 400 and "x-litellm-response-cost" not in headers and door.records[-1].cost is None


# /cost/estimate -------------------------------------------------------------------------------------------------------


async def test_estimate_is_what_litellm_says(door):
    told = await post(
        door, "/cost/estimate", {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 500, "num_requests_per_day": 10}
    )
    assert told == {
        "model": "gpt-4o", "input_tokens": 1000, "output_tokens": 500, "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0, "reasoning_tokens": 0, "num_requests_per_day": 10,
        "num_requests_per_month": None, "cost_per_request": 0.0075, "input_cost_per_request": 0.0025,
        "output_cost_per_request": 0.005, "margin_cost_per_request": 0.0, "cache_read_cost_per_request": 0.0,
        "cache_creation_cost_per_request": 0.0, "reasoning_cost_per_request": 0.0, "daily_cost": 0.075,
        "daily_input_cost": 0.025, "daily_output_cost": 0.05, "daily_margin_cost": 0.0, "daily_cache_read_cost": 0.0,
        "daily_cache_creation_cost": 0.0, "daily_reasoning_cost": 0.0, "monthly_cost": None,
        "monthly_input_cost": None, "monthly_output_cost": None, "monthly_margin_cost": None,
        "monthly_cache_read_cost": None, "monthly_cache_creation_cost": None, "monthly_reasoning_cost": None,
        "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06,
        "cache_creation_input_token_cost": 2.5e-06, "output_cost_per_reasoning_token": 1e-05, "provider": "openai",
    }  # fmt: skip


async def test_seed_s1_10_and_s1_11(door):
    path = "/api/v1/litellm/cost/estimate"
    told = await post(door, path, {"model": "openai/gpt-4o", "input_tokens": 1000, "output_tokens": 500})
    assert (told["input_cost"], told["output_cost"], told["total_cost"]) == (0.0025, 0.005, 0.0075)
    assert told["cost_per_request"] == 0.0075 and told["input_cost_per_request"] == 0.0025
    told = await post(door, path, {"model": "ollama/llama3.2", "input_tokens": 1000, "output_tokens": 500})
    assert told["total_cost"] == told["cost_per_request"] == 0.0


@pytest.mark.parametrize(
    ("model", "input_", "output"),
    [
        ("ollama/llama3.2", 0, 0),
        ("gpt-4o-mini", 0.15, 0.60),
        ("gemini-1.5-flash", 0.075, 0.30),
        ("gemini/gemini-1.5-flash", 0.075, 0.30),
        ("claude-3-5-haiku", 0.80, 4.00),
        ("claude-3-5-haiku-20241022", 0.80, 4.00),
        ("claude-3-opus", 15, 75),
        ("bedrock/claude-3-opus", 15, 75),
        ("groq/llama-3.3-70b-versatile", 0.59, 0.79),
        ("openrouter/anthropic/claude-3.5-sonnet", 3, 15),
    ],
)
async def test_seed_s3_41_and_retired_models_per_million(door, model, input_, output):
    told = await post(door, "/cost/estimate", {"model": model, "input_tokens": 1_000_000, "output_tokens": 1_000_000})
    assert (told["input_cost_per_request"], told["output_cost_per_request"]) == (input_, output)


async def test_estimate_with_cache_and_reasoning(door):
    told = await post(
        door,
        "/cost/estimate",
        {"model": "claude-sonnet-4-5", "input_tokens": 1000, "cache_read_input_tokens": 800, "output_tokens": 500,
         "cache_creation_input_tokens": 100, "reasoning_tokens": 200, "num_requests_per_month": 2},
    )  # fmt: skip
    assert told["cache_read_cost_per_request"] == 0.00024 and told["cache_creation_cost_per_request"] == 0.000375
    assert told["input_cost_per_request"] == 0.0003 + 0.00024 + 0.000375
    assert told["reasoning_cost_per_request"] == 0.003 and told["output_cost_per_request"] == 0.0075
    assert told["monthly_cost"] == 2 * told["cost_per_request"] and told["daily_cost"] is None


async def test_a_deployments_own_price_and_base_model_count(door):
    told = await post(door, "/cost/estimate", {"model": "own", "input_tokens": 6, "output_tokens": 5})
    assert told["cost_per_request"] == 0.016
    told = await post(door, "/cost/estimate", {"model": "my-azure", "input_tokens": 1000, "output_tokens": 500})
    assert told["cost_per_request"] == 0.0075 and told["provider"] == "azure"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"model": "nobody-knows", "input_tokens": 1}, 404, "base_model"),
        ({"model": "there-is-no-such", "input_tokens": 1}, 400, "no such model"),
        ({"input_tokens": 1}, 400, "model"),
        ({"model": "gpt-4o", "input_tokens": "many"}, 400, "input_tokens"),
        ({"model": "gpt-4o", "input_tokens": -1}, 400, "input_tokens"),
        ({"model": "gpt-4o", "input_tokens": 10**30}, 400, ""),
        (b"{", 400, "JSON"),
    ],
)
async def test_a_wrong_estimate_is_told_what_is_wrong(door, body, status, words):
    told = await post(door, "/cost/estimate", body, status)
    assert words in told["error"]["message"]


# /spend/calculate -----------------------------------------------------------------------------------------------------


async def test_spend_of_messages_of_an_answer_and_in_the_query(door):
    path = "/spend/calculate"
    assert await post(door, path, {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}) == {"cost": 2e-05}
    usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
    answer = {"id": "x", "object": "chat.completion", "created": 1, "model": "gpt-4o", "choices": [], "usage": usage}
    assert await post(door, path, {"completion_response": answer}) == {"cost": 0.0075}
    assert await post(door, path, {"completion_response": answer | {"service_tier": "priority"}}) == {"cost": 0.01275}
    other = {"model": "gpt-4o", "usage": {"input_tokens": 1000, "output_tokens": 500}}
    assert await post(door, path, {"completion_response": other}) == {"cost": 0.0075}
    for mount in ("", "/olla/litellm"):
        asked = f"{mount}{path}?model=gpt-4o&prompt_tokens=1000&completion_tokens=500"
        assert await get(door, asked) == {"cost": 0.0075}
    messages = "%5B%7B%22role%22%3A%22user%22%2C%22content%22%3A%22hi%22%7D%5D"
    assert await get(door, f"{path}?model=gpt-4o&messages={messages}") == {"cost": 2e-05}
    assert await post(door, path, {"model": "local", "messages": []}) == {"cost": 0.0}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": "zzz", "messages": []}, "no such model"),
        ({"model": "nobody-knows", "messages": []}, "No price is known"),
        ({"messages": []}, "model"),
        ({"model": "gpt-4o"}, "messages"),
        ({"completion_response": {"model": "gpt-4o"}}, "usage"),
        ([], "object"),
    ],
)
async def test_a_wrong_spend_question_is_told_what_is_wrong(door, body, words):
    assert words in (await post(door, "/spend/calculate", body, 400))["error"]["message"]


@pytest.mark.parametrize("query", ["prompt_tokens=1", "model=gpt-4o", "model=gpt-4o&prompt_tokens=-1",
                                   "model=gpt-4o&prompt_tokens=1e9", "model=gpt-4o&messages=%5B"])  # fmt: skip
async def test_a_wrong_query_is_a_400(door, query):
    status, _, body = await door.ask("GET", f"/spend/calculate?{query}")
    assert status == 400 and json.loads(body)["error"]["message"]


async def test_methods_and_types(door):
    status, headers, _ = await door.ask("GET", "/cost/estimate")
    assert status == 405 and headers["allow"] == "POST"
    status, headers, _ = await door.ask("DELETE", "/spend/calculate")
    assert status == 405 and headers["allow"] == "GET, HEAD, POST"
    status, _, _ = await door.ask("POST", "/cost/estimate", b"{}", {"content-type": "text/plain"})
    assert status == 415, "a web page may post text/plain without asking"


async def test_the_pages_want_a_key(tmp_path):
    async with open_door(tmp_path, YAML, master_key="sk-master") as door:
        for method, path in (("GET", "/model/info"), ("GET", "/v1/capabilities"), ("POST", "/cost/estimate"),
                             ("GET", "/model_group/info"), ("POST", "/spend/calculate")):  # fmt: skip
            status, _, _ = await door.ask(method, path, b"{}" if method == "POST" else b"")
            assert status == 401, path


# /model/info and its kin ----------------------------------------------------------------------------------------------


async def test_model_info_of_one_deployment(door):
    told = await get(door, "/model/info?litellm_model_id=dep-gpt4o")
    (row,) = told["data"]
    assert row["model_name"] == "gpt-4o"
    assert row["litellm_params"]["model"] == "openai/gpt-4o" and row["litellm_params"]["api_base"] == f"{door.mock.url}/v1"
    info = row["model_info"]
    expected = {
        "id": "dep-gpt4o", "db_model": False, "key": "gpt-4o", "max_tokens": 16384, "max_input_tokens": 128000,
        "max_output_tokens": 16384, "input_cost_per_token": 2.5e-06, "input_cost_per_token_flex": None,
        "input_cost_per_token_priority": 4.25e-06, "cache_creation_input_token_cost": None,
        "cache_read_input_token_cost": 1.25e-06, "output_cost_per_token": 1e-05, "litellm_provider": "openai",
        "mode": "chat", "supports_vision": True, "supports_function_calling": True, "price_version": MAP.version,
    }  # fmt: skip
    assert {name: info[name] for name in expected} == expected
    assert {"temperature", "tools", "stream", "response_format"} <= set(info["supported_openai_params"])
    status, _, body = await door.ask("GET", "/v1/model/info?litellm_model_id=none")
    assert status == 400 and b"/model/info" in body


async def test_model_info_shows_all_deployments_and_no_secret(door):
    status, _, body = await door.ask("GET", "/v1/model/info")
    rows = {row["model_name"]: row for row in json.loads(body)["data"]}
    assert status == 200 and list(rows) == ["gpt-4o", "own", "local", "near", "nobody-knows", "my-azure", "claude-*"]
    assert b"sk-not-to-be-seen" not in body and b"hush" not in body and b"api_key" not in body
    assert rows["own"]["model_info"]["input_cost_per_token"] == 0.001
    assert rows["my-azure"]["model_info"]["key"] == "azure/gpt-4o"
    assert rows["local"]["litellm_params"]["api_base"] == "http://127.0.0.1:1/v1"


async def test_group_info(door):
    told = await get(door, "/model_group/info?model_group=gpt-4o")
    (row,) = told["data"]
    assert row["model_group"] == "gpt-4o" and row["providers"] == ["openai"] and row["mode"] == "chat"
    assert row["max_input_tokens"] == 128000.0 and row["input_cost_per_token"] == 2.5e-06 and row["rpm"] == 60
    assert row["supports_vision"] is True and row["supports_reasoning"] is False and row["tpm"] is None
    assert len((await get(door, "/model_group/info"))["data"]) == 7
    assert (await get(door, "/model_group/info?model_group=none"))["data"] == []


async def test_capabilities(door):
    told = await get(door, "/v1/capabilities?model=gpt-4o")
    (row,) = told["data"]
    assert told["object"] == "list" and row["id"] == "gpt-4o" and row["owned_by"] == "openai"
    assert {"vision", "function_calling", "prompt_caching"} <= set(row["supports"])
    assert row["max_input_tokens"] == 128000 and row["priced"] and row["price_version"] == MAP.version
    everything = (await get(door, "/v1/capabilities"))["data"]
    assert {row["id"]: row["priced"] for row in everything}["nobody-knows"] is False
