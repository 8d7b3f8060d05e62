"""Chat streams as real servers send them. One test per manner that has broken a gateway; the servers are named."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core import sse
from penstock.core.dialects import openai_chat as chat
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Block,
    Citation,
    Close,
    End,
    Event,
    Opaque,
    Open,
    Other,
    Refusal,
    Response,
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


def piece(delta: Any = None, finish: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """One chunk with one choice."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": finish}
    choice.update({key: more.pop(key) for key in ("logprobs", "stop_reason", "matched_stop", "message") if key in more})
    return {"id": "x", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [choice], **more}


def call(index: int | None = None, id: str | None = None, name: str | None = None, args: Any = None) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", args)) if value is not None}
    entry: dict[str, Any] = {"function": function} if function else {}
    return {
        "tool_calls": [{**({} if index is None else {"index": index}), **({} if id is None else {"id": id}), **entry}]
    }


def events_of(*chunks: Any, done: bool = True) -> list[Event]:
    stream = b"".join(sse.encode(json.dumps(chunk).encode()) for chunk in chunks)
    return run_decoder(chat.decoder(), [stream + (sse.DONE if done else b"")])


def read(*chunks: Any, done: bool = True) -> Response:
    return collect(events_of(*chunks, done=done))


def blocks(*chunks: Any) -> tuple[Block, ...]:
    return read(*chunks, piece(finish="stop")).choices[0].blocks


def test_the_order_of_events() -> None:
    found = events_of(piece({"role": "assistant", "content": ""}), piece({"content": "a"}), piece(finish="stop"))
    assert [type(event).__name__ for event in found] == ["Start", "Open", "Delta", "Close", "Stop", "End"]
    assert found[0] == Start("x", "m", 7)


def test_a_first_chunk_without_role_id_created() -> None:
    response = read({"choices": [{"delta": {"content": "a"}}]}, {"choices": [{"delta": {}, "finish_reason": "stop"}]})
    assert response == Response(id="", model="", choices=response.choices, created=0)
    assert response.choices[0].blocks == (Text("a"),)


def test_azures_first_chunk_is_no_start() -> None:
    filtered = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": []}
    found = events_of(filtered, piece({"content": "a"}, service_tier="default"), piece(finish="stop"))
    assert [event for event in found if isinstance(event, Start)] == [Start("x", "m", 7, None, "default")]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_under_both_names(key: str) -> None:
    found = blocks(piece({key: "h"}), piece({key: "m"}), piece({"content": "a"}))
    assert found == (Thinking("hm"), Text("a"))


def test_reasoning_told_twice_in_a_chunk_counts_once() -> None:
    assert blocks(piece({"reasoning_content": "hm", "reasoning": "hm"})) == (Thinking("hm"),)


def test_reasoning_and_text_in_one_chunk_do_not_mix() -> None:
    assert blocks(piece({"content": "a", "reasoning_content": "hm"})) == (Thinking("hm"), Text("a"))


