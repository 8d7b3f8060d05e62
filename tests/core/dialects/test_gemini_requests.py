"""Requests of the Gemini dialect: each feature in the vendor's words, and the faults that gateways have shipped."""

from __future__ import annotations

import json
import timeit
from collections.abc import Callable
from typing import Any

import pytest

from penstock.core import envelope
from penstock.core.budget import Budget
from penstock.core.dialects import gemini as dialect
from penstock.core.dialects.base import Wire
from penstock.core.dialects.gemini import schema, wire
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Audio,
    Base64,
    Document,
    FileId,
    Image,
    Loss,
    Message,
    OutputFormat,
    PlainText,
    Reasoning,
    Request,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolResult,
    ToolUse,
    Url,
)
from penstock.core.models import generation

OLD = Wire(model="gemini-2.0-flash", family="gemini")
MID = Wire(model="gemini-2.5-flash", family="gemini")
NEW = Wire(model="gemini-3-pro-preview", family="gemini")
SCHEMA = b'{"type":"object","properties":{"q":{"type":["string","null"]},"n":{"const":1}},"additionalProperties":false}'


def ask(*messages: Message, **fields: Any) -> Request:
    return Request(model="m", messages=messages or (Message("user", (Text("hi"),)),), **fields)


def body(request: Request, to: Wire = MID) -> Any:
    return json.loads(envelope.seal(dialect.render_request(request, to).fields))


def lost(request: Request, to: Wire = MID) -> list[str]:
    return [loss.path for loss in dialect.render_request(request, to).losses]


def read(told: Any) -> Request:
    return dialect.parse_request(envelope.open_body(json.dumps(told).encode()))


def said(*parts: Any, role: str = "user", **more: Any) -> Request:
    return read({"contents": [{"role": role, "parts": list(parts)}], **more})


# Calls, results, signatures -------------------------------------------------------------------------------------------

CALLED = (
    Message("user", (Text("go"),)),
    Message("assistant", (ToolUse("a", "f", '{"x":1}'), ToolUse("b", "g", "{}"))),
)


def test_results_bear_the_name_of_their_function_and_come_right_after_the_calls() -> None:
    late = Message("user", (Text("and this"), ToolResult("b", (Text("two"),)), ToolResult("a", (Text("one"),))))
    contents = body(ask(*CALLED, late))["contents"]
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    told = contents[2]["parts"]
    assert [part.get("functionResponse", {}).get("name") for part in told] == ["g", "f", None]
    assert told[0]["functionResponse"] == {"name": "g", "id": "b", "response": {"output": "two"}}
    assert told[2] == {"text": "and this"}


def test_a_result_that_no_call_asked_for_is_told_as_text() -> None:
    request = ask(Message("user", (ToolResult("zz", (Text("done"),)),)))
    assert body(request)["contents"][0]["parts"] == [{"text": "[tool result zz]"}, {"text": "done"}]
    assert lost(request) == ["messages.0.blocks.0"]


@pytest.mark.parametrize(
    ("content", "failed", "response"),
    [
        ((), False, {"output": ""}),
        ((Text("sunny"),), False, {"output": "sunny"}),
        ((Text("sunny"), Text("warm")), False, {"output": ["sunny", "warm"]}),
        ((Text('{"temp":20.0}'),), False, {"temp": 20.0}),
        ((Text('{"output":"x"}'),), False, {"output": '{"output":"x"}'}),
        ((Text("no such city"),), True, {"error": "no such city"}),
        ((Text("[1,2]"),), False, {"output": "[1,2]"}),
    ],
)
def test_what_a_tool_said_is_an_object_and_comes_back(content: Any, failed: bool, response: Any) -> None:
    request = ask(
        *CALLED[:1],
        Message("assistant", (ToolUse("a", "f", "{}"),)),
        Message("user", (ToolResult("a", content, failed),)),
    )
    told = body(request)
    assert told["contents"][2]["parts"][0]["functionResponse"]["response"] == response
    result = dialect.parse_request(dialect.render_request(request, MID).fields).messages[2].blocks[0]
    assert isinstance(result, ToolResult) and (result.content, result.is_error) == (content, failed)


