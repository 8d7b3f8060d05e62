"""Ollama's dialect by example: what other dialects' requests become there, errors, and the faults that gateways ship."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from penstock.core import envelope
from penstock.core.dialects import ollama as dialect
from penstock.core.dialects import openai_chat
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.ollama import embed, generate, listing, same
from penstock.core.dialects.ollama.names import seconds, timestamp
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Base64,
    Choice,
    Close,
    Delta,
    End,
    Image,
    Message,
    Open,
    Reasoning,
    Request,
    Response,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolResult,
    ToolUse,
    Url,
    Usage,
)
from tests.laws.ollama_views import run_lines

WIRE = Wire(model="llama3.2:70b", official=False)
VIEW = View(model="asked", now=1_700_000_000)
SCHEMA = {"type": "object", "properties": {"n": {"type": "number", "minimum": 0.10}}, "required": ["n"]}


def chat(**fields: Any) -> Request:
    """What an OpenAI Chat client asks."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return openai_chat.parse_request(envelope.open_body(json.dumps(body).encode()))


def sent(request: Request) -> dict[str, Any]:
    return json.loads(envelope.seal(dialect.render_request(request, WIRE).fields))


def lost(request: Request) -> list[str]:
    return [loss.path for loss in dialect.render_request(request, WIRE).losses]


