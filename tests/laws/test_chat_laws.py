"""OpenAI Chat: what is rendered and read back differs from the original by the list of losses and by the few things
this format says in one way only. Both are written out here, apart from the code, as plainly as possible."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.core import sse
from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.redact import scrub
from penstock.core.envelope import open_body, seal
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Opaque,
    Request,
    Response,
    Stop,
    ToolResult,
    ToolUse,
    canon,
    collect,
    explode,
)
from tests.laws.chat_views import Expected, as_stream, as_whole, named
from tests.laws.strategies import (
    chop,
    cuts,
    json_objects,
    json_text,
    requests,
    responses,
    rich_text,
    run_decoder,
    run_encoder,
)

WIRES = st.builds(
    Wire,
    model=st.just("upstream-model"),
    family=st.sampled_from(["", "openai", "anthropic", "gemini"]),
    replay_reasoning=st.booleans(),
    stream_usage=st.booleans(),
    official=st.booleans(),
    cache_marks=st.booleans(),
)


# Requests ----------------------------------------------------------------------------------------------------------


@given(requests(), WIRES)
def test_a_request_loses_what_is_reported_and_nothing_else(request: Request, wire: Wire) -> None:
    rendered = chat.render_request(request, wire)
    assume(bytes(rendered.fields["messages"]) != b"[]")  # all of it was foreign
    again = chat.parse_request(open_body(seal(rendered.fields)))
    wanted = Expected(request, wire, {loss.path for loss in rendered.losses}).all()
    assert canon(again) == canon(wanted)
    assert results_stand_directly_behind_their_calls(json.loads(bytes(rendered.fields["messages"])))
    assert every_text_is_shown(again, "\n".join(chat.texts(rendered.fields)))


def results_stand_directly_behind_their_calls(messages: list[dict[str, Any]]) -> bool:
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] != "tool":
            open_calls = {call["id"] for call in message.get("tool_calls", ())}
        elif message["tool_call_id"] not in open_calls:
            return False
    return True


def every_text_is_shown(request: Request, shown: str) -> bool:
    for message in request.messages:
        for block in message.blocks:
            for inner in (block, *(block.content if isinstance(block, ToolResult) else ())):
                if (inner.args if isinstance(inner, ToolUse) else getattr(inner, "text", "")) not in shown:
                    return False
    return True


@given(requests(wild=False, opaque=["openai_chat"]), st.data())
def test_a_request_with_anything_anywhere_is_read_or_refused(request: Request, data: st.DataObject) -> None:
    fields = chat.render_request(request, Wire(model="m", official=False)).fields
    body = json.loads(seal(fields))
    for _ in range(data.draw(st.integers(1, 3))):
        places = list(walk(body))
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = json.loads(data.draw(json_text))
    opened = open_body(json.dumps(body).encode())
    try:
        parsed = chat.parse_request(opened)
    except GatewayError as error:
        assert error.kind == "bad_request" and error.param and error.param in error.message
    else:
        assert parsed.messages and chat.render_request(parsed, Wire(model="m")).fields


def walk(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items):
        yield value, key
        yield from walk(inner)


# Answers -----------------------------------------------------------------------------------------------------------


def encoded(response: Response, usage: bool = True) -> bytes:
    return run_encoder(chat.encoder(View(model=response.model, usage=usage)), explode(response))


@given(responses(), cuts)
def test_a_stream_comes_back_up_to_what_chat_cannot_say_however_it_is_cut(response: Response, where: list[int]) -> None:
    stream = encoded(response)
    events = run_decoder(chat.decoder(), chop(stream, where))
    assert collect(events) == as_stream(response)
    assert events == run_decoder(chat.decoder(), [stream])


@given(responses())
def test_a_whole_answer_comes_back_up_to_what_chat_cannot_say(response: Response) -> None:
    rendered = chat.render_response(response, View(model=response.model))
    assert chat.parse_response(rendered.body) == as_whole(response)
    foreign = sum(isinstance(block, Opaque) for choice in response.choices for block in choice.blocks)
    assert len(rendered.losses) == foreign


@given(responses(), st.booleans())
def test_a_stream_has_the_shape_that_clients_rely_on(response: Response, usage: bool) -> None:
    stream = encoded(response, usage)
    events = sse.Decoder().feed(stream)
    assert events[-1].data == b"[DONE]" and not any(event.data == b"[DONE]" for event in events[:-1])
    chunks = [json.loads(event.data) for event in events[:-1]]
    assert all(c["object"] == "chat.completion.chunk" and c["model"] == response.model for c in chunks)
    assert {c["id"] for c in chunks} == {named(response.id)}
    with_usage = [c for c in chunks if c.get("usage")]
    assert len(with_usage) == (1 if usage and response.usage else 0)
    assert all(c is chunks[-1] and c["choices"] == [] for c in with_usage)
    for number in range(len(response.choices)):
        own = [c["choices"][0] for c in chunks if c["choices"] and c["choices"][0]["index"] == number]
        assert own[0]["delta"] == {"role": "assistant", "content": ""}
        assert [piece for piece in own if "role" in piece["delta"]] == own[:1]
        assert [piece["finish_reason"] is not None for piece in own] == [False] * (len(own) - 1) + [True]
        assert own[-1]["delta"] == {}


@given(responses(), st.data())
def test_a_broken_stream_is_an_error_and_nothing_else(response: Response, data: st.DataObject) -> None:
    stream = bytearray(encoded(response))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(stream) - 1))
        stream[at : at + data.draw(st.integers(0, 9))] = data.draw(
            st.sampled_from([b"", b'"', b"}", b"]", b"null", b"\xff", b"1", b"\n", b'"x":[],', b"[DONE]"])
        )
    try:
        events = run_decoder(chat.decoder(), [bytes(stream)])
    except GatewayError as error:
        assert error.row.fault == "upstream" or error.kind.startswith("upstream")
    else:
        collect(events)


@given(responses(), st.data())
def test_a_truncated_stream_is_never_complete(response: Response, data: st.DataObject) -> None:
    events = list(explode(response))
    unfinished = next(n for n, event in enumerate(events) if isinstance(event, Stop))
    cut = data.draw(st.integers(0, unfinished))
    stream = run_encoder(chat.encoder(View(model="m")), events[:cut])
    with pytest.raises(GatewayError) as caught:
        run_decoder(chat.decoder(), [stream, *data.draw(st.sampled_from([[], [sse.DONE]]))])
    assert caught.value.kind == "broken_stream"


@given(responses(), st.data())
def test_an_answer_with_anything_anywhere_is_read_or_refused(response: Response, data: st.DataObject) -> None:
    body = json.loads(chat.render_response(response, View(model="m")).body)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = data.draw(st.sampled_from(list(walk(body))))
        holder[key] = json.loads(data.draw(json_text))
    try:
        chat.parse_response(json.dumps(body).encode())
    except GatewayError as error:
        assert error.kind == "broken_answer"


# Calls, as the many servers stream them ----------------------------------------------------------------------------


@st.composite
def streamed_calls(draw: st.DrawFn) -> tuple[list[tuple[str, str, str]], list[dict[str, Any]]]:
    """Some calls (id, name, arguments) and the ``tool_calls`` entries that tell them, in one of the manners seen."""
    count = draw(st.integers(1, 3))
    calls = [(f"id_{n}", draw(st.sampled_from(["f", "g"])), draw(json_objects)) for n in range(count)]
    manner = draw(st.sampled_from(["plain", "repeated", "by_id", "one_index", "new_ids", "late_name"]))
    pieces: list[list[dict[str, Any]]] = []
    for n, (id, name, args) in enumerate(calls):
        at = draw(st.integers(0, len(args)))
        cut = [args[:at], args[at:]]
        head: dict[str, Any] = {"index": n, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}
        tail = [{"index": n, "function": {"arguments": part}} for part in cut]
        if manner == "repeated":
            tail = [{**head, "function": {"name": name, "arguments": part}} for part in cut]
        elif manner == "by_id":
            head.pop("index")
            tail = [{"id": id, "function": {"arguments": part}} for part in cut]
        elif manner == "one_index":
            head["index"] = 0
            tail = [{"index": 0, "id": id, "function": {"name": name, "arguments": part}} for part in cut]
        elif manner == "new_ids":
            tail = [{"index": n, "id": f"x{n}{k}", "function": {"arguments": part}} for k, part in enumerate(cut)]
        elif manner == "late_name":
            head["function"] = {"arguments": cut[0]}
            tail = [{"index": n, "function": {"name": name, "arguments": cut[1]}}]
        pieces.append([head, *tail])
    order = draw(st.permutations([n for n, own in enumerate(pieces) for _ in own]))
    if manner in ("one_index",):
        order = sorted(order)
    later = 1 if manner == "late_name" else 0  # a call is told when its name is known
    heads = sorted(range(count), key=lambda n: [at for at, own in enumerate(order) if own == n][later])
    calls = [calls[n] for n in heads]
    queues = [list(own) for own in pieces]
    return calls, [queues[n].pop(0) for n in order]


@given(streamed_calls())
def test_arguments_reach_their_own_call_however_they_are_streamed(case: Any) -> None:
    calls, pieces = case
    chunks = [
        {"id": "x", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]} for piece in pieces
    ]
    chunks.append({"id": "x", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    stream = b"".join(sse.encode(json.dumps(chunk).encode()) for chunk in chunks) + sse.DONE
    response = collect(run_decoder(chat.decoder(), [stream]))
    assert [(b.id, b.name, b.args) for b in response.choices[0].blocks] == calls
    assert response.choices[0].finish == "tool_use"


@given(rich_text)
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)
