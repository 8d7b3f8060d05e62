"""Answers of every target for every client, nine pairs, streamed and whole.

One drawn answer goes through all pairs, because making it costs more than checking it. ``r`` is told as target B's
stream, read, told as client A's stream, and read again; beside it goes the same answer whole. The strict validators
read both streams too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given, note
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import sse
from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Dialect, View
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Choice,
    Event,
    Loss,
    Opaque,
    Refusal,
    Response,
    Seal,
    Stop,
    Text,
    Thinking,
    ToolUse,
    collect,
    explode,
)
from tests.laws import anthropic_views, chat_views, responses_views
from tests.laws.strategies import chop, cuts, responses, run_decoder, run_encoder
from tests.laws.streams import interleave
from tests.laws.validators import VALIDATORS, broken

THREE = {name: DIALECTS[name] for name in VALIDATORS}


def minted(prefix: str) -> str:
    return f"{prefix}new"


UPSTREAM = View(model="upstream", mint=minted, now=7)
CLIENT = View(model="asked", mint=minted, now=7)


def carried(client: Dialect, response: Response, streamed: bool) -> Response:
    """``response`` as a client of this dialect gets it: the written loss functions, one per dialect."""
    if client.name == "anthropic":
        return anthropic_views.as_answer(response, streamed)
    if client.name == "openai_responses":
        view = responses_views.plain(responses_views.as_answer(response))
        return replace(view, created=view.created or 7)
    view = chat_views.as_stream(response) if streamed else chat_views.as_whole(response)
    name = view.id if view.id.startswith("chatcmpl-") else f"chatcmpl-{view.id or 'new'}"
    return replace(view, model="asked", created=view.created or 7, id=name, extra=())


def shown(client: Dialect, response: Response) -> Response:
    """What was read, in the form that ``carried`` has."""
    if client.name == "anthropic":
        return anthropic_views.plain(response)
    return responses_views.plain(response) if client.name == "openai_responses" else replace(response, extra=())


# The laws -------------------------------------------------------------------------------------------------------------


@given(responses())
def test_whole_answers_reach_every_client(response: Response) -> None:
    for target in THREE.values():
        answer = target.parse_response(target.render_response(response, UPSTREAM).body)
        for client in THREE.values():
            note(f"{target.name} -> {client.name}")
            rendered = client.render_response(answer, CLIENT)
            back = client.parse_response(rendered.body)
            assert shown(client, back) == carried(client, answer, streamed=False)
            assert paths(rendered.losses) == losses_of(client, answer, streamed=False)
            assert b"upstream" not in rendered.body


def sealed_twice(first: str, second: str) -> Response:
    """A text without a word that two seals of another family stand behind."""
    seals = [Thinking("", Seal("gemini", data)) for data in (first, second)]
    return Response(id="msg_1", model="m", choices=(Choice((Text(""), *seals), "stop"),))


def two_choices() -> Response:
    """A custom call behind a function's, and another choice that comes between them in a stream."""
    calls = ToolUse("call_0_1", "get_weather", ""), ToolUse("call_0_0", "get_weather", "", "custom")
    return Response(id="msg_1", model="m", choices=(Choice(calls, "stop"), Choice((ToolUse("call_1_0", "w", ""),), "stop")))


@given(responses(), cuts, cuts, st.integers(1, 9))
@example(two_choices(), [], [], 1)
@example(sealed_twice("one+/=.XYZ01", "one+/=.XYZ01"), [], [], 1)
@example(sealed_twice("one+/=.XYZ01", "two+/=.XYZ02"), [], [], 1)
def test_streams_reach_every_client(response: Response, first: list[int], second: list[int], cut: int) -> None:
    for target in THREE.values():
        sent = run_encoder(target.encoder(UPSTREAM), explode(response, cut))
        VALIDATORS[target.name](sent, "upstream")
        events = run_decoder(target.decoder(), chop(sent, first))
        answer = collect(events)
        whole = target.parse_response(target.render_response(response, UPSTREAM).body)
        for client in THREE.values():
            note(f"{target.name} -> {client.name}")
            encoder = client.encoder(CLIENT)
            told = run_encoder(encoder, events)
            VALIDATORS[client.name](told, "asked")
            back = collect(run_decoder(client.decoder(), chop(told, second)))
            assert shown(client, back) == carried(client, answer, streamed=True)
            assert paths(encoder.losses) == losses_of(client, answer, streamed=True)
            assert b"upstream" not in told
            beside = client.parse_response(client.render_response(whole, CLIENT).body)
            assert gist(client, back) == gist(client, beside), "streamed and whole tell the same"


