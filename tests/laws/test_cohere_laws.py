"""Laws of Cohere's dialect: whatever goes through it comes back, less what is written in ``cohere_views``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope, sse
from penstock.core.dialects import cohere as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.cohere.names import plan_seal
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Choice,
    End,
    Loss,
    Opaque,
    Request,
    Response,
    Stop,
    Thinking,
    ToolResult,
    ToolUse,
    canon,
    collect,
    explode,
)
from tests.laws.anthropic_views import differences
from tests.laws.cohere_views import as_answer, minus, own_opaques, plain, settle
from tests.laws.strategies import chop, cuts, requests, responses, run_decoder, run_encoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
WIRE = Wire(model="command-a-plus-05-2026", family="cohere")


def encode(response: Response, cut: int = 5) -> bytes:
    return run_encoder(dialect.encoder(VIEW), explode(response, cut))


@st.composite
def planned(draw: st.DrawFn) -> Response:
    """An answer, some of whose thoughts are plans."""
    response = draw(responses())
    marks = draw(st.lists(st.booleans(), min_size=8, max_size=8))

    def marked(place: int, block: Any) -> Any:
        if isinstance(block, Thinking) and block.text and marks[place % 8]:
            return Thinking(block.text, plan_seal())
        return block

    first = response.choices[0]
    blocks = tuple(marked(place, block) for place, block in enumerate(first.blocks))
    return replace(response, choices=(replace(first, blocks=blocks), *response.choices[1:]))


@given(planned(), cuts, st.integers(1, 9))
def test_a_streamed_answer_comes_back_however_it_is_cut(response: Response, where: list[int], cut: int) -> None:
    raw = encode(response, cut)
    events = run_decoder(dialect.decoder(), chop(raw, where))
    told = plain(collect(events))
    assert _one_thought_a_run(told) == _one_thought_a_run(as_answer(response, streamed=True))
    assert events == run_decoder(dialect.decoder(), [raw])


def _one_thought_a_run(response: Response) -> Response:
    """Neighbouring plans are one: their events have no end."""
    out: list[Any] = []
    for block in response.choices[0].blocks:
        last = out[-1] if out else None
        if isinstance(block, Thinking) and isinstance(last, Thinking) and block.seal == last.seal == plan_seal():
            out[-1] = replace(last, text=last.text + block.text)
        else:
            out.append(block)
    return replace(response, choices=(replace(response.choices[0], blocks=tuple(out)),))


@given(planned())
def test_a_whole_answer_comes_back(response: Response) -> None:
    body = dialect.render_response(response, VIEW).body
    assert plain(dialect.parse_response(body)) == as_answer(response, streamed=False)


@given(responses())
def test_the_end_comes_once_and_last_and_every_event_has_its_type(response: Response) -> None:
    raw = encode(response)
    events = run_decoder(dialect.decoder(), [raw])
    assert isinstance(events[-1], End) and isinstance(events[-2], Stop)
    assert sum(isinstance(event, (End, Stop)) for event in events) == 2
    lines = sse.Decoder()
    told = [(event.name.decode(), json.loads(event.data)) for event in lines.feed(raw) + lines.close()]
    assert all(name == data["type"] for name, data in told)
    kinds = [name for name, _ in told]
    assert kinds[0] == "message-start" and kinds[-1] == "message-end" and kinds.count("message-end") == 1
    for kind in ("content", "tool-call", "citation"):
        assert kinds.count(f"{kind}-start") == kinds.count(f"{kind}-end")


ERRORS = [GatewayError("broken_stream", "it ended early"), GatewayError("upstream_rate_limit", 'slow "down"\u2028')]


@given(responses(), st.integers(0, 10_000), st.sampled_from(ERRORS))
def test_an_error_at_any_point_is_told_and_never_a_success(response: Response, at: int, error: GatewayError) -> None:
    events = list(explode(response))
    encoder = dialect.encoder(VIEW)
    told = run_encoder(encoder, events[: at % len(events)]) + encoder.fail(error)
    with pytest.raises(GatewayError) as caught:
        run_decoder(dialect.decoder(), [told])
    assert caught.value.message and caught.value.message in error.message


@given(responses(), st.integers(0, 10_000))
def test_a_stream_that_breaks_off_is_never_an_answer(response: Response, at: int) -> None:
    pieces = encode(response).split(b"\n\n")[:-2]
    cut = b"\n\n".join(pieces[: at % (len(pieces) + 1)]) + b"\n\n"
    for end in (b"", sse.DONE):
        with pytest.raises(GatewayError) as caught:
            run_decoder(dialect.decoder(), [cut, end])
        assert caught.value.kind == "broken_stream"


@given(responses())
def test_pings_are_harmless(response: Response) -> None:
    raw = encode(response)
    ping = dialect.encoder(VIEW).ping()
    noisy = ping + b"".join(piece + b"\n\n" + ping for piece in raw.split(b"\n\n")[:-1])
    assert run_decoder(dialect.decoder(), [noisy]) == run_decoder(dialect.decoder(), [raw])


@given(requests())
def test_a_request_loses_exactly_what_it_says_and_keeps_the_apis_rules(request: Request) -> None:
    """One law of several parts, because making a request costs more than checking it."""
    asked = replace(request, output=None) if dialect.forced(request, WIRE) is not None else request
    rendered = dialect.render_request(asked, WIRE)
    sent = envelope.seal(rendered.fields)
    back = dialect.parse_request(envelope.open_body(sent))
    assert differences(settle(back), minus(asked, rendered.losses, WIRE.model)) == []
    body = json.loads(sent)
    results_stand_behind_their_calls(body["messages"])
    what_is_in_a_message_is_of_its_role(body)
    no_result_is_lost(asked, body["messages"], rendered.losses)
    every_opaque_of_another_dialect_is_reported(asked, rendered.losses)
    texts_holds_every_text_a_guard_must_see(back, list(dialect.texts(rendered.fields)))
    assert dialect.render_request(asked, WIRE) == rendered, "a second attempt sends the same"


def results_stand_behind_their_calls(messages: list[dict[str, Any]]) -> None:
    waiting: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
        else:
            waiting = {call["id"] for call in message.get("tool_calls", ())}


_PARTS = {
    "system": {"text"},
    "user": {"text", "image_url"},
    "assistant": {"text", "thinking"},
    "tool": {"text", "document"},
}


def what_is_in_a_message_is_of_its_role(body: dict[str, Any]) -> None:
    for message in body["messages"]:
        content = message.get("content", "")
        if not isinstance(content, str):
            assert content and {part["type"] for part in content} <= _PARTS[message["role"]]
            assert all(part["text"] for part in content if part["type"] == "text")
        assert all(isinstance(call["function"]["arguments"], str) for call in message.get("tool_calls", ()))
    assert body.get("tool_choice") in (None, "REQUIRED", "NONE") and ("tool_choice" not in body or body["tools"])
    assert 0.01 <= body.get("p", 0.5) <= 0.99


def no_result_is_lost(request: Request, messages: list[dict[str, Any]], losses: tuple[Loss, ...]) -> None:
    results = sum(isinstance(block, ToolResult) for message in request.messages for block in message.blocks)
    told = sum(loss.why.startswith("no call with this id") for loss in losses)
    assert sum(message["role"] == "tool" for message in messages) + told == results


def every_opaque_of_another_dialect_is_reported(request: Request, losses: tuple[Loss, ...]) -> None:
    paths = {loss.path for loss in losses}
    for number, turn in enumerate(request.messages):
        for at, block in enumerate(turn.blocks):
            if isinstance(block, Opaque) and block.dialect != "cohere":
                assert f"messages.{number}.blocks.{at}" in paths
    assert {f"extra.{opaque.kind}" for opaque in request.extra if opaque.dialect != "cohere"} <= paths


def texts_holds_every_text_a_guard_must_see(back: Request, found: list[str]) -> None:
    for message in back.messages:
        for block in message.blocks:
            for part in block.content if isinstance(block, ToolResult) else (block,):
                text = part.args if isinstance(part, ToolUse) else getattr(part, "text", "")
                assert not text or text in found


@given(requests(opaque=()))
def test_the_dialects_own_requests_come_back_whole(request: Request) -> None:
    request = replace(request, output=None, extra=own_opaques())
    first = dialect.parse_request(dialect.render_request(request, WIRE).fields)
    again = dialect.render_request(first, replace(WIRE, model=first.model))
    assert again.losses == ()
    assert canon(dialect.parse_request(again.fields)) == canon(first)
    assert set(first.extra) >= set(own_opaques())


@given(requests())
def test_a_schema_beside_tools_is_a_forced_tool(request: Request) -> None:
    forced = dialect.forced(request, WIRE)
    if forced is None:
        return
    body = json.loads(envelope.seal(dialect.render_request(request, WIRE).fields))
    assert "response_format" not in body
    choice = request.tool_choice
    if choice is None or choice.mode in ("auto", "none", "required"):  # a tool that the client named itself stands
        names = [tool["function"]["name"] for tool in body["tools"]]
        assert forced.name in names and body["tool_choice"] == "REQUIRED"
        assert choice is None or choice.mode != "none" or names == [forced.name]


def test_an_answer_without_anything() -> None:
    empty = Response(id="x", model="", choices=(Choice(()),))
    assert plain(collect(run_decoder(dialect.decoder(), [encode(empty)]))) == empty
    assert dialect.parse_response(dialect.render_response(empty, VIEW).body) == empty
