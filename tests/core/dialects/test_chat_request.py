"""Chat settings, tools, formats: what each becomes in the neutral form and back, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec import Raw

from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects import structured
from penstock.core.dialects.base import Wire
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Message,
    Opaque,
    OutputFormat,
    Text,
    Tool,
    ToolChoice,
)
from tests.core.dialects.chat_helpers import COMPATIBLE, HI, OFFICIAL, asking, losses, read, sent

# Settings ------------------------------------------------------------------------------------------------------------


def test_all_settings_there_and_back() -> None:
    fields: dict[str, Any] = {
        "max_completion_tokens": 10,
        "temperature": 0.5,
        "top_p": 0.25,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "stop": ["a", "\u2028"],
        "seed": 1,
        "n": 2,
        "logprobs": True,
        "top_logprobs": 2,
        "logit_bias": {"1": -100},
        "metadata": {"k": "v"},
        "user": "u",
        "service_tier": "flex",
        "store": False,
        "verbosity": "low",
        "prompt_cache_key": "k",
        "stream": True,
        "stream_options": {"include_usage": True},
        "modalities": ["text"],
        "prediction": {"type": "content", "content": "x"},
        "web_search_options": {},
        "safety_identifier": "s",
    }
    request = read(**fields)
    assert [extra.kind for extra in request.extra] == [
        "modalities",
        "prediction",
        "web_search_options",
        "safety_identifier",
    ]
    assert sent(request) == {"model": "gpt", "messages": [HI], **fields}
    assert losses(request) == []


def test_nulls_are_absent() -> None:
    nulls = (
        "temperature",
        "stop",
        "tools",
        "tool_choice",
        "response_format",
        "user",
        "n",
        "stream_options",
        "new_field",
    )
    assert read(**dict.fromkeys(nulls)) == read()


def test_the_new_name_for_the_limit_wins_and_compatible_servers_get_the_old_one() -> None:
    request = read(max_tokens=5, max_completion_tokens=7)
    assert request.max_tokens == 7
    assert sent(request)["max_completion_tokens"] == 7 and "max_tokens" not in sent(request)
    assert sent(request, COMPATIBLE)["max_tokens"] == 7


def test_numbers_keep_their_spelling_in_what_is_passed_on() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}],"min_p":0.10,"logit_bias":{"1": 1.50}}'
    fields = chat.render_request(chat.parse_request(open_body(body)), OFFICIAL).fields
    assert bytes(fields["min_p"]) == b"0.10" and bytes(fields["logit_bias"]) == b'{"1": 1.50}'


def test_usage_is_always_asked_for_in_a_stream_and_other_options_stay() -> None:
    request = read(stream=True, stream_options={"include_usage": False, "include_obfuscation": False})
    assert request.stream_usage is False
    assert sent(request)["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    shy = Wire(model="m", official=False, stream_usage=False)
    assert "stream_options" not in sent(read(stream=True), shy)


def test_what_only_other_dialects_have_is_reported() -> None:
    request = asking(
        Message("user", (Text("x"),)),
        top_k=5,
        previous_id="resp_1",
        include=("x",),
        dialect="anthropic",
        extra=(Opaque("anthropic", "container", b'"c"'),),
    )
    assert losses(request) == ["top_k", "previous_id", "include", "extra.container"]
    assert sent(request, COMPATIBLE)["top_k"] == 5


# Tools ---------------------------------------------------------------------------------------------------------------

F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": True}}
G = {"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}}


def test_tools_there_and_back() -> None:
    more = {"type": "function", "function": {"name": "h", "description": "d"}, "defer": True}
    request = read(tools=[F, G, more], parallel_tool_calls=False)
    assert [tool.kind for tool in request.tools] == ["function", "custom", "function"]
    assert request.tools[0] == Tool("f", schema=b'{"type": "object"}', strict=True)
    assert request.parallel_tools is False
    assert sent(request)["tools"] == [F, G, more]


def test_foreign_tools_are_reported_and_their_choice_with_them() -> None:
    tool = Tool("web_search", kind="web_search_20250305", opaque=Opaque("anthropic", "web_search_20250305", b"{}"))
    request = asking(Message("user", (Text("x"),)), tools=(tool,), tool_choice=ToolChoice("auto"), parallel_tools=True)
    assert losses(request) == ["tools.0", "tool_choice", "parallel_tools"]
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(sent(request))


@pytest.mark.parametrize(
    ("given", "neutral"),
    [
        ("auto", ToolChoice("auto")),
        ("none", ToolChoice("none")),
        ("required", ToolChoice("required")),
        ({"type": "function", "function": {"name": "f"}}, ToolChoice("named", ("f",))),
        ({"type": "custom", "custom": {"name": "g"}}, ToolChoice("named", ("g",))),
        (
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [
                        {"type": "function", "function": {"name": "f"}},
                        {"type": "custom", "custom": {"name": "g"}},
                    ],
                },
            },
            ToolChoice("allowed", ("f", "g"), True),
        ),
    ],
)
def test_every_tool_choice(given: Any, neutral: ToolChoice) -> None:
    request = read(tools=[F, G], tool_choice=given)
    assert request.tool_choice == neutral
    assert sent(request)["tool_choice"] == given


def test_other_words_for_a_tool_choice() -> None:
    assert read(tools=[F], tool_choice="any").tool_choice == ToolChoice("required")
    assert read(tools=[F], tool_choice={"type": "any"}).tool_choice == ToolChoice("required")
    strange = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "auto", "tools": [{"type": "mcp", "server_label": "x"}]},
    }
    request = read(tools=[F], tool_choice=strange)
    assert request.tool_choice is None and sent(request)["tool_choice"] == strange


# Structured output ---------------------------------------------------------------------------------------------------

SCHEMA = {"type": "object", "properties": {"b": {"type": "number"}, "a": {"type": "string"}}}


def test_response_formats_there_and_back() -> None:
    named = {"name": "n", "description": "d", "schema": SCHEMA, "strict": True}
    for given in ({"type": "text"}, {"type": "json_object"}, {"type": "json_schema", "json_schema": named}):
        assert sent(read(response_format=given))["response_format"] == given
    neutral = read(response_format={"type": "json_schema", "json_schema": named}).output
    assert neutral == OutputFormat("json_schema", "n", json.dumps(SCHEMA).encode(), True, "d")


def test_guided_json_becomes_a_response_format() -> None:
    for given in (SCHEMA, json.dumps(SCHEMA)):
        body = sent(read(guided_json=given))
        assert body["response_format"] == {
            "type": "json_schema",
            "json_schema": {"name": "guided_json", "schema": SCHEMA},
        }
        assert "guided_json" not in body


def test_an_explicit_response_format_wins_over_guided_json() -> None:
    body = sent(read(guided_json=SCHEMA, response_format={"type": "json_object"}))
    assert body["response_format"] == {"type": "json_object"} and "guided_json" not in body


def test_a_schema_beside_json_object_is_a_schema() -> None:
    output = read(response_format={"type": "json_object", "schema": SCHEMA}).output
    assert output == OutputFormat("json_schema", "", json.dumps(SCHEMA).encode())


def test_unknown_formats_pass_through() -> None:
    grammar = {"type": "grammar", "grammar": "root ::= x"}
    assert sent(read(response_format=grammar))["response_format"] == grammar


def test_a_schema_that_is_not_enforced_becomes_a_forced_tool() -> None:
    request = read(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}})
    body = sent(request, Wire(model="m", official=False, native_schema=False))
    assert "response_format" not in body
    assert body["tools"][0]["function"]["name"] == structured.TOOL_NAME
    assert body["tools"][0]["function"]["parameters"] == SCHEMA
    assert body["tool_choice"] == {"type": "function", "function": {"name": structured.TOOL_NAME}}
    plain = sent(read(response_format={"type": "json_object"}), Wire(model="m", official=False, native_schema=False))
    assert plain["response_format"] == {"type": "json_object"}


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"model": 5}, "model", "a number"),
        ({"messages": "hi"}, "messages", "an array"),
        ({"messages": []}, "messages", "at least one"),
        ({"messages": [5]}, "messages[0]", "an object"),
        ({"messages": [{"content": "x"}]}, "messages[0].role", "is missing"),
        ({"messages": [{"role": "bot", "content": "x"}]}, "messages[0].role", "'bot'"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "is missing"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content", "is null"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "an array"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type", "is missing"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "a string"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "messages[0].content[0].image_url.url",
            "data URI",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {}}]}]},
            "messages[0].content[0].file.file_data",
            "file_id",
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "the id of the call"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]},
            "messages[0].tool_calls[0].id",
            "missing",
        ),
        ({"temperature": "hot"}, "temperature", "a number"),
        ({"max_tokens": 1.5}, "max_tokens", "an integer"),
        ({"stream": "yes"}, "stream", "true or false"),
        ({"stop": 5}, "stop", "array of strings"),
        ({"stop": ["a", 5]}, "stop[1]", "a string"),
        ({"tools": [{"type": "function", "name": "f"}]}, "tools[0].function", "is missing"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "is missing"),
        ({"tools": {}}, "tools", "an array"),
        ({"tool_choice": "maybe"}, "tool_choice", "'maybe'"),
        ({"tool_choice": 5}, "tool_choice", "an object"),
        ({"response_format": {}}, "response_format.type", "json_schema"),
        ({"logit_bias": [1]}, "logit_bias", "an object"),
        ({"guided_json": "{"}, "guided_json", "an object"),
    ],
)
def test_wrong_values_are_named(fields: dict[str, Any], param: str, says: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(**fields)
    error = caught.value
    assert (error.kind, error.param) == ("bad_request", param)
    assert repr(param)[1:-1] in error.message and says in error.message


@pytest.mark.parametrize("key", ["model", "messages"])
def test_the_two_fields_that_must_be_there(key: str) -> None:
    fields = {"model": Raw(b'"m"'), "messages": Raw(b'[{"role":"user","content":"x"}]')}
    del fields[key]
    with pytest.raises(GatewayError) as caught:
        chat.parse_request(fields)
    assert caught.value.param == key


# Guards --------------------------------------------------------------------------------------------------------------


def test_texts_shows_what_was_written_and_nothing_else() -> None:
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "one"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "two"}, {"type": "image_url", "image_url": {"url": "u"}}],
            },
            {
                "role": "assistant",
                "content": None,
                "refusal": "three",
                "reasoning_content": "four",
                "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "five"}},
                    {"id": "2", "type": "custom", "custom": {"name": "g", "input": "six"}},
                ],
            },
            {"role": "tool", "tool_call_id": "1", "content": "seven"},
        ],
        "tools": [F],
        "prediction": {"type": "content", "content": "eight"},
    }
    found = list(chat.texts(open_body(json.dumps(body).encode())))
    assert found == ["one", "two", "three", "four", "five", "six", "seven", "eight"]


