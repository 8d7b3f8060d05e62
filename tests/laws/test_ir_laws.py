"""The neutral form itself: events carry a whole answer, cut turns mean what joined turns mean."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.ir import (
    Choice,
    Close,
    Delta,
    End,
    Message,
    Open,
    Request,
    Response,
    Seal,
    Start,
    Stop,
    ToolResult,
    canon,
    collect,
    explode,
    join_logprobs,
    unpack_seal,
)
from tests.laws.strategies import FAMILIES, LOGPROBS, requests, responses, seals


@given(responses(), st.integers(1, 7))
def test_collect_inverts_explode_whose_events_have_the_promised_order(response: Response, cut: int) -> None:
    events = list(explode(response, cut))
    assert collect(events) == response
    assert isinstance(events[0], Start) and isinstance(events[-1], End)
    assert sum(isinstance(event, (Start, End)) for event in events) == 2
    opened: list[int] = []
    live: int | None = None
    for event in events:
        if isinstance(event, Open):
            assert live is None and event.index == len(opened)
            opened.append(event.index)
            live = event.index
        elif isinstance(event, Delta):
            assert event.index == live
        elif isinstance(event, Close):
            assert event.index == live
            live = None
        elif isinstance(event, Stop):
            assert live is None
    assert sum(isinstance(event, Stop) for event in events) == len(response.choices)


@given(requests(), st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_canon_is_idempotent_keeps_every_block_and_does_not_see_cuts(request: Request, cuts: list[int]) -> None:
    once = canon(request)
    assert canon(once) == once
    assert [b for m in once.messages for b in m.blocks] == [b for m in request.messages for b in m.blocks]
    cut: list[Message] = []
    for number, message in enumerate(request.messages):
        at = cuts[number % len(cuts)]
        cut.append(Message(message.role, message.blocks[:at], message.name))
        cut.append(Message(message.role, message.blocks[at:], message.name))
    kept = {key: getattr(request, key) for key in Request.__struct_fields__ if key != "messages"}
    assert canon(Request(messages=tuple(cut), **kept)) == once


@given(seals, st.sampled_from(FAMILIES))
def test_a_seal_comes_back_through_any_client(seal: Seal, native: str) -> None:
    assert unpack_seal(seal.pack(native), native) == seal
    assert (seal.pack(native) == seal.data) == (seal.family == native)


def test_no_seal_is_no_seal() -> None:
    assert unpack_seal("", "anthropic") is None


@given(st.lists(st.sampled_from([part for part in LOGPROBS if part]), min_size=2, max_size=4))
def test_joined_logprobs_have_every_token_once(parts: list[bytes]) -> None:
    tokens = [token for part in parts for token in json.loads(part)["content"]]
    assert json.loads(join_logprobs(parts))["content"] == tokens


@given(requests(wild=False))
def test_the_tame_conversations_answer_every_call(request: Request) -> None:
    calls = [block.id for message in request.messages for block in message.blocks if hasattr(block, "args")]
    results = [b.id for message in request.messages for b in message.blocks if isinstance(b, ToolResult)]
    assert sorted(calls) == sorted(results)


def test_an_answer_without_blocks_still_says_why() -> None:
    response = Response(id="x", model="m", choices=(Choice((), "filter"),))
    assert collect(explode(response)) == response