def test_pictures_in_results() -> None:
    picture = Image(Base64("image/png", "AAAA"))
    request = ask(
        *CALLED[:1],
        Message("assistant", (ToolUse("a", "f", "{}"),)),
        Message("user", (ToolResult("a", (Text("see"), picture)), Text("well?"))),
    )
    (result, _) = body(request, NEW)["contents"][2]["parts"]
    assert result["functionResponse"]["parts"] == [{"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]
    parts = body(request, MID)["contents"][2]["parts"]
    assert [next(iter(part)) for part in parts] == ["functionResponse", "inlineData", "text"]
    assert lost(request, NEW) == [] and lost(request, MID) == ["messages.2.blocks.0.content.1"]


def test_calls_without_ids_are_paired_by_name_and_order() -> None:
    calls = [{"functionCall": {"name": name, "args": {}}} for name in ("f", "g", "f")]
    results = [{"functionResponse": {"name": name, "response": {"n": n}}} for n, name in enumerate(("g", "f", "f"))]
    contents = [{"parts": [{"text": "go"}]}, {"role": "model", "parts": calls}, {"role": "user", "parts": results}]
    request = read({"contents": contents})
    assert [block.id for block in request.messages[1].blocks] == ["call_1", "call_2", "call_3"]  # type: ignore[union-attr]
    assert [block.id for block in request.messages[2].blocks] == ["call_2", "call_1", "call_3"]  # type: ignore[union-attr]


def test_vertex_ai_gets_no_ids() -> None:
    told = json.dumps(
        body(ask(*CALLED, Message("user", (ToolResult("a"), ToolResult("b")))), Wire(model="m", call_ids=False))
    )
    assert '"id"' not in told and told.count("functionResponse") == 2


def test_a_signature_goes_back_to_the_part_it_came_with() -> None:
    parts = [
        {"text": "hm", "thought": True, "thoughtSignature": "dGg="},
        {"text": "Now.", "thoughtSignature": "dHg="},
        {"functionCall": {"name": "f", "args": {}, "id": "a"}, "thoughtSignature": "Y2E="},
        {"text": "", "thoughtSignature": "ZW4="},
    ]
    request = said(*parts, role="model")
    assert request.messages[0].blocks == (
        Thinking("hm", Seal("gemini", "dGg=")),
        Text("Now."),
        Thinking("", Seal("gemini", "dHg=")),
        ToolUse("a", "f", "{}", seal=Seal("gemini", "Y2E=")),
        Thinking("", Seal("gemini", "ZW4=")),
    )
    assert body(request)["contents"][0]["parts"] == parts


def test_signatures_of_others_are_never_sent_to_google() -> None:
    blocks = (
        Thinking("x", Seal("anthropic", "EqQB")),
        Thinking("y"),
        ToolUse("a", "f", "{}", seal=Seal("openai", "zz")),
    )
    request = ask(Message("user", (Text("hi"),)), Message("assistant", blocks))
    assert body(request)["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {}, "id": "a"}}]
    assert lost(request) == ["messages.1.blocks.0", "messages.1.blocks.1", "messages.1.blocks.2.seal"]


def test_a_call_that_lost_its_signature_gets_the_vendors_substitute() -> None:
    """Models from 3 on answer 400 without one: in every step the first call needs it, parallel ones do not."""
    calls = [
        part for content in body(ask(*CALLED), NEW)["contents"] for part in content["parts"] if "functionCall" in part
    ]
    assert [call.get("thoughtSignature") for call in calls] == [wire.SKIP, None]
    assert read({"contents": [{"role": "model", "parts": calls}]}).messages[0].blocks[0].seal is None  # type: ignore[union-attr]
    assert wire.SKIP not in json.dumps(body(ask(*CALLED), MID))


@pytest.mark.parametrize("redacted", [False, True])
def test_signatures_of_others_travel_through_googles_clients(redacted: bool) -> None:
    """The client decodes base64 and sends it back in the URL-safe alphabet."""
    packed = wire.pack(Seal("anthropic", "Eq>>??~~\xff"), redacted)
    assert wire.unpack(packed.replace("+", "-").replace("/", "_")) == (Seal("anthropic", "Eq>>??~~\xff"), redacted)
    assert wire.unpack("AY89a18iOcFus5w") == (Seal("gemini", "AY89a18iOcFus5w"), False)


# Media ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            Image(Url("https://x.test/a.png?y=1")),
            {"fileData": {"fileUri": "https://x.test/a.png?y=1", "mimeType": "image/png"}},
        ),
        (Image(Url("data:image/webp;base64,AAAA")), {"inlineData": {"mimeType": "image/webp", "data": "AAAA"}}),
        (Document(Url("gs://b/c.mp4")), {"fileData": {"fileUri": "gs://b/c.mp4", "mimeType": "video/mp4"}}),
        (Document(PlainText("hé")), {"inlineData": {"mimeType": "text/plain", "data": "aMOp"}}),
        (Document(FileId("gemini", "https://generativelanguage.googleapis.com/v1beta/files/x")), None),
        (Audio("UklG", "wav"), {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}),
    ],
)
def test_media(block: Any, part: Any) -> None:
    (told,) = body(ask(Message("user", (block,))))["contents"][0]["parts"]
    assert told == (part or {"fileData": {"fileUri": block.source.id}})
    assert lost(ask(Message("user", (block,)))) == []