def asked(**fields: Any) -> Request:
    """What Ollama's client asks."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return dialect.parse_request(envelope.open_body(json.dumps(body).encode()))


# Structured output (seeds S0-11, S0-14, S3-34) ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}}},
        {"guided_json": SCHEMA},
        {"guided_json": json.dumps(SCHEMA)},
    ],
)
def test_a_schema_lands_in_format(fields: dict[str, Any]) -> None:
    request = chat(**fields)
    assert sent(request)["format"] == SCHEMA and lost(request) == []


def test_json_object_is_the_word_json() -> None:
    request = chat(response_format={"type": "json_object"}, temperature=0.3, max_tokens=2000)
    assert sent(request)["format"] == "json"
    assert sent(request)["options"] == {"temperature": 0.3, "num_predict": 2000}
    assert "format" not in sent(chat(response_format={"type": "text"}))


@pytest.mark.parametrize(
    ("fields", "think"),
    [
        ({"reasoning_effort": "low"}, "low"),
        ({"reasoning_effort": "minimal"}, "low"),
        ({"reasoning_effort": "high"}, "high"),
        ({"reasoning_effort": "none"}, False),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, "medium"),
        ({"thinking": {"type": "enabled"}}, True),
        ({"thinking": {"type": "disabled"}}, False),
        ({}, None),
    ],
)
def test_reasoning_is_think(fields: dict[str, Any], think: Any) -> None:
    assert sent(chat(**fields)).get("think") == think


def test_think_comes_back_as_reasoning() -> None:
    assert asked(think=True).reasoning == Reasoning(mode="enabled")
    assert asked(think=False).reasoning == Reasoning(mode="disabled")
    assert asked(think="high").reasoning == Reasoning(effort="high")
    assert asked().reasoning is None


# Options -------------------------------------------------------------------------------------------------------------


def test_ollamas_own_words_in_a_chat_body_are_understood() -> None:
    request = chat(num_ctx=8192, keep_alive="10m", min_p=0.05, unknown_field=1)
    body = sent(request)
    assert body["options"] == {"num_ctx": 8192, "min_p": 0.05} and body["keep_alive"] == "10m"
    assert lost(request) == ["extra.unknown_field"]


def test_no_limit_is_no_limit() -> None:
    request = asked(options={"num_predict": -1, "num_ctx": 4096})
    assert request.max_tokens is None
    assert sent(request)["options"] == {"num_predict": -1, "num_ctx": 4096}


def test_streaming_is_the_default_and_said_plainly() -> None:
    assert asked().stream is True and asked(stream=False).stream is False and asked(stream=None).stream is True
    assert sent(chat())["stream"] is False and sent(chat(stream=True))["stream"] is True
    for stream in (True, False):
        fields = envelope.open_body(b'{"model":"m","guided_json":{"type":"object"}}')
        same.prepare(fields, stream, True)
        assert json.loads(envelope.seal(fields)) == {"model": "m", "stream": stream, "format": {"type": "object"}}


# Tools ----------------------------------------------------------------------------------------------------------------


def test_calls_and_results_are_paired_without_ids() -> None:
    def call(name: str, **arguments: Any) -> dict[str, Any]:
        return {"function": {"name": name, "arguments": arguments}}

    turns = asked(
        messages=[
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "", "tool_calls": [call("f", a=1), call("g"), call("f", a=2)]},
            {"role": "tool", "content": "of g", "tool_name": "g"},
            {"role": "tool", "content": "of f 1", "tool_name": "f"},
            {"role": "tool", "content": "of f 2"},
            {"role": "assistant", "content": "", "tool_calls": [call("f", a=3)]},
            {"role": "tool", "content": "late", "tool_name": "h"},
        ]
    ).messages
    assert turns[1].blocks == (
        ToolUse("call_1_0", "f", '{"a": 1}'),
        ToolUse("call_1_1", "g", "{}"),
        ToolUse("call_1_2", "f", '{"a": 2}'),
    )
    ids = [block.id for turn in turns for block in turn.blocks if isinstance(block, ToolResult)]
    assert ids == ["call_1_1", "call_1_0", "call_1_2", "call_6"]  # the last answers a call that nobody made


def test_a_conversation_with_tools_for_ollama() -> None:
    request = chat(
        messages=[
            {"role": "system", "content": "s"},
            {"role": "user", "content": "?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{ "x": 1.50 }'}}
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
        ],
        tools=[{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
        tool_choice="auto",
    )
    raw = envelope.seal(dialect.render_request(request, WIRE).fields)
    assert b'"arguments":{ "x": 1.50 }' in raw  # the model's own text
    body = json.loads(raw)
    assert body["messages"][3] == {"role": "tool", "content": "done", "tool_name": "f", "tool_call_id": "c1"}
    assert body["tools"][0]["function"]["parameters"] == SCHEMA and lost(request) == []


def test_tool_choice_is_reported_and_none_offers_nothing() -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert lost(chat(tools=tools, tool_choice="required")) == ["tool_choice"]
    nothing = chat(tools=tools, tool_choice="none")
    assert "tools" not in sent(nothing) and lost(nothing) == ["tool_choice", "tools"]
    assert sent(chat(tools=tools))["tools"][0]["function"]["parameters"] == {"type": "object", "properties": {}}


def test_images_are_inline_or_lost() -> None:
    blocks = (Text("see"), Image(Base64("image/png", "iVBORw0KGgo=")), Image(Url("https://example.com/a.png")))
    request = Request(model="m", messages=(Message("user", blocks),))
    assert sent(request)["messages"] == [{"role": "user", "content": "see", "images": ["iVBORw0KGgo="]}]
    assert lost(request) == ["messages.0.blocks.2"]
    back = asked(messages=[{"role": "user", "content": "see", "images": ["/9j/4AAQ", "data:image/webp;base64,AAAA"]}])
    kinds = [block.source.media_type for block in back.messages[0].blocks if isinstance(block, Image)]  # type: ignore[union-attr]
    assert kinds == ["image/jpeg", "image/webp"]


def test_thoughts_go_back_without_a_seal_only() -> None:
    turn = Message("assistant", (Thinking("mine"), Thinking("theirs", Seal("anthropic", "x")), Text("a")))
    request = Request(model="m", messages=(turn,))
    assert sent(request)["messages"] == [{"role": "assistant", "content": "a", "thinking": "mine"}]
    assert lost(request) == ["messages.0.blocks.1"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"content": "x"}]}, "messages[0].role"),
        ({"messages": {}}, "messages"),
        ({"format": "yaml"}, "format"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": []}, "options"),
        ({"stream": 1}, "stream"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        ({"think": {}}, "think"),
    ],
)
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        asked(**fields)
    assert caught.value.kind == "bad_request" and caught.value.param == param and param in caught.value.message


# Errors (seed S3-38) -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", ["model 'llama9:1b' not found", 'model "llama9:1b" not found, try pulling it first'])
def test_a_missing_model_is_named_with_the_command_that_fetches_it(said: str) -> None:
    error = dialect.parse_error(404, {}, json.dumps({"error": said}).encode())
    assert error.status == 404 and error.kind == "upstream_not_found"
    assert "llama9:1b" in error.message and "ollama pull llama9:1b" in error.message


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"error":"\\"llama2\\" does not support tools"}', "upstream_bad_request"),
        (400, b'{"error":"the input length exceeds the context length"}', "context_window"),
        (503, b'{"error":"server busy, please try again.  maximum pending requests exceeded"}', "upstream_unavailable"),
        (500, b'{"error":"llama runner process has terminated: exit status 2"}', "upstream_error"),
        (404, b"404 page not found", "upstream_not_found"),
        (401, b'{"error":{"message":"wrong key"}}', "upstream_auth"),
        (200, b"<html>", "upstream_bad_gateway"),
    ],
)
def test_errors_are_read(status: int, body: bytes, kind: str) -> None:
    error = dialect.parse_error(status, {"retry-after": "3"}, body)
    assert error.kind == kind and error.retry_after == 3.0


def test_errors_are_written() -> None:
    status, body = dialect.render_error(GatewayError("unknown_model", "no such model: x"))
    assert status == 404 and json.loads(body) == {"error": "no such model: x"}
    assert dialect.render_error(GatewayError("unauthorized", "no"))[0] == 401
    line = dialect.encoder(VIEW).fail(GatewayError("broken_stream", "it\nbroke\u2028"))
    assert line.endswith(b"\n") and len(line.decode().splitlines()) == 1
    assert json.loads(line) == {"error": "it\nbroke\u2028"}


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b'{"error":"an error was encountered while running the model"}', "upstream_error"),
        (b'{"error":"model \'m\' not found"}', "upstream_not_found"),
        (b'{"error":"slow down","status":429}', "upstream_rate_limit"),
        (b'{"error":{"message":"x"}}', "upstream_error"),
        (b"not json", "broken_stream"),
        (b"[]", "broken_stream"),
        (b'{"message":{"content":7}, "done":"x"}', "broken_stream"),
    ],
)
def test_an_error_in_a_stream_ends_it(line: bytes, kind: str) -> None:
    first = b'{"model":"m","message":{"content":"a"},"done":false}\n'
    for module in (lambda: run_lines(dialect.decoder(), [first + line + b"\n"]), lambda: _same(first + line + b"\n")):
        with pytest.raises(GatewayError) as caught:
            module()
        assert caught.value.kind == kind


def _same(data: bytes) -> bytes:
    stream = same.Stream(Raw(b'"m"'), True)
    return b"".join(stream.feed(event) for event in dialect.framer().feed(data)) + stream.close()


def test_a_stream_without_its_last_line_is_broken() -> None:
    data = b'{"model":"m","message":{"content":"a"},"done":false}\n'
    for module in (lambda: run_lines(dialect.decoder(), [data]), lambda: _same(data), lambda: _same(b"")):
        with pytest.raises(GatewayError) as caught:
            module()
        assert caught.value.kind == "broken_stream"


# Answers -------------------------------------------------------------------------------------------------------------


def lines(*events: Any) -> list[dict[str, Any]]:
    encoder = dialect.encoder(View(model="asked", now=1_700_000_000, elapsed=iter((2, 9)).__next__))
    return [json.loads(line) for line in b"".join(encoder.feed(event) for event in events).splitlines()]


def test_interleaved_calls_go_out_whole_and_apart() -> None:
    """Arguments of one call never end up in another (a fault of several gateways)."""
    told = lines(
        Start("x", "m"),
        Open(0, ToolUse("a", "f", "")),
        Open(1, ToolUse("b", "g", "")),
        Delta(0, '{"x":'),
        Delta(1, '{"y":'),
        Delta(0, "1}"),
        Delta(1, "2}"),
        Close(0),
        Close(1),
        Stop("tool_use"),
        End(Usage(fresh=3, cache_read=4, output=5)),
    )
    calls = [call for line in told for call in line["message"].get("tool_calls", ())]
    assert [(c["id"], c["function"]) for c in calls] == [
        ("a", {"index": 0, "name": "f", "arguments": {"x": 1}}),
        ("b", {"index": 1, "name": "g", "arguments": {"y": 2}}),
    ]
    assert told[-1]["done_reason"] == "stop" and told[-1]["prompt_eval_count"] == 7 and told[-1]["eval_count"] == 5
    assert (told[-1]["total_duration"], told[-1]["prompt_eval_duration"], told[-1]["eval_duration"]) == (9, 2, 7)


def test_broken_arguments_are_told_as_text() -> None:
    told = lines(Start("x", "m"), Open(0, ToolUse("a", "f", "")), Delta(0, '{"x":'), Close(0), Stop("stop"), End(None))
    assert told[0]["message"]["tool_calls"][0]["function"]["arguments"] == {"input": '{"x":'}


def test_only_the_first_choice_is_told() -> None:
    answer = Response(id="x", model="m", choices=(Choice((Text("one"),)), Choice((Text("two"),))))
    rendered = dialect.render_response(answer, VIEW)
    assert json.loads(rendered.body)["message"]["content"] == "one"
    assert [loss.path for loss in rendered.losses] == ["choices.1"]
    told = lines(
        Start("x", "m"),
        Open(0, Text(""), 1),
        Delta(0, "two"),
        Close(0),
        Stop("length", choice=1),
        Stop("stop"),
        End(None),
    )
    assert [line["done"] for line in told] == [True] and told[0]["done_reason"] == "stop"


def test_a_keep_alive_is_white_space_before_the_next_line() -> None:
    """Ollama's Python client parses every line, so a blank one would break it."""
    encoder = dialect.encoder(VIEW)
    data = encoder.ping() + encoder.feed(Open(0, Text(""))) + encoder.feed(Delta(0, "a")) + encoder.ping()
    data += encoder.fail(GatewayError("timeout", "late"))
    told = [json.loads(line) for line in data.decode().splitlines()]
    assert told[0]["message"]["content"] == "a" and told[1] == {"error": "late"}


