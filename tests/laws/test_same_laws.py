"""The same-dialect lane: a client gets the upstream's own bytes but for the model, whatever the upstream sends along.

Streams are made by the dialects' encoders from any answer, with fields and events that nobody knows strewn in.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core import sse
from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.dialects.base import View
from penstock.core.errors import GatewayError
from penstock.core.ir import Response, ToolUse, Usage, explode
from penstock.core.same import Incomplete
from tests.laws.strategies import chop, cuts, idents, json_text, responses, run_encoder

MODEL = Raw(b'"the \\u0063lient\'s name"')
NAME = "the client's name"

extras = st.dictionaries(idents.map(lambda key: f"x_{key}"), json_text, max_size=2)


def laid_over(data: bytes, extra: dict[str, str], spaced: bool) -> bytes:
    """The JSON object with unknown fields, spelt as they are; ``spaced``: with the white space of other servers."""
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    more = "".join(f",{json.dumps(key)}:{value}" for key, value in extra.items())
    if spaced:
        text = json.dumps(json.loads(data), ensure_ascii=False)[:-1]
    else:
        text = msgspec.json.encode(fields).decode()[:-1]
    return (text + more.replace("\n", " ") + "}").encode()


@st.composite
def streams(draw: st.DrawFn, dialect: str) -> tuple[list[sse.Event], Usage | None, Response]:
    """A stream as a server of the dialect may send it: events, the usage it tells, the answer it carries."""
    only = () if dialect == "openai_chat" else ("anthropic",)
    response = draw(responses(3 if dialect == "openai_chat" else 1, only))
    encoder = DIALECTS[dialect].encoder(View(model="real/model", mint=lambda prefix: prefix + "1", usage=True))
    lines = sse.Decoder()
    sent = run_encoder(encoder, explode(response, draw(st.integers(1, 9))))
    events = lines.feed(sent) + lines.close()
    out = []
    for name, data in events:
        if data != b"[DONE]":
            data = laid_over(data, draw(extras), draw(st.booleans()))
        out.append(sse.Event(name, data))
    if dialect == "anthropic":
        unknown = st.sampled_from(
            [sse.Event(b"ping", b'{"type": "ping"}'), sse.Event(b"new_kind", b'{"type":"new_kind"}')]
        )
        for event in draw(st.lists(unknown, max_size=2)):
            out.insert(draw(st.integers(0, len(out) - 1)), event)
        if draw(st.booleans()):  # servers exist that send data lines only
            out = [sse.Event(b"", data) for _, data in out]
    return out, response.usage, response


def encoded(events: list[sse.Event]) -> bytes:
    return b"".join(sse.encode(data, name) for name, data in events)


def relay(dialect: str, chunks: list[bytes], want_usage: bool = True) -> tuple[bytes, Any]:
    """What the lane does: decode, feed, close."""
    stream = EDITORS[dialect].Stream(MODEL, want_usage)
    lines = sse.Decoder()
    out = b""
    for chunk in chunks:
        out += b"".join([stream.feed(event) for event in lines.feed(chunk)])
    out += b"".join([stream.feed(event) for event in lines.close()])
    return out + stream.close(), stream


def objects(data: bytes, lenient: bool = False) -> list[Any]:
    """The events' JSON; ``lenient``: of those that are whole."""
    lines = sse.Decoder()
    out: list[Any] = []
    for event in lines.feed(data) + lines.close():
        try:
            out.append(event.data if event.data == b"[DONE]" else json.loads(event.data))
        except ValueError:
            assert lenient
    return out


def with_name(told: Any) -> Any:
    """The object as the client must see it."""
    if isinstance(told, dict) and told.get("type") == "message_start":
        return told | {"message": told["message"] | {"model": NAME}}
    if isinstance(told, dict) and "type" not in told:
        told = told | {"model": NAME}
        if isinstance(told.get("choices"), list):
            told["choices"] = [{"finish_reason": None} | choice for choice in told["choices"]]
    return told


def ended_in_calls(told: list[Any]) -> list[Any]:
    """The stream as a Chat client must see its end: "stop" is no word for an answer that calls."""
    called: set[int] = set()
    for one in told:
        for choice in one.get("choices") or () if isinstance(one, dict) else ():
            if choice["delta"].get("tool_calls"):
                called.add(choice["index"])
            if choice["finish_reason"] == "stop" and choice["index"] in called:
                choice["finish_reason"] = "tool_calls"
    return told


FEWER = settings(max_examples=max(25, settings.default.max_examples // 4))  # a stream is much to draw
both = pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])


