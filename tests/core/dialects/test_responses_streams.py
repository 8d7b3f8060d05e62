"""Streams: one test for each way in which gateways and servers were seen to get this dialect wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core import envelope, sse
from penstock.core.dialects import anthropic
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import Wire
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Choice,
    Close,
    Delta,
    End,
    Logprobs,
    Opaque,
    Open,
    Response,
    Seal,
    Start,
    Stop,
    Text,
    Thinking,
    ToolUse,
    explode,
)
from tests.core.dialects.responses_helpers import (
    CREATED,
    VIEW,
    added,
    args,
    call,
    done,
    finished,
    parse,
    stream,
    told,
)
from tests.laws.strategies import run_decoder, run_encoder

# Streams in -----------------------------------------------------------------------------------------------------------


def test_arguments_of_parallel_calls_stay_with_their_call() -> None:
    blocks = told(
        stream(
            CREATED,
            added(0, **call(0)),
            added(1, **call(1)),
            args(1, '{"b":'),
            args(0, '{"a":'),
            args(1, "2}"),
            args(0, "1}"),
            done(0, **call(0, '{"a":1}')),
            done(1, **call(1, '{"b":2}')),
            finished(output=[]),
        )
    )
    assert blocks == (ToolUse("call_0", "f", '{"a":1}'), ToolUse("call_1", "f", '{"b":2}'))


@pytest.mark.parametrize("where", ["arguments.done", "item.done", "item.added", "completed"])
def test_arguments_that_come_at_once(where: str) -> None:
    events = [CREATED]
    if where != "completed":
        events.append(added(0, **call(0, '{"a":1}' if where == "item.added" else "")))
        if where == "arguments.done":
            kind = "response.function_call_arguments.done"
            events.append({"type": kind, "output_index": 0, "item_id": "fc_0", "arguments": '{"a":1}'})
        events.append(done(0, **call(0, "" if where == "arguments.done" else '{"a":1}')))
    found = stream(*events, finished(output=[call(0, '{"a":1}')]))
    assert told(found) == (ToolUse("call_0", "f", '{"a":1}'),)
    assert [event.reason for event in found if isinstance(event, Stop)] == ["tool_use"]


def test_item_ids_that_differ_in_every_event() -> None:
    """GitHub Copilot's endpoint: the index is what holds an item together."""
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
    blocks = told(
        stream(
            CREATED,
            added(0, type="message", id="a", role="assistant", content=[]),
            {**delta, "item_id": "b", "delta": "Hel"},
            {**delta, "item_id": "c", "delta": "lo"},
            done(0, type="message", id="d", role="assistant", content=[{"type": "output_text", "text": "Hello"}]),
            finished(),
        )
    )
    assert blocks == (Text("Hello"),)


def test_text_without_any_item_around_it() -> None:
    events = stream({"type": "response.output_text.delta", "delta": "Hi"}, finished(), named=False)
    assert told(events) == (Text("Hi"),)
    assert isinstance(events[0], Start)


def test_text_in_closing_events_only() -> None:
    at = {"output_index": 0, "item_id": "m", "content_index": 0}
    assert told(stream(CREATED, {"type": "response.output_text.done", **at, "text": "Hi"}, finished())) == (Text("Hi"),)


def test_items_in_the_last_event_only() -> None:
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "zzz"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "four"}]},
    ]
    blocks = told(stream(finished(output=output)))
    assert blocks == (Thinking("", Seal("openai", "zzz"), id="rs_1"), Text("four"))


def test_a_seal_without_words_is_not_dropped() -> None:
    item = {"type": "reasoning", "id": "rs_1", "summary": []}
    events = stream(CREATED, added(0, **item), done(0, **item, encrypted_content="zzz"), finished())
    assert told(events) == (Thinking("", Seal("openai", "zzz"), id="rs_1"),)


def test_done_is_accepted_and_nothing_after_the_end_counts() -> None:
    data = sse.encode(json.dumps(finished()).encode(), b"response.completed") + sse.DONE
    events = run_decoder(dialect.decoder(), [data, data])
    assert sum(isinstance(event, End) for event in events) == 1


@pytest.mark.parametrize("events", [[CREATED], [CREATED, {"type": "response.output_text.delta", "delta": "x"}], []])
def test_a_stream_that_breaks_off_is_no_answer(events: list[dict[str, Any]]) -> None:
    with pytest.raises(GatewayError) as caught:
        stream(*events)
    assert caught.value.kind == "broken_stream"


def test_done_alone_is_no_answer() -> None:
    with pytest.raises(GatewayError, match="before the answer was complete"):
        run_decoder(dialect.decoder(), [sse.DONE])


@pytest.mark.parametrize("nested", [True, False])
def test_error_events_of_both_shapes(nested: bool) -> None:
    inner = {"code": "context_length_exceeded", "message": "Too long.", "param": "input"}
    event = {"type": "error", "sequence_number": 1, **({"error": inner} if nested else inner)}
    with pytest.raises(GatewayError, match="Too long.") as caught:
        stream(CREATED, event)
    assert caught.value.kind == "context_window"


def test_a_failed_response_in_a_stream_tells_whose_fault_it_is() -> None:
    failed = {"id": "r", "status": "failed", "error": {"code": "invalid_prompt", "message": "No."}}
    with pytest.raises(GatewayError) as caught:
        stream(CREATED, {"type": "response.failed", "response": failed})
    assert (caught.value.kind, caught.value.row.fault) == ("upstream_bad_request", "client")


