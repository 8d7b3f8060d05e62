"""Kept responses: follow-up turns and the list of input items, as pure functions."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core import envelope
from penstock.core.dialects import openai_responses as dialect
from penstock.core.dialects.base import View
from penstock.core.dialects.openai_responses import stored
from penstock.core.errors import GatewayError
from penstock.core.ir import Choice, Message, Response, Text, ToolResult, ToolUse


def fields(**body: Any) -> dict[str, Raw]:
    return envelope.open_body(json.dumps({"model": "m", **body}).encode())


def answer(*blocks: Any) -> bytes:
    numbers = itertools.count()
    view = View(model="m", mint=lambda prefix: f"{prefix}{next(numbers)}")
    return dialect.render_response(Response(id="resp_1", model="m", choices=(Choice(blocks),)), view).body


def test_three_turns() -> None:
    first = fields(input="What is the weather?", instructions="Be brief.")
    kept = stored.stored(first, answer(Text("Let me see."), ToolUse("call_1", "f", "{}")))
    second = fields(
        input=[{"type": "function_call_output", "call_id": "call_1", "output": "18 C"}],
        previous_response_id="resp_1",
    )
    assert stored.previous_id(second) == "resp_1"
    whole = stored.expand_previous(second, kept)
    request = dialect.parse_request(whole)
    assert request.previous_id == ""
    assert request.messages == (
        Message("user", (Text("What is the weather?"),)),
        Message("assistant", (Text("Let me see."), ToolUse("call_1", "f", "{}"))),
        Message("user", (ToolResult("call_1", (Text("18 C"),)),)),
    )
    third = stored.expand_previous(
        fields(input="Thanks", previous_response_id="resp_2"), stored.stored(whole, answer(Text("18 degrees.")))
    )
    assert [message.role for message in dialect.parse_request(third).messages] == [
        *("user", "assistant", "user", "assistant", "user")
    ]


def test_references_to_kept_items_are_the_items_themselves() -> None:
    kept = stored.stored(fields(input="hi"), answer(Text("Hello")))
    id = json.loads(bytes(kept[1]))["id"]
    again = [{"type": "item_reference", "id": id}, {"id": id}, {"type": "item_reference", "id": "msg_else"}]
    whole = stored.expand_previous(fields(input=[*again, {"role": "user", "content": "x"}]), kept)
    assert [item.get("id") for item in json.loads(bytes(whole["input"]))] == [None, id, "msg_else", None]


def test_what_is_kept() -> None:
    assert stored.keeps(fields(input="x")) and stored.keeps(fields(input="x", store=True))
    assert not stored.keeps(fields(input="x", store=False))
    with pytest.raises(GatewayError):
        stored.keeps(fields(input="x", store="no"))


def test_a_bad_previous_id_is_named() -> None:
    with pytest.raises(GatewayError) as caught:
        stored.previous_id(fields(input="x", previous_response_id=5))
    assert caught.value.param == "previous_response_id"


def listed(count: int) -> list[Raw]:
    items = [{"type": "message", "role": "user", "content": f"text {n}", "id": f"msg_{n}"} for n in range(count)]
    return [Raw(json.dumps(item).encode()) for item in items]


def page(items: list[Raw], **query: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stored.input_items_page(items, query))
    return found


def test_a_page_is_newest_first_and_twenty_long() -> None:
    found = page(listed(30))
    assert [item["id"] for item in found["data"]] == [f"msg_{n}" for n in range(29, 9, -1)]
    assert (found["object"], found["first_id"], found["last_id"], found["has_more"]) == (
        "list",
        "msg_29",
        "msg_10",
        True,
    )


@given(st.integers(0, 12), st.integers(1, 5), st.sampled_from(["asc", "desc"]))
def test_pages_put_together_are_all_items(count: int, limit: int, order: str) -> None:
    items = listed(count)
    found: list[str] = []
    query = {"limit": str(limit), "order": order}
    while True:
        one = page(items, **query)
        found += [item["id"] for item in one["data"]]
        if not one["has_more"]:
            break
        query["after"] = one["last_id"]
    expected = [f"msg_{n}" for n in range(count)]
    assert found == (expected if order == "asc" else expected[::-1])


@pytest.mark.parametrize(
    ("query", "param"),
    [({"limit": "0"}, "limit"), ({"limit": "x"}, "limit"), ({"order": "up"}, "order"), ({"after": "?"}, "after")],
)
def test_bad_queries_are_named(query: dict[str, str], param: str) -> None:
    with pytest.raises(GatewayError) as caught:
        stored.input_items_page(listed(2), query)
    assert caught.value.param == param


def test_listed_items_have_ids_and_parts() -> None:
    items = stored.input_items(fields(input="hi"))
    items += stored.input_items(
        fields(
            input=[
                {"role": "assistant", "content": "yes"},
                {"type": "function_call_output", "call_id": "c", "output": "1"},
                {"type": "item_reference", "id": "x"},
            ]
        )
    )
    numbers = itertools.count()
    found = [json.loads(bytes(raw)) for raw in stored.with_ids(items, lambda prefix: f"{prefix}{next(numbers)}")]
    assert [item["id"] for item in found] == ["msg_0", "msg_1", "fco_2", "x"]
    assert found[0]["content"] == [{"type": "input_text", "text": "hi"}]
    assert found[1]["content"] == [{"type": "output_text", "text": "yes"}]
    output = {"type": "function_call_output", "status": "completed", "call_id": "c", "output": "1"}
    assert found[2] == {"id": "fco_2", **output}


def test_texts_are_what_people_and_models_wrote() -> None:
    body = fields(
        instructions="sys",
        input=[
            {
                "role": "user",
                "content": [{"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": "u"}],
            },
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "s"}], "encrypted_content": "e"},
            {"type": "function_call", "call_id": "c", "name": "n", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "c", "output": "o"},
            {"type": "custom_tool_call", "call_id": "d", "name": "n", "input": "free"},
            {"type": "local_shell_call", "action": {"type": "exec", "command": ["rm", "-rf"]}},
            {"type": "image_generation_call", "id": "ig", "result": "iVBORw0KGgo="},
        ],
        metadata={"no": "no"},
    )
    found = list(dialect.texts(body))
    assert [text for text in found if text not in ("exec",)] == ["sys", "t", "s", '{"a":1}', "o", "free", "rm", "-rf"]
