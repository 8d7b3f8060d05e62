"""Streams of the Gemini dialect: what servers were seen to do, and the faults that gateways have shipped."""

from __future__ import annotations

import json
import timeit
from typing import Any

import pytest
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects import gemini as dialect
from penstock.core.dialects.base import View
from penstock.core.dialects.gemini import same
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Close,
    Delta,
    End,
    Open,
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
from penstock.core.same import Incomplete
from tests.laws.streams import run_decoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")


def chunk(*parts: Any, index: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": list(parts), "role": "model"}, "index": index, **more}],
        "responseId": "r1",
    }


def wire(*chunks: Any) -> bytes:
    return b"".join(sse.encode(json.dumps(one).encode()) for one in chunks)


def decoded(*chunks: Any) -> Response:
    return collect(run_decoder(dialect.decoder(), [wire(*chunks)]))


def written(*events: Any) -> list[Any]:
    encoder = dialect.encoder(VIEW)
    data = b"".join(encoder.feed(event) for event in events)
    return [json.loads(event.data) for event in sse.Decoder().feed(data)]


DONE = {"finishReason": "STOP"}


def test_thoughts_text_and_calls_are_blocks_of_their_own() -> None:
    response = decoded(
        chunk({"text": "hm", "thought": True}),
        chunk({"text": "m", "thought": True}),
        chunk({"text": "Now"}),
        chunk({"text": "."}, {"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "QQ=="}),
        chunk({"functionCall": {"name": "g"}}, **DONE),
    )
    assert response.choices[0].blocks == (
        Thinking("hmm"),
        Text("Now."),
        ToolUse("call_r1_1", "f", '{"a": 1}', seal=Seal("gemini", "QQ==")),
        ToolUse("call_r1_2", "g", "{}"),
    )
    assert response.choices[0].finish == "tool_use"  # the API says STOP


def test_ids_of_calls_differ_between_answers() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    one, other = (
        decoded({**chunk(call, **DONE), "responseId": "r1"}),
        decoded({**chunk(call, **DONE), "responseId": "r2"}),
    )
    assert one.choices[0].blocks[0].id != other.choices[0].blocks[0].id  # type: ignore[union-attr]


def test_candidates_stay_apart() -> None:
    response = decoded(
        chunk({"text": "a"}),
        chunk({"text": "b"}, index=1),
        chunk({"text": "c"}, **DONE),
        chunk({"text": "d"}, index=1, finishReason="MAX_TOKENS"),
    )
    assert [(choice.blocks, choice.finish) for choice in response.choices] == [
        ((Text("ac"),), "stop"),
        ((Text("bd"),), "length"),
    ]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "filter"),
        ("RECITATION", "filter"),
        ("PROHIBITED_CONTENT", "filter"),
        ("IMAGE_SAFETY", "filter"),
        ("SOMETHING_NEW", "other:SOMETHING_NEW"),
    ],
)
def test_reasons(word: str, reason: str) -> None:
    assert decoded(chunk({"text": "x"}, finishReason=word)).choices[0].finish == reason


@pytest.mark.parametrize("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "LANGUAGE", "OTHER"])
def test_a_failure_is_an_error_at_once(word: str) -> None:
    decoder = dialect.decoder()
    with pytest.raises(GatewayError) as caught:
        decoder.feed(sse.Event(b"", json.dumps(chunk({"text": "x"}, finishReason=word, finishMessage="print(x)")).encode()))
    assert caught.value.kind == "upstream_error" and caught.value.row.retry == "target"
    assert word in caught.value.message and "print(x)" in caught.value.message


def test_an_answer_that_says_nothing_is_none() -> None:
    for word in ("STOP", "SOMETHING_NEW"):
        with pytest.raises(GatewayError) as caught:
            decoded(chunk(finishReason=word))
        assert caught.value.kind == "upstream_error"


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("stop", "STOP"),
        ("tool_use", "STOP"),
        ("length", "MAX_TOKENS"),
        ("context", "MAX_TOKENS"),
        ("filter", "SAFETY"),
        ("refusal", "SAFETY"),
        ("pause", "STOP"),
        ("other:compaction", "OTHER"),
        ("other:SPII", "SPII"),
    ],
)
def test_reasons_for_googles_clients(reason: str, word: str) -> None:
    chunks = written(Start("x", "m"), Open(0, Text("")), Delta(0, "hi"), Close(0), Stop(reason), End(None))
    assert chunks[-1]["candidates"][0]["finishReason"] == word


