"""Cohere as the upstream of the three big clients, whole and streamed, with a tool and an image; and its failures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Script, Step
from tests.door import Door, open_door

YAML = """
model_list:
  - model_name: new
    litellm_params: {model: cohere_chat/command-a-plus-05-2026, api_base: "{mock}", api_key: co-secret-key-123456789, top_p: 0.4, stop: END}
    model_info: {input_cost_per_token: "0.01", output_cost_per_token: "0.1"}
  - model_name: old
    litellm_params: {model: cohere/command-r-08-2024, api_base: "{mock}/v1", api_key: co-secret-key-123456789}
  - model_name: strict
    litellm_params: {model: cohere/command-r-08-2024, api_base: "{mock}", api_key: k, on_unsupported: reject}
  - model_name: door
    litellm_params: {model: cohere/command-r-08-2024, api_base: "{mock}/compatibility/v1", api_key: k}
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
PLAN = "I will call weather."


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML) as opened:
        yield opened


def events(body: bytes) -> list[Any]:
    lines = [line[6:] for line in body.split(b"\n") if line.startswith(b"data: ") and line != b"data: [DONE]"]
    return [json.loads(line) for line in lines]


# Each client: its request with a tool and an image, its next turn, and what it was told in the end. ---------------------


def chat_message(answer: bytes, stream: bool) -> dict[str, Any]:
    if not stream:
        message: dict[str, Any] = json.loads(answer)["choices"][0]["message"]
        return message
    message = {"role": "assistant", "content": ""}
    call: dict[str, Any] = {"function": {"arguments": ""}}
    for delta in (choice["delta"] for event in events(answer) for choice in event["choices"]):
        message["content"] += delta.get("content") or ""
        message["reasoning_content"] = message.get("reasoning_content", "") + (delta.get("reasoning_content") or "")
        for piece in delta.get("thinking_blocks", ()):
            (thought,) = message.setdefault("thinking_blocks", [{"type": "thinking", "thinking": ""}])
            thought["thinking"] += piece["thinking"]
            thought |= {key: piece[key] for key in ("signature",) if key in piece}
        for piece in delta.get("tool_calls", ()):
            call["function"]["name"] = call["function"].get("name") or piece.get("function", {}).get("name")
            call["function"]["arguments"] += piece.get("function", {}).get("arguments", "")
            call |= {key: piece[key] for key in ("id", "type") if key in piece}
    return message | ({"tool_calls": [call]} if "id" in call else {})


async def use_chat(door: Door, model: str, stream: bool) -> str:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}", "detail": "low"}}
    body: dict[str, Any] = {
        "model": model,
        "stream": stream,
        "messages": [{"role": "user", "content": [{"type": "text", "text": ASK}, image]}],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": SHAPE, "strict": True}}],
    }
    status, _, answer = await door.post(body)
    assert status == 200, answer
    message = chat_message(answer, stream)
    assert message["reasoning_content"] == PLAN
    (call,) = message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    body["messages"] += [message, {"role": "tool", "tool_call_id": call["id"], "content": "clear"}]
    status, _, answer = await door.post(body)
    assert status == 200, answer
    return str(chat_message(answer, stream)["content"])


async def use_messages(door: Door, model: str, stream: bool) -> str:
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
    blocks = message_blocks(answer) if stream else json.loads(answer)["content"]
    thought, use = blocks
    assert thought["thinking"] == PLAN and use["input"] == {"city": "Oslo"}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "clear"}
    body["messages"] += [{"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    status, _, answer = await door.post(body, "/v1/messages")
    assert status == 200, answer
    return "".join(b.get("text", "") for b in (message_blocks(answer) if stream else json.loads(answer)["content"]))


def message_blocks(answer: bytes) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for event in events(answer):
        if event["type"] == "content_block_start":
            blocks.append(dict(event["content_block"]))
        elif event["type"] == "content_block_delta":
            block, delta = blocks[event["index"]], event["delta"]
            for source, key in (("text", "text"), ("thinking", "thinking"), ("signature", "signature")):
                if source in delta:
                    block[key] = block.get(key, "") + delta[source]
            if "partial_json" in delta:
                block["json"] = block.get("json", "") + delta["partial_json"]
    for block in blocks:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block.pop("json"))
    return blocks


async def use_responses(door: Door, model: str, stream: bool) -> str:
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}
    body: dict[str, Any] = {
        "model": model,
        "stream": stream,
        "include": ["reasoning.encrypted_content"],
        "input": [{"role": "user", "content": [{"type": "input_text", "text": ASK}, image]}],
        "tools": [{"type": "function", "name": "weather", "parameters": SHAPE, "strict": True}],
    }
    told = await response(door, body, stream)
    call = next(item for item in told["output"] if item["type"] == "function_call")
    assert json.loads(call["arguments"]) == {"city": "Oslo"}
    body["input"] += [*told["output"], {"type": "function_call_output", "call_id": call["call_id"], "output": "clear"}]
    told = await response(door, body, stream)
    texts = [part["text"] for item in told["output"] if item["type"] == "message" for part in item["content"]]
    return "".join(texts)


