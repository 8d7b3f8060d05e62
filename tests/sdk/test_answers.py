"""Answers as objects: attributes and keys are one, whatever the JSON is."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.sdk.answers import Answer, Fields, Message, ModelResponse, ModelResponseStream

NAMES = st.text("abcdefgh", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**50), 2**50) | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_an_answer_says_what_its_json_says(body: dict[str, Any]) -> None:
    answer = Answer(copy.deepcopy(body))
    assert answer == body and answer.model_dump() == body and json.loads(answer.model_dump_json()) == body
    assert json.loads(json.dumps(answer)) == body
    for name, value in body.items():
        assert getattr(answer, name) == answer[name] == value
        assert not isinstance(value, dict) or isinstance(answer[name], Fields)
    assert type(answer.model_dump()) is dict and not _holds_ours(answer.model_dump())
    for again in (copy.deepcopy(answer), pickle.loads(pickle.dumps(answer))):
        assert type(again) is Answer and again == answer and again is not answer


def _holds_ours(value: Any) -> bool:
    if isinstance(value, Fields):
        return True
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_holds_ours(one) for one in inner)


def test_what_an_answer_may_have_reads_as_none_and_nothing_else_does() -> None:
    answer = ModelResponse({"choices": [{"message": {"content": "x"}}]})
    message = answer.choices[0].message
    assert isinstance(message, Message)
    assert message.tool_calls is None and message.role == "assistant" and answer.usage is None
    assert "tool_calls" not in message and message.get("tool_calls") is None
    with pytest.raises(AttributeError, match="Message has no field 'tool_call'"):
        _ = message.tool_call
    assert not hasattr(answer, "__fspath__")


def test_fields_may_be_set_and_taken_away() -> None:
    answer = ModelResponse({"id": "a"})
    answer.id = "b"
    answer["model"] = "m"
    answer._hidden_params = {"response_cost": 1.0}
    assert (answer["id"], answer.model) == ("b", "m") and "_hidden_params" not in answer.model_dump()
    assert pickle.loads(pickle.dumps(answer))._hidden_params == {"response_cost": 1.0}
    del answer.id
    assert answer.id is None and "id" not in answer


def test_a_dump_leaves_out_what_it_is_told_to() -> None:
    answer = ModelResponse({"id": "a", "usage": {"x": None, "y": 1}, "model": None})
    assert answer.model_dump(exclude_none=True) == {"id": "a", "usage": {"y": 1}}
    assert answer.model_dump(exclude={"usage"}) == {"id": "a", "model": None}
    assert answer.json() == answer.dict() == answer.model_dump()
    assert answer.model_dump_json(indent=2).startswith('{\n  "id"')


def test_a_chunk_without_text_reads_as_nothing_and_says_so_in_its_json() -> None:
    chunk = ModelResponseStream({"choices": [{"index": 0, "delta": {"content": None}}, {"index": 1}]})
    assert [choice.delta.content for choice in chunk.choices] == ["", ""]
    assert chunk.choices[0].delta["content"] is None
    assert chunk.choices[0].finish_reason is None


def test_two_answers_share_nothing() -> None:
    first, second = ModelResponse(), ModelResponse()
    first._hidden_params["a"] = 1
    assert second._hidden_params == {}