ERRORS = {
    "openai_chat": sse.Event(b"", b'{"error":{"message":"Their words.","type":"server_error","code":"503"}}'),
    "anthropic": sse.Event(b"error", b'{"type":"error","error":{"type":"overloaded_error","message":"Their words."}}'),
}


def ended(dialect: str, data: bytes) -> bool:
    """Whether a client would take the bytes for a complete answer."""
    marks = [event.data for event in sse.Decoder().feed(data)]
    return any(mark == b"[DONE]" or b'"type":"message_stop"' in mark.replace(b" ", b"") for mark in marks)


@both
@FEWER
@given(data=st.data())
def test_a_stream_passes_with_its_model_replaced_and_nothing_else(dialect, data):
    """Also in any cut, with any line ends, with its JSON over several lines; and the meter sees the usage."""
    events, usage, _ = data.draw(streams(dialect))
    sent = encoded(events)
    got, stream = relay(dialect, [sent])
    assert objects(got) == ended_in_calls([with_name(told) for told in objects(sent)])
    assert stream.started and ended(dialect, got)
    if dialect == "anthropic":
        for event in events:  # untouched events keep every byte
            assert b"message_start" in event.data or b"data: " + event.data + b"\n\n" in got
        expected = usage or Usage()
        assert stream.usage is not None and not stream.usage.estimated
        assert (stream.usage.input, stream.usage.output) == (expected.input, expected.output)
    elif usage is None:
        assert stream.usage is None
    else:
        seen = stream.usage
        assert (seen.input, seen.output, seen.cache_read) == (usage.input, usage.output, usage.cache_read)
    end, where = data.draw(st.sampled_from([b"\r\n", b"\r", b"\n"])), data.draw(cuts)
    assert relay(dialect, chop(sent.replace(b"\n", end), where))[0] == got
    # SSE joins data lines by LF: between JSON's tokens that is white space, in an event's line it would be its end.
    assert objects(relay(dialect, [over_lines(events)])[0]) == objects(got)


def over_lines(events: list[sse.Event]) -> bytes:
    sent = b""
    for name, body in events:
        pretty = body if body == b"[DONE]" else json.dumps(json.loads(body), indent=1, ensure_ascii=False).encode()
        head = b"event: " + name + b"\n" if name else b""
        sent += head + b"".join(b"data: " + line + b"\n" for line in pretty.split(b"\n")) + b"\n"
    return sent


@both
@FEWER
@given(data=st.data(), want=st.booleans())
def test_what_is_cut_off_or_ends_in_an_error_is_never_passed_as_complete(dialect, data, want):
    events, _, response = data.draw(streams(dialect))
    sent = encoded(events)
    for at in {data.draw(st.integers(0, len(sent))) for _ in range(6)}:
        out, whole = b"", False
        try:
            stream = EDITORS[dialect].Stream(MODEL, want)
            lines = sse.Decoder()
            for event in [*lines.feed(sent[:at]), *lines.close()]:
                out += stream.feed(event)
            out += stream.close()
            whole = True
        except GatewayError as error:
            assert error.kind == "broken_stream" and error.row.fault == "upstream"
        assert ended(dialect, out) == whole
        for event in sse.Decoder().feed(out):
            known = not event.name or event.name.startswith((b"message", b"content"))
            assert not known or event.data == b"[DONE]" or json.loads(event.data), "half an event reaches the client"
        # Complete from the last finish reason on: what is missing after it is a formality.
        assert not whole or sum(map(finished, objects(sent[:at], True))) >= len(response.choices)
    number = data.draw(st.integers(0, len(events) - 1))
    stream = EDITORS[dialect].Stream(MODEL, want)
    out = b"".join([stream.feed(event) for event in events[:number]])
    with pytest.raises(GatewayError, match="Their words") as caught:
        stream.feed(ERRORS[dialect])
    assert caught.value.row.fault == "upstream" and caught.value.kind != "broken_stream"
    assert not ended(dialect, out) or dialect == "openai_chat" and events[number - 1].data == b"[DONE]"


def finished(told: Any) -> int:
    """How many choices an event ends."""
    if told == b"[DONE]":
        return 0
    if "choices" in told:
        return sum(bool(choice["finish_reason"]) for choice in told["choices"])
    return int(told.get("type") == "message_delta")


@FEWER
@given(data=st.data())
def test_usage_that_a_chat_client_did_not_ask_for_is_kept_from_it(data):
    events, _, _ = data.draw(streams("openai_chat"))
    sent = encoded(events)
    without, quiet = relay("openai_chat", [sent], False)
    expected = []
    for told in objects(sent):
        if told != b"[DONE]":
            if told.pop("usage", None) is not None and not told["choices"]:
                continue
            told = with_name(told)
        expected.append(told)
    assert objects(without) == ended_in_calls(expected)
    assert quiet.usage == relay("openai_chat", [sent], True)[1].usage


