"""A bare text in an object and out of it: ``unwrap(wrap(x)) == x``, whole and streamed, whatever the cut."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from penstock.core.dialects.wrapped import Unwrapper, choice, unwrap, unwrap_response, wrap
from penstock.core.ir import Choice, Response, Text, ToolUse, collect, explode

TEXTS = st.text(st.one_of(st.sampled_from('"\\{}:\n value'), st.characters(codec="utf-8")))


@given(TEXTS)
def test_what_was_wrapped_comes_out_again(text):
    assert unwrap(wrap(text)) == text
    assert unwrap(json.dumps({"value": text}, indent=2)) == text


@given(TEXTS)
def test_what_is_no_such_object_is_left_alone(text):
    for given_ in (text, '{"other": 1}', '{"value": 5}', '{"value": "cut o', "I would rather not."):
        if not given_.lstrip().startswith('{"value": "') and not given_.lstrip().startswith("{"):
            assert unwrap(given_) == given_
    assert unwrap('{"value": "cut o') == '{"value": "cut o'


def test_quotes_that_an_engine_let_through_are_kept():
    assert unwrap('{"value": "say "hi"\n"}') == 'say "hi"\n'


@given(st.lists(TEXTS, min_size=1, max_size=3), st.integers(1, 7))
def test_a_stream_tells_the_same_as_the_whole(texts, size):
    call = ToolUse("call_1", "f", '{"value": "x"}')
    choices = tuple(Choice((Text(wrap(text)), call), "tool_use") for text in texts)
    whole = Response(id="r", model="m", choices=choices)
    unwrapper = Unwrapper()
    told = collect(step for event in explode(whole, size) for step in unwrapper.feed(event))
    assert told.choices == unwrap_response(whole).choices
    assert [c.blocks[0].text for c in told.choices if c.blocks[0] != call] == [t for t in texts if t] or "" in texts
    assert all(c.blocks[-1] == call for c in told.choices), "arguments are nobody's to unwrap"


@given(st.lists(TEXTS, min_size=1, max_size=5, unique=True))
def test_the_schema_has_exactly_the_choices(choices):
    schema = json.loads(choice(tuple(choices)).schema)
    assert schema["properties"]["value"]["enum"] == choices
    assert schema["required"] == ["value"] and schema["additionalProperties"] is False