async def response(door: Door, body: dict[str, Any], stream: bool) -> dict[str, Any]:
    status, _, answer = await door.post(body, "/v1/responses")
    assert status == 200, answer
    if stream:
        return dict(next(e for e in events(answer) if e["type"] == "response.completed")["response"])
    return dict(json.loads(answer))


@pytest.mark.parametrize("use", [use_chat, use_messages, use_responses])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["new", "old"])
async def test_a_tool_and_an_image(door: Door, use: Any, stream: bool, model: str) -> None:
    assert await use(door, model, stream) == "mock/echo: tool weather said: clear"
    first, second = door.mock.received
    assert first.path == second.path == "/v2/chat" and first.header("authorization") == "Bearer co-secret-key-123456789"
    assert first.json["model"] == ("command-a-plus-05-2026" if model == "new" else "command-r-08-2024")
    if model == "new":  # the deployment's defaults, in the API's words
        assert first.json["p"] == 0.4 and first.json["stop_sequences"] == ["END"]
        assert not {"top_p", "stop"} & set(first.json)
    image = first.json["messages"][0]["content"][1]
    assert image["type"] == "image_url" and image["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    (declared,) = first.json["tools"]
    assert declared["function"]["parameters"] == SHAPE
    assert first.json.get("strict_tools") == (None if use is use_messages else True)
    said, result = second.json["messages"][1:]
    assert said["tool_plan"] == PLAN, "the plan comes back as one, whoever the client is"
    assert json.loads(said["tool_calls"][0]["function"]["arguments"]) == {"city": "Oslo"}
    assert result == {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": "clear"}


async def test_clients_are_told_what_was_counted_and_the_ledger_what_is_billed(door: Door) -> None:
    body = {"model": "new", "messages": [{"role": "user", "content": "hello"}]}
    for stream in (False, True):
        status, headers, answer = await door.post({**body, "stream": stream, "stream_options": {"include_usage": True}})
        told = events(answer)[-1] if stream else json.loads(answer)
        usage, record = told["usage"], door.records[-1]
        assert status == 200 and headers["x-penstock-lane"] == "cross"
        assert usage["prompt_tokens"] == 104 and usage["prompt_tokens_details"]["cached_tokens"] == 50
        assert usage["completion_tokens"] == record.usage.output
        billed = record.usage.billed
        assert billed == (4, record.usage.output - 3)
        assert record.cost == Decimal("0.01") * 4 + Decimal("0.1") * billed[1]


@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_is_asked_for_and_told(door: Door, stream: bool) -> None:
    body = {"model": "new", "stream": stream, "messages": [{"role": "user", "content": "x"}], "reasoning_effort": "high"}
    _, headers, answer = await door.post(body)
    message = chat_message(answer, stream)
    assert message["reasoning_content"].startswith("mock reasoning") and message["content"] == "mock/echo: x"
    assert door.mock.received[-1].json["thinking"] == {"type": "enabled"} and "x-penstock-dropped" not in headers
    thinking = {"type": "enabled", "budget_tokens": 2048}
    messages = {"model": "new", "max_tokens": 4000, "messages": body["messages"], "thinking": thinking}
    await door.post(messages, "/v1/messages")
    assert door.mock.received[-1].json["thinking"] == {"type": "enabled", "token_budget": 2048}
    status, headers, _ = await door.post({**body, "model": "old"})
    assert status == 200 and "thinking" not in door.mock.received[-1].json
    assert "reasoning" in headers["x-penstock-dropped"]


async def test_a_schema_and_a_schema_beside_tools(door: Door) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SHAPE, "strict": True}}
    body: dict[str, Any] = {"model": "old", "messages": [{"role": "user", "content": "x"}], "response_format": form}
    _, headers, answer = await door.post(body)
    assert json.loads(json.loads(answer)["choices"][0]["message"]["content"]) == {"city": "mock"}
    assert door.mock.received[-1].json["response_format"] == {"type": "json_object", "json_schema": SHAPE}
    assert "x-penstock-dropped" not in headers
    body["tools"] = [{"type": "function", "function": {"name": "other", "parameters": SHAPE}}]
    for stream in (False, True):
        door.mock.queue([Step(tool_calls=({"name": "json_output", "arguments": {"city": "Rome"}},))])
        _, _, answer = await door.post({**body, "stream": stream})
        message = chat_message(answer, stream)
        assert json.loads(message["content"]) == {"city": "Rome"} and not message.get("tool_calls")
        sent = door.mock.received[-1].json
        assert sent["tool_choice"] == "REQUIRED" and "response_format" not in sent


