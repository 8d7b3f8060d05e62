"""`cost_discount_config` and `cost_margin_config` through the gateway: header, record, pages, and nothing without them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Step
from penstock.runtime.prices import MAP
from tests.door import Door, open_door

YAML = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: k}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: k}
  - model_name: plain
    litellm_params: {model: groq/x, api_base: "{mock}/v1", api_key: k, input_cost_per_token: 0.001, output_cost_per_token: 0.002}
  - model_name: near
    litellm_params: {model: hosted_vllm/llama, api_base: "{mock}/v1"}
  - model_name: nobody-knows
    litellm_params: {model: openai/nobody-knows, api_base: "{mock}/v1", api_key: k}
router_settings: {num_retries: 0}
litellm_settings:
  cost_discount_config: {openai: 0.05, opena1: 0.1}
  cost_margin_config: {openai: {percentage: 0.1, fixed_amount: 0.0005}, anthropic: 0, vllm: {fixed_amount: 0.25}}
"""
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}
PREFIX = "x-litellm-response-cost"


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML) as opened:
        yield opened


def told(headers: dict[str, str]) -> dict[str, Decimal]:
    return {k.removeprefix(PREFIX).lstrip("-"): Decimal(v) for k, v in headers.items() if k.startswith(PREFIX)}


async def test_discount_then_margin_to_the_last_digit(door: Door) -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}}
    usage["completion_tokens_details"] = {"reasoning_tokens": 1}
    door.mock.queue([Step(usage=usage)])
    status, headers, _ = await door.post({"model": "gpt-4o", **HELLO})
    assert status == 200
    original = Decimal("0.00005")  # the contract's check value: 6 fresh, 4 cached, 3 out
    left = original * Decimal("0.95")
    assert told(headers) == {
        "": left + left * Decimal("0.1") + Decimal("0.0005"),
        "original": original,
        "discount-amount": Decimal("0.0000025"),
        "margin-amount": Decimal("0.00050475"),
        "margin-percent": Decimal("0.1"),
        "input": Decimal("0.000015"),
        "output": Decimal("0.00002"),
        "cache-read": Decimal("0.000005"),
        "cache-creation": Decimal(0),
        "reasoning": Decimal("0.00001"),
        "tool-usage": Decimal(0),
    }
    record = door.records[-1]
    assert record.cost == told(headers)[""] and record.price_version == f"{MAP.version} -5%+10%+0.0005"


async def test_a_stream_is_charged_the_same(door: Door) -> None:
    await door.post({"model": "gpt-4o", **HELLO})
    status, headers, _ = await door.post({"model": "gpt-4o", "stream": True, **HELLO})
    assert status == 200 and told(headers) == {}, "its cost is not known when its head goes out"
    whole, streamed = door.records
    assert streamed.cost == whole.cost and streamed.cost > Decimal("0.0005")


async def test_units_are_charged_too(door: Door) -> None:
    body = {"model": "gpt-4o", "prompt": "a cat"}
    status, headers, _ = await door.post(body, "/v1/images/generations")
    found = told(headers)
    assert status == 200 and found[""] == (found["original"] - found["discount-amount"]) + found["margin-amount"]


async def test_a_margin_of_zero_only_shows_the_parts(door: Door) -> None:
    _, headers, _ = await door.post({"model": "claude", **HELLO})
    found = told(headers)
    assert found[""] == found["original"] == found["input"] + found["output"] > 0 and found["margin-amount"] == 0


async def test_without_terms_nothing_is_added(door: Door) -> None:
    _, headers, _ = await door.post({"model": "plain", **HELLO})
    usage = door.records[-1].usage
    assert usage is not None
    assert told(headers) == {"": usage.fresh * Decimal("0.001") + usage.output * Decimal("0.002")}
    assert door.records[-1].price_version == "config"
    _, headers, _ = await door.post({"model": "nobody-knows", **HELLO})
    assert told(headers) == {} and door.records[-1].cost is None, "unknown stays unknown"


async def test_another_name_of_a_provider_is_the_provider(door: Door) -> None:
    _, headers, _ = await door.post({"model": "near", **HELLO})
    assert told(headers)[""] == Decimal("0.25") and door.records[-1].price_version == "local +0.25"


async def test_the_pages_say_the_same(door: Door) -> None:
    asked = {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 500, "num_requests_per_day": 10}
    _, _, body = await door.post(asked, "/cost/estimate")
    found = json.loads(body)
    assert found["cost_per_request"] == 0.0083375 and found["input_cost_per_request"] == 0.0025
    assert found["margin_cost_per_request"] == 0.0012125
    assert found["daily_cost"] == pytest.approx(10 * found["cost_per_request"])
    for model in ("gpt-4o", "openai/gpt-4o"):  # one of the config, and any of the map
        query = f"model={model}&prompt_tokens=1000&completion_tokens=500"
        _, _, body = await door.ask("GET", f"/spend/calculate?{query}")
        assert json.loads(body) == {"cost": found["cost_per_request"]}


async def test_a_provider_that_there_is_not_is_said(door: Door) -> None:
    (problem,) = door.gateway.state.problems
    assert "cost_discount_config.opena1" in problem and "did you mean 'openai'" in problem
