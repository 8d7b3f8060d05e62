"""Laws of the Responses dialect: whatever goes through it comes back, less what is written in ``responses_views``."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import envelope, sse
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.openai_responses import same
from penstock.core.ir import (
    Block,
    End,
    Loss,
    Message,
    Opaque,
    Request,
    Response,
    Stop,
    Text,
    ToolResult,
    ToolUse,
    canon,
    collect,
    explode,
)
from tests.laws.anthropic_views import differences
from tests.laws.responses_views import as_answer, minus, plain, settle, without_summaries
from tests.laws.strategies import chop, cuts, requests, responses, run_decoder, run_encoder
from tests.laws.streams import interleave

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
WIRE = Wire(model="real", family="openai")


def encode(response: Response, cut: int = 5) -> bytes:
    return run_encoder(dialect.encoder(VIEW), explode(response, cut))


# Answers --------------------------------------------------------------------------------------------------------------


@given(responses(), cuts, st.integers(1, 9))
def test_a_streamed_answer_comes_back(response: Response, where: list[int], cut: int) -> None:
    events = run_decoder(dialect.decoder(), chop(encode(response, cut), where))
    assert plain(collect(events)) == plain(as_answer(response))


@given(responses())
def test_a_whole_answer_comes_back(response: Response) -> None:
    body = dialect.render_response(response, VIEW).body
    assert plain(dialect.parse_response(body)) == plain(as_answer(response))


@given(responses(), cuts)
def test_any_cut_of_the_bytes_gives_the_same_events(response: Response, where: list[int]) -> None:
    raw = encode(response)
    assert run_decoder(dialect.decoder(), chop(raw, where)) == run_decoder(dialect.decoder(), [raw])


@given(responses())
def test_the_last_event_holds_the_whole_answer(response: Response) -> None:
    last = sse.Decoder().feed(encode(response))[-1]
    assert last.name in (b"response.completed", b"response.incomplete")
    assert json.loads(last.data)["response"] == json.loads(dialect.render_response(response, VIEW).body)


@given(responses())
def test_the_end_comes_once_and_last(response: Response) -> None:
    events = run_decoder(dialect.decoder(), [encode(response)])
    assert isinstance(events[-1], End) and isinstance(events[-2], Stop)
    assert sum(isinstance(event, (End, Stop)) for event in events) == 2


@given(responses())
def test_losses_are_told_alike_streamed_and_whole(response: Response) -> None:
    encoder = dialect.encoder(VIEW)
    run_encoder(encoder, explode(response))
    assert tuple(encoder.losses) == dialect.render_response(response, VIEW).losses


@given(responses(most=1), st.lists(st.integers(0, 7), max_size=40))
def test_interleaved_blocks_never_mix(response: Response, picks: list[int]) -> None:
    mixed = interleave(list(explode(response, 3)), picks)
    events = run_decoder(dialect.decoder(), [run_encoder(dialect.encoder(VIEW), mixed)])
    expected = as_answer(response)
    assert _bag(collect(events)) == _bag(expected)


def _bag(response: Response) -> list[str]:
    return sorted(
        repr(b) for b in response.choices[0].blocks if isinstance(b, (Text, ToolUse, Opaque)) and not _cited(b)
    )


def _cited(block: Block) -> bool:
    return isinstance(block, Text) and bool(block.citations)


@given(responses())
def test_events_have_their_places(response: Response) -> None:
    """Numbers rise by one; items and parts are added before they grow, grow before they are done, one at a time."""
    # Log probabilities that come after their text can be told at the very end only.
    response = replace(response, choices=tuple(replace(choice, logprobs=b"") for choice in response.choices))
    open_item = open_part = None
    done: list[object] = []
    for number, event in enumerate(sse.Decoder().feed(encode(response))):
        body = json.loads(event.data)
        assert body["sequence_number"] == number and body["type"] == event.name.decode()
        kind = body["type"]
        if kind == "response.output_item.added":
            assert open_item is None and body["output_index"] == len(done)
            open_item = body["output_index"]
        elif kind == "response.output_item.done":
            assert open_part is None and body["output_index"] == open_item
            open_item = None
            done.append(body["item"])
        elif "part.added" in kind:
            assert open_part is None and body["output_index"] == open_item
            open_part = body["item_id"]
        elif "part.done" in kind:
            assert open_part == body["item_id"]
            open_part = None
        elif "output_index" in body:
            assert body["output_index"] == open_item
    assert open_item is None and open_part is None
    assert body["response"]["output"] == done


@given(responses(), cuts)
def test_the_same_lane_changes_the_model_only(response: Response, where: list[int]) -> None:
    raw = encode(response)
    stream = same.Stream(Raw(b'"other"'), True)
    lines = sse.Decoder()
    out = b"".join(stream.feed(event) for part in chop(raw, where) for event in lines.feed(part)) + stream.close()
    assert out == raw.replace(b'"model":"asked"', b'"model":"other"')
    events = run_decoder(dialect.decoder(), [raw])
    usage = replace(stream.usage, tier="") if stream.usage is not None else None  # prices know the tier, dialects not
    assert usage == events[-1].usage  # type: ignore[union-attr]


# Requests -------------------------------------------------------------------------------------------------------------


@given(requests(), st.booleans(), st.booleans())
def test_a_request_loses_exactly_what_it_says(request: Request, official: bool, replay: bool) -> None:
    wire = replace(WIRE, official=official, replay_reasoning=replay)
    rendered = dialect.render_request(request, wire)
    back = dialect.parse_request(envelope.open_body(envelope.seal(rendered.fields)))
    found, expected = settle(back), minus(request, rendered.losses, "real")
    if not official:
        found, expected = without_summaries(found), without_summaries(expected)
    assert differences(found, expected) == []


@given(requests(opaque=("openai_responses",)))
def test_the_dialects_own_requests_come_back_whole(request: Request) -> None:
    request = replace(request, dialect="openai_responses")
    first = dialect.parse_request(dialect.render_request(request, WIRE).fields)
    again = dialect.render_request(first, replace(WIRE, model=first.model))
    assert again.losses == ()
    assert differences(canon(dialect.parse_request(again.fields)), canon(first)) == []


@given(requests(), st.booleans(), st.sampled_from(["", "resp_1"]))
def test_a_rendered_request_keeps_the_apis_rules(request: Request, official: bool, previous: str) -> None:
    """One law of several parts, because making a request costs more than checking it."""
    request = replace(request, previous_id=previous)
    rendered = dialect.render_request(request, replace(WIRE, official=official, replay_reasoning=not official))
    back = dialect.parse_request(rendered.fields)
    if not previous:
        every_output_has_its_call(request, back, rendered.losses)
    foreign_seals_never_reach_this_family(request, envelope.seal(rendered.fields))
    every_opaque_of_another_dialect_is_reported(request, rendered.losses)
    found = list(dialect.texts(rendered.fields))
    assert all(text in found for message in back.messages for text in _plain(message))


def every_output_has_its_call(request: Request, back: Request, losses: tuple[Loss, ...]) -> None:
    """The vendor refuses outputs without a call, unless the call is in a response that it keeps."""
    blocks = [block for message in back.messages for block in message.blocks]
    called = {block.id for block in blocks if isinstance(block, ToolUse)}
    results = [block for block in blocks if isinstance(block, ToolResult)]
    assert request.dialect == "openai_responses" or {block.id for block in results} <= called
    told = sum(loss.why.startswith("an output without its call") for loss in losses)
    given_ = sum(isinstance(b, ToolResult) for m in request.messages for b in m.blocks)
    assert len(results) + told == given_


def foreign_seals_never_reach_this_family(request: Request, body: bytes) -> None:
    for message in request.messages:
        for block in message.blocks:
            seal = getattr(block, "seal", None)
            if seal is not None and seal.family != "openai" and len(seal.data) > 6:
                assert f'"{seal.data}"'.encode() not in body


def every_opaque_of_another_dialect_is_reported(request: Request, losses: tuple[Loss, ...]) -> None:
    paths = {loss.path for loss in losses}
    for number, message in enumerate(request.messages):
        for at, block in enumerate(message.blocks):
            if isinstance(block, Opaque) and block.dialect != "openai_responses":
                assert f"messages.{number}.blocks.{at}" in paths
    assert {f"extra.{opaque.kind}" for opaque in request.extra if opaque.dialect != "openai_responses"} <= paths


def _plain(message: Message) -> list[str]:
    out = []
    for block in message.blocks:
        inner = block.content if isinstance(block, ToolResult) else (block,)
        out += [part.text for part in inner if hasattr(part, "text") and part.text]
        out += [block.args] if isinstance(block, ToolUse) and block.args else []
    return out
