"""Requests: one test for each way in which gateways were seen to get this dialect wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from penstock.core import envelope
from penstock.core.dialects import openai_chat, structured
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import Wire
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Audio,
    Base64,
    Document,
    FileId,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
)
from tests.core.dialects.responses_helpers import (
    WIRE,
    ask,
    lost,
    parse,
    render,
)

# Requests in ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_content() -> None:
    content = [
        {"type": "input_text", "text": "t"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGk=", "detail": "low"},
        {"type": "input_image", "image_url": "https://x/a.png"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
        {"type": "input_file", "file_url": "https://x/a.pdf"},
        {"type": "input_file", "file_id": "file_2"},
        {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        {"type": "computer_screenshot", "image_url": "x"},
        {"type": "input_text", "text": "u", "prompt_cache_breakpoint": {"mode": "explicit"}},
    ]
    request = parse(input=[{"role": "user", "content": content}])
    assert request.messages[0].blocks[:8] == (
        Text("t"),
        Image(Base64("image/png", "aGk="), "low"),
        Image(Url("https://x/a.png")),
        Image(FileId("openai", "file_1")),
        Document(Base64("application/pdf", "aGk="), "a.pdf"),
        Document(Url("https://x/a.pdf")),
        Document(FileId("openai", "file_2")),
        Audio("aGk=", "wav"),
    )
    assert [getattr(block, "kind", "") for block in request.messages[0].blocks[8:]] == [
        *("part.computer_screenshot", "+prompt_cache_breakpoint", "")
    ]
    assert render(request)["input"][0]["content"] == content
    assert lost(request) == []


def test_outputs_hold_lists_and_errors_are_reported() -> None:
    parts = [{"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": "https://x/a.png"}]
    item = {"type": "function_call_output", "call_id": "c", "output": parts}
    result = parse(input=[item]).messages[0].blocks[0]
    assert result == ToolResult("c", (Text("t"), Image(Url("https://x/a.png"))))
    called = Message("assistant", (ToolUse("c", "f", "{}"),))
    failed = Message("user", (ToolResult("c", (Text("boom"),), is_error=True),))
    assert lost(ask(called, failed)) == ["messages.1.blocks.0.is_error"]


def test_an_output_without_its_call_is_told_as_text() -> None:
    request = ask(Message("user", (ToolResult("gone", (Text("42"),)), Text("so?"))))
    assert render(request)["input"][0]["content"] == [
        {"type": "input_text", "text": "[tool result gone]"},
        {"type": "input_text", "text": "42"},
    ]
    assert lost(request) == ["messages.0.blocks.0"]
    assert lost(ask(*request.messages, previous_id="resp_1")) == []


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content[0].type"),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, "input[0].name"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": "x", "max_output_tokens": "many"}, "max_output_tokens"),
        ({"input": "x", "tools": [{"name": "f"}]}, "tools[0].type"),
        ({"input": "x", "tool_choice": "sometimes"}, "tool_choice"),
        ({"input": "x", "text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"input": "x", "reasoning": "high"}, "reasoning"),
        ({"input": "x", "store": "no"}, "store"),
    ],
)
def test_bad_input_names_its_place(body: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        parse(**body)
    assert caught.value.kind == "bad_request" and caught.value.param == param
    assert param in caught.value.message and "must be" in caught.value.message


def test_a_missing_model_is_named() -> None:
    with pytest.raises(GatewayError, match="'model' is missing"):
        dialect.parse_request({"input": Raw(b'"x"')})


def test_conversations_kept_elsewhere_need_no_input() -> None:
    for key in ("previous_response_id", "prompt", "conversation"):
        value: Any = "x" if key != "prompt" else {"id": "pmpt_1"}
        assert json.loads(envelope.seal(dialect.render_request(parse(**{key: value}), WIRE).fields))[key] == value


@pytest.mark.parametrize(
    "choice",
    [
        "auto",
        "required",
        {"type": "function", "name": "f"},
        {"type": "custom", "name": "g"},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "image_generation"}]},
        {"type": "mcp", "server_label": "x"},
        {"type": "web_search_preview"},
    ],
)
def test_every_tool_choice_goes_back_as_it_came(choice: Any) -> None:
    tools = [{"type": "function", "name": "f", "parameters": {}, "strict": True}, {"type": "custom", "name": "g"}]
    body = render(parse(input="x", tools=tools, tool_choice=choice))
    assert body["tool_choice"] == choice and body["tools"] == tools


def test_a_server_tools_choice_is_reported_across() -> None:
    request = parse(input="x", tool_choice={"type": "web_search_preview"})
    losses = {loss.path for loss in openai_chat.render_request(request, Wire(model="m")).losses}
    assert losses == {"extra.tool_choice"}


def test_guided_json_is_a_format_and_an_explicit_one_wins() -> None:
    schema = {"type": "object", "properties": {}}
    assert parse(input="x", guided_json=schema).output == OutputFormat(
        "json_schema", "guided_json", json.dumps(schema).encode()
    )
    assert parse(input="x", guided_json=schema, text={"format": {"type": "text"}}).output == OutputFormat("text")


def test_unknown_fields_go_back_to_where_they_stood() -> None:
    body = {
        "model": "real",
        "input": [{"type": "item_reference", "id": "msg_1"}, {"type": "mcp_approval_response", "approve": True}],
        "reasoning": {"effort": "low", "context": "auto"},
        "text": {"format": {"type": "json_object", "x": 1}, "y": 2},
        "truncation": "auto",
        "context_management": [{"type": "compaction"}],
    }
    request = dialect.parse_request(envelope.open_body(json.dumps(body).encode()))
    assert render(request) == body and lost(request) == []


# Requests out ---------------------------------------------------------------------------------------------------------


def test_defaults_of_this_api_are_written_out_for_others() -> None:
    body = render(ask(tools=(Tool("f"),)))
    assert body["store"] is False
    assert body["tools"][0]["strict"] is False and body["tools"][0]["parameters"]["type"] == "object"


def test_thoughts_are_asked_for_in_a_form_that_can_be_replayed() -> None:
    body = render(ask(reasoning=Reasoning(budget=4096)))
    assert body["reasoning"] == {"effort": "medium"}
    assert body["include"] == ["reasoning.encrypted_content"]
    assert "include" not in render(ask(reasoning=Reasoning(effort="none")))


def test_an_answer_of_a_few_tokens_is_raised_to_what_the_vendor_takes() -> None:
    assert render(ask(max_tokens=5))["max_output_tokens"] == 16
    assert lost(ask(max_tokens=5)) == ["max_tokens"]
    assert render(ask(max_tokens=5), Wire(model="m", official=False))["max_output_tokens"] == 5


def test_fields_that_this_api_lacks_are_reported() -> None:
    request = ask(stop=("x",), seed=1, top_k=3, n=2, logit_bias=b'{"1":1}', presence_penalty=0.5, frequency_penalty=0.5)
    assert sorted(lost(request)) == [
        *("frequency_penalty", "logit_bias", "n", "presence_penalty", "seed", "stop", "top_k")
    ]
    assert lost(ask(n=1, presence_penalty=0.0)) == []


def test_a_server_without_schemas_gets_a_forced_tool() -> None:
    request = ask(output=OutputFormat("json_schema", "a", b'{"type":"object","properties":{"x":{}}}'))
    body = render(request, Wire(model="m", native_schema=False, official=False))
    assert body["tool_choice"] == {"type": "function", "name": structured.TOOL_NAME}
    assert "text" not in body
    assert render(request)["text"]["format"]["schema"] == {"type": "object", "properties": {"x": {}}}


def test_a_system_prompt_is_instructions() -> None:
    system, user = Message("system", (Text("Be brief."),)), Message("user", (Text("hi"),))
    assert render(ask(system, user))["instructions"] == "Be brief."
    body = render(ask(system, system, Message("developer", (Text("d"),)), user))
    assert [item["role"] for item in body["input"]] == ["system", "developer", "user"]
    assert render(ask(system))["input"][0]["role"] == "system"


def test_a_prefill_is_passed_on() -> None:
    body = render(ask(Message("user", (Text("hi"),)), Message("assistant", (Text("Sure"), Refusal("no")))))
    assert body["input"][1]["content"] == [
        {"type": "output_text", "text": "Sure", "annotations": []},
        {"type": "refusal", "refusal": "no"},
    ]


def test_a_choice_of_tools_that_are_gone_is_reported() -> None:
    gone = Tool("w", kind="web_search_20250305", opaque=Opaque("anthropic", "web_search_20250305", b"{}"))
    assert lost(ask(tools=(gone,), tool_choice=ToolChoice("required"))) == ["tools.0", "tool_choice"]
