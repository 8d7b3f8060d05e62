"""A schema for the answer goes where it is enforced: an engine's Messages ignore it, its Chat does not."""

from __future__ import annotations

import json

import pytest

from penstock.runtime.speaks import discover_dialects
from tests.door import open_door

YAML = """
model_list:
  - model_name: m
    litellm_params: {model: llama_cpp/tiny, api_base: "{mock}/v1"}
"""
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FORMAT = {"type": "json_schema", "schema": SCHEMA}
ASK = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "where?"}]}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({}, "/v1/messages"),
        ({"output_config": {"effort": "low"}}, "/v1/messages"),
        ({"output_config": {"format": FORMAT}}, "/v1/chat/completions"),
        ({"output_format": FORMAT}, "/v1/chat/completions"),
        ({"guided_json": SCHEMA}, "/v1/chat/completions"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_schema_is_asked_for_where_it_is_enforced(tmp_path, fields, path, stream):
    async with open_door(tmp_path, YAML) as door:
        (target,) = door.gateway.state.targets
        await discover_dialects(door.pool, target, door.live(target))
        assert door.live(target).speaks(target) == ("openai_chat", "anthropic"), "its Responses are not asked for"
        status, headers, body = await door.post({**ASK, **fields, "stream": stream}, "/v1/messages")
        assert status == 200, body
        assert headers["x-penstock-lane"] == ("same" if path == "/v1/messages" else "cross")
        assert door.mock.received[-1].path == path
        if path == "/v1/chat/completions" and not stream:
            assert json.loads(json.loads(body)["content"][0]["text"]) == {"city": "mock"}