async def test_the_vendors_own_fields_reach_it_from_a_chat_client(door: Door) -> None:
    documents = [{"id": "1", "data": {"title": "Oslo", "url": "https://example.com/oslo", "text": "It is clear."}}]
    own = {"documents": documents, "safety_mode": "STRICT", "citation_options": {"mode": "FAST"}}
    source = {"type": "document", "id": "1", "document": documents[0]["data"]}
    cited = {"start": 5, "end": 10, "text": "clear", "sources": [source], "content_index": 0, "type": "TEXT_CONTENT"}
    for stream in (False, True):
        door.mock.queue([Step(text="It's clear.", citations=(cited,))])
        body = {"model": "old", "stream": stream, "messages": [{"role": "user", "content": "Oslo?"}], **own}
        status, headers, answer = await door.post(body)
        assert status == 200 and "x-penstock-dropped" not in headers
        sent = door.mock.received[-1].json
        assert {key: sent[key] for key in own} == own
        if stream:
            told = [a for e in events(answer) for c in e["choices"] for a in c["delta"].get("annotations") or ()]
        else:
            told = json.loads(answer)["choices"][0]["message"]["annotations"]
        (note,) = told
        assert note["url_citation"]["url"] == "https://example.com/oslo" and note["url_citation"]["title"] == "Oslo"
        assert (note["url_citation"]["start_index"], note["url_citation"]["end_index"]) == (5, 10)


async def test_what_cannot_be_carried_is_told_or_refused(door: Door) -> None:
    body = {"model": "old", "messages": [{"role": "user", "content": "x"}], "logit_bias": {"5": 1}, "top_p": 1}
    status, headers, _ = await door.post(body)
    assert status == 200 and {"logit_bias", "top_p"} <= set(headers["x-penstock-dropped"].split(","))
    assert door.mock.received[-1].json["p"] == 0.99
    status, _, answer = await door.post({**body, "model": "strict"})
    assert status == 400 and b"logit_bias" in answer


async def test_the_compatible_door_where_the_base_names_it(door: Door) -> None:
    status, headers, _ = await door.post({"model": "door", "messages": [{"role": "user", "content": "x"}]})
    assert status == 200 and headers["x-penstock-lane"] == "same"
    assert door.mock.received[-1].path == "/compatibility/v1/chat/completions"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
@pytest.mark.parametrize(
    ("status", "says", "expected", "words"),
    [
        (401, "invalid api token", 401, "invalid api token"),
        (403, "", 403, "no access"),
        (404, "model 'x' not found", 404, "not found"),
        (422, "unprocessable", 422, "unprocessable"),
        (429, "", 429, "Trial key"),
        (498, "invalid token co-1", 401, "invalid token"),
        (499, "", 503, "request cancelled"),
        (500, "", 500, "internal server error"),
        (503, "", 503, "service unavailable"),
    ],
)
async def test_its_errors(door: Door, path: str, status: int, says: str, expected: int, words: str) -> None:
    door.mock.queue([Step(status=status, error=says or None)])
    body = {"model": "new", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}], "input": "x"}
    got, headers, answer = await door.post(body, path)
    assert got == expected and words in json.loads(answer)["error"]["message"]
    if status == 429:
        assert headers["retry-after"] == "1"


async def test_a_prompt_that_is_too_long_is_known_as_such(door: Door) -> None:
    door.mock.script = Script(context_tokens=110)
    status, _, answer = await door.post({"model": "new", "messages": [{"role": "user", "content": "many words " * 20}]})
    assert status == 400 and "ContextWindowExceededError" in json.loads(answer)["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_stream_that_fails_is_no_success(door: Door, path: str) -> None:
    body = {"model": "new", "max_tokens": 9, "messages": [{"role": "user", "content": "x y z"}], "input": "x y z"}
    door.mock.queue([Step(error_event_after=4, error="the model fell over", tokens_per_second=30)])
    status, _, answer = await door.post({**body, "stream": True}, path)
    assert status == 200 and b"the model fell over" in answer
    assert b'"finish_reason":"stop"' not in answer and b"message_stop" not in answer and b"response.completed" not in answer
    door.mock.queue([Step(finish_reason="ERROR")])
    status, _, answer = await door.post(body, path)
    assert status == 500 and b"ERROR" in answer


async def test_completions_are_asked_as_a_chat(door: Door) -> None:
    status, _, answer = await door.post({"model": "old", "prompt": "Once"}, "/v1/completions")
    assert status == 200 and json.loads(answer)["choices"][0]["text"] == "mock/echo: Once"
    assert door.mock.received[-1].path == "/v2/chat"
