"""Laws of the Gemini dialect: whatever goes through it comes back, less what is written in ``gemini_views``."""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import gemini as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.ir import End, Loss, Opaque, Request, Response, Stop, ToolResult, ToolUse, canon, collect, explode
from tests.laws.anthropic_views import differences
from tests.laws.gemini_views import as_answer, fit, minus, plain, says, settle
from tests.laws.strategies import chop, cuts, requests, responses, run_decoder, run_encoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new")
WIRES = st.builds(
    Wire,
    model=st.sampled_from(["gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-pro-preview", "gemini-3.8-flash"]),
    family=st.just("gemini"),
    official=st.booleans(),
)


def encode(response: Response, cut: int = 5) -> bytes:
    return run_encoder(dialect.encoder(VIEW), explode(response, cut))


@given(responses().map(fit), cuts, st.integers(1, 9))
def test_a_streamed_answer_comes_back(response: Response, where: list[int], cut: int) -> None:
    events = run_decoder(dialect.decoder(), chop(encode(response, cut), where))
    assert plain(collect(events)) == as_answer(response, streamed=True)


@given(responses().map(fit))
def test_a_whole_answer_comes_back(response: Response) -> None:
    body = dialect.render_response(response, VIEW).body
    assert plain(dialect.parse_response(body)) == as_answer(response)


@given(responses().map(says), cuts)
def test_any_cut_of_the_bytes_gives_the_same_events(response: Response, where: list[int]) -> None:
    raw = encode(response)
    assert run_decoder(dialect.decoder(), chop(raw, where)) == run_decoder(dialect.decoder(), [raw])


@given(responses().map(says))
def test_the_end_comes_once_and_last(response: Response) -> None:
    events = run_decoder(dialect.decoder(), [encode(response)])
    stops = [event.choice for event in events if isinstance(event, Stop)]
    assert isinstance(events[-1], End) and stops == sorted(range(max(1, len(response.choices))))
    assert sum(isinstance(event, End) for event in events) == 1


@given(requests(wild=False), WIRES)
def test_a_request_loses_exactly_what_it_says(request: Request, wire: Wire) -> None:
    if dialect.forced(request, wire) is not None:
        request = replace(request, output=None)  # a forced tool has laws of its own
    rendered = dialect.render_request(request, wire)
    back = dialect.parse_request(envelope.open_body(envelope.seal(rendered.fields)))
    assert differences(settle(back), minus(request, rendered.losses)) == []


@given(requests(opaque=()), WIRES)
def test_the_dialects_own_requests_come_back_whole(request: Request, wire: Wire) -> None:
    request = replace(request, dialect="gemini", output=None)
    first = dialect.parse_request(dialect.render_request(request, wire).fields)
    again = dialect.render_request(first, wire)
    assert [loss for loss in again.losses if not loss.path.startswith("reasoning")] == []
    assert canon(dialect.parse_request(again.fields)) == canon(first)


@given(requests(), WIRES)
def test_a_rendered_request_keeps_the_apis_rules(request: Request, wire: Wire) -> None:
    """One law of several parts, because making a request costs more than checking it."""
    rendered = dialect.render_request(request, wire)
    back = dialect.parse_request(rendered.fields)
    results_stand_directly_after_their_calls(back)
    no_result_is_lost(request, back, rendered.losses)
    foreign_seals_never_reach_this_family(request, envelope.seal(rendered.fields))
    every_opaque_of_another_dialect_is_reported(request, rendered.losses)
    texts_holds_every_text_a_guard_must_see(back, rendered.fields)


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


def foreign_seals_never_reach_this_family(request: Request, body: bytes) -> None:
    for message in request.messages:
        for block in message.blocks:
            seal = getattr(block, "seal", None)
            if seal is not None and seal.family != "gemini" and len(seal.data) > 6:
                assert f'"{seal.data}"'.encode() not in body


def every_opaque_of_another_dialect_is_reported(request: Request, losses: tuple[Loss, ...]) -> None:
    paths = {loss.path for loss in losses}
    for number, message in enumerate(request.messages):
        for at, block in enumerate(message.blocks):
            if isinstance(block, Opaque) and block.dialect != "gemini":
                assert f"messages.{number}.blocks.{at}" in paths
    assert {f"extra.{opaque.kind}" for opaque in request.extra if opaque.dialect != "gemini"} <= paths


def texts_holds_every_text_a_guard_must_see(back: Request, fields: Mapping[str, Raw]) -> None:
    found = "\n".join(dialect.texts(fields))
    for message in back.messages:
        for block in message.blocks:
            text = getattr(block, "text", "")
            assert not text or text in found
