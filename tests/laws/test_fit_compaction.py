"""The laws of compactions: whatever is answered becomes one item or an error, whole as streamed, and comes back as words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw
from msgspec.structs import replace

from penstock.core.dialects import DIALECTS
from penstock.core.dialects.base import Wire
from penstock.core.dialects.openai_responses.compaction import MARK, show_summaries, write_item
from penstock.core.errors import GatewayError
from penstock.core.fit import Takes, fit, limits_of
from penstock.core.fit.compaction import Compacted
from penstock.core.fit.undo import chain
from penstock.core.ir import Event, Message, Opaque, Request, Response, Text, collect, explode
from penstock.core.models import facts
from tests.laws.strategies import conversations, full_text, responses, tools

OWN = "openai_responses"
TAKES = {
    name: Takes(dialect=name, wire=Wire(model="m"), model=facts("m"), limits=limits_of(name))
    for name in DIALECTS
    if name != OWN
}
TRIGGER = Message("user", (Opaque(OWN, "compaction_trigger", b'{"type":"compaction_trigger"}'),))
asked = st.builds(
    lambda turns, offered: Request(model="m", dialect=OWN, messages=(*turns, TRIGGER), tools=tuple(offered)),
    conversations(),
    st.lists(tools, max_size=2, unique_by=lambda tool: tool.name),
)


def told(response: Response, size: int) -> Response:
    filter_ = Compacted().filter()
    events: list[Event] = []
    for event in explode(response, size):
        events.extend(filter_.feed(event))
    return collect(events)


@given(responses(most=1), st.integers(1, 9))
def test_any_answer_is_one_item_or_an_error(response: Response, size: int) -> None:
    said = "".join(block.text for block in response.choices[0].blocks if isinstance(block, Text))
    if not said.strip():
        for way in (lambda: Compacted().response(response), lambda: told(response, size)):
            with pytest.raises(GatewayError) as caught:
                way()
            assert caught.value.kind == "broken_answer"
        return
    whole = Compacted().response(response).choices[0]
    (item,) = whole.blocks
    assert isinstance(item, Opaque) and item.kind == "compaction"
    assert told(response, size).choices[0] == whole
    # The client keeps the item, and its next request has the summary as a user's words.
    body = {"model": "m", "input": [json.loads(item.raw), {"role": "user", "content": "on"}]}
    request = DIALECTS[OWN].parse_request({key: Raw(json.dumps(value).encode()) for key, value in body.items()})
    (block,) = request.messages[0].blocks
    assert request.messages[0].role == "user" and isinstance(block, Text) and block.text.endswith(said)
    assert MARK in item.raw


@given(asked)
def test_a_question_for_a_compaction_is_one_for_a_summary(request: Request) -> None:
    for takes in TAKES.values():
        fitted = fit(request, takes)
        undo = chain(fitted.undo)
        assert undo is not None
        last = fitted.request.messages[-1]
        assert last.role == "user" and isinstance(last.blocks[0], Text) and "summary" in last.blocks[0].text
        left = [block for turn in fitted.request.messages for block in turn.blocks if isinstance(block, Opaque)]
        assert not any(block.kind == "compaction_trigger" for block in left)
        choice = fitted.request.tool_choice
        assert choice is None if not request.tools else choice is not None and choice.mode == "none"
        assert fit(fitted.request, takes).request == fitted.request


@given(asked, st.sampled_from(["compaction", "compaction_summary", "context_compaction"]), st.integers(0, 9))
def test_an_item_that_only_its_vendor_reads_is_never_left_out(request: Request, kind: str, place: int) -> None:
    item = Opaque(OWN, kind, json.dumps({"type": kind, "encrypted_content": "gAAA"}).encode())
    at = min(place, len(request.messages) - 1)
    turns = (*request.messages[:at], Message("assistant", (item,)), *request.messages[at:])
    for takes in TAKES.values():
        with pytest.raises(GatewayError) as caught:
            fit(replace(request, messages=turns), takes)
        assert caught.value.status == 400 and kind in caught.value.message


@given(full_text)
def test_a_summary_is_shown_to_servers_that_cannot_read_the_item(summary: str) -> None:
    other = {"type": "compaction", "encrypted_content": "gAAA"}
    body = [write_item(summary), other, {"role": "user", "content": MARK.decode()}]
    fields = {"model": Raw(b'"m"'), "input": Raw(json.dumps(body).encode())}
    shown = json.loads(bytes(show_summaries(fields)["input"]))
    assert [item.get("type") for item in shown] == ["message", "compaction", None]
    assert shown[0]["content"][0]["text"].endswith(summary) and shown[1:] == body[1:]
