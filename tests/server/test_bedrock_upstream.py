"""Bedrock as the upstream of the three big clients, whole and streamed, with a tool and an image; and its failures."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Step
from tests.door import Door, open_door
from tests.server.test_gemini_upstream import events, use_messages, use_responses

YAML = """
model_list:
  - model_name: claude
    litellm_params: {model: bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0, aws_bedrock_runtime_endpoint: "{mock}", aws_access_key_id: AKIDUPSTREAM12345678, aws_secret_access_key: hidden/secret, aws_region_name: eu-west-1, top_k: 7}
  - model_name: older
    litellm_params: {model: bedrock/claude-3-sonnet, api_base: "{mock}", api_key: bedrock-api-key-abc, aws_region_name: us-east-1}
  - model_name: nova
    litellm_params: {model: bedrock/converse/amazon.nova-pro-v1:0, api_base: "{mock}", api_key: k, aws_region_name: us-east-1, max_tokens: 300}
  - model_name: llama
    litellm_params: {model: bedrock/us-east-1/meta.llama3-70b-instruct-v1:0, api_base: "{mock}", api_key: k}
  - model_name: profile
    litellm_params: {model: bedrock/us.anthropic.claude-opus-4-6-v1, model_id: "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123", api_base: "{mock}", aws_access_key_id: AKID, aws_secret_access_key: s}
  - model_name: strict
    litellm_params: {model: bedrock/us.anthropic.claude-opus-4-6-v1, api_base: "{mock}", api_key: k, aws_region_name: us-east-1, on_unsupported: reject}
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
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML) as opened:
        yield opened


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
    if stream:
        call: dict[str, Any] = {"type": "function", "function": {"arguments": ""}}
        for event in events(answer):
            for piece in (p for choice in event["choices"] for p in choice["delta"].get("tool_calls", ())):
                call["id"] = piece.get("id") or call["id"]
                call["function"]["name"] = piece["function"].get("name") or call["function"]["name"]
                call["function"]["arguments"] += piece["function"].get("arguments", "")
        message: dict[str, Any] = {"role": "assistant", "content": None, "tool_calls": [call]}
    else:
        message = json.loads(answer)["choices"][0]["message"]
        (call,) = message["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"city": "Oslo"}
    body["messages"] += [message, {"role": "tool", "tool_call_id": call["id"], "content": "clear"}]
    status, _, answer = await door.post(body)
    assert status == 200, answer
    if stream:
        return "".join(c["delta"].get("content") or "" for event in events(answer) for c in event["choices"])
    return str(json.loads(answer)["choices"][0]["message"]["content"])


@pytest.mark.parametrize("use", [use_chat, use_messages, use_responses])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["claude", "nova", "llama"])
async def test_a_tool_and_an_image(door: Door, use: Any, stream: bool, model: str) -> None:
    assert await use(door, model, stream) == "mock/echo: tool weather said: clear"
    first, second = door.mock.received
    names = {
        "claude": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "nova": "amazon.nova-pro-v1:0",
        "llama": "meta.llama3-70b-instruct-v1:0",
    }
    assert first.path == f"/model/{names[model]}/converse{'-stream' if stream else ''}"
    assert not {"model", "stream", "max_tokens", "top_k"} & set(first.json)
    assert first.json["messages"][0]["content"][1] == {"image": {"format": "png", "source": {"bytes": PNG}}}
    (declared,) = first.json["toolConfig"]["tools"]
    assert declared["toolSpec"]["inputSchema"]["json"] == SHAPE
    call, result = second.json["messages"][1:]
    assert call["content"][-1]["toolUse"]["input"] == {"city": "Oslo"}
    assert result["content"][0]["toolResult"]["content"] == [{"text": "clear"}]
    if model == "claude":  # the deployment's defaults, in the model's own words
        assert first.json["additionalModelRequestFields"] == {"top_k": 7}
        assert "/eu-west-1/bedrock/aws4_request" in (first.header("authorization") or "")
    if model == "nova":
        told = first.json["inferenceConfig"]["maxTokens"]
        assert told == (500 if use is use_messages else 300)
        assert first.header("authorization") == "Bearer k" and first.header("x-amz-date") is None