@both
@given(st.data())
def test_whatever_an_upstream_sends_is_passed_or_an_error_of_the_table(dialect, data):
    stream = EDITORS[dialect].Stream(MODEL, data.draw(st.booleans()))
    odd = st.sampled_from(
        ["null", "[]", "[ ]", "{}", "1", '"x"', "[1]", "[null]", "[[]]", "true", '{"error":1}', '[{"index":"x"}]',
         '[{"index":-1,"finish_reason":5}]', '{"input_tokens":"x"}', '{"prompt_tokens":1e400}', '{"message":null}']
    )  # fmt: skip
    keys = st.sampled_from(["choices", "usage", "error", "model", "type", "message", "delta", "index", "id"])
    bodies = st.dictionaries(keys, odd | json_text, max_size=5).map(
        lambda fields: ("{" + ",".join(f'"{key}":{value}' for key, value in fields.items()) + "}").encode()
    )
    names = st.sampled_from(
        [b"", b"", b"message_start", b"message_delta", b"content_block_delta", b"error", b"message_stop"]
    )
    try:
        for name in data.draw(st.lists(names, max_size=6)):
            stream.feed(sse.Event(name, data.draw(bodies | st.binary(max_size=20) | st.just(b"[DONE]"))))
        stream.close()
    except GatewayError as error:
        assert error.message
    assert stream.usage is None or isinstance(stream.usage, Usage)


# Whole answers --------------------------------------------------------------------------------------------------------


@both
@given(data=st.data())
def test_a_whole_answer_keeps_every_value_but_the_model(dialect, data):
    response = data.draw(
        responses(3 if dialect == "openai_chat" else 1, () if dialect == "openai_chat" else ("anthropic",))
    )
    body = DIALECTS[dialect].render_response(response, View(model="real/model", mint=lambda p: p + "1")).body
    body = laid_over(body, data.draw(extras), data.draw(st.booleans()))
    got, usage = EDITORS[dialect].answer(body, MODEL)
    before, after = (msgspec.json.decode(text, type=dict[str, Raw]) for text in (body, got))
    if dialect == "openai_chat" and any(isinstance(b, ToolUse) for c in response.choices for b in c.blocks):
        mended = json.loads(bytes(before["choices"]))
        for choice in mended:
            if choice["finish_reason"] == "stop" and choice["message"].get("tool_calls"):
                choice["finish_reason"] = "tool_calls"
        assert json.loads(bytes(after["choices"])) == mended
        before["choices"] = after["choices"]
    assert list(before) == list(after), "the same keys in the same order"
    assert {k: bytes(v) for k, v in after.items() if k != "model"} == {
        k: bytes(v) for k, v in before.items() if k != "model"
    }
    assert bytes(after["model"]) == bytes(MODEL)
    if response.usage is not None:
        assert usage is not None and (usage.input, usage.output) == (response.usage.input, response.usage.output)


@both
@given(st.data())
def test_what_is_no_answer_is_an_error_of_the_table(dialect, data):
    body = data.draw(st.binary(max_size=30) | json_text.map(str.encode) | st.sampled_from([b"", b"[" * 100_000]))
    try:
        got, _ = EDITORS[dialect].answer(body, MODEL)
    except GatewayError as error:
        assert error.row.fault in ("upstream", "client") and error.message
    else:
        assert json.loads(got)["model"] == NAME


@both
def test_an_error_under_status_200_is_an_error(dialect):
    with pytest.raises(GatewayError, match="Their words") as caught:
        EDITORS[dialect].answer(ERRORS[dialect].data, MODEL)
    assert caught.value.row.fault == "upstream"


# Examples -------------------------------------------------------------------------------------------------------------


def chunk(**fields: Any) -> sse.Event:
    return sse.Event(b"", json.dumps({"id": "c", "model": "real", **fields}).encode())


def choice(index: int, finish: str | None, **delta: Any) -> dict[str, Any]:
    return {"index": index, "delta": delta, "finish_reason": finish}


def test_one_finished_choice_of_two_is_no_complete_answer():
    stream = EDITORS["openai_chat"].Stream(MODEL, True)
    stream.feed(chunk(choices=[choice(1, None, content="b")]))
    stream.feed(chunk(choices=[choice(1, "stop")]))
    with pytest.raises(Incomplete):
        stream.close()
    stream.feed(chunk(choices=[choice(0, "length")]))
    assert stream.close() == sse.DONE


