"""What may differ between two chats that share an answer by likeness: the text of the last turn, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from penstock.core import cachekey
from penstock.core.ir import Base64, Image, Message, Request, Text, ToolResult, ToolUse
from penstock.core.ir.fold import canon
from penstock.core.likeness import split_question
from tests.core.test_cachekey import CHANGED
from tests.laws.strategies import requests

ASKED = Message("user", (Text("What is the capital of France?"),))
BEFORE = (Message("system", (Text("Be short."),)), Message("user", (Text("Hi"),)), Message("assistant", (Text("Hello."),)))
PLAIN = Request(model="m", messages=(*BEFORE, ASKED))
IMAGE = Image(Base64("image/png", "aGk="))


def scope(request: Request) -> bytes | None:
    found = split_question(request)
    return None if found is None else cachekey.digest_request(found.rest)


@given(requests(), st.text(min_size=1))
def test_other_words_in_the_last_turn_and_nothing_else_stay_in_the_scope(request: Request, words: str) -> None:
    found = split_question(request)
    assume(found is not None and words.strip())
    messages = canon(request).messages
    last = messages[-1]
    said = replace(last, blocks=tuple(replace(block, text=words) if isinstance(block, Text) else block for block in last.blocks))
    other = replace(request, messages=(*messages[:-1], said))
    again = split_question(other)
    assert again is not None and cachekey.digest_request(again.rest) == scope(request)
    assert words.strip() in again.text and scope(replace(other, messages=(*other.messages, Message("assistant", (Text("x"),))))) is None


@pytest.mark.parametrize("field", [name for name in CHANGED if name != "messages"])
def test_every_field_beside_the_text_counts(field: str) -> None:
    assert scope(replace(PLAIN, **{field: CHANGED[field]})) != scope(PLAIN)


OTHER_TURNS: dict[str, tuple[Message, ...]] = {
    "the instructions": (Message("system", (Text("Be long."),)), *BEFORE[1:], ASKED),
    "the role of the instructions": (Message("developer", (Text("Be short."),)), *BEFORE[1:], ASKED),
    "what was asked before": (BEFORE[0], Message("user", (Text("Hey"),)), BEFORE[2], ASKED),
    "what was answered before": (*BEFORE[:2], Message("assistant", (Text("Hello!"),)), ASKED),
    "a turn more before": (*BEFORE, Message("user", (Text("Hi"),)), Message("assistant", (Text("Hello."),)), ASKED),
    "a picture": (*BEFORE, replace(ASKED, blocks=(*ASKED.blocks, IMAGE))),
    "a text more": (*BEFORE, replace(ASKED, blocks=(*ASKED.blocks, Text("And of Spain?")))),
    "who is speaking": (*BEFORE, replace(ASKED, name="ann")),
    "what a tool returned": (
        *BEFORE,
        Message("assistant", (ToolUse("c1", "look", "{}"),)),
        Message("user", (ToolResult("c1", (Text("Paris"),)), *ASKED.blocks)),
    ),
}


@pytest.mark.parametrize("what", OTHER_TURNS)
def test_everything_in_the_turns_counts_but_the_words_of_the_last(what: str) -> None:
    assert scope(replace(PLAIN, messages=OTHER_TURNS[what])) not in (scope(PLAIN), None)


def test_an_agent_that_goes_on_never_meets_its_own_step_before() -> None:
    call, result = Message("assistant", (ToolUse("c1", "look", "{}"),)), Message("user", (ToolResult("c1", (Text("x"),)),))
    assert scope(replace(PLAIN, messages=(*PLAIN.messages, call, result))) is None
    longer = replace(PLAIN, messages=(*PLAIN.messages, call, replace(result, blocks=(*result.blocks, Text("Go on.")))))
    assert scope(longer) not in (scope(PLAIN), None)


NOTHING: dict[str, Any] = {
    "no turns": (),
    "instructions alone": BEFORE[:1],
    "the model's turn": BEFORE,
    "a picture alone": (Message("user", (IMAGE,)),),
    "blanks": (Message("user", (Text(" \n"),)),),
}


@pytest.mark.parametrize("what", NOTHING)
def test_what_has_no_words_at_its_end_is_not_compared(what: str) -> None:
    assert split_question(replace(PLAIN, messages=NOTHING[what])) is None


def test_the_texts_of_the_last_turn_are_compared_in_order() -> None:
    messages = (Message("user", (Text("one"), IMAGE)), Message("user", (Text("two"),)))
    found = split_question(replace(PLAIN, messages=messages))
    assert found is not None and found.text == "one\ntwo"