def test_litellms_thinking_blocks_hold_the_same_text_and_the_seal() -> None:
    found = blocks(
        piece(
            {"reasoning_content": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": ""}]}
        ),
        piece({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln"}]}),
        piece({"thinking_blocks": [{"type": "redacted_thinking", "data": "cmVk"}]}),
        piece({"content": "a"}),
    )
    assert found == (
        Thinking("hm", Seal("anthropic", "c2ln")),
        Thinking("", Seal("anthropic", "cmVk"), redacted=True),
        Text("a"),
    )


def test_a_signature_without_a_thought_is_kept() -> None:
    found = blocks(piece({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "c2ln"}]}))
    assert found == (Thinking("", Seal("anthropic", "c2ln")),)


def test_mistral_streams_parts() -> None:
    thinking = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    assert blocks(piece({"content": thinking}), piece({"content": [{"type": "text", "text": "a"}]})) == (
        Thinking("hm"),
        Text("a"),
    )


# Calls ----------------------------------------------------------------------------------------------------------------


def test_interleaved_calls_keep_their_arguments_apart() -> None:
    found = blocks(
        piece(call(0, "a", "f", "")),
        piece(call(1, "b", "g", "")),
        piece(call(0, args='{"x":')),
        piece(call(1, args='{"y":')),
        piece(call(0, args="1}")),
        piece(call(1, args="2}")),
    )
    assert found == (ToolUse("a", "f", '{"x":1}'), ToolUse("b", "g", '{"y":2}'))


def test_a_name_on_every_chunk_is_one_call() -> None:
    found = blocks(piece(call(0, "a", "f", '{"x"')), piece(call(0, "a", "f", ":1}")))
    assert found == (ToolUse("a", "f", '{"x":1}'),)


def test_two_calls_under_one_index_are_two() -> None:
    found = blocks(piece(call(0, "a", "f", "{}")), piece(call(0, "b", "f", '{"x":1}')))
    assert found == (ToolUse("a", "f", "{}"), ToolUse("b", "f", '{"x":1}'))


def test_a_new_id_on_every_chunk_is_one_call() -> None:
    found = blocks(piece(call(0, "a", "f", "")), piece(call(0, "b", None, "{")), piece(call(0, "c", None, "}")))
    assert found == (ToolUse("a", "f", "{}"),)


def test_no_index_but_ids() -> None:
    found = blocks(piece(call(None, "a", "f", "")), piece(call(None, "b", "g", "")), piece(call(None, "a", None, "{}")))
    assert found == (ToolUse("a", "f", "{}"), ToolUse("b", "g", ""))


def test_no_index_and_no_id_goes_by_order() -> None:
    found = blocks(
        piece(call(None, None, "f", "{")), piece(call(None, None, None, "}")), piece(call(None, None, "g", "{}"))
    )
    assert found == (ToolUse("call_0", "f", "{}"), ToolUse("call_1", "g", "{}"))


def test_arguments_as_an_object_keep_their_spelling() -> None:
    raw = b'{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":'
    raw += b'{ "x" : 1.50 }}}]},"finish_reason":null}]}'
    response = collect(
        run_decoder(chat.decoder(), [sse.encode(raw), sse.encode(json.dumps(piece(finish="stop")).encode())])
    )
    assert response.choices[0].blocks == (ToolUse("a", "f", '{ "x" : 1.50 }'),)


def test_arguments_only_in_the_closing_message_are_not_lost() -> None:
    whole = {"tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]}
    closing = piece(finish="tool_calls", message=whole)
    assert read(piece(call(0, "a", "f")), closing).choices[0].blocks == (ToolUse("a", "f", '{"x":1}'),)
    told = read(piece(call(0, "a", "f", '{"x":1}')), closing)
    assert told.choices[0].blocks == (ToolUse("a", "f", '{"x":1}'),)
    assert read(closing).choices[0].blocks == (ToolUse("a", "f", '{"x":1}'),)


def test_a_whole_message_in_place_of_deltas() -> None:
    found = read({"id": "x", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}]})
    assert found.choices[0].blocks == (Text("a"),)


def test_text_after_calls_is_a_block_of_its_own() -> None:
    found = blocks(piece({"content": "a"}), piece(call(0, "a", "f", "{}")), piece({"content": "b"}))
    assert found == (Text("a"), ToolUse("a", "f", "{}"), Text("b"))


def test_a_call_without_arguments_and_a_name_that_comes_late() -> None:
    found = blocks(piece(call(0, "a", None, "{")), piece(call(0, None, "f", "}")), piece(call(1, "b", "g")))
    assert found == (ToolUse("a", "f", "{}"), ToolUse("b", "g", ""))


def test_custom_and_old_calls() -> None:
    custom = {"tool_calls": [{"index": 0, "id": "a", "type": "custom", "custom": {"name": "g", "input": "x\ny"}}]}
    assert blocks(piece(custom)) == (ToolUse("a", "g", "x\ny", "custom"),)
    old = [piece({"function_call": {"name": "f", "arguments": ""}}), piece({"function_call": {"arguments": "{}"}})]
    assert read(*old, piece(finish="function_call")).choices[0].blocks == (ToolUse("call_0", "f", "{}"),)


def test_geminis_signature_of_a_call() -> None:
    entry = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    entry["extra_content"] = {"google": {"thought_signature": "sig"}}
    assert blocks(piece({"tool_calls": [entry]})) == (ToolUse("a", "f", "{}", seal=Seal("gemini", "sig")),)


