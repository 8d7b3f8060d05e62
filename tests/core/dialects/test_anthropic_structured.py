"""Structured output by a forced tool: asked for in any dialect, answered through a tool call, told as text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import envelope
from penstock.core.dialects import anthropic as dialect
from penstock.core.dialects import structured
from penstock.core.dialects.base import Wire
from penstock.core.ir import (
    Choice,
    Message,
    OutputFormat,
    Request,
    Response,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolUse,
    collect,
    explode,
)
from tests.laws.strategies import json_objects, json_text, responses

SCHEMA = b'{"type":"object","properties":{"a":{"type":"string"}},"required":["a"]}'
LIST = b'{"type":"array","items":{"$ref":"#/$defs/x"},"$defs":{"x":{"type":"string"}}}'


def request(**fields: Any) -> Request:
    given: dict[str, Any] = {"output": OutputFormat("json_schema", "answer", SCHEMA), **fields}
    return Request(model="m", messages=(Message("user", (Text("q"),)),), **given)


def body(asked: Request, **wire: Any) -> tuple[dict[str, Any], list[str]]:
    rendered = dialect.render_request(asked, Wire(model="real", family="anthropic", **wire))
    return json.loads(envelope.seal(rendered.fields)), [loss.path for loss in rendered.losses]


def test_a_schema_goes_native_where_the_target_enforces_it() -> None:
    sent, losses = body(request())
    assert sent["output_config"] == {"format": {"type": "json_schema", "schema": json.loads(SCHEMA)}}
    assert "tools" not in sent and losses == []


def test_a_schema_goes_by_a_forced_tool_where_it_does_not() -> None:
    sent, losses = body(request(), native_schema=False)
    tool = sent["tools"][0]
    assert (tool["name"], tool["input_schema"]) == (structured.TOOL_NAME, json.loads(SCHEMA))
    assert sent["tool_choice"] == {"type": "tool", "name": "json_output", "disable_parallel_tool_use": True}
    assert "output_config" not in sent and losses == []


def test_json_without_a_schema_is_never_ignored() -> None:
    sent, losses = body(request(output=OutputFormat("json_object")))
    assert sent["tools"][0]["input_schema"] == {"type": "object"} and losses == []
    assert sent["tool_choice"]["name"] == "json_output"


def test_own_tools_stay_usable_beside_the_forced_one() -> None:
    own = (Tool("f"), Tool("json_output"))
    sent, _ = body(request(tools=own), native_schema=False)
    assert [tool["name"] for tool in sent["tools"]] == ["f", "json_output", "json_output_"]
    assert sent["tool_choice"]["type"] == "any"
    named, _ = body(request(tools=own, tool_choice=ToolChoice("named", ("f",))), native_schema=False)
    assert named["tool_choice"]["name"] == "f"
    none, _ = body(request(tools=own, tool_choice=ToolChoice("none")), native_schema=False)
    assert none["tool_choice"]["name"] == "json_output_"


@pytest.mark.parametrize(
    ("schema", "wrapped"),
    [
        (SCHEMA, False),
        (b'{"properties":{}}', False),
        (b"{}", False),
        (LIST, True),
        (b'{"enum":[1,2]}', True),
        (b'{"anyOf":[{"type":"object"},{"type":"null"}]}', True),
    ],
)
def test_a_schema_that_is_no_object_is_wrapped(schema: bytes, wrapped: bool) -> None:
    forced = structured.plan(request(output=OutputFormat("json_schema", "x", schema)), native_schema=False)
    assert forced is not None and forced.wrapped is wrapped
    sent = json.loads(forced.schema)
    assert sent["type"] == "object"
    if wrapped:
        assert sent["properties"]["value"] == json.loads(schema) and sent["required"] == ["value"]
        assert sent.get("$defs") == json.loads(schema).get("$defs")


def test_nothing_is_forced_without_need() -> None:
    assert structured.plan(request(output=None), native_schema=False) is None
    assert structured.plan(request(output=OutputFormat("text")), native_schema=False) is None
    assert structured.plan(request(), native_schema=True) is None


def plan(wrapped: bool = False) -> structured.Forced:
    return structured.Forced("json_output", SCHEMA, "", wrapped)


def answer(*blocks: Any, finish: str = "tool_use") -> Response:
    return Response(id="x", model="m", choices=(Choice(blocks, finish),))


def test_the_call_is_told_as_text_and_the_stop_as_an_ordinary_one() -> None:
    given = answer(Thinking("hm"), ToolUse("t", "json_output", '{"a": "b"}'))
    wanted = answer(Thinking("hm"), Text('{"a": "b"}'), finish="stop")
    assert structured.unforce_response(given, plan()) == wanted
    assert collect(structured.unforce(explode(given), plan())) == wanted


def test_other_calls_stay_calls() -> None:
    given = answer(ToolUse("t", "f", "{}"), ToolUse("u", "json_output", "{}"))
    back = structured.unforce_response(given, plan())
    assert back.choices[0] == Choice((ToolUse("t", "f", "{}"), Text("{}")), "tool_use")
    assert collect(structured.unforce(explode(given), plan())) == back


def test_an_answer_that_was_cut_stays_cut() -> None:
    given = answer(ToolUse("t", "json_output", '{"a": "b'), finish="length")
    assert structured.unforce_response(given, plan()).choices[0] == Choice((Text('{"a": "b'),), "length")


@given(json_text, st.integers(1, 9))
def test_a_wrapped_value_is_unwrapped_as_it_was_spelled(value: str, cut: int) -> None:
    given_ = answer(ToolUse("t", "json_output", '{"value": ' + value + "}"))
    wanted = answer(Text(value), finish="stop")
    assert structured.unforce_response(given_, plan(True)) == wanted
    assert collect(structured.unforce(explode(given_, cut), plan(True))) == wanted


@given(responses(), st.booleans())
def test_streamed_and_whole_agree(response: Response, wrapped: bool) -> None:
    forced = structured.Forced("f", SCHEMA, "", wrapped)
    assert collect(structured.unforce(explode(response), forced)) == structured.unforce_response(response, forced)


@given(json_objects)
def test_the_json_arrives_as_the_model_spelled_it(value: str) -> None:
    given_ = answer(ToolUse("t", "json_output", value))
    assert structured.unforce_response(given_, plan()).choices[0].blocks == (Text(value),)
