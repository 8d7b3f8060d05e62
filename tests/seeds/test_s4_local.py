"""Seed 4: a gateway in front of one local backend, for clients of both APIs that know no key."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from penstock.mock import Rule, Script, Step
from tests.door import open_door
from tests.seeds.test_s0_shared import PIXEL, SAYS, lines, sent, told

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


def config(model: str = "/models/GLM-FP8") -> str:
    """The file that the launcher writes."""
    return f"""
model_list:
  - model_name: local-model
    litellm_params: {{model: "openai/{model}", api_base: "{{mock}}/v1", api_key: dummy}}
litellm_settings: {{drop_params: true, set_verbose: false}}
"""


async def test_s4_18_s4_26_and_s4_36_the_alias_outside_and_the_path_inside(tmp_path):
    async with open_door(tmp_path, config()) as door:
        assert (await told(door, {"model": "local-model", **SAYS}, CHAT))["model"] == "local-model"
        assert door.mock.received[-1].path == "/v1/chat/completions" and sent(door)["model"] == "/models/GLM-FP8"
        answer = await told(door, {"model": "local-model", "max_tokens": 9, **SAYS}, MESSAGES)
        assert answer["model"] == "local-model" and sent(door)["model"] == "/models/GLM-FP8"


async def test_s4_25_health_while_the_model_is_busy(tmp_path):
    async with open_door(tmp_path, config(), script=Script(rules=[Rule(step=Step(latency_ms=800))])) as door:
        busy = asyncio.create_task(door.post({"model": "local-model", **SAYS}, CHAT))
        await door.mock.wait_for(1)
        for _ in range(5):
            began = time.perf_counter()
            assert (await door.ask("GET", "/health"))[0] == 200 and time.perf_counter() - began < 2
        assert not busy.done() and (await busy)[0] == 200


async def test_s4_27_s4_29_and_s4_31_both_sdks_whole_and_streamed(tmp_path):
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    async with open_door(tmp_path, config()) as door:
        async with openai.AsyncOpenAI(base_url=door.url + "/v1", api_key="dummy", max_retries=0) as client:
            answer = await client.chat.completions.create(model="local-model", **SAYS)
            parts = [part async for part in await client.chat.completions.create(model="local-model", stream=True, **SAYS)]
            assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == answer.choices[0].message.content
        async with anthropic.AsyncAnthropic(base_url=door.url, api_key="dummy", max_retries=0) as client:
            message = await client.messages.create(model="local-model", max_tokens=1024, **SAYS)
            assert message.type == "message" and message.content[0].text
            async with client.messages.stream(model="local-model", max_tokens=1024, **SAYS) as stream:
                kinds = [event.type async for event in stream]
                assert (await stream.get_final_message()).content[0].text == message.content[0].text
        order = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
        assert [kind for kind in dict.fromkeys(kinds) if kind in order] == order


async def test_s4_28_and_s4_30_messages_are_asked_of_the_chat_url(tmp_path):
    async with open_door(tmp_path, config()) as door:
        answer = await told(door, {"model": "local-model", "max_tokens": 50, **SAYS}, MESSAGES, **{"x-api-key": "dummy"})
        assert answer["type"] == "message" and answer["content"][0]["text"] and answer["stop_reason"] == "end_turn"
        assert answer["usage"]["input_tokens"] > 0 and answer["usage"]["output_tokens"] > 0
        assert {asked.path for asked in door.mock.received} == {"/v1/chat/completions"}


TOOL = {"type": "object", "properties": {"city": {"type": "string"}}}


async def test_s4_32_tools_on_both_apis(tmp_path):
    call = Step(tool_calls=[{"name": "get_weather", "arguments": {"city": "Tokyo"}}])
    async with open_door(tmp_path, config(), script=Script(rules=[Rule(step=call)])) as door:
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": TOOL}}]
        answer = await told(door, {"model": "local-model", "tools": tools, **SAYS}, CHAT)
        made = answer["choices"][0]["message"]["tool_calls"][0]["function"]
        assert made["name"] == "get_weather" and json.loads(made["arguments"]) == {"city": "Tokyo"}
        tools = [{"name": "get_weather", "input_schema": TOOL}]
        answer = await told(door, {"model": "local-model", "max_tokens": 50, "tools": tools, **SAYS}, MESSAGES)
        [block] = [block for block in answer["content"] if block["type"] == "tool_use"]
        assert block["input"] == {"city": "Tokyo"} and answer["stop_reason"] == "tool_use"
        assert sent(door)["tools"][0]["function"]["name"] == "get_weather"


async def test_s4_33_and_s4_34_pictures_and_system_prompts_on_both_apis(tmp_path):
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL.partition(",")[2]}
    async with open_door(tmp_path, config()) as door:
        for picture, url in ((source, PIXEL), ({"type": "url", "url": "https://e.example/a.png"}, "https://e.example/a.png")):
            content = [{"type": "text", "text": "what?"}, {"type": "image", "source": picture}]
            body = {"model": "local-model", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
            for system in ("Be brief.", [{"type": "text", "text": "Be brief."}]):
                await told(door, {**body, "system": system}, MESSAGES)
                first, last = sent(door)["messages"][0], sent(door)["messages"][-1]
                assert first["role"] == "system" and "Be brief." in json.dumps(first["content"])
                assert [part["image_url"]["url"] for part in last["content"] if part["type"] == "image_url"] == [url]
        see = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [{"type": "image_url", "image_url": {"url": PIXEL}}]}]
        await told(door, {"model": "local-model", "messages": see}, CHAT)
        assert sent(door)["messages"] == see


async def test_s4_35_a_history_with_calls_and_results(tmp_path):
    turns = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"city": "Tokyo"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "sunny"}, {"type": "text", "text": "so?"}]},
    ]
    tools = [{"name": "get_weather", "input_schema": TOOL}]
    async with open_door(tmp_path, config()) as door:
        await told(door, {"model": "local-model", "max_tokens": 9, "messages": turns, "tools": tools}, MESSAGES)
        user, call, result, last = sent(door)["messages"]
        assert user["role"] == "user" and call["tool_calls"][0]["id"] == "toolu_1"
        assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"city": "Tokyo"}
        assert (result["role"], result["tool_call_id"]) == ("tool", "toolu_1") and "sunny" in json.dumps(result["content"])
        assert last["role"] == "user" and "so?" in json.dumps(last["content"])


async def test_s4_37_what_a_model_does_not_have_is_no_error(tmp_path):
    async with open_door(tmp_path, config()) as door:
        await told(door, {"model": "local-model", "logit_bias": {"1": 2}, "seed": 3, "user": "u", "parallel_tool_calls": True, **SAYS}, CHAT)
        await told(door, {"model": "local-model", "max_tokens": 9, "top_k": 5, "metadata": {"user_id": "u"}, **SAYS}, MESSAGES)


@pytest.mark.parametrize(
    ("engine", "model"),
    [("vllm", "/models/GLM-FP8"), ("llama", "gpt-3.5-turbo"), ("trtllm", "meta/llama"), ("sglang", "/models/qwen")],
)
async def test_s4_13_and_s4_38_every_backend_on_both_apis(engine, model, tmp_path):
    async with open_door(tmp_path, config(model)) as door:
        for path in (CHAT, MESSAGES):
            assert await told(door, {"model": "local-model", "max_tokens": 9, **SAYS}, path)
            assert sent(door)["model"] == model and lines(door)["authorization"] == "Bearer dummy"


async def test_s4_39_what_a_backend_refuses_is_passed_on(tmp_path):
    script = Script.always(status=400, error={"message": "This model does not support tools."})
    async with open_door(tmp_path, config(), script=script) as door:
        status, _, body = await door.post({"model": "local-model", **SAYS}, CHAT)
        assert status == 400 and "does not support tools" in json.loads(body)["error"]["message"]
        status, _, body = await door.post({"model": "local-model", "max_tokens": 9, **SAYS}, MESSAGES)
        answer = json.loads(body)
        assert status == 400 and answer["type"] == "error" and "does not support tools" in answer["error"]["message"]