def test_times() -> None:
    assert timestamp(1_700_000_000) == "2023-11-14T22:13:20.000000Z"
    assert seconds("2023-08-04T08:52:19.385406455-07:00") == 1691164339
    assert seconds("yesterday") == seconds(None) == 0


# generate, embed, show -----------------------------------------------------------------------------------------------


def test_a_gap_is_filled_by_models_that_only_chat() -> None:
    fields = {"model": "m", "prompt": "def f(", "suffix": "return 1", "system": "be brief", "images": ["/9j/4A"]}
    request = generate.parse_request(envelope.open_body(json.dumps(fields).encode()))
    assert [message.role for message in request.messages] == ["system", "system", "user"]
    user = request.messages[2].blocks
    assert user[0] == Text("<prefix>def f(</prefix>\n<suffix>return 1</suffix>") and isinstance(user[1], Image)


def test_generate_takes_one_turn() -> None:
    many = Request(model="m", messages=(Message("user", (Text("a"),)), Message("assistant", (Text("b"),))))
    with pytest.raises(GatewayError) as caught:
        generate.render_request(many, WIRE)
    assert caught.value.kind == "unsupported"


def test_embeddings_by_way_of_openai() -> None:
    fields = envelope.open_body(b'{"model":"m","input":["a","b"],"dimensions":2,"truncate":true,"keep_alive":"5m"}')
    out, losses = embed.to_openai(fields, Raw(b'"real"'), False)
    assert json.loads(envelope.seal(out)) == {
        "model": "real",
        "input": ["a", "b"],
        "encoding_format": "float",
        "dimensions": 2,
    }
    assert [loss.path for loss in losses] == ["extra.truncate", "extra.keep_alive"]
    rows = [Raw(b"[1.0,2.0]"), Raw(b"[3.0,4.0]")]
    assert json.loads(embed.render(rows, Usage(fresh=2), Raw(b'"m"'), False, 7)) == {
        "model": "m",
        "embeddings": [[1.0, 2.0], [3.0, 4.0]],
        "total_duration": 7,
        "load_duration": 0,
        "prompt_eval_count": 2,
    }
    assert json.loads(embed.render(rows, Usage(fresh=2), Raw(b'"m"'), True, 7)) == {"embedding": [1.0, 2.0]}
    for body in (b'{"model":"m"}', b'{"model":"m","input":3}', b'{"model":"m","input":[3]}'):
        with pytest.raises(GatewayError) as caught:
            embed.to_openai(envelope.open_body(body), Raw(b'"m"'), False)
        assert caught.value.kind == "bad_request" and (caught.value.param or "").startswith("input")


def test_show_says_what_the_configuration_knows() -> None:
    told = listing.show(
        "m", "openai", 0, {"supports_vision": False, "max_input_tokens": 4096, "supports_reasoning": True}
    )
    assert told["capabilities"] == ["completion", "tools", "thinking"]
    assert told["model_info"]["openai.context_length"] == 4096
    assert listing.show("e", "openai", 0, {"mode": "embedding"})["capabilities"] == ["embedding"]