def test_a_finish_reason_without_the_end_mark_will_do_and_an_empty_one_will_not():
    for reason, ends in (("stop", True), ("tool_calls", True), ("", False), (None, False)):
        stream = EDITORS["openai_chat"].Stream(MODEL, True)
        stream.feed(chunk(choices=[choice(0, reason, content='"finish_reason":"stop"')]))
        if ends:
            assert stream.close() == sse.DONE
        else:
            with pytest.raises(Incomplete):
                stream.close()


def test_done_alone_is_no_answer():
    with pytest.raises(Incomplete):
        EDITORS["openai_chat"].Stream(MODEL, True).feed(sse.Event(b"", b"[DONE]"))
    with pytest.raises(Incomplete):
        EDITORS["anthropic"].Stream(MODEL, True).feed(sse.Event(b"message_stop", b'{"type":"message_stop"}'))


START = sse.Event(
    b"message_start",
    b'{"type":"message_start","message":{"id":"msg_1","model":"real","usage":{"input_tokens":9,"output_tokens":1}}}',
)
TEXT = sse.Event(
    b"content_block_delta", b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}'
)


def test_a_part_before_message_start_can_still_be_replaced_by_another_target():
    stream = EDITORS["anthropic"].Stream(MODEL, True)
    with pytest.raises(Incomplete):
        stream.feed(TEXT)
    assert not stream.started


def test_a_null_stop_reason_does_not_end_an_answer():
    stream = EDITORS["anthropic"].Stream(MODEL, True)
    stream.feed(START)
    stream.feed(
        sse.Event(
            b"message_delta", b'{"type":"message_delta","delta":{"stop_reason":null},"usage":{"output_tokens":2}}'
        )
    )
    with pytest.raises(Incomplete):
        stream.close()


def test_a_stream_that_is_cut_off_counts_what_passed():
    stream = EDITORS["anthropic"].Stream(MODEL, True)
    stream.feed(START)
    for _ in range(50):
        stream.feed(TEXT)
    assert stream.usage == Usage(fresh=9, output=50, estimated=True)
    stream.feed(
        sse.Event(
            b"message_delta", b'{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}'
        )
    )
    assert stream.usage == Usage(fresh=9, output=7)


def test_an_empty_list_of_choices_in_any_spelling_is_for_the_meter_alone():
    for empty in (b"[]", b"[ ]"):
        stream = EDITORS["openai_chat"].Stream(MODEL, False)
        data = b'{"id":"c","choices":' + empty + b',"usage":{"prompt_tokens":1,"completion_tokens":2}}'
        assert stream.feed(sse.Event(b"", data)) == b""
        assert stream.usage == Usage(fresh=1, output=2)


# Requests -------------------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(idents, json_text.map(lambda text: Raw(text.encode())), max_size=4), st.booleans(), st.booleans()
)
def test_a_request_is_edited_for_usage_and_nothing_else(fields, stream, ask):
    before = dict(fields)
    openai_chat_same = EDITORS["openai_chat"]
    openai_chat_same.prepare(fields, stream, ask)
    added = fields.pop("stream_options", None)
    assert fields == before
    assert (added is not None) == (stream and ask)
    EDITORS["anthropic"].prepare(fields, stream, ask)
    assert fields == before


@given(
    st.sampled_from(
        ["null", "{}", '{"include_usage":false}', '{"include_usage": true, "x":[1]}', '{"x":1.50}', "5", "[]"]
    )
)
def test_stream_options_keep_what_else_they_say(spelt):
    fields = {"stream_options": Raw(spelt.encode())}
    asked = EDITORS["openai_chat"].wants_usage(fields)
    before = json.loads(spelt)
    assert asked == (isinstance(before, dict) and before.get("include_usage") is True)
    EDITORS["openai_chat"].prepare(fields, True, True)
    after = json.loads(bytes(fields["stream_options"]))
    if isinstance(before, dict) or before is None:
        assert after == (before or {}) | {"include_usage": True}
    else:
        assert after == before, "the upstream says what is wrong with it"


@pytest.mark.parametrize(("store", "stays"), [(None, False), (b"false", False), (b"null", False), (b"true", True)])
def test_metadata_goes_to_a_vendor_that_stores_the_answer_only(store, stays):
    fields = {"metadata": Raw(b'{"a":"b"}')} | ({"store": Raw(store)} if store else {})
    EDITORS["openai_chat"].prepare(fields, False, True)
    assert ("metadata" in fields) == stays
