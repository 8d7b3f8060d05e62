"""The faults and extras that look different in each dialect, read as events from the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.mock import Mock, Script
from tests.mock.conftest import chat, dechunk, parse, post, talk

TWO = 'call a {"x":"first argument"} call b {"y":"second argument"}'
NAMES = ("a", "b")


async def events(
    mock: Mock, dialect: str, text: str = "one two", tools: bool = False, **step: Any
) -> list[dict[str, Any]]:
    mock.script = Script.always(**step)
    if dialect == "openai_chat":
        sent = chat(text, stream=True)
        sent["tools"] = [{"type": "function", "function": {"name": n}} for n in NAMES] if tools else []
        request = post("/v1/chat/completions", json.dumps(sent).encode())
    elif dialect == "anthropic":
        sent = {"model": "m", "max_tokens": 99, "stream": True, "messages": [{"role": "user", "content": text}]}
        sent["tools"] = [{"name": n, "input_schema": {"type": "object"}} for n in NAMES] if tools else []
        request = post("/v1/messages", json.dumps(sent).encode(), "anthropic-version: 2023-06-01")
    else:
        sent = {"model": "m", "stream": True, "input": text}
        sent["tools"] = [{"type": "function", "name": n} for n in NAMES] if tools else []
        request = post("/v1/responses", json.dumps(sent).encode())
    status, _, raw = parse(await talk(mock, request))
    assert status == 200
    lines = b"".join(dechunk(raw)[0]).split(b"\n")
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def kinds(rows: list[dict[str, Any]]) -> list[str]:
    return [row["type"] for row in rows]


async def test_messages_closings(mock: Mock) -> None:
    assert kinds(await events(mock, "anthropic", malform="missing_done"))[-1] == "message_delta"
    rows = await events(mock, "anthropic", malform="no_finish_reason")
    assert rows[-2]["type"] == "message_delta" and rows[-2]["delta"]["stop_reason"] is None
    assert kinds(await events(mock, "anthropic", malform="duplicate_finish")).count("message_delta") == 2
    assert kinds(await events(mock, "anthropic", malform="duplicate_start"))[:2] == ["message_start"] * 2
    assert "role" not in (await events(mock, "anthropic", malform="no_role"))[0]["message"]
    assert kinds(await events(mock, "anthropic", malform="pings")).count("ping") > 5
    rows = await events(mock, "anthropic", error_event_after=3, error={"message": "words"})
    assert rows[-1] == {"type": "error", "error": {"type": "overloaded_error", "message": "words"}}


async def test_responses_closings(mock: Mock) -> None:
    assert kinds(await events(mock, "openai_responses", malform="missing_done"))[-1] == "response.output_item.done"
    rows = await events(mock, "openai_responses", malform="no_finish_reason")
    assert rows[-1]["type"] == "response.completed" and rows[-1]["response"]["status"] is None
    assert kinds(await events(mock, "openai_responses", malform="duplicate_finish"))[-2:] == ["response.completed"] * 2
    assert kinds(await events(mock, "openai_responses", malform="unknown_event"))[1] == "mock.unknown"


async def test_tool_calls_in_one_piece(mock: Mock) -> None:
    rows = await events(mock, "openai_chat", TWO, True, whole_arguments=True)
    deltas = [d for row in rows for d in row["choices"][0]["delta"].get("tool_calls", [])]
    assert [(d["index"], d["function"]["arguments"]) for d in deltas] == [
        (0, '{"x":"first argument"}'),
        (1, '{"y":"second argument"}'),
    ]
    rows = await events(mock, "anthropic", TWO, True, whole_arguments=True)
    starts = [row["content_block"]["input"] for row in rows if row["type"] == "content_block_start"]
    assert starts == [{"x": "first argument"}, {"y": "second argument"}]
    assert "content_block_delta" not in kinds(rows)
    rows = await events(mock, "openai_responses", TWO, True, whole_arguments=True)
    assert "response.function_call_arguments.delta" not in kinds(rows)
    done = [row["arguments"] for row in rows if row["type"] == "response.function_call_arguments.done"]
    assert done == ['{"x":"first argument"}', '{"y":"second argument"}']


async def test_interleaved_calls(mock: Mock) -> None:
    rows = await events(mock, "openai_chat", TWO, True, interleave_calls=True)
    indexes = [d["index"] for row in rows for d in row["choices"][0]["delta"].get("tool_calls", [])]
    assert indexes[:6] == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic", "openai_responses"])
async def test_citations_extra_blocks_and_fields(mock: Mock, dialect: str) -> None:
    note = {"type": "char_location", "cited_text": "one"}
    extra = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}}
    rows = await events(mock, dialect, citations=[note], extra_blocks=[extra], answer_fields={"timings": {"n": 1}})
    text = json.dumps(rows)
    assert text.count('"cited_text": "one"') >= 1
    assert (json.dumps(extra) in text) is (dialect != "openai_chat")
    assert '"timings": {"n": 1}' in text
    if dialect == "anthropic":
        assert [r["delta"]["citation"] for r in rows if r.get("delta", {}).get("type") == "citations_delta"] == [note]
    if dialect == "openai_responses":
        assert "response.output_text.annotation.added" in kinds(rows)


async def test_reasoning_under_another_name(mock: Mock) -> None:
    rows = await events(mock, "openai_chat", reasoning="because", reasoning_field="reasoning")
    assert "".join(row["choices"][0]["delta"].get("reasoning", "") for row in rows) == "because"


@pytest.mark.parametrize("dialect", ["anthropic", "openai_responses"])
async def test_usage_can_be_absent(mock: Mock, dialect: str) -> None:
    assert '"usage": {' not in json.dumps(await events(mock, dialect, usage="absent"))
