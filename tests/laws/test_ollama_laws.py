"""Laws of Ollama's dialect: whatever goes through it comes back, less what is written in ``ollama_views``."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import envelope
from penstock.core.dialects import ollama as dialect
from penstock.core.dialects.base import View, Wire
from penstock.core.dialects.ollama import generate
from penstock.core.dialects.ollama.lines import Lines
from penstock.core.ir import End, Loss, Opaque, Request, Response, Stop, ToolResult, ToolUse, canon, collect, explode
from tests.laws.anthropic_views import differences
from tests.laws.ollama_views import as_answer, minus, run_lines, settle
from tests.laws.strategies import chop, cuts, requests, responses, run_encoder

VIEW = View(model="asked", elapsed=lambda: 5_000_000)
WIRE = Wire(model="real", family="ollama", official=False)


def encode(response: Response, cut: int = 5) -> bytes:
    return run_encoder(dialect.encoder(VIEW), explode(response, cut))


@given(responses(), cuts, st.integers(1, 9))
def test_a_streamed_answer_comes_back_however_it_is_cut(response: Response, where: list[int], cut: int) -> None:
    raw = encode(response, cut)
    events = run_lines(dialect.decoder(), chop(raw, where))
    assert collect(events) == as_answer(response, streamed=True)
    assert events == run_lines(dialect.decoder(), [raw])


@given(responses())
def test_a_whole_answer_comes_back(response: Response) -> None:
    body = dialect.render_response(response, VIEW).body
    assert dialect.parse_response(body) == as_answer(response, streamed=False)


@given(responses(), cuts)
def test_the_answers_of_generate_come_back(response: Response, where: list[int]) -> None:
    expected = as_answer(response, streamed=False, generate=True)
    assert generate.parse_response(generate.render_response(response, VIEW).body) == expected
    raw = run_encoder(generate.encoder(VIEW), explode(response))
    told = collect(run_lines(generate.decoder(), chop(raw, where)))
    assert told == as_answer(response, streamed=True, generate=True)


@given(st.lists(st.sampled_from([b'{"a":1}', b"", b" ", b'"\xe2\x80\xa8\x85"', b"x\r", b"\r"]), max_size=8), cuts)
def test_the_framing_is_lines_however_they_are_cut(lines: list[bytes], where: list[int]) -> None:
    raw = b"\n".join(lines)
    framer = Lines()
    got = [event.data for chunk in chop(raw, where) for event in framer.feed(chunk)]
    got += [event.data for event in framer.close()]
    assert got == [line for line in lines if line.strip()]


@given(responses())
def test_the_end_comes_once_and_last_and_every_line_is_json(response: Response) -> None:
    raw = encode(response)
    events = run_lines(dialect.decoder(), [raw])
    assert isinstance(events[-1], End) and isinstance(events[-2], Stop)
    assert sum(isinstance(event, (End, Stop)) for event in events) == 2
    told = [json.loads(line) for line in raw.decode().splitlines()]  # as httpx cuts, below Ollama's own client
    assert [line["done"] for line in told] == [False] * (len(told) - 1) + [True]
    assert {line["model"] for line in told} == {"asked"} and all(line["created_at"] for line in told)


@given(requests())
def test_a_request_loses_exactly_what_it_says_and_keeps_the_apis_rules(request: Request) -> None:
    """One law of several parts, because making a request costs more than checking it."""
    rendered = dialect.render_request(request, WIRE)
    sent = envelope.seal(rendered.fields)
    back = dialect.parse_request(envelope.open_body(sent))
    assert differences(settle(back), minus(request, rendered.losses, "real")) == []
    results_stand_behind_their_calls(json.loads(sent)["messages"])
    no_result_is_lost(request, json.loads(sent)["messages"], rendered.losses)
    every_opaque_block_is_reported(request, rendered.losses)
    texts_holds_every_text_a_guard_must_see(back, list(dialect.texts(rendered.fields)))


def results_stand_behind_their_calls(messages: list[dict[str, Any]]) -> None:
    """Each is named after its tool; contents are texts and arguments objects, as Go's decoder wants them."""
    waiting: dict[str, str] = {}
    for message in messages:
        assert isinstance(message["content"], str) and message["role"] in ("system", "user", "assistant", "tool")
        assert all(isinstance(data, str) and not data.startswith("data:") for data in message.get("images", ()))
        calls = message.get("tool_calls", ())
        if message["role"] == "tool":
            assert waiting.pop(message["tool_call_id"]) == message["tool_name"]
        else:
            waiting = {call["id"]: call["function"]["name"] for call in calls}
        assert all(isinstance(call["function"]["arguments"], dict) for call in calls)


def no_result_is_lost(request: Request, messages: list[dict[str, Any]], losses: tuple[Loss, ...]) -> None:
    results = sum(isinstance(block, ToolResult) for message in request.messages for block in message.blocks)
    told = sum(loss.why.startswith("no call with this id") for loss in losses)
    assert sum(message["role"] == "tool" for message in messages) + told == results


def every_opaque_block_is_reported(request: Request, losses: tuple[Loss, ...]) -> None:
    paths = {loss.path for loss in losses}
    for number, turn in enumerate(request.messages):
        for at, block in enumerate(turn.blocks):
            assert not isinstance(block, Opaque) or f"messages.{number}.blocks.{at}" in paths


def texts_holds_every_text_a_guard_must_see(back: Request, found: list[str]) -> None:
    for message in back.messages:
        for block in message.blocks:
            inner = block.content if isinstance(block, ToolResult) else (block,)
            for part in inner:
                text = part.args if isinstance(part, ToolUse) else getattr(part, "text", "")
                assert not text or text in found


@given(requests(opaque=()))
def test_the_dialects_own_requests_come_back_whole(request: Request) -> None:
    own = (Opaque("ollama", "keep_alive", b'"5m"'), Opaque("ollama", "options.num_ctx", b"4096"))
    first = dialect.parse_request(dialect.render_request(replace(request, extra=own), WIRE).fields)
    again = dialect.render_request(first, replace(WIRE, model=first.model))
    assert again.losses == ()
    assert canon(dialect.parse_request(again.fields)) == canon(first)
    assert set(first.extra) == set(own)
