"""The event stream of the Messages dialect: one test for each fault that gateways were seen to ship, as far as this
dialect can have it, and for the habits of servers that speak it over other models."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core import sse
from penstock.core.dialects import anthropic as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Close,
    Delta,
    End,
    Event,
    Opaque,
    Open,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    Usage,
    collect,
)
from tests.laws.strategies import run_decoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
WIRE = Wire(model="real", family="anthropic")


def feed(*steps: dict[str, Any], close: bool = True) -> list[Event]:
    decoder = dialect.decoder()
    out: list[Event] = []
    for step in steps:
        out.extend(decoder.feed(sse.Event(step["type"].encode(), json.dumps(step).encode())))
    if close:
        out.extend(decoder.close())
    return out


def sent(*events: Event) -> list[dict[str, Any]]:
    encoder = dialect.encoder(VIEW)
    data = b"".join(encoder.feed(event) for event in events)
    return [json.loads(event.data) for event in sse.Decoder().feed(data)]


def start(**usage: int) -> dict[str, Any]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "content": [], "model": "m"}
    return {"type": "message_start", "message": {**message, "usage": usage} if usage else message}


def opened(index: int, block: dict[str, Any]) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def delta(index: int, **fields: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": fields}


def stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def ended(reason: str, **usage: int) -> list[dict[str, Any]]:
    told = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}
    return [told, {"type": "message_stop"}]


TEXT = {"type": "text", "text": ""}
TOOL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}


# In --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_use"),
        ("pause_turn", "pause"),
        ("refusal", "refusal"),
        ("model_context_window_exceeded", "context"),
        ("compaction", "other:compaction"),
        ("new_reason", "other:new_reason"),
    ],
)
def test_the_stop_reason_is_never_forced_to_stop(word: str, reason: str) -> None:
    said = [opened(0, TEXT), delta(0, type="text_delta", text="a"), stop(0)]
    assert collect(feed(start(), *said, *ended(word))).choices[0].finish == reason
    back = sent(Start("msg_1", "m"), Stop(reason), End())
    told = next(step for step in back if step["type"] == "message_delta")["delta"]["stop_reason"]
    assert told == ("max_tokens" if word == "new_reason" else word)


def test_arguments_go_to_their_own_call() -> None:
    events = feed(
        start(),
        opened(0, {**TOOL, "id": "a"}),
        opened(1, {**TOOL, "id": "b"}),
        delta(1, type="input_json_delta", partial_json='{"b":'),
        delta(0, type="input_json_delta", partial_json='{"a":'),
        delta(1, type="input_json_delta", partial_json="2}"),
        delta(0, type="input_json_delta", partial_json="1}"),
        *ended("tool_use"),
    )
    assert collect(events).choices[0].blocks == (ToolUse("a", "f", '{"a":1}'), ToolUse("b", "f", '{"b":2}'))


def test_every_argument_delta_arrives() -> None:
    pieces = [delta(0, type="input_json_delta", partial_json=c) for c in '{"text":"0123456789"}']
    answer = collect(feed(start(), opened(0, TOOL), *pieces, stop(0), *ended("tool_use")))
    assert answer.choices[0].blocks == (ToolUse("toolu_1", "f", '{"text":"0123456789"}'),)


def test_arguments_that_only_the_opening_event_carries_are_kept() -> None:
    answer = collect(feed(start(), opened(0, {**TOOL, "input": {"q": 1}}), stop(0), *ended("tool_use")))
    assert answer.choices[0].blocks == (ToolUse("toolu_1", "f", '{"q": 1}'),)


def test_a_call_without_arguments_has_an_empty_object() -> None:
    empty = delta(0, type="input_json_delta", partial_json="")
    answer = collect(feed(start(), opened(0, TOOL), empty, stop(0), *ended("tool_use")))
    assert answer.choices[0].blocks == (ToolUse("toolu_1", "f", "{}"),)


def test_a_thinking_delta_inside_a_text_block_opens_its_own_block() -> None:
    events = feed(
        start(),
        opened(0, TEXT),
        delta(0, type="thinking_delta", thinking="hm"),
        delta(0, type="text_delta", text="hi"),
        stop(0),
        *ended("end_turn"),
    )
    assert collect(events).choices[0].blocks == (Text(""), Thinking("hm"), Text("hi"))


def test_message_start_twice_starts_once() -> None:
    events = feed(start(input_tokens=3), start(input_tokens=3), opened(0, TEXT), stop(0), *ended("end_turn"))
    assert sum(isinstance(event, Start) for event in events) == 1
    assert [type(event) for event in events if isinstance(event, Start)] == [Start]


def test_a_signature_only_thinking_block_is_kept() -> None:
    shell = {"type": "thinking", "thinking": "", "signature": ""}
    events = feed(
        start(), opened(0, shell), delta(0, type="signature_delta", signature="sig"), stop(0), *ended("end_turn")
    )
    assert collect(events).choices[0].blocks == (Thinking("", Seal("anthropic", "sig")),)
    told = sent(*events)
    assert {"type": "signature_delta", "signature": "sig"} in [step.get("delta") for step in told]


def test_usage_is_never_counted_twice() -> None:
    cached = {"input_tokens": 10, "cache_read_input_tokens": 90, "cache_creation_input_tokens": 5, "output_tokens": 1}
    events = feed(start(**cached), opened(0, TEXT), stop(0), *ended("end_turn", **{**cached, "output_tokens": 7}))
    assert collect(events).usage == Usage(fresh=10, cache_read=90, cache_write=5, output=7)


def test_usage_that_comes_only_at_the_end_is_taken() -> None:
    events = feed(start(input_tokens=0, output_tokens=0), *ended("end_turn", input_tokens=12, output_tokens=3))
    assert collect(events).usage == Usage(fresh=12, output=3)


def test_no_usage_at_all_is_none() -> None:
    steps = [{"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, {"type": "message_stop"}]
    assert collect(feed(start(), *steps)).usage is None


def test_a_stream_that_breaks_off_is_an_error_and_not_an_answer() -> None:
    decoder = dialect.decoder()
    for step in (start(), opened(0, TEXT), delta(0, type="text_delta", text="Hel")):
        decoder.feed(sse.Event(b"", json.dumps(step).encode()))
    with pytest.raises(GatewayError) as caught:
        list(decoder.close())
    assert caught.value.kind == "broken_stream"


def test_a_stop_reason_without_message_stop_is_complete() -> None:
    events = feed(start(), opened(0, TEXT), delta(0, type="text_delta", text="Hi"), ended("end_turn")[0])
    assert [type(event) for event in events[-3:]] == [Close, Stop, End]


def test_events_that_nobody_knows_are_kept_for_their_dialect() -> None:
    events = feed(start(), {"type": "new_event", "x": [1]}, {"type": "ping"}, *ended("end_turn"))
    assert {"type": "new_event", "x": [1]} in sent(*events)
    early = sent(*feed({"type": "vendor_hello"}, start(), *ended("end_turn")))
    assert [step["type"] for step in early[:2]] == ["vendor_hello", "message_start"]
    assert early[1]["message"]["id"] == "msg_1"


def test_servers_without_message_start_or_with_a_done_mark() -> None:
    data = b"".join(
        sse.encode(json.dumps(step).encode())
        for step in (opened(0, TEXT), delta(0, type="text_delta", text="Hi"), *ended("end_turn"))
    )
    events = run_decoder(dialect.decoder(), [data + sse.DONE])
    assert isinstance(events[0], Start) and collect(events).choices[0].blocks == (Text("Hi"),)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "upstream_overloaded"),
        ({"type": "rate_limit_error", "message": "slow down"}, "upstream_rate_limit"),
        ({"type": "invalid_request_error", "message": "prompt is too long: 210000"}, "context_window"),
        ({"type": "api_error", "message": "Internal"}, "upstream_error"),
        ({"message": "no type"}, "upstream_error"),
    ],
)
def test_an_error_event_has_the_kind_of_its_type(error: dict[str, str], kind: str) -> None:
    with pytest.raises(GatewayError) as caught:
        feed(start(), {"type": "error", "error": error})
    assert caught.value.kind == kind


def test_data_of_another_dialect_is_an_error() -> None:
    decoder = dialect.decoder()
    with pytest.raises(GatewayError) as caught:
        decoder.feed(sse.Event(b"", b"<html>"))
    assert caught.value.kind == "broken_stream"


# Out --------------------------------------------------------------------------------


def test_interleaved_blocks_leave_one_after_the_other() -> None:
    told = sent(
        Start("x", "m"),
        Open(0, Text("")),
        Delta(0, "a"),
        Open(1, ToolUse("t1", "f", "")),
        Delta(1, '{"x"'),
        Delta(0, "b"),
        Open(2, ToolUse("t2", "g", "")),
        Delta(2, "{}"),
        Delta(1, ":1}"),
        Close(0),
        Close(2),
        Delta(1, " "),
        Close(1),
        Stop("tool_use"),
        End(),
    )
    flow = [(step["type"], step.get("index")) for step in told]
    assert flow == [
        ("message_start", None),
        *[("content_block_start", 0)] + [("content_block_delta", 0)] * 2 + [("content_block_stop", 0)],
        *[("content_block_start", 1)] + [("content_block_delta", 1)] * 3 + [("content_block_stop", 1)],
        *[("content_block_start", 2)] + [("content_block_delta", 2)] + [("content_block_stop", 2)],
        ("message_delta", None),
        ("message_stop", None),
    ]
    args = [step["delta"]["partial_json"] for step in told if step.get("delta", {}).get("type") == "input_json_delta"]
    assert args == ['{"x"', ":1}", " ", "{}"]


def test_the_opening_is_the_dialects_own_and_comes_once() -> None:
    told = sent(
        Start("chatcmpl-1", "up", usage=Usage(fresh=4)), Start("y", "z"), Stop("stop"), End(Usage(fresh=4, output=2))
    )
    assert [step["type"] for step in told] == ["message_start", "message_delta", "message_stop"]
    message = told[0]["message"]
    assert message["id"] == "msg_new" and message["model"] == "asked" and message["usage"]["input_tokens"] == 4
    assert told[1]["usage"]["output_tokens"] == 2


def test_a_stream_never_ends_well_after_an_error() -> None:
    encoder = dialect.encoder(VIEW)
    data = encoder.feed(Start("msg_1", "m")) + encoder.feed(Open(0, Text("")))
    data += encoder.fail(GatewayError("broken_stream", "cut")) + encoder.feed(Close(0)) + encoder.feed(End())
    steps = [json.loads(event.data) for event in sse.Decoder().feed(data)]
    assert steps[-1] == {"type": "error", "error": {"type": "api_error", "message": "cut"}}
    assert "message_stop" not in {step["type"] for step in steps}
    first = dialect.encoder(VIEW).fail(GatewayError("upstream_overloaded", "busy", provider="anthropic"))
    assert b'"overloaded_error"' in first and first.startswith(b"event: error\n")


def test_redacted_thinking_is_whole_in_its_opening_event() -> None:
    block = Thinking("", Seal("anthropic", "ZGF0YQ=="), redacted=True)
    told = sent(Start("msg_1", "m"), Open(0, Thinking("", redacted=True)), Delta(0, seal=block.seal), Close(0), End())
    assert told[1]["content_block"] == {"type": "redacted_thinking", "data": "ZGF0YQ=="}
    assert [step["type"] for step in told[1:3]] == ["content_block_start", "content_block_stop"]


def test_only_one_choice_and_the_others_are_reported() -> None:
    encoder = dialect.encoder(VIEW)
    for event in (Start("m", "m"), Open(0, Text("")), Open(1, Text(""), 1), Delta(1, "no"), Delta(0, "yes"), Close(1)):
        assert b"no" not in encoder.feed(event)
    assert [loss.path for loss in encoder.losses] == ["choices.1"]


def test_ping_is_one_that_clients_skip() -> None:
    assert sse.Decoder().feed(dialect.encoder(VIEW).ping()) == [sse.Event(b"ping", b'{"type":"ping"}')]


def test_fields_of_a_call_come_through_a_translated_stream() -> None:
    block = {**TOOL, "caller": {"type": "code_execution_20250825", "tool_id": "srvtoolu_1"}, "toolset_name": None}
    arguments = delta(0, type="input_json_delta", partial_json='{"a":1}')
    events = feed(start(), opened(0, block), arguments, stop(0), *ended("tool_use"))
    assert [type(block) for block in collect(events).choices[0].blocks] == [Opaque, ToolUse]
    told = sent(*events)
    assert told[1] == opened(0, {**TOOL, "caller": block["caller"]})
    assert [step.get("index") for step in told] == [None, 0, 0, 0, None, None]
    whole = {"id": "m", "content": [{**block, "input": {"a": 1}}], "stop_reason": "tool_use"}
    answer = dialect.parse_response(json.dumps(whole).encode())
    assert json.loads(dialect.render_response(answer, VIEW).body)["content"][0]["caller"] == block["caller"]