@pytest.mark.parametrize("stream", [False, True])
async def test_thinking_comes_back_signed_and_is_taken_back(door: Door, stream: bool) -> None:
    """A Messages client's signed thoughts stay good on Bedrock: the mock checks each signature."""
    body: dict[str, Any] = {
        "model": "claude",
        "max_tokens": 3000,
        "stream": stream,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": ASK}],
        "tools": [{"name": "weather", "input_schema": SHAPE}],
    }
    status, headers, answer = await door.post(body, "/v1/messages")
    assert status == 200, answer
    if stream:
        told = events(answer)
        kinds = [e["content_block"]["type"] for e in told if e["type"] == "content_block_start"]
        deltas = [e["delta"] for e in told if e["type"] == "content_block_delta"]
        use = next(e["content_block"] for e in told if e.get("content_block", {}).get("type") == "tool_use")
        blocks = [
            {
                "type": "thinking",
                "thinking": "".join(d.get("thinking", "") for d in deltas),
                "signature": next(d["signature"] for d in deltas if "signature" in d),
            },
            {**use, "input": json.loads("".join(d.get("partial_json", "") for d in deltas))},
        ]
        assert kinds == ["thinking", "tool_use"]
    else:
        blocks = json.loads(answer)["content"]
    assert blocks[0]["signature"] and not blocks[0]["signature"].startswith("penstock.")
    result = {"type": "tool_result", "tool_use_id": blocks[1]["id"], "content": "clear"}
    body["messages"] += [{"role": "assistant", "content": blocks}, {"role": "user", "content": [result]}]
    status, headers, answer = await door.post(body, "/v1/messages")
    assert status == 200, answer
    sent = door.mock.received[-1].json
    assert sent["messages"][1]["content"][0]["reasoningContent"]["reasoningText"]["signature"] == blocks[0]["signature"]
    assert sent["additionalModelRequestFields"]["thinking"] == {"type": "enabled", "budget_tokens": 1024}
    assert "top_k" not in sent["additionalModelRequestFields"]  # the deployment's, which is refused beside thinking


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["claude", "older"])
async def test_a_schema_is_enforced_or_a_tool_stands_in(door: Door, stream: bool, model: str) -> None:
    if model == "older":
        door.mock.queue([Step(tool_calls=({"name": "json_output", "arguments": {"city": "mock"}},))])
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SHAPE, "strict": True}}
    status, _, answer = await door.post({"model": model, "stream": stream, "messages": HELLO, "response_format": form})
    assert status == 200, answer
    if stream:
        text = "".join(c["delta"].get("content") or "" for event in events(answer) for c in event["choices"])
        finish = [c["finish_reason"] for event in events(answer) for c in event["choices"] if c.get("finish_reason")]
    else:
        told = json.loads(answer)["choices"][0]
        text, finish = told["message"]["content"], [told["finish_reason"]]
    assert json.loads(text) == {"city": "mock"} and finish == ["stop"]
    sent = door.mock.received[-1].json
    if model == "older":
        assert sent["toolConfig"]["toolChoice"] == {"tool": {"name": "json_output"}} and "outputConfig" not in sent
    else:
        made = sent["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
        assert made["name"] == "a" and json.loads(made["schema"]) == SHAPE


async def test_cache_points_and_what_they_cost(door: Door) -> None:
    system = [{"type": "text", "text": "be brief " * 9, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    body = {"model": "claude", "max_tokens": 50, "system": system, "messages": HELLO}
    for key in ("cache_creation_input_tokens", "cache_read_input_tokens"):
        status, _, answer = await door.post(body, "/v1/messages")
        used = json.loads(answer)["usage"]
        assert status == 200 and used[key] > 5 and used["input_tokens"] > 0
    assert door.mock.received[0].json["system"][1] == {"cachePoint": {"type": "default", "ttl": "1h"}}
    first, second = door.records
    assert first.usage.cache_write_1h and not first.usage.cache_write and second.usage.cache_read
    status, headers, _ = await door.post({**body, "model": "llama"}, "/v1/messages")
    assert status == 200 and headers["x-penstock-dropped"] == "messages.0.blocks.0.cache"


async def test_the_model_by_its_arn(door: Door) -> None:
    status, _, answer = await door.post({"model": "profile", "messages": HELLO})
    assert status == 200 and json.loads(answer)["model"] == "profile"
    sent = door.mock.received[0]
    assert sent.path == "/model/arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/abc123/converse"
    assert "/eu-central-1/bedrock/aws4_request" in (sent.header("authorization") or "")


async def test_fields_of_converse_and_of_the_model_pass(door: Door) -> None:
    body = {
        "model": "claude",
        "messages": HELLO,
        "guardrailConfig": {"guardrailIdentifier": "g1", "guardrailVersion": "1"},
        "requestMetadata": {"team": "a"},
        "performanceConfig": {"latency": "optimized"},
        "anthropic_beta": ["x"],
        "service_tier": "priority",
        "seed": 1,
        "user": "u",
    }
    status, headers, _ = await door.post(body)
    sent = door.mock.received[0].json
    assert status == 200 and sent["guardrailConfig"] == body["guardrailConfig"]
    assert sent["requestMetadata"] == {"team": "a"} and sent["performanceConfig"] == {"latency": "optimized"}
    assert sent["additionalModelRequestFields"] == {"anthropic_beta": ["x"], "top_k": 7}
    assert sent["serviceTier"] == {"type": "priority"} and door.records[0].usage.tier == "priority"
    assert headers["x-penstock-dropped"] == "seed,user"
    status, _, answer = await door.post({"model": "strict", "messages": HELLO, "seed": 1})
    assert status == 400 and b"seed" in answer


PATHS = ["/v1/chat/completions", "/v1/messages", "/v1/responses"]


def said(path: str, **more: Any) -> dict[str, Any]:
    """A request for this path."""
    words = {"input": "hello"} if path.endswith("responses") else {"max_tokens": 9, "messages": HELLO}
    return {"model": "claude", **words, **more}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("status", "error", "told"),
    [
        (429, {}, 429),
        (403, {"message": "You don't have access to the model with the specified model ID."}, 403),
        (400, {"message": "Input is too long for requested model."}, 400),
        (404, {}, 404),
        (424, {"message": "the model failed"}, 500),
        (408, {}, 408),
        (503, {}, 503),
    ],
)
async def test_errors(door: Door, path: str, status: int, error: Any, told: int) -> None:
    door.mock.queue([Step(status=status, error=error)])
    got, _, answer = await door.post(said(path), path)
    assert got == told, answer
    assert error.get("message", "") in json.loads(answer)["error"]["message"]
    kinds = {429: "upstream_rate_limit", 403: "upstream_forbidden", 400: "context_window", 424: "upstream_error"}
    assert status not in kinds or door.records[-1].error == kinds[status]


@pytest.mark.parametrize("path", PATHS)
async def test_an_exception_amid_a_stream_ends_it(door: Door, path: str) -> None:
    door.mock.queue([Step(text="one two three", tokens_per_second=50, error_event_after=4, error={"message": "later please"})])
    status, _, answer = await door.post(said(path, stream=True), path)
    assert status == 200 and b"later please" in answer and b"one" in answer and b"four" not in answer
    assert b"response.completed" not in answer and b"message_stop" not in answer


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "step",
    [
        Step(cut_after_events=5, cut="end"),
        Step(malform=("missing_done",)),
        Step(malform=("invalid_utf8",)),
        Step(malform=("bad_json",)),
        Step(malform=("unterminated", "no_role"), cut_after_events=6),
    ],
)
async def test_a_broken_stream_is_never_a_success(door: Door, path: str, step: Step) -> None:
    door.mock.queue([step])
    status, _, answer = await door.post(said(path, stream=True), path)
    assert b"error" in answer and door.records[-1].error in ("broken_stream", "broken_answer"), answer
    assert b"response.completed" not in answer and b"message_stop" not in answer


@pytest.mark.parametrize("stream", [False, True])
async def test_a_guardrail_is_a_filter(door: Door, stream: bool) -> None:
    door.mock.queue([Step(refusal="blocked by policy")])
    _, _, answer = await door.post(said("", stream=stream))
    assert b'"content_filter"' in answer and b"block" in answer


async def test_split_bytes_and_pings(door: Door) -> None:
    door.mock.queue([Step(text="one two three", split_bytes=3, malform=("pings", "unknown_event"))])
    _, _, answer = await door.post(said("", stream=True))
    text = "".join(c["delta"].get("content") or "" for event in events(answer) for c in event["choices"])
    assert text == "one two three" and answer.endswith(b"data: [DONE]\n\n")
    assert door.records[-1].usage.output == 3 and not door.records[-1].usage.estimated


async def test_a_wrong_key_is_told_without_it(door: Door) -> None:
    words = "The security token included in the request is invalid: AKIDUPSTREAM12345678"
    door.mock.queue([Step(status=403, error={"message": words}, headers={"x-amzn-errortype": "UnrecognizedClientException"})])
    status, _, answer = await door.post(said(""))
    assert status == 401 and b"security token" in answer and b"hidden/secret" not in answer
    assert door.records[-1].error == "upstream_auth"


@pytest.mark.parametrize("stream", [False, True])
async def test_old_completions_and_googles_client(door: Door, stream: bool) -> None:
    status, _, answer = await door.post({"model": "claude", "prompt": "hello", "stream": stream}, "/v1/completions")
    assert status == 200 and b"mock" in answer
    body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    status, _, answer = await door.post(body, f"/v1beta/models/claude:{method}")
    assert status == 200 and b'"finishReason":"STOP"' in answer


async def test_counts_are_made_here(door: Door) -> None:
    body = {"model": "claude", "messages": HELLO}
    status, _, answer = await door.post(body, "/v1/messages/count_tokens")
    assert status == 200 and json.loads(answer)["litellm_count_source"] == "local_estimate"
    assert door.mock.received == []


async def test_a_region_is_needed(tmp_path: Path) -> None:
    yaml = """
model_list:
  - model_name: m
    litellm_params: {model: bedrock/amazon.nova-pro-v1:0, api_key: k, aws_profile_name: nobody}
  - model_name: agent
    litellm_params: {model: bedrock/agent/ABC/DEF, api_key: k, aws_region_name: us-east-1}
router_settings: {num_retries: 0}
"""
    async with open_door(tmp_path, yaml) as door:
        status, _, answer = await door.post({"model": "m", "messages": HELLO})
        assert status == 401 and b"AWS_REGION_NAME" in answer
        status, _, answer = await door.post({"model": "agent", "messages": HELLO})
        assert status in (400, 401) and b"agent" in answer


# Embeddings -----------------------------------------------------------------------------------------------------------

EMBED = """
model_list:
  - model_name: titan
    litellm_params: {model: bedrock/amazon.titan-embed-text-v2:0, api_base: "{mock}", api_key: k, aws_region_name: us-east-1, dimensions: 256}
  - model_name: cohere
    litellm_params: {model: bedrock/cohere.embed-english-v3, api_base: "{mock}", aws_access_key_id: AKID, aws_secret_access_key: s, aws_region_name: us-east-1}
router_settings: {num_retries: 0}
"""


async def test_embeddings(tmp_path: Path) -> None:
    async with open_door(tmp_path, EMBED) as door:
        texts = [f"text {at}" for at in range(3)]
        status, _, answer = await door.post({"model": "titan", "input": texts}, "/v1/embeddings")
        told = json.loads(answer)
        assert status == 200 and [row["index"] for row in told["data"]] == [0, 1, 2] and told["model"] == "titan"
        assert all(len(row["embedding"]) == 256 for row in told["data"]) and told["usage"]["prompt_tokens"] == 6
        assert [sent.json["inputText"] for sent in door.mock.received] == texts
        assert door.mock.received[0].path == "/model/amazon.titan-embed-text-v2:0/invoke"
        body = {"model": "cohere", "input": [f"t{at}" for at in range(100)], "input_type": "search_query"}
        status, _, answer = await door.post({**body, "encoding_format": "base64"}, "/v1/embeddings")
        told = json.loads(answer)
        assert status == 200 and len(told["data"]) == 100 and isinstance(told["data"][0]["embedding"], str)
        first, second = door.mock.received[3:]
        assert sorted((len(first.json["texts"]), len(second.json["texts"]))) == [4, 96]
        assert first.json["input_type"] == "search_query" and "model" not in first.json
        assert (first.header("authorization") or "").startswith("AWS4-HMAC-SHA256")
        status, _, answer = await door.post({"model": "titan", "input": [1, 2]}, "/v1/embeddings")
        assert status == 400 and b"not tokens" in answer
        door.mock.queue([Step(status=429)])
        assert (await door.post({"model": "titan", "input": "x"}, "/v1/embeddings"))[0] == 429
        door.mock.queue([Step(body={"nothing": 1})])
        assert (await door.post({"model": "titan", "input": "x"}, "/v1/embeddings"))[0] == 502