def gist(client: Dialect, response: Response) -> list[Any]:
    """What an answer says, whatever the order of its parts: a whole Chat answer has one text, one refusal and one
    list of calls, so across it the places of texts between calls are lost, and nothing else is."""
    out: list[Any] = [response.id, response.model, response.usage, response.service_tier, response.created]
    for choice in response.choices:
        spoken: dict[type, str] = {Text: "", Refusal: "", Thinking: ""}
        for block in choice.blocks:
            if isinstance(block, (Text, Refusal, Thinking)):
                spoken[type(block)] += block.text
        if client.name == "anthropic":  # refusals are texts there: their place among these is what a whole Chat loses
            spoken[Text] = "".join(sorted(spoken[Text]))
        calls = [(b.id, b.name, b.kind, b.args, b.seal) for b in choice.blocks if isinstance(b, ToolUse)]
        seals = sorted(repr(b.seal) for b in choice.blocks if isinstance(b, Thinking) and b.seal)
        cited = Counter(c.url for b in choice.blocks if isinstance(b, Text) for c in b.citations)
        foreign = [(b.dialect, b.kind) for b in choice.blocks if isinstance(b, Opaque)]
        logs = json.loads(choice.logprobs or b"{}").get("content") or []
        out.append((spoken, calls, seals, cited, foreign, choice.finish, choice.stop_sequence, logs))
    return out


# What of an answer is reported, written down per client ---------------------------------------------------------------


def paths(losses: Iterable[Loss]) -> set[str]:
    return {loss.path for loss in losses}


def losses_of(client: Dialect, response: Response, streamed: bool) -> set[str]:
    """The paths of everything in an answer that a client of this dialect does not get."""
    out: set[str] = set()
    if not streamed:
        out |= {f"extra.{opaque.kind}" for opaque in response.extra if opaque.dialect != client.name}
    one = client.name != "openai_chat"
    for number, choice in enumerate(response.choices):
        if one and number:
            out.add(f"choices.{number}")
            continue
        for place, block in enumerate(choice.blocks):
            out |= {f"choices.{number}.blocks.{place}{end}" for end in _lost(client, block, streamed)}
        out |= {f"choices.{number}.{end}" for end in _untold(client, choice)}
    return out


def _lost(client: Dialect, block: Any, streamed: bool) -> set[str]:
    messages = client.name == "anthropic"
    if isinstance(block, Opaque):
        return set() if block.dialect == client.name else {""}
    if isinstance(block, ToolUse):
        custom = block.kind == "custom"
        sealed = {".seal"} if block.seal is not None and client.name == "openai_chat" and custom else set()
        return sealed | ({".kind"} if messages and custom else set())
    if isinstance(block, Refusal):
        return {".refusal"} if messages and block.text else set()
    if isinstance(block, Thinking):
        return {""} if messages and block.redacted and block.seal is None else set()
    out: set[str] = set()
    for number, cited in enumerate(block.citations):
        own = cited.opaque is not None and cited.opaque.dialect == client.name
        if own:
            continue
        if not cited.url:
            out.add(f".citations.{number}" if messages else ".citations")
        elif messages and cited.opaque is None and cited.start >= 0:
            out.add(f".citations.{number}.start")
    return out


def _untold(client: Dialect, choice: Choice) -> set[str]:
    ended = {"stop_sequence"} if choice.stop_sequence else set()
    if client.name == "anthropic":
        return ({"logprobs"} if choice.logprobs else set()) | (ended if choice.finish != "stop" else set())
    if client.name == "openai_chat":
        return set()
    said = any(isinstance(b, Text) and (b.text or b.citations) for b in choice.blocks)
    logs = json.loads(choice.logprobs or b"{}").get("content")
    return ({"logprobs"} if logs and not said else set()) | ended


# Ends, errors, keep-alives --------------------------------------------------------------------------------------------

