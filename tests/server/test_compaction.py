"""What a Responses or Messages client leaves to the server to keep: summaries, threads, conversations, and counts."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock.core.ir import Usage
from penstock.mock import Script, Step
from penstock.runtime import chats, compaction
from tests.door import Door, open_door
from tests.server.test_gemini_upstream import events

YAML = """
model_list:
  - model_name: chat
    litellm_params: {model: custom_openai/m, api_base: "{mock}/v1", api_key: k}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: k}
  - model_name: gemini
    litellm_params: {model: gemini/gemini-2.5-flash, api_base: "{mock}", api_key: k}
  - model_name: bedrock
    litellm_params: {model: bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0, api_base: "{mock}", api_key: k, aws_region_name: us-east-1}
  - model_name: ollama
    litellm_params: {model: ollama/llama3.2, api_base: "{mock}", api_key: k}
  - model_name: cohere
    litellm_params: {model: cohere_chat/command-a-03-2025, api_base: "{mock}", api_key: k}
  - model_name: vertex
    litellm_params: {model: vertex_ai/claude-sonnet-4-5@20250929, api_base: "{mock}", api_key: k, vertex_project: p, vertex_location: europe-west4}
  - model_name: responses
    litellm_params: {model: openai/gpt-5.1, api_base: "{mock}/v1/responses", api_key: k}
  - model_name: azure
    litellm_params: {model: azure/responses/mine, api_base: "{mock}/openai/v1", api_key: k}
  - model_name: anthropics-own
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_key: k}
router_settings: {num_retries: 0}
"""
ELSEWHERE = ["chat", "claude", "gemini", "bedrock", "ollama", "cohere"]
SUMMARY = "Summary: the port is 4010.\n\u2028 It works."
SAID = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Use port 4010."}]}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object", "properties": {}}}
CALLED = [
    {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
    {"type": "function_call_output", "call_id": "call_1", "output": "it is free"},
]


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML) as opened:
        yield opened


async def respond(door: Door, model: str, path: str = "/v1/responses", /, **body: Any) -> dict[str, Any]:
    status, _, answer = await door.post({"model": model, "store": False, **body}, path)
    assert status == 200, answer
    if body.get("stream") and answer.startswith(b"event"):
        return dict(next(e for e in events(answer) if e["type"] == "response.completed")["response"])
    return dict(json.loads(answer))


async def refused(door: Door, body: dict[str, Any], path: str = "/v1/responses") -> dict[str, Any]:
    before = door.mock.requests
    status, _, answer = await door.post(body, path)
    assert status == 400, answer
    assert door.mock.requests == before, "nothing was asked"
    return dict(json.loads(answer)["error"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ELSEWHERE)
async def test_a_compaction_is_one_item_that_later_turns_read(door: Door, model: str, stream: bool) -> None:
    door.mock.script = Script(default=Step(text=SUMMARY))
    turns = [SAID, *CALLED, {"type": "compaction_trigger"}]
    told = await respond(door, model, input=turns, tools=[TOOL], stream=stream)
    (item,) = told["output"]
    assert item["type"] == "compaction" and item["id"].startswith("cmp_") and told["usage"]["output_tokens"] > 0
    asked = json.dumps(door.mock.received[-1].json)
    assert "compaction_trigger" not in asked and "4010" in asked and "it is free" in asked

    door.mock.script = Script()
    await respond(door, model, input=[item, {"role": "user", "content": "go on"}])
    sent = json.dumps(door.mock.received[-1].json, ensure_ascii=False)
    assert "the port is 4010" in sent and "encrypted" not in sent and "penstock" not in sent
    assert sent.index("the port is 4010") < sent.index("go on")


@pytest.mark.parametrize("kind", ["compaction", "compaction_summary", "context_compaction"])
@pytest.mark.parametrize("model", ELSEWHERE)
async def test_a_sealed_compaction_is_refused_where_nobody_can_read_it(door: Door, model: str, kind: str) -> None:
    item = {"type": kind, "id": "cmp_1", "encrypted_content": "gAAAAAB"}
    error = await refused(door, {"model": model, "input": [item, SAID]})
    assert kind in error["message"] and error["param"] == "input"


async def test_a_trigger_that_is_not_the_last_is_refused(door: Door) -> None:
    error = await refused(door, {"model": "chat", "input": [{"type": "compaction_trigger"}, SAID]})
    assert "compaction_trigger" in error["message"]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_summary_without_words_is_an_error(door: Door, stream: bool) -> None:
    door.mock.script = Script(default=Step(tool_calls=({"name": "look", "arguments": {}},)))
    body = {"model": "chat", "input": [SAID, {"type": "compaction_trigger"}], "tools": [TOOL], "stream": stream}
    status, _, answer = await door.post(body, "/v1/responses")
    assert status >= 500, answer


async def test_the_vendors_own_api_gets_our_summary_as_words(door: Door) -> None:
    told = await respond(door, "chat", input=[SAID, {"type": "compaction_trigger"}])
    for model, asked in (("responses", 1), ("azure", 2)):  # the vendor's own refuses it first
        steps = [Step(status=400, error="The encrypted content could not be verified.")] if asked == 2 else []
        door.mock.queue([*steps, Step(text="on we go")])
        before = door.mock.requests
        answer = await respond(door, model, input=[*told["output"], SAID])
        assert answer["output"][-1]["content"][0]["text"] == "on we go"
        assert door.mock.requests - before == asked
        assert [item["type"] for item in door.mock.received[-1].json["input"]] == ["message", "message"]


async def test_a_kept_conversation_goes_on_from_its_summary(door: Door) -> None:
    first = await respond(door, "chat", input=[SAID], store=True)
    door.mock.script = Script(default=Step(text=SUMMARY))
    trigger = [{"type": "compaction_trigger"}]
    second = await respond(door, "chat", input=trigger, previous_response_id=first["id"], store=True)
    assert [item["type"] for item in second["output"]] == ["compaction"]
    await respond(door, "chat", input="go on", previous_response_id=second["id"])
    turns = door.mock.received[-1].json["messages"]
    assert len(turns) == 2 and "the port is 4010" in turns[0]["content"] and turns[1]["content"] == "go on"


@pytest.mark.parametrize(
    "path", ["/v1/responses/compact", "/responses/compact", "/openai/responses/compact?api-version=2025-04-01-preview"]
)
@pytest.mark.parametrize("model", [*ELSEWHERE, "responses"])
async def test_compact_is_served_by_every_model(door: Door, model: str, path: str) -> None:
    door.mock.script = Script(default=Step(text=SUMMARY))
    status, _, answer = await door.post({"model": model, "input": [SAID, *CALLED], "tools": [TOOL]}, path)
    assert status == 200, answer
    told = json.loads(answer)
    assert told["object"] == "response.compaction" and told["usage"]["output_tokens"] > 0 and told["created_at"]
    assert [item["type"] for item in told["output"]] == ["message", "compaction"]
    assert told["output"][0]["content"] == SAID["content"]
    await respond(door, "chat", input=[*told["output"], {"role": "user", "content": "go on"}])
    assert "the port is 4010" in json.dumps(door.mock.received[-1].json)
    usage = door.records[-2].usage
    assert usage is not None and usage.output > 0


async def test_compact_is_passed_to_an_api_that_has_it(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = {"input_tokens": 70, "output_tokens": 7, "total_tokens": 77}
    made = {"id": "resp_1", "object": "response.compaction", "output": [{"type": "compaction"}], "usage": usage}
    asked: list[Any] = []

    async def ask(attempt: Any, endpoint: Any, body: bytes, reads: Any) -> bytes:
        asked.append((endpoint.head.split(b" ")[1], json.loads(body)))
        return json.dumps(made).encode()

    monkeypatch.setattr(compaction, "ask", ask)
    told = await respond(door, "azure", "/v1/responses/compact", input=[SAID], instructions="short", stream=True)
    assert told == made
    ((path, body),) = asked
    assert path.endswith(b"/responses/compact")
    assert body == {"model": "mine", "store": False, "input": [SAID], "instructions": "short"}
    assert door.records[-1].usage == Usage(fresh=70, output=7)


@pytest.mark.parametrize("model", [*ELSEWHERE, "responses", "azure"])
async def test_input_tokens_are_counted_for_every_model(door: Door, model: str) -> None:
    told = await respond(door, model, "/v1/responses/input_tokens", input=[SAID], tools=[TOOL], max_output_tokens=50)
    assert told["object"] == "response.input_tokens" and told["input_tokens"] > 4
    counted = ("responses", "azure", "claude", "gemini")
    assert told["litellm_count_source"] == ("provider" if model in counted else "local_estimate")
    if model == "azure":
        assert set(door.mock.received[-1].json) == {"model", "input", "tools"}, "all that the endpoint takes"


async def test_the_turns_before_are_counted(door: Door) -> None:
    first = await respond(door, "chat", input="a word " * 500, store=True)
    for model in ("chat", "claude"):
        alone = await respond(door, model, "/v1/responses/input_tokens", input="b")
        more = await respond(door, model, "/v1/responses/input_tokens", input="b", previous_response_id=first["id"])
        assert more["input_tokens"] > alone["input_tokens"] + 400


THREADED = {"max_tokens": 9, "messages": [{"role": "user", "content": "more"}]}


@pytest.mark.parametrize("thread", [{"type": "create"}, {"type": "continue", "previous_message_id": "msg_1"}])
@pytest.mark.parametrize("model", [*ELSEWHERE, "responses", "azure"])
async def test_a_thread_is_refused_by_all_but_its_keeper(door: Door, model: str, thread: dict[str, str]) -> None:
    error = await refused(door, {"model": model, "thread": thread, **THREADED}, "/v1/messages")
    assert error["type"] == "invalid_request_error" and error["details"] == {"error_code": "thread_unsupported_request"}
    status, _, answer = await door.post({"model": model, **THREADED}, "/v1/messages")
    assert status == 200, answer


async def test_a_thread_reaches_its_keeper(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    async def run(attempt: Any) -> None:
        asked.append("thread" in attempt.fields)
        attempt.call.outlet.whole(attempt, b"{}")

    monkeypatch.setattr(chats.lanes, "run", run)
    status, _, _ = await door.post(
        {"model": "anthropics-own", "thread": {"type": "create"}, **THREADED}, "/v1/messages"
    )
    assert status == 200 and asked == [True]


async def test_what_would_be_kept_elsewhere_is_refused(door: Door) -> None:
    for model in ("chat", "claude", "responses"):
        error = await refused(door, {"model": model, "input": "x", "conversation": "conv_1"})
        assert error["param"] == "conversation"
    for model in ("chat", "claude", "responses", "azure"):
        error = await refused(door, {"model": model, "input": "x", "background": True})
        assert error["param"] == "background"
    told = await respond(door, "chat", input="x", background=False, conversation=None)
    assert told["status"] == "completed"
    await respond(door, "azure", input="x", conversation="conv_1")
    assert door.mock.received[-1].json["conversation"] == "conv_1"
