"""Gemini as the upstream of the three big clients, whole and streamed, with a tool and an image; and its failures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Step
from tests.door import Door, open_door

YAML = """
model_list:
  - model_name: new
    litellm_params: {model: gemini/gemini-3-pro-preview, api_base: "{mock}", api_key: AIzaUpstreamKey123456789012345, temperature: 0.4}
  - model_name: old
    litellm_params: {model: gemini/gemini-2.5-flash, api_base: "{mock}", api_key: AIzaUpstreamKey123456789012345}
  - model_name: door
    litellm_params: {model: gemini/gemini-2.5-flash, api_base: "{mock}/v1beta/openai", api_key: k}
router_settings: {num_retries: 0}
"""
PNG = "iVBORw0KGgoAAAA="
SHAPE = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ASK = 'call weather {"city":"Oslo"}'


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML) as opened:
        yield opened


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ") and line != b"data: [DONE]"]
    return [json.loads(line) for line in lines]


# Each client: its path, its request with a tool and an image, and how it makes its next turn of an answer. --------------


def chat_turn(answer: bytes, stream: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    if not stream:
        message = json.loads(answer)["choices"][0]["message"]
    else:
        call: dict[str, Any] = {"function": {"arguments": ""}}
        for event in events(answer):
            for delta in (choice["delta"] for choice in event["choices"]):
                for piece in delta.get("tool_calls", ()):
                    call["function"]["name"] = call["function"].get("name") or piece.get("function", {}).get("name")
                    call["function"]["arguments"] += piece.get("function", {}).get("arguments", "")
                    call |= {key: piece[key] for key in ("id", "type", "extra_content") if key in piece}
        message = {"role": "assistant", "content": None, "tool_calls": [call]}
    (call,) = message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"} and call["extra_content"]
    return message, {"role": "tool", "tool_call_id": call["id"], "content": "clear"}


async def use_chat(door: Door, model: str, stream: bool) -> str:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
    body: dict[str, Any] = {
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": [{"type": "text", "text": ASK}, image]}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": SHAPE}}],
    }
    status, _, answer = await door.post(body)
    assert status == 200, answer
    body["messages"] += chat_turn(answer, stream)
    status, _, answer = await door.post(body)
    assert status == 200, answer
    if stream:
        return "".join(c["delta"].get("content") or "" for event in events(answer) for c in event["choices"])
    return str(json.loads(answer)["choices"][0]["message"]["content"])


async def use_messages(door: Door, model: str, stream: bool) -> str:
    """Messages has no place for a call's signature: the vendor's substitute goes back in its stead."""
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": 500,
        "stream": stream,
        "messages": [{"role": "user", "content": [{"type": "text", "text": ASK}, image]}],
        "tools": [{"name": "weather", "input_schema": SHAPE}],
    }
    status, _, answer = await door.post(body, "/v1/messages")
    assert status == 200, answer
    if stream:
        told = events(answer)
        blocks = [event["content_block"] for event in told if event["type"] == "content_block_start"]
        args = "".join(
            event["delta"].get("partial_json", "") for event in told if event["type"] == "content_block_delta"
        )
        blocks = [{**block, "input": json.loads(args)} if block["type"] == "tool_use" else block for block in blocks]
    else:
        blocks = json.loads(answer)["content"]
    use = next(block for block in blocks if block["type"] == "tool_use")
    assert use["input"] == {"city": "Oslo"}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "clear"}
    body["messages"] += [{"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    status, _, answer = await door.post(body, "/v1/messages")
    assert status == 200, answer
    if stream:
        return "".join(e["delta"].get("text", "") for e in events(answer) if e["type"] == "content_block_delta")
    return "".join(block.get("text", "") for block in json.loads(answer)["content"])


async def use_responses(door: Door, model: str, stream: bool) -> str:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    body: dict[str, Any] = {
        "model": model,
        "stream": stream,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": ASK}, image]}],
        "tools": [{"type": "function", "name": "weather", "parameters": SHAPE, "strict": True}],
    }
    status, _, answer = await door.post(body, "/v1/responses")
    assert status == 200, answer
    told = (
        next(e for e in events(answer) if e["type"] == "response.completed")["response"]
        if stream
        else json.loads(answer)
    )
    call = next(item for item in told["output"] if item["type"] == "function_call")
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    body["input"] += [*told["output"], {"type": "function_call_output", "call_id": call["call_id"], "output": "clear"}]
    status, _, answer = await door.post(body, "/v1/responses")
    assert status == 200, answer
    told = (
        next(e for e in events(answer) if e["type"] == "response.completed")["response"]
        if stream
        else json.loads(answer)
    )
    texts = [part["text"] for item in told["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(texts)


@pytest.mark.parametrize("use", [use_chat, use_messages, use_responses])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_and_an_image(door: Door, use: Any, stream: bool) -> None:
    assert await use(door, "new", stream) == "mock/echo: tool weather said: clear"
    first, second = door.mock.received
    method = ":streamGenerateContent" if stream else ":generateContent"
    assert first.path == f"/v1beta/models/gemini-3-pro-preview{method}" and first.query == ("alt=sse" if stream else "")
    assert first.header("x-goog-api-key") == "AIzaUpstreamKey123456789012345" and first.header("authorization") is None
    assert not {"model", "stream", "temperature"} & set(first.json)
    assert first.json["generationConfig"]["temperature"] == 0.4  # the deployment's
    assert first.json["contents"][0]["parts"][1] == {"inlineData": {"mimeType": "image/png", "data": PNG}}
    (declared,) = first.json["tools"][0]["functionDeclarations"]
    assert declared["parametersJsonSchema"] == SHAPE
    call, result = second.json["contents"][1:]
    assert call["parts"][-1]["functionCall"]["args"] == {"city": "Oslo"} and call["parts"][-1]["thoughtSignature"]
    assert result["parts"][0]["functionResponse"]["response"] == {"output": "clear"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_schema_beside_tools_on_an_older_model(door: Door, stream: bool) -> None:
    """A forced tool stands in, and its call comes back as text."""
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SHAPE, "strict": True}}
    tools = [{"type": "function", "function": {"name": "other", "parameters": SHAPE}}]
    door.mock.queue([Step(tool_calls=({"name": "json_output", "arguments": {"city": "Rome"}},))])
    body = {
        "model": "old",
        "stream": stream,
        "messages": [{"role": "user", "content": "x"}],
        "tools": tools,
        "response_format": form,
    }
    status, _, answer = await door.post(body)
    assert status == 200, answer
    if stream:
        text = "".join(c["delta"].get("content") or "" for event in events(answer) for c in event["choices"])
        finish = [c["finish_reason"] for event in events(answer) for c in event["choices"] if c.get("finish_reason")]
    else:
        told = json.loads(answer)["choices"][0]
        text, finish = told["message"]["content"], [told["finish_reason"]]
    assert json.loads(text) == {"city": "Rome"} and finish == ["stop"]


async def test_the_openai_door_where_the_base_names_it(door: Door) -> None:
    status, headers, _ = await door.post({"model": "door", "messages": [{"role": "user", "content": "x"}]})
    assert status == 200 and headers["x-penstock-lane"] == "same"
    assert door.mock.received[-1].path == "/v1beta/openai/chat/completions"


async def test_counts_of_a_messages_client_are_googles(door: Door) -> None:
    body = {"model": "new", "messages": [{"role": "user", "content": "one two three"}], "system": "be brief"}
    status, headers, answer = await door.post(body, "/v1/messages/count_tokens")
    told = json.loads(answer)
    assert status == 200 and told["litellm_count_source"] == "provider" and headers["x-penstock-lane"] == "cross"
    sent = door.mock.received[-1]
    assert sent.path == "/v1beta/models/gemini-3-pro-preview:countTokens"
    assert sent.json["generateContentRequest"]["model"] == "models/gemini-3-pro-preview"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_blocked_prompt_and_a_wrong_key(door: Door, path: str) -> None:
    body = {"model": "new", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "input": "x"}
    door.mock.queue([Step(refusal="no")])
    status, _, answer = await door.post(body, path)
    assert status == 200
    assert any(word in answer for word in (b'"content_filter"', b'"refusal"'))
    error = {"message": "API key not valid: AIzaUpstreamKey123456789012345", "details": [{"reason": "API_KEY_INVALID"}]}
    door.mock.queue([Step(status=400, error=error)])
    status, _, answer = await door.post(body, path)
    assert status == 401 and b"API key not valid" in answer and b"AIzaUpstream" not in answer