ERRORS = st.sampled_from(
    [
        GatewayError("broken_stream", "it ended early"),
        GatewayError("upstream_overloaded", 'say "later"\u2028'),
        GatewayError("upstream_rate_limit", "slow down"),
    ]
)


@given(responses(), st.integers(0, 10_000), ERRORS)
def test_an_error_at_any_point_is_told_and_never_a_success(response: Response, at: int, error: GatewayError) -> None:
    for target in THREE.values():
        sent = run_encoder(target.encoder(UPSTREAM), explode(response))
        events = run_decoder(target.decoder(), [sent])
        unfinished = next(place for place, event in enumerate(events) if isinstance(event, Stop))
        for client in THREE.values():
            note(f"{target.name} -> {client.name}")
            encoder = client.encoder(CLIENT)
            told = run_encoder(encoder, events[: at % (unfinished + 1)]) + encoder.fail(error)
            broken(client.name, told, "asked")
            with pytest.raises(GatewayError) as caught:
                run_decoder(client.decoder(), [told])
            assert error.message in caught.value.message or caught.value.message in error.message


@given(responses(), st.integers(1, 10_000))
def test_a_stream_that_breaks_off_is_never_an_answer(response: Response, at: int) -> None:
    """Cut in the middle, with or without the other dialects' end mark behind it."""
    for target in THREE.values():
        note(target.name)
        sent = run_encoder(target.encoder(UPSTREAM), explode(response))
        events = sent.split(b"\n\n")
        # All that follows the last block is a finish, a status or an end mark: the cut is before these.
        last = next(n for n, event in enumerate(events) if _ends(event))
        cut = b"\n\n".join(events[: at % last] if last else []) + b"\n\n"
        for end in (b"", sse.DONE):
            with pytest.raises(GatewayError) as caught:
                run_decoder(target.decoder(), [cut, end])
            assert caught.value.kind == "broken_stream"


def _ends(event: bytes) -> bool:
    marks = (b'"finish_reason":"', b"event: message_delta", b"event: response.completed", b"event: response.incomplete")
    return any(mark in event for mark in marks)


@given(responses(), st.lists(st.integers(0, 60), max_size=6), st.lists(st.integers(0, 60), max_size=6))
def test_a_ping_anywhere_is_harmless(response: Response, up: list[int], down: list[int]) -> None:
    for target in THREE.values():
        sent = run_encoder(target.encoder(UPSTREAM), explode(response))
        events = run_decoder(target.decoder(), [sent])
        ping = target.encoder(UPSTREAM).ping()
        pieces = sent.split(b"\n\n")
        for place in up:
            pieces.insert(place % len(pieces), ping[:-2])
        assert run_decoder(target.decoder(), [b"\n\n".join(pieces)]) == events
        encoder = target.encoder(CLIENT)
        told = [encoder.feed(event) for event in events]
        for place in down:
            told.insert(place % (len(told) + 1), encoder.ping())
        quiet = [piece for piece in told if piece != encoder.ping()]
        assert run_decoder(target.decoder(), [b"".join(told)]) == run_decoder(target.decoder(), [b"".join(quiet)])
        if told:
            VALIDATORS[target.name](b"".join(told), "asked")


@given(responses(most=1), st.lists(st.integers(0, 7), max_size=40))
def test_blocks_that_come_in_turns_never_mix(response: Response, picks: list[int]) -> None:
    """Chat's calls may come in turns; the other two have one open block at a time."""
    mixed = interleave(list(explode(response, 3)), picks)
    for client in THREE.values():
        note(client.name)
        told = run_encoder(client.encoder(CLIENT), mixed)
        VALIDATORS[client.name](told, "asked")
        assert _bag(collect(run_decoder(client.decoder(), [told]))) == _bag(carried(client, response, streamed=True))


def _bag(response: Response) -> list[str]:
    blocks = [block for choice in response.choices for block in choice.blocks]
    calls = [repr(b) for b in blocks if isinstance(b, ToolUse)]
    texts = "".join(b.text for b in blocks if isinstance(b, (Text, Refusal)))
    return sorted(calls) + ["".join(sorted(texts))]


def test_every_pair_is_there() -> None:
    assert list(THREE) == ["anthropic", "openai_responses", "openai_chat"] and set(VALIDATORS) == set(THREE)
    assert all(isinstance(event, Event) for event in explode(Response(id="x", model="m", choices=(Choice(()),))))
