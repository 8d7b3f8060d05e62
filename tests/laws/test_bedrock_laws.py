"""Laws of the Bedrock dialect: whatever goes through it comes back, less what is written in ``bedrock_views``."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import bedrock as dialect
from penstock.core.dialects.base import View
from penstock.core.dialects.bedrock.wire import wire_of
from penstock.core.errors import GatewayError
from penstock.core.ir import End, Loss, Opaque, Request, Response, Stop, ToolResult, ToolUse, canon, collect, explode
from tests.laws.anthropic_views import differences
from tests.laws.bedrock_views import as_answer, minus, plain, run_decoder, settle
from tests.laws.strategies import chop, cuts, requests, responses, run_encoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
MODELS = [
    "us.anthropic.claude-opus-4-6-v1",
    "anthropic.claude-3-7-sonnet-20250219-v1:0",
    "amazon.nova-pro-v1:0",
    "us.amazon.nova-2-lite-v1:0",
    "meta.llama3-70b-instruct-v1:0",
    "openai.gpt-oss-120b-1:0",
    "us.openai.gpt-5.6-sol",
    "mistral.mistral-large-2402-v1:0",
    "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/abc",
]
WIRES = st.sampled_from(MODELS).map(wire_of)


def encode(response: Response, cut: int = 5) -> bytes:
    return run_encoder(dialect.encoder(VIEW), explode(response, cut))


@given(responses(), cuts, st.integers(1, 9))
def test_a_streamed_answer_comes_back(response: Response, where: list[int], cut: int) -> None:
    events = run_decoder(dialect.decoder(), chop(encode(response, cut), where))
    assert plain(collect(events)) == as_answer(response, streamed=True)


@given(responses())
def test_a_whole_answer_comes_back(response: Response) -> None:
    body = dialect.render_response(response, VIEW).body
    assert plain(dialect.parse_response(body)) == as_answer(response, streamed=False)


@given(responses(), cuts)
def test_any_cut_of_the_bytes_gives_the_same_events(response: Response, where: list[int]) -> None:
    raw = encode(response)
    assert run_decoder(dialect.decoder(), chop(raw, where)) == run_decoder(dialect.decoder(), [raw])


@given(responses())
def test_the_end_comes_once_and_last(response: Response) -> None:
    events = run_decoder(dialect.decoder(), [encode(response)])
    assert isinstance(events[-1], End) and sum(isinstance(event, Stop) for event in events) == 1
    assert sum(isinstance(event, End) for event in events) == 1


@given(responses(), st.integers(0, 10_000))
def test_a_stream_that_breaks_off_is_never_an_answer(response: Response, at: int) -> None:
    raw = encode(response)
    end = raw.index(b"messageStop")  # its frame begins before its name
    with pytest.raises(GatewayError) as caught:
        run_decoder(dialect.decoder(), [raw[: at % end]])
    assert caught.value.kind == "broken_stream"


@given(responses(), st.sampled_from(["broken_stream", "upstream_rate_limit", "upstream_unavailable", "bad_request"]))
def test_a_failure_is_told_and_never_a_success(response: Response, kind: str) -> None:
    encoder = dialect.encoder(VIEW)
    told = [encoder.feed(event) for event in explode(response)]
    error = GatewayError(kind, 'say "later"')
    with pytest.raises(GatewayError) as caught:
        run_decoder(dialect.decoder(), [*told[:-1], encoder.fail(error)])
    assert error.message in caught.value.message and caught.value.row.fault in ("client", "upstream")


@given(requests(wild=False), WIRES)
def test_a_request_loses_exactly_what_it_says(request: Request, wire) -> None:
    if dialect.forced(request, wire) is not None:
        request = replace(request, output=None)  # a forced tool has laws of its own
    rendered = dialect.render_request(request, wire)
    back = dialect.parse_request(envelope.open_body(envelope.seal(rendered.fields)))
    assert differences(settle(back), minus(request, rendered.losses)) == []


@given(requests(opaque=()), WIRES)
def test_the_dialects_own_requests_come_back_whole(request: Request, wire) -> None:
    request = replace(request, dialect="", output=None, metadata=b"")
    first = dialect.parse_request(dialect.render_request(request, wire).fields)
    assert first.dialect == "bedrock"
    again = dialect.render_request(first, wire)
    seals = [loss for loss in again.losses if not loss.why.startswith("reasoning sealed")]
    assert seals == []
    assert canon(dialect.parse_request(again.fields)) == canon(first)


@given(requests(), WIRES)
def test_a_rendered_request_keeps_the_apis_rules(request: Request, wire) -> None:
    """One law of several parts, because making a request costs more than checking it."""
    rendered = dialect.render_request(request, wire)
    back = dialect.parse_request(rendered.fields)
    results_stand_directly_after_their_calls(back)
    no_result_is_lost(request, back, rendered.losses)
    foreign_seals_never_reach_this_family(request, envelope.seal(rendered.fields), wire.family)
    every_opaque_of_another_dialect_is_reported(request, rendered.losses)
    texts_holds_every_text_a_guard_must_see(back, rendered.fields)
    tools_are_declared_where_any_were_used(back)


def results_stand_directly_after_their_calls(back: Request) -> None:
    turns = canon(back).messages
    for number, turn in enumerate(turns):
        results = [block.id for block in turn.blocks if isinstance(block, ToolResult)]
        before = {block.id for block in turns[number - 1].blocks if isinstance(block, ToolUse)} if number else set()
        assert set(results) <= before and len(results) == len(set(results))
        assert [isinstance(block, ToolResult) for block in turn.blocks][: len(results)] == [True] * len(results)


def no_result_is_lost(request: Request, back: Request, losses: tuple[Loss, ...]) -> None:
    """A result is carried as one, or told as text and reported."""
    count = sum(isinstance(block, ToolResult) for message in request.messages for block in message.blocks)
    kept = sum(isinstance(block, ToolResult) for message in back.messages for block in message.blocks)
    told = sum(loss.why.startswith("a result without its call") for loss in losses)
    assert kept + told == count


def foreign_seals_never_reach_this_family(request: Request, body: bytes, family: str) -> None:
    for message in request.messages:
        for block in message.blocks:
            seal = getattr(block, "seal", None)
            if seal is not None and seal.family != family and len(seal.data) > 6:
                assert f'"{seal.data}"'.encode() not in body


def every_opaque_of_another_dialect_is_reported(request: Request, losses: tuple[Loss, ...]) -> None:
    paths = {loss.path for loss in losses}
    for number, message in enumerate(request.messages):
        for at, block in enumerate(message.blocks):
            if isinstance(block, Opaque) and block.dialect != "bedrock":
                assert f"messages.{number}.blocks.{at}" in paths
    kept = {"min_p"}  # of a Chat request: the model's own, as far as anyone knows
    assert {f"extra.{opaque.kind}" for opaque in request.extra if opaque.kind not in kept} <= paths


def texts_holds_every_text_a_guard_must_see(back: Request, fields: Mapping[str, Raw]) -> None:
    found = "\n".join(dialect.texts(fields))
    for message in back.messages:
        for block in message.blocks:
            text = getattr(block, "text", "")
            assert not text or text in found


def tools_are_declared_where_any_were_used(back: Request) -> None:
    if any(isinstance(block, (ToolUse, ToolResult)) for message in back.messages for block in message.blocks):
        assert back.tools
