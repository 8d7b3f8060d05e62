"""Requests, errors and token counts of the Messages dialect: one test for each fault that gateways were seen to ship,
and for each rule of the API that other dialects' clients do not know."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core import envelope
from penstock.core.dialects import anthropic as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    CacheMark,
    Choice,
    Loss,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Request,
    Response,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
)
from penstock.core.mask import NO_SECRETS, hide

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
WIRE = Wire(model="real", family="anthropic")


def render(*messages: Message, wire: Wire = WIRE, **fields: Any) -> tuple[dict[str, Any], tuple[Loss, ...]]:
    rendered = dialect.render_request(Request(model="m", messages=messages, **fields), wire)
    return json.loads(envelope.seal(rendered.fields)), rendered.losses


def user(*blocks: Any) -> Message:
    return Message("user", blocks)


def assistant(*blocks: Any) -> Message:
    return Message("assistant", blocks)


# Out --------------------------------------------------------------------------------


def test_a_cache_mark_is_never_put_on_a_thinking_block() -> None:
    turn = assistant(Thinking("t", Seal("anthropic", "s")), Text("a", CacheMark("1h")))
    body, _ = render(user(Text("q")), turn, user(Text("r")))
    thought, text = body["messages"][1]["content"]
    assert thought == {"type": "thinking", "thinking": "t", "signature": "s"}
    assert text["cache_control"] == {"type": "ephemeral", "ttl": "1h"}


def test_a_seal_returns_only_to_its_family() -> None:
    turn = assistant(Thinking("a", Seal("openai", "o")), Thinking("b"), Thinking("c", Seal("anthropic", "s")))
    body, losses = render(user(Text("q")), turn)
    assert body["messages"][1]["content"] == [{"type": "thinking", "thinking": "c", "signature": "s"}]
    assert [loss.path for loss in losses] == ["messages.1.blocks.0", "messages.1.blocks.1"]
    other = Wire(model="deepseek", family="deepseek", official=False, replay_reasoning=True)
    body, losses = render(user(Text("q")), turn, wire=other)
    assert [block["thinking"] for block in body["messages"][1]["content"]] == ["a", "b", "c"]
    assert [loss.path for loss in losses] == ["messages.1.blocks.0.seal", "messages.1.blocks.2.seal"]


def test_arguments_cannot_add_fields_to_the_body() -> None:
    sly = ToolUse("t", "f", '{}, "cache_control": {"type": "ephemeral"}')
    body, losses = render(assistant(sly), user(ToolResult("t", (Text("r"),))))
    call = body["messages"][0]["content"][0]
    assert call["input"] == {"arguments": sly.args} and "cache_control" not in call
    assert losses[0].path == "messages.0.blocks.0.args"


def test_results_are_moved_to_the_turn_after_their_call() -> None:
    body, losses = render(
        user(Text("q")),
        assistant(ToolUse("a", "f", "{}"), ToolUse("b", "f", "{}")),
        user(Text("meanwhile"), ToolResult("b", (Text("2"),))),
        assistant(Text("waiting")),
        user(ToolResult("a", (Text("1"),), is_error=True), Text("go on")),
    )
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "user", "assistant", "user"] and losses == ()
    ids = [block.get("tool_use_id") for block in body["messages"][2]["content"]]
    assert ids == ["b", "a", None] and body["messages"][4]["content"] == "go on"


def test_an_orphan_result_is_told_as_text() -> None:
    body, losses = render(user(ToolResult("ghost", (Text("boo"),)), Text("hi")))
    texts = [block["text"] for block in body["messages"][0]["content"]]
    assert texts == ["[tool result ghost]", "boo", "hi"] and [loss.path for loss in losses] == ["messages.0.blocks.0"]


def test_system_turns_at_the_start_and_in_the_middle() -> None:
    body, losses = render(
        Message("system", (Text("a"),)),
        Message("developer", (Text("b"),)),
        user(Text("q")),
        Message("system", (Text("c"),)),
    )
    assert [block["text"] for block in body["system"]] == ["a", "b"]
    assert [block["text"] for block in body["messages"][0]["content"]] == ["q", "<system>c</system>"]
    assert [loss.path for loss in losses] == ["messages.1.role", "messages.3.role"]


def test_a_system_prompt_alone_becomes_the_users_turn() -> None:
    body, losses = render(Message("system", (Text("do it"),)))
    assert body["messages"] == [{"role": "user", "content": "<system>do it</system>"}] and "system" not in body
    assert [loss.path for loss in losses] == ["messages.0.role"]


@pytest.mark.parametrize(
    ("reasoning", "limit", "thinking", "most", "lost"),
    [
        (Reasoning(effort="high"), None, {"type": "enabled", "budget_tokens": 16384}, 20480, []),
        (Reasoning(effort="medium"), 50000, {"type": "enabled", "budget_tokens": 4096}, 50000, []),
        (Reasoning(effort="high"), 8000, {"type": "enabled", "budget_tokens": 6000}, 8000, ["reasoning.effort"]),
        (Reasoning(effort="low"), 500, {"type": "enabled", "budget_tokens": 1024}, 1524, ["max_tokens"]),
        (Reasoning(effort="none"), 500, {"type": "disabled"}, 500, []),
        (Reasoning(mode="adaptive", effort="max"), 500, {"type": "adaptive"}, 500, []),
    ],
)
def test_effort_becomes_a_budget_under_the_limit(
    reasoning: Reasoning, limit: int | None, thinking: dict[str, Any], most: int, lost: list[str]
) -> None:
    body, losses = render(user(Text("q")), reasoning=reasoning, max_tokens=limit)
    assert body["thinking"] == thinking and body["max_tokens"] == most
    assert [loss.path for loss in losses] == lost
    assert most > thinking.get("budget_tokens", 0)


def test_models_that_size_their_thinking_themselves_get_an_effort() -> None:
    wire = Wire(model="new", family="anthropic", adaptive=True)
    body, losses = render(user(Text("q")), wire=wire, reasoning=Reasoning(effort="xhigh"))
    assert body["thinking"] == {"type": "adaptive"} and body["output_config"] == {"effort": "xhigh"} and losses == ()


def test_every_knob_the_api_lacks_is_reported() -> None:
    _, losses = render(
        user(Text("q")),
        seed=0,
        n=2,
        logprobs=True,
        logit_bias=b'{"1":2}',
        presence_penalty=0.5,
        verbosity="low",
        metadata=b'{"a":"b"}',
        store=True,
        cache_key="k",
        service_tier="flex",
        extra=(Opaque("openai_chat", "min_p", b"0.1"),),
    )
    assert {loss.path for loss in losses} == {
        *("seed", "n", "logprobs", "logit_bias", "presence_penalty", "verbosity", "metadata", "store", "cache_key"),
        *("service_tier", "extra.min_p"),
    }


def test_no_ops_are_no_losses() -> None:
    _, losses = render(
        user(Text("q")), n=1, logprobs=False, presence_penalty=0.0, store=False, verbosity="medium", service_tier="auto"
    )
    assert losses == ()


def test_tools_of_other_dialects_are_reported_and_choices_translated() -> None:
    foreign = Tool("grep", kind="custom", opaque=Opaque("openai_chat", "custom", b"{}"))
    tool = Tool("f", schema=b'{"properties":{}}')
    body, losses = render(
        user(Text("q")), tools=(foreign, tool), tool_choice=ToolChoice("named", ("f",)), parallel_tools=False
    )
    assert body["tools"] == [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
    assert body["tool_choice"] == {"type": "tool", "name": "f", "disable_parallel_tool_use": True}
    assert [loss.path for loss in losses] == ["tools.0"]


def test_a_refusal_is_told_as_text_with_its_stop_reason() -> None:
    answer = Response(id="x", model="m", choices=(Choice((Refusal("no"),), "refusal"),))
    rendered = dialect.render_response(answer, VIEW)
    body = json.loads(rendered.body)
    assert body["content"] == [{"type": "text", "text": "no"}] and body["stop_reason"] == "refusal"
    assert [loss.path for loss in rendered.losses] == ["choices.0.blocks.0.refusal"]


def test_a_foreign_seal_goes_to_the_client_under_its_owners_name_and_comes_back() -> None:
    block = Thinking("because", Seal("openai", "gAAAAA=="))
    body = json.loads(dialect.render_response(Response(id="x", model="m", choices=(Choice((block,)),)), VIEW).body)
    fields = {"model": "m", "max_tokens": 9, "messages": [{"role": "assistant", "content": body["content"]}]}
    request = dialect.parse_request(envelope.open_body(json.dumps(fields).encode()))
    assert request.messages[0].blocks == (block,)
    back, losses = render(*request.messages)
    assert back["messages"] == [] and losses[0].path == "messages.0.blocks.0"


# In --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patch", "param", "word"),
    [
        ({"max_tokens": None}, "max_tokens", "missing"),
        ({"max_tokens": "9"}, "max_tokens", '"9"'),
        ({"max_tokens": -1}, "max_tokens", "-1"),
        ({"model": 5}, "model", "got 5"),
        ({"messages": "hi"}, "messages", '"hi"'),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "user, assistant or system"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content", "got 5"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": 5}]}]}, "messages.0.content.0.text", "5"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0.type", "missing"),
        ({"tools": [{"name": "f"}]}, "tools.0.input_schema", "schema"),
        ({"tool_choice": "auto"}, "tool_choice", "auto"),
        ({"tool_choice": {"type": "some"}}, "tool_choice.type", "auto, any, tool or none"),
        ({"thinking": {"type": "enabled"}}, "thinking.budget_tokens", "1024"),
        ({"temperature": "hot"}, "temperature", "a number"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format.schema", "schema"),
        ({"stream": "yes"}, "stream", "true or false"),
    ],
)
def test_bad_input_is_refused_by_name(patch: dict[str, Any], param: str, word: str) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **patch}
    with pytest.raises(GatewayError) as caught:
        dialect.parse_request(envelope.open_body(json.dumps(body).encode()))
    assert caught.value.kind == "bad_request" and caught.value.param == param
    assert f"`{param}`" in caught.value.message and word in caught.value.message


def parse(**fields: Any) -> Request:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **fields}
    return dialect.parse_request(envelope.open_body(json.dumps(body).encode()))


def test_structured_output_in_all_its_spellings() -> None:
    schema = {"type": "object"}
    native = parse(output_config={"format": {"type": "json_schema", "schema": schema}}).output
    assert native is not None and json.loads(native.schema) == schema
    assert parse(output_format={"type": "json_schema", "schema": schema}).output == native
    guided = parse(guided_json=schema)
    assert guided.output is not None and guided.output.name == "guided_json" and guided.extra == ()
    both = parse(guided_json={"type": "array"}, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert both.output == native
    assert parse(guided_json=schema, output_config={"effort": "low"}).output == guided.output


def test_a_count_request_needs_no_limit() -> None:
    fields = envelope.open_body(b'{"model":"m","messages":[{"role":"user","content":"hi"}],"system":"s"}')
    request = dialect.parse_count_request(fields)
    assert request.max_tokens is None and len(request.messages) == 2
    rendered = dialect.render_request(request, WIRE).fields
    assert set(dialect.count_fields(rendered)) == {"model", "system", "messages"}
    assert dialect.parse_count(b'{"input_tokens":14}') == 14
    assert json.loads(dialect.render_count(14, "local_estimate")) == {
        "input_tokens": 14,
        "litellm_count_source": "local_estimate",
    }
    with pytest.raises(GatewayError):
        dialect.parse_count(b"{}")


# Errors --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "message"),
    [
        (
            400,
            {"error": {"type": "invalid_request_error", "message": "bad field"}},
            "upstream_bad_request",
            "bad field",
        ),
        (
            400,
            {"error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}},
            "context_window",
            "9",
        ),
        (401, {"error": {"type": "authentication_error", "message": "invalid x-api-key"}}, "upstream_auth", "invalid"),
        (429, {"error": {"type": "rate_limit_error", "message": "slow"}}, "upstream_rate_limit", "slow"),
        (529, {"error": {"type": "overloaded_error", "message": "Overloaded"}}, "upstream_overloaded", "Overloaded"),
        (413, {"error": {"type": "request_too_large", "message": "big"}}, "upstream_too_large", "big"),
        (422, {"detail": [{"loc": ["body"], "msg": "field required"}]}, "upstream_unprocessable", "field required"),
        (503, "upstream connect error", "upstream_unavailable", "upstream connect error"),
        (500, {"error": "plain"}, "upstream_error", "plain"),
        (502, "", "upstream_bad_gateway", "502"),
    ],
)
def test_errors_are_read_whatever_their_shape(status: int, body: Any, kind: str, message: str) -> None:
    raw = body.encode() if isinstance(body, str) else json.dumps({"type": "error", **body}).encode()
    error = dialect.parse_error(status, {"retry-after": "7"}, raw)
    assert error.kind == kind and message in error.message and error.status == status and error.retry_after == 7.0


def test_errors_do_not_repeat_keys() -> None:
    inner = b'{"message":"bad key sk-ant-api03-AAAABBBBCCCC given","details":{"key":"sk-ant-api03-AAAABBBBCCCC"}}'
    error = dialect.parse_error(401, {}, b'{"error":%b}' % inner)
    hide(error, [NO_SECRETS])
    assert "AAAABBBB" not in error.message and error.details == b'{"key":"[redacted]"}'


def test_errors_go_out_in_the_dialects_shape() -> None:
    status, body = dialect.render_error(GatewayError("upstream_rate_limit", "slow", provider="openai"))
    assert status == 429 and json.loads(body) == {
        "type": "error",
        "error": {
            "type": "rate_limit_error",
            "message": "litellm.RateLimitError: RateLimitError: OpenAIException - slow",
        },
    }


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"id":"x"}', b'{"content":5}', b'{"content":[{"type":"text"}]}', b"\xff"]
)
def test_an_answer_that_is_none_is_a_broken_one(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        dialect.parse_response(body)
    assert caught.value.kind == "broken_answer"


def test_an_error_with_status_200_is_an_error() -> None:
    with pytest.raises(GatewayError) as caught:
        dialect.parse_response(b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}')
    assert caught.value.kind == "upstream_overloaded"