def test_logprobs_are_told_once() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []}
    at = {"output_index": 0, "item_id": "m", "content_index": 0}
    part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": [token]}
    item = {"type": "message", "id": "m", "role": "assistant", "content": [part]}
    events = stream(
        CREATED,
        added(0, **{**item, "content": []}),
        {"type": "response.output_text.delta", **at, "delta": "a", "logprobs": [token]},
        {"type": "response.output_text.done", **at, "text": "a", "logprobs": [token]},
        done(0, **item),
        finished(output=[item]),
    )
    raw = [event.raw for event in events if isinstance(event, Logprobs)]
    assert [json.loads(one)["content"] for one in raw] == [[token]]
    whole = dialect.parse_response(json.dumps(finished(output=[item])["response"]).encode())
    assert json.loads(whole.choices[0].logprobs)["content"] == [token]
    assert whole.choices[0].blocks == (Text("a"),)


# Streams out ----------------------------------------------------------------------------------------------------------


def names(data: bytes) -> list[str]:
    return [event.name.decode() for event in sse.Decoder().feed(data)]


def test_a_thought_is_never_told_inside_a_text() -> None:
    events = [Start("", ""), Open(0, Text("")), Open(1, Thinking("")), Delta(0, "a"), Delta(1, "t"), Delta(0, "b")]
    encoder = dialect.encoder(VIEW)
    data = run_encoder(encoder, [*events, Close(1), Close(0), Stop("stop"), End()])
    assert told(run_decoder(dialect.decoder(), [data])) == (Text("ab"), Thinking("t", id="rs_new"))


def test_no_done_mark_and_created_once() -> None:
    answer = Response(id="", model="", choices=(Choice((Text("hi"),)),))
    data = run_encoder(dialect.encoder(VIEW), [Start("", ""), *explode(answer)])
    assert b"[DONE]" not in data
    assert names(data).count("response.created") == 1


def test_separators_in_texts_stay_inside_their_event() -> None:
    text = "a\u2028b\u2029c\x85d\r\ne"
    data = run_encoder(dialect.encoder(VIEW), explode(Response(id="", model="", choices=(Choice((Text(text),)),)), 1))
    assert told(run_decoder(dialect.decoder(), [data])) == (Text(text),)
    assert b"\r" not in data


def test_stop_reasons_are_kept() -> None:
    for reason, status in (("length", "incomplete"), ("filter", "incomplete"), ("stop", "completed")):
        answer = Response(id="", model="", choices=(Choice((Text("x"),), reason),))
        body = json.loads(dialect.render_response(answer, VIEW).body)
        assert body["status"] == status
        assert dialect.parse_response(json.dumps(body).encode()).choices[0].finish == reason


def test_failing_first_is_a_whole_failure() -> None:
    encoder = dialect.encoder(VIEW)
    data = encoder.fail(GatewayError("upstream_rate_limit", "Slow down."))
    assert names(data) == ["error", "response.failed"]
    body = json.loads(sse.Decoder().feed(data)[1].data)
    assert body["response"]["error"] == {"code": "rate_limit_exceeded", "message": "Slow down."}
    assert encoder.feed(End()) == b""


def test_a_failure_in_the_middle_never_looks_complete() -> None:
    encoder = dialect.encoder(VIEW)
    data = run_encoder(encoder, [Start("", ""), Open(0, Text("")), Delta(0, "Hel")])
    data += encoder.fail(GatewayError("broken_stream", "The upstream went away."))
    assert names(data)[-2:] == ["error", "response.failed"] and "response.completed" not in names(data)
    with pytest.raises(GatewayError, match="went away"):
        run_decoder(dialect.decoder(), [data])


def test_server_tools_progress_passes_to_its_own_dialect() -> None:
    at = {"output_index": 0, "item_id": "ws_1"}
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    progress = {"type": "response.web_search_call.searching", **at, "sequence_number": 90}
    data = run_encoder(
        dialect.encoder(VIEW), stream(CREATED, added(0, **search), progress, done(0, **search), finished())
    )
    found = [json.loads(event.data) for event in sse.Decoder().feed(data)]
    assert [one["sequence_number"] for one in found] == list(range(len(found)))
    assert "response.web_search_call.searching" in names(data)
    assert found[-1]["response"]["output"] == [search]


def test_foreign_opaque_blocks_are_reported() -> None:
    foreign = Opaque("anthropic", "server_tool_use", b"{}")
    answer = Response(id="", model="", choices=(Choice((foreign, Text("x"))), Choice((Text("y"),))))
    losses = {loss.path for loss in dialect.render_response(answer, VIEW).losses}
    assert losses == {"choices.0.blocks.0", "choices.1"}


def test_redacted_thoughts_go_round_as_what_they_are() -> None:
    block = Thinking("", Seal("anthropic", "RED"), redacted=True)
    body = json.loads(dialect.render_response(Response(id="", model="", choices=(Choice((block,)),)), VIEW).body)
    back = parse(input=body["output"])
    assert back.messages[0].blocks == (Thinking("", Seal("anthropic", "RED"), True, id="rs_new"),)
    rendered = anthropic.render_request(back, Wire(model="m", family="anthropic"))
    assert b'{"type":"redacted_thinking","data":"RED"}' in envelope.seal(rendered.fields)