# The end --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_use"),
        ("function_call", "tool_use"),
        ("content_filter", "filter"),
        ("model_length", "length"),
        ("eos", "stop"),
        ("STOP", "stop"),
        ("something_new", "other:something_new"),
    ],
)
def test_finish_reasons(word: str, reason: str) -> None:
    assert read(piece({"content": "a"}), piece(finish=word)).choices[0].finish == reason


def test_a_stop_after_a_call_is_a_call_and_after_a_refusal_a_refusal() -> None:
    assert read(piece(call(0, "a", "f", "{}")), piece(finish="stop")).choices[0].finish == "tool_use"
    refused = read(piece({"refusal": "no"}), piece(finish="stop")).choices[0]
    assert (refused.blocks, refused.finish) == ((Refusal("no"),), "refusal")


def test_an_empty_finish_reason_is_none() -> None:
    assert read(piece({"content": "a"}, finish=""), piece(finish="length")).choices[0].finish == "length"


def test_the_matched_stop_sequence_of_vllm_and_sglang() -> None:
    for more in ({"stop_reason": "END"}, {"matched_stop": "END"}):
        assert read(piece({"content": "a"}, finish="stop", **more)).choices[0].stop_sequence == "END"
    assert read(piece({"content": "a"}, finish="stop", stop_reason=128009)).choices[0].stop_sequence == ""


def test_done_may_be_missing_but_a_finish_may_not() -> None:
    assert read(piece({"content": "a"}), piece(finish="stop"), done=False).choices[0].finish == "stop"
    for done in (True, False):
        with pytest.raises(GatewayError) as caught:
            read(piece({"content": "a"}), done=done)
        assert caught.value.kind == "broken_stream"


def test_one_unfinished_choice_is_an_unfinished_answer() -> None:
    with pytest.raises(GatewayError):
        read(piece({"content": "a"}), piece({"content": "b"}, index=1), piece(finish="stop"))


def test_nothing_at_all_is_broken() -> None:
    with pytest.raises(GatewayError) as caught:
        read()
    assert caught.value.kind == "broken_stream"


def test_nothing_after_done_is_read() -> None:
    decoder = chat.decoder()
    list(decoder.feed(sse.Event(b"", json.dumps(piece({"content": "a"}, "stop")).encode())))
    assert any(isinstance(event, End) for event in decoder.feed(sse.Event(b"", b"[DONE]")))
    assert list(decoder.feed(sse.Event(b"", b"not json"))) == list(decoder.close()) == []


def test_choices_are_told_apart() -> None:
    response = read(
        piece({"content": "a"}),
        piece({"content": "b"}, index=1),
        piece({"content": "c"}),
        piece(finish="length", index=1),
        piece(finish="stop"),
    )
    assert [(choice.blocks, choice.finish) for choice in response.choices] == [
        ((Text("ac"),), "stop"),
        ((Text("b"),), "length"),
    ]


def test_every_block_is_closed_once_before_the_stops() -> None:
    found = events_of(
        piece({"content": "a"}), piece(call(0, "a", "f", "{}")), piece({"content": "b"}), piece(finish="stop")
    )
    closed = [event.index for event in found if isinstance(event, Close)]
    opened = [event.index for event in found if isinstance(event, Open)]
    assert sorted(closed) == opened == [0, 1, 2]
    assert [type(event) for event in found[-2:]] == [Stop, End]


# Usage ----------------------------------------------------------------------------------------------------------------

COUNTS = {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13}


def test_usage_in_its_own_chunk_with_a_null_before() -> None:
    chunks = [piece({"content": "a"}, usage=None), piece(finish="stop"), {"id": "x", "choices": [], "usage": COUNTS}]
    assert read(*chunks).usage == Usage(fresh=10, output=3)


def test_usage_on_every_chunk_is_not_summed() -> None:
    grown = [{**COUNTS, "completion_tokens": n} for n in (1, 2, 3)]
    chunks = [
        piece({"content": "a"}, usage=grown[0]),
        piece({"content": "b"}, usage=grown[1]),
        piece(finish="stop", usage=grown[2]),
    ]
    assert read(*chunks).usage == Usage(fresh=10, output=3)


def test_usage_where_groq_and_moonshot_put_it() -> None:
    assert read(piece({"content": "a"}), piece(finish="stop", x_groq={"usage": COUNTS})).usage == Usage(
        fresh=10, output=3
    )
    last = piece(finish="stop")
    last["choices"][0]["usage"] = COUNTS
    assert read(piece({"content": "a"}), last).usage == Usage(fresh=10, output=3)