def test_what_a_part_has_beside_its_data_goes_back_with_it() -> None:
    part = {
        "fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x", "mimeType": "video/mp4"},
        "videoMetadata": {"startOffset": "1s"},
        "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
    }
    assert body(said(part))["contents"][0]["parts"] == [part]


# Tools, choices, schemas ----------------------------------------------------------------------------------------------


def test_a_schema_goes_as_it_is_to_models_that_take_json_schema() -> None:
    request = ask(tools=(Tool("f", "does", SCHEMA),), output=OutputFormat("json_schema", "x", SCHEMA))
    told = body(request, NEW)
    assert told["tools"] == [
        {"functionDeclarations": [{"name": "f", "description": "does", "parametersJsonSchema": json.loads(SCHEMA)}]}
    ]
    config = {"responseMimeType": "application/json", "responseJsonSchema": json.loads(SCHEMA)}
    assert told["generationConfig"] == config and lost(request, NEW) == []


def test_older_models_get_the_subset_and_what_it_lacks_is_reported() -> None:
    request = ask(tools=(Tool("f", "", SCHEMA),))
    (tool,) = body(request, OLD)["tools"][0]["functionDeclarations"]
    assert tool["parameters"] == {"type": "OBJECT", "properties": {"q": {"type": "STRING", "nullable": True}, "n": {}}}
    assert lost(request, OLD) == ["tools.0.schema.properties.n.const", "tools.0.schema.additionalProperties"]


def test_definitions_are_written_out_and_a_loop_ends() -> None:
    told = {
        "$defs": {
            "p": {
                "type": "object",
                "properties": {"name": {"type": "string", "format": "uuid"}, "kids": {"$ref": "#/$defs/p"}},
            }
        },
        "type": "object",
        "properties": {"who": {"$ref": "#/$defs/p"}, "any": {"anyOf": [{"type": "integer"}, {"type": "null"}]}},
        "required": ["who", "gone"],
    }
    made, left_out = schema.to_openapi(json.dumps(told).encode(), Budget("it"))
    person = made["properties"]["who"]
    assert person["properties"] == {"name": {"type": "STRING"}, "kids": {"type": "OBJECT"}}
    assert made["properties"]["any"] == {"nullable": True, "type": "INTEGER"} and made["required"] == ["who"]
    assert [path for path, _ in left_out] == [
        "properties.who.properties.name.format",
        "properties.who.properties.kids.$ref",
    ]


def test_json_and_functions_together_need_a_forced_tool_before_3() -> None:
    """ "Function calling with a response mime type: 'application/json' is unsupported"."""
    request = ask(tools=(Tool("f"),), output=OutputFormat("json_schema", "", SCHEMA))
    told = body(request, MID)
    names = [declared["name"] for declared in told["tools"][0]["functionDeclarations"]]
    assert names == ["f", "json_output"] and told["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
    assert "generationConfig" not in told and dialect.forced(request, MID) is not None
    assert dialect.forced(request, NEW) is None and dialect.forced(ask(output=request.output), MID) is None


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        (ToolChoice("auto"), {"mode": "AUTO"}),
        (ToolChoice("none"), {"mode": "NONE"}),
        (ToolChoice("required"), {"mode": "ANY"}),
        (ToolChoice("named", ("f",)), {"mode": "ANY", "allowedFunctionNames": ["f"]}),
        (ToolChoice("allowed", ("f", "g"), True), {"mode": "ANY", "allowedFunctionNames": ["f", "g"]}),
        (ToolChoice("allowed", ("f", "g")), {"mode": "VALIDATED", "allowedFunctionNames": ["f", "g"]}),
    ],
)
def test_choices(choice: ToolChoice, config: Any) -> None:
    told = body(ask(tools=(Tool("f"), Tool("g")), tool_choice=choice))
    assert told["toolConfig"] == {"functionCallingConfig": config} and read(told).tool_choice == choice


