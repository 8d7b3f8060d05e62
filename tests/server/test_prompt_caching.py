"""Prompts that a deployment has cached: the marks reach the vendor from every client, and what they saved is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.mock import Script, Step
from tests.door import open_door

CONFIG = """
model_list:
  - model_name: m
    litellm_params:
      model: anthropic/claude-sonnet-4-5
      api_base: "{mock}"
      api_key: k
      cache_control_injection_points: [{location: message, role: system}, {location: message, index: -1}]
router_settings: {num_retries: 0}
"""
TURNS = [{"role": "user", "content": "hello"}]
BODIES: dict[str, Any] = {
    "/v1/messages": {"model": "m", "max_tokens": 9, "system": "be short", "messages": TURNS},
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "system", "content": "be short"}, *TURNS]},
    "/v1/responses": {"model": "m", "instructions": "be short", "input": "hello"},
}
USED = {"input_tokens": 3, "cache_read_input_tokens": 50, "cache_creation_input_tokens": 7, "output_tokens": 2}
EPHEMERAL = {"type": "ephemeral"}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("path", BODIES)
async def test_marks_go_out_and_what_was_saved_comes_back(path, stream, tmp_path):
    async with open_door(tmp_path, CONFIG) as door:
        door.mock.script = Script(default=Step(text="hi", usage=USED))
        extra = {"stream_options": {"include_usage": True}} if stream and "chat" in path else {}
        status, _, answer = await door.post({**BODIES[path], "stream": stream, **extra}, path)
        assert status == 200, answer
        sent = json.loads(door.mock.received[0].body)
        assert sent["system"] == [{"type": "text", "text": "be short", "cache_control": EPHEMERAL}]
        assert sent["messages"][-1]["content"] == [{"type": "text", "text": "hello", "cache_control": EPHEMERAL}]
        told = answer.replace(b": ", b":")
        assert (b'"cache_read_input_tokens":50' if path == "/v1/messages" else b'"cached_tokens":50') in told
        await door.settle()
        [record] = door.records
        assert record.usage is not None
        assert (record.usage.cache_read, record.usage.cache_write, record.usage.output) == (50, 7, 2)
        assert record.lane == ("same" if path == "/v1/messages" else "cross") and record.cost is not None


@pytest.mark.parametrize("path", BODIES)
async def test_all_of_claude_s_prompts(path, tmp_path):
    points = (
        "      cache_control_injection_points: [{location: message, role: system}, {location: message, index: -1}]\n"
    )
    text = CONFIG.replace(points, "") + "litellm_settings: {enable_anthropic_prompt_caching: true}\n"
    async with open_door(tmp_path, text) as door:
        await door.post(BODIES[path], path)
        assert door.mock.received[0].body.count(b"cache_control") == 2
        if path == "/v1/messages":  # a client that says itself what is cached is left alone
            own = [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": EPHEMERAL}]}, *TURNS]
            await door.post({**BODIES[path], "messages": own}, path)
            assert door.mock.received[1].body.count(b"cache_control") == 1