def test_no_usage_is_none_and_odd_usage_costs_no_answer() -> None:
    assert read(piece({"content": "a"}), piece(finish="stop")).usage is None
    assert read(piece({"content": "a"}, "stop", usage="many")).choices[0].blocks == (Text("a"),)


# Errors and oddities --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "kind", "says"),
    [
        (
            {"error": {"message": "slow down", "type": "rate_limit_error", "code": "429"}},
            "upstream_rate_limit",
            "slow down",
        ),
        ({"error": {"message": "boom", "type": "server_error", "param": None, "code": None}}, "upstream_error", "boom"),
        ({"error": {"message": "busy", "type": "overloaded_error"}}, "upstream_overloaded", "busy"),
        (
            {"error": {"code": 502, "message": "Provider disconnected"}, "choices": []},
            "upstream_bad_gateway",
            "disconnected",
        ),
        ({"error": "just words"}, "upstream_error", "just words"),
        (
            {"object": "error", "message": "vLLM says", "type": "BadRequestError", "code": 400},
            "upstream_bad_request",
            "vLLM",
        ),
        (
            {"choices": [{"index": 0, "delta": {}, "error": {"code": 503, "message": "gone"}}]},
            "upstream_unavailable",
            "gone",
        ),
        ({"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}, "upstream_error", "finish_reason"),
    ],
)
def test_an_error_in_the_stream(event: dict[str, Any], kind: str, says: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read(piece({"content": "a"}), event, piece(finish="stop"))
    assert caught.value.kind == kind and says in caught.value.message


def test_an_error_by_its_event_name() -> None:
    stream = b'event: error\ndata: {"message":"no","code":500}\n\n'
    with pytest.raises(GatewayError, match="no") as caught:
        run_decoder(chat.decoder(), [stream])
    assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize(
    "data", [b"<html>", b"null", b"[]", b'"text"', b"{", b'{"choices": 5}', b'{"choices":[{"delta":5}]}']
)
def test_what_is_no_chunk_is_an_error(data: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        run_decoder(chat.decoder(), [sse.encode(data), sse.DONE])
    assert caught.value.kind == "broken_stream"


def test_keep_alives_are_nothing() -> None:
    stream = sse.COMMENT + b"data: \n\n" + b": OPENROUTER PROCESSING\n\n"
    stream += b"".join(
        sse.encode(json.dumps(chunk).encode()) for chunk in (piece({"content": "a"}), piece(finish="stop"))
    )
    assert collect(run_decoder(chat.decoder(), [stream])).choices[0].blocks == (Text("a"),)


def test_ids_as_numbers_and_dates_in_words() -> None:
    first = piece({"content": "a"})
    first.update(id=17, created="yesterday")
    response = read(first, piece(finish="stop"))
    assert (response.id, response.created) == ("17", 0)


def test_u2028_is_no_line_end() -> None:
    raw = json.dumps(piece({"content": "a\u2028b\x85c"}), ensure_ascii=False).encode()
    stream = sse.encode(raw) + sse.encode(json.dumps(piece(finish="stop")).encode())
    for cut in range(len(stream)):
        response = collect(run_decoder(chat.decoder(), [stream[:cut], stream[cut:]]))
        assert response.choices[0].blocks == (Text("a\u2028b\x85c"),)


def test_annotations_are_citations_of_the_text() -> None:
    note = {
        "type": "url_citation",
        "url_citation": {"url": "https://x.test", "title": "t", "start_index": 0, "end_index": 1},
    }
    found = blocks(piece({"content": "a"}), piece({"annotations": [note]}))
    assert found == (Text("a", citations=(Citation("https://x.test", "t", "", 0, 1),)),)


def test_audio_is_kept_for_this_dialect() -> None:
    found = events_of(piece({"audio": {"id": "a", "data": "AAAA"}}), piece(finish="stop"))
    kept = [event.opaque for event in found if isinstance(event, Other)]
    assert [(o.dialect, json.loads(o.raw)) for o in kept] == [
        ("openai_chat", {"index": 0, "delta": {"audio": {"id": "a", "data": "AAAA"}}})
    ]
    assert isinstance(kept[0], Opaque)