def test_a_choice_without_functions_is_an_error_there_and_left_out() -> None:
    assert "toolConfig" not in body(ask(tool_choice=ToolChoice("auto")))
    assert lost(ask(tool_choice=ToolChoice("required"))) == ["tool_choice"]


def test_the_vendors_own_tools() -> None:
    tools = [
        {"googleSearch": {}, "functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]},
        {"code_execution": {"x": 1}},
    ]
    request = said({"text": "hi"}, tools=tools, toolConfig={"functionCallingConfig": {"mode": "VALIDATED"}})
    assert [tool.kind for tool in request.tools] == ["googleSearch", "function", "codeExecution"]
    told = body(request)
    assert told["tools"] == [
        {"functionDeclarations": [{"name": "f", "behavior": "BLOCKING"}]},
        {"googleSearch": {}},
        {"codeExecution": {"x": 1}},
    ]
    assert told["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}


# Settings -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reasoning", "to", "config", "path"),
    [
        (Reasoning("low"), MID, {"thinkingBudget": 1024, "includeThoughts": True}, ""),
        (Reasoning("high"), MID, {"thinkingBudget": 24576, "includeThoughts": True}, ""),
        (Reasoning("none"), MID, {"thinkingBudget": 0}, ""),
        (
            Reasoning(mode="disabled"),
            Wire(model="gemini-2.5-pro"),
            {"thinkingBudget": 128, "includeThoughts": False},
            "effort",
        ),
        (Reasoning(mode="adaptive"), MID, {"thinkingBudget": -1, "includeThoughts": True}, ""),
        (Reasoning(budget=3000, display="omitted"), MID, {"thinkingBudget": 3000, "includeThoughts": False}, ""),
        (Reasoning("medium"), NEW, {"thinkingLevel": "MEDIUM", "includeThoughts": True}, ""),
        (Reasoning("max"), NEW, {"thinkingLevel": "HIGH", "includeThoughts": True}, "effort"),
        (Reasoning("none"), NEW, {"thinkingLevel": "LOW", "includeThoughts": False}, "effort"),
        (Reasoning(budget=2048, mode="enabled"), NEW, {"thinkingBudget": 2048, "includeThoughts": True}, ""),
        (Reasoning("high", 1024), NEW, {"thinkingLevel": "HIGH", "includeThoughts": True}, "budget"),
        (Reasoning(display="summarized"), NEW, {"includeThoughts": True}, ""),
    ],
)
def test_thinking_by_generation(reasoning: Reasoning, to: Wire, config: Any, path: str) -> None:
    request = ask(reasoning=reasoning)
    assert body(request, to)["generationConfig"]["thinkingConfig"] == config
    assert lost(request, to) == ([f"reasoning.{path}"] if path else [])


def test_a_model_that_does_not_think_is_not_asked_to() -> None:
    assert "generationConfig" not in body(ask(reasoning=Reasoning("high")), OLD)
    assert lost(ask(reasoning=Reasoning("high")), OLD) == ["reasoning"]


def test_generations_by_name() -> None:
    names = {"gemini-1.5-pro": 1.5, "gemini-2.5-flash-lite": 2.5, "gemini-3-pro": 3.0, "models/gemini-3.8-flash": 3.8}
    names |= {
        "gemini-flash-latest": 3.0,
        "gemini-pro": 1.0,
        "my-tuned": 2.5,
        "gemini-robotics-er-1.5": 1.5,
        "gemini-4-pro": 4.0,
    }
    assert {name: generation(name) for name in names} == names


def test_what_the_api_has_not_is_reported() -> None:
    request = ask(user="u", verbosity="low", logit_bias=b'{"1":2}', store=True, metadata=b'{"a":"b"}', cache_key="k")
    assert sorted(lost(request)) == ["cache_key", "logit_bias", "metadata", "store", "user", "verbosity"]


@pytest.mark.parametrize(
    ("told", "param"),
    [
        ({}, "contents"),
        ({"contents": "hi"}, "contents"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "contents.0.role"),
        ({"contents": [{"parts": [{"text": 1}]}]}, "contents.0.parts.0.text"),
        (
            {"contents": [{"parts": [{"text": "a", "inlineData": {"mimeType": "b", "data": "c"}}]}]},
            "contents.0.parts.0",
        ),
        ({"contents": [{"parts": [{"functionCall": {"args": {}}}]}]}, "contents.0.parts.0.functionCall.name"),
        (
            {"contents": [{"parts": [{"functionResponse": {"name": "f", "response": 3}}]}]},
            "contents.0.parts.0.functionResponse.response",
        ),
        ({"contents": [], "generationConfig": {"topK": "many"}}, "generationConfig.topK"),
        (
            {"contents": [], "toolConfig": {"functionCallingConfig": {"mode": "SOME"}}},
            "toolConfig.functionCallingConfig.mode",
        ),
        (
            {"contents": [], "tools": [{"functionDeclarations": [{"name": "f", "parameters": []}]}]},
            "tools.0.functionDeclarations.0.parameters",
        ),
    ],
)
def test_what_is_wrong_is_named(told: Any, param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(told)
    assert caught.value.kind == "bad_request" and caught.value.param == param and param in caught.value.message


def test_numbers_as_proto_json_writes_them() -> None:
    request = said({"text": "x"}, generationConfig={"topK": 40.0, "maxOutputTokens": "100", "seed": 7})
    assert (request.top_k, request.max_tokens, request.seed) == (40, 100, 7)


def test_one_object_in_place_of_a_list() -> None:
    request = read({"contents": {"parts": {"text": "hi"}}, "systemInstruction": {"parts": {"text": "be"}}})
    assert request.messages == (Message("system", (Text("be"),)), Message("user", (Text("hi"),)))


def test_texts_for_guards() -> None:
    fields = envelope.open_body(
        json.dumps(
            {
                "system_instruction": {"parts": [{"text": "one"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "two"}, {"inline_data": {"mime_type": "a/b", "data": "xx"}}]},
                    {"parts": [{"functionCall": {"name": "f", "args": {"data": "three"}}, "thoughtSignature": "zz"}]},
                    {"parts": [{"functionResponse": {"name": "f", "response": {"name": "four"}}}]},
                    {"parts": [{"executableCode": {"code": "five"}}]},
                ],
            }
        ).encode()
    )
    assert list(dialect.texts(fields)) == ["one", "two", "three", "four", "five"]


# Speed ----------------------------------------------------------------------------------------------------------------


def agent() -> Request:
    """About 100 KB: 24 tools, a long system prompt, ten calls with results."""
    words = "lorem ipsum dolor sit amet " * 60
    shape = {"type": "object", "properties": {f"p{n}": {"type": "string", "description": words[:80]} for n in range(6)}}
    tools = tuple(Tool(f"T{n}", words, json.dumps(shape).encode()) for n in range(24))
    turns = [Message("system", (Text(words * 6),)), Message("user", (Text("go"),))]
    for n in range(10):
        turns.append(
            Message("assistant", (Text("Now"), ToolUse(f"c{n}", "T1", '{"p0":"x"}', seal=Seal("gemini", "QUJD"))))
        )
        turns.append(Message("user", (ToolResult(f"c{n}", (Text(words),)),)))
    return Request(model="m", messages=tuple(turns), tools=tools, max_tokens=4000)


def microseconds(work: Callable[[], object]) -> float:
    return min(timeit.repeat(work, number=20, repeat=5)) / 20 * 1e6


def test_an_agents_body_is_read_and_written_fast() -> None:
    fields = dialect.render_request(agent(), NEW).fields
    assert 80_000 < len(envelope.seal(fields)) < 130_000 and dialect.render_request(agent(), NEW).losses == ()
    request = dialect.parse_request(fields)
    assert microseconds(lambda: dialect.parse_request(fields)) < 2500
    assert microseconds(lambda: dialect.render_request(request, NEW)) < 1500


def test_a_loss_says_where_and_why() -> None:
    (loss,) = dialect.render_request(ask(user="u"), MID).losses
    assert loss == Loss("user", "there is no such field here")
