"""Rules of models and limits of APIs through a whole gateway: what the upstream gets, what the client is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.door import Door, open_door

YAML = """
model_list:
  - model_name: opus
    litellm_params: {model: anthropic/claude-opus-4-8, api_base: "{mock}", api_key: k}
  - model_name: lenient
    litellm_params: {model: anthropic/claude-opus-4-8, api_base: "{mock}", api_key: k, drop_params: true}
  - model_name: sonnet
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: k}
  - model_name: engine
    litellm_params: {model: llama_cpp/tiny, api_base: "{mock}/v1"}
  - model_name: chat
    litellm_params: {model: custom_openai/m, api_base: "{mock}/v1", api_key: k}
"""
USER = [{"role": "user", "content": "x"}]
PARAMETERS = {"type": "object", "properties": {}}
CHAT_TOOLS = [{"type": "function", "function": {"name": name, "parameters": PARAMETERS}} for name in ("read", "write")]
MESSAGES_TOOLS = [{"name": name, "input_schema": PARAMETERS} for name in ("read", "write")]
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


async def asked(door: Door, path: str, body: dict[str, Any]) -> tuple[int, list[str], dict[str, Any]]:
    status, headers, raw = await door.post({"max_tokens": 20, "messages": USER, **body}, path)
    dropped = headers.get("x-penstock-dropped", "")
    return status, dropped.split(",") if dropped else [], json.loads(raw)


def sent(door: Door) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(door.mock.received[-1].body)
    return made


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
async def test_a_model_that_takes_no_sampling_in_both_lanes(tmp_path, path):
    async with open_door(tmp_path, YAML) as door:
        status, _, said = await asked(door, path, {"model": "opus", "temperature": 0.2})
        assert status == 400 and "temperature" in said["error"]["message"] and "drop_params" in said["error"]["message"]
        assert not door.mock.received
        status, dropped, _ = await asked(door, path, {"model": "lenient", "temperature": 0.2, "top_p": 0.5})
        assert status == 200 and sorted(dropped) == ["temperature", "top_p"]
        assert not {"temperature", "top_p"} & sent(door).keys()
        assert (await asked(door, path, {"model": "opus", "temperature": 1}))[0] == 200


@pytest.mark.parametrize("lane", ["same", "cross"])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_tool_is_forced(tmp_path, lane, stream):
    named: dict[str, Any] = {"tools": CHAT_TOOLS, "tool_choice": {"type": "function", "function": {"name": "write"}}}
    path = CHAT
    if lane == "cross":
        path, named = MESSAGES, {"tools": MESSAGES_TOOLS, "tool_choice": {"type": "tool", "name": "write"}}
    async with open_door(tmp_path, YAML) as door:
        status, headers, _ = await door.post(
            {"model": "engine", "max_tokens": 20, "messages": USER, "stream": stream, **named}, path
        )
        assert status == 200 and headers["x-penstock-lane"] == lane and door.mock.received[-1].path == CHAT
        assert sent(door)["tool_choice"] == "required"
        assert [tool["function"]["name"] for tool in sent(door)["tools"]] == ["write"]


async def test_an_effort_that_is_an_object(tmp_path):
    told = {"effort": "low", "summary": "auto"}
    async with open_door(tmp_path, YAML) as door:
        status, dropped, _ = await asked(door, CHAT, {"model": "chat", "reasoning_effort": told})
        assert status == 200 and sent(door)["reasoning_effort"] == "low" and dropped == ["reasoning_effort.summary"]
        status, dropped, _ = await asked(door, CHAT, {"model": "sonnet", "reasoning_effort": told, "max_tokens": 3000})
        assert status == 200 and sent(door)["thinking"]["budget_tokens"] == 1024


async def test_what_is_counted_is_what_would_be_sent(tmp_path):
    """A count of a request that Claude would refuse as it is: an id of Kimi's, a blank text, the assistant first."""
    call = {"functionCall": {"id": "functions.read:0", "name": "read", "args": {}}}
    result = {"functionResponse": {"id": "functions.read:0", "name": "read", "response": {"output": "R"}}}
    contents = [
        {"role": "model", "parts": [{"text": " "}, {"text": "Hello!"}]},
        {"role": "user", "parts": [{"text": "x"}]},
        {"role": "model", "parts": [call]},
        {"role": "user", "parts": [result]},
    ]
    async with open_door(tmp_path, YAML) as door:
        status, _, raw = await door.post({"contents": contents}, "/v1beta/models/sonnet:countTokens")
        assert status == 200 and json.loads(raw)["totalTokens"] > 0
        assert [turn["role"] for turn in sent(door)["messages"]] == ["user", "assistant", "user", "assistant", "user"]