def test_usage_is_taken_from_the_last_chunk_and_never_added_up() -> None:
    counts = [
        {"promptTokenCount": 10, "cachedContentTokenCount": 4},
        {"promptTokenCount": 10, "candidatesTokenCount": 3, "thoughtsTokenCount": 5},
    ]
    response = decoded(
        *({**chunk({"text": "x"}), "usageMetadata": counts[0]} for _ in range(3)),
        {**chunk(**DONE), "usageMetadata": counts[1]},
    )
    assert response.usage == Usage(fresh=6, cache_read=4, output=8, reasoning=5)


def test_results_of_the_vendors_own_tools_are_input() -> None:
    told = {"promptTokenCount": 10, "toolUsePromptTokenCount": 90, "candidatesTokenCount": 3}
    assert decoded({**chunk({"text": "x"}, **DONE), "usageMetadata": told}).usage == Usage(fresh=100, output=3)


@pytest.mark.parametrize("last", [None, "", "FINISH_REASON_UNSPECIFIED"])
def test_an_end_without_a_reason_is_no_end(last: Any) -> None:
    for stream in (wire(chunk({"text": "x"}, finishReason=last)), b""):
        with pytest.raises(GatewayError) as caught:
            run_decoder(dialect.decoder(), [stream])
        assert caught.value.kind == "broken_stream"
        passed = same.Stream(Raw(b'"m"'), True)
        for event in sse.Decoder().feed(stream):
            passed.feed(event)
        with pytest.raises(Incomplete):
            passed.close()


def test_an_error_amid_a_stream() -> None:
    told = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    for feed in (dialect.decoder().feed, same.Stream(Raw(b'"m"'), True).feed):
        with pytest.raises(GatewayError) as caught:
            list(feed(sse.Event(b"", json.dumps(told).encode())))
        assert caught.value.kind == "upstream_unavailable" and "overloaded" in caught.value.message


@pytest.mark.parametrize(
    "data", [b"not json", b"[1]", b'{"candidates":3}', b'{"candidates":[{"content":{"parts":[{"text":4}]}}]}']
)
def test_what_is_not_the_dialects_is_a_broken_stream(data: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        list(dialect.decoder().feed(sse.Event(b"", data)))
    assert caught.value.kind == "broken_stream"
    with pytest.raises(GatewayError) as caught:
        dialect.parse_response(data)
    assert caught.value.kind == "broken_answer"


def test_an_array_of_chunks_is_an_answer_too() -> None:
    whole = json.dumps([chunk({"text": "a"}), chunk({"text": "b"}, **DONE)]).encode()
    assert dialect.parse_response(whole).choices[0].blocks == (Text("ab"),)


def test_arguments_that_stream_are_told_whole() -> None:
    events = (
        Open(0, ToolUse("c", "f", "")),
        Delta(0, '{"a":'),
        Delta(0, "1}"),
        Delta(0, seal=Seal("gemini", "QQ==")),
        Close(0),
    )
    (call, end) = written(Start("x", "m"), *events, Stop("tool_use"), End(Usage(fresh=3, output=9, reasoning=4)))
    part = {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}, "thoughtSignature": "QQ=="}
    assert call["candidates"][0]["content"]["parts"] == [part]
    counts = {"promptTokenCount": 3, "candidatesTokenCount": 5, "thoughtsTokenCount": 4, "totalTokenCount": 12}
    assert end["usageMetadata"] == counts and end["modelVersion"] == "asked" and end["responseId"] == "x"


def test_interleaved_calls_each_keep_their_arguments() -> None:
    opened = [Open(n, ToolUse(f"c{n}", f"f{n}", "")) for n in range(2)]
    deltas = [Delta(0, '{"a"'), Delta(1, '{"b"'), Delta(0, ":1}"), Delta(1, ":2}")]
    chunks = written(Start("x", "m"), *opened, *deltas, Close(0), Close(1), Stop("tool_use"), End(None))
    calls = [one["candidates"][0]["content"]["parts"][0]["functionCall"] for one in chunks[:2]]
    assert [(call["name"], call["args"]) for call in calls] == [("f0", {"a": 1}), ("f1", {"b": 2})]


def test_line_ends_inside_arguments_do_not_cut_an_event() -> None:
    encoder = dialect.encoder(VIEW)
    encoder.feed(Start("x", "m"))
    encoder.feed(Open(0, ToolUse("c", "f", "")))
    encoder.feed(Delta(0, '{\r\n "a": "x\u2028y"\n}'))
    (event,) = sse.Decoder().feed(encoder.feed(Close(0)))
    assert json.loads(event.data)["candidates"][0]["content"]["parts"][0]["functionCall"]["args"] == {"a": "x\u2028y"}


def test_a_seal_without_words_is_not_dropped() -> None:
    chunks = written(
        Start("x", "m"),
        Open(0, Thinking("")),
        Delta(0, seal=Seal("anthropic", "Eq")),
        Close(0),
        Stop("stop"),
        End(None),
    )
    part = chunks[0]["candidates"][0]["content"]["parts"][0]
    assert part["thought"] is True and dialect.wire.unpack(part["thoughtSignature"])[0] == Seal("anthropic", "Eq")


def test_a_refusal_is_text_and_reported() -> None:
    encoder = dialect.encoder(VIEW)
    for event in (Start("x", "m"), Open(0, Refusal("")), Delta(0, "No."), Close(0)):
        encoder.feed(event)
    assert [loss.path for loss in encoder.losses] == ["choices.0.blocks.0.refusal"]


def test_a_failure_may_be_the_first_thing_said_and_clients_know_it_by_its_start() -> None:
    data = dialect.encoder(VIEW).fail(GatewayError("upstream_unavailable", "busy"))
    assert data.startswith(b'data: {"error":{"code":503') and b"UNAVAILABLE" in data and b"finishReason" not in data


def test_the_same_lane_changes_the_model_only() -> None:
    stream = same.Stream(Raw(b'"mine"'), True)
    told = {
        **chunk({"text": "a\u2028"}, **DONE),
        "modelVersion": "gemini-x",
        "usageMetadata": {"promptTokenCount": 2},
        "new": [1],
    }
    data = stream.feed(sse.Event(b"", json.dumps(told).encode()))
    assert json.loads(data[6:]) == {**told, "modelVersion": "mine"}
    assert stream.close() == b"" and stream.usage == Usage(fresh=2) and stream.started
    fields = {"model": Raw(b'"m"'), "stream": Raw(b"true"), "contents": Raw(b"[]")}
    same.prepare(fields, True, True)
    assert {key: bytes(raw) for key, raw in fields.items()} == {
        "contents": b"[]",
    }


def test_a_stream_event_is_read_and_written_fast() -> None:
    decoder, encoder = dialect.decoder(), dialect.encoder(VIEW)
    event = sse.Event(b"", json.dumps({**chunk({"text": " hello"}), "usageMetadata": {"promptTokenCount": 9}}).encode())
    decoder.feed(event)
    encoder.feed(Start("x", "m"))
    encoder.feed(Open(0, Text("")))
    delta = Delta(0, " hello")
    assert min(timeit.repeat(lambda: decoder.feed(event), number=2000, repeat=5)) / 2000 * 1e6 < 30
    assert min(timeit.repeat(lambda: encoder.feed(delta), number=2000, repeat=5)) / 2000 * 1e6 < 5
