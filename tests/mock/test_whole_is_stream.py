"""The law that makes the mock usable as a reference: a streamed answer, put together, is the whole answer."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.mock import Mock, Script, Step

SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"]}
STEPS = st.builds(
    Step,
    text=st.none() | st.text(max_size=30),
    refusal=st.none() | st.text(min_size=1, max_size=9),
    reasoning=st.none() | st.booleans() | st.text(min_size=1, max_size=20),
    redacted=st.booleans(),
    chunk_size=st.none() | st.integers(1, 8),
    finish_reason=st.none(),
    whole_arguments=st.none() | st.booleans(),
    interleave_calls=st.none() | st.booleans(),
    citations=st.none() | st.just(({"type": "char_location", "cited_text": "q"},)),
    usage=st.none() | st.just({"input_tokens": 7}),
)
WORDS = st.sampled_from(["hi", 'call f {"x":"one"} then call g {"x":"two"}', "a\u2028b \u00e9\U0001f600", "stop here"])


def ask(step: Step, path: bytes, body: dict[str, Any]) -> Any:
    """The whole answer as JSON, or the events of the stream: (name, data)."""
    mock = Mock(Script(seed=3, default=step), keep=0)
    raw = json.dumps({**body, "model": "m"}).encode()
    _, reply = mock.respond(mock.record("POST", path, [("anthropic-version", "x")], raw, 1), len(raw))
    assert reply.status == 200, reply.body
    if reply.frames is None:
        return msgspec.json.decode(reply.body)
    return [msgspec.json.decode(msgspec.json.encode(f.data)) for f in reply.frames if not isinstance(f.data, bytes)]


def both(step: Step, path: bytes, body: dict[str, Any]) -> tuple[Any, list[Any]]:
    return ask(step, path, body), ask(step, path, {**body, "stream": True})


@given(STEPS, WORDS)
@settings(max_examples=60, deadline=None)
def test_responses(step: Step, text: str) -> None:
    tools = [{"type": "function", "name": name, "parameters": SCHEMA} for name in "fg"]
    fields = {"input": text, "tools": tools, "reasoning": {"effort": "low", "summary": "auto"}}
    whole, events = both(step, b"/v1/responses", fields)
    assert events[-1]["response"] == whole
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == whole["output"]
    for index, item in enumerate(done):
        pieces = [e.get("delta", "") for e in events if e.get("output_index") == index and "delta" in e]
        spoken = item.get("arguments") or "".join(
            part.get("text") or part.get("refusal") or "" for part in item.get("content") or item.get("summary") or []
        )
        assert "".join(pieces) == ("" if step.whole_arguments and item["type"] == "function_call" else spoken)


@given(STEPS, WORDS, st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_chat(step: Step, text: str, n: int) -> None:
    tools = [{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in "fg"]
    body = {"messages": [{"role": "user", "content": text}], "tools": tools, "n": n, "reasoning_effort": "low"}
    whole, events = both(step, b"/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
    assert events[-1]["usage"] == whole["usage"] and events[-1]["choices"] == []
    for choice in whole["choices"]:
        message = {"content": "", "refusal": "", "reasoning_content": "", "calls": {}}
        finish = None
        for event in events[:-1]:
            for part in event["choices"]:
                if part["index"] != choice["index"]:
                    continue
                delta, finish = part["delta"], part["finish_reason"] or finish
                for name in ("content", "refusal", "reasoning_content"):
                    message[name] += delta.get(name) or ""
                for call in delta.get("tool_calls", []):
                    built = message["calls"].setdefault(call["index"], {"id": call.get("id"), "text": ""})
                    built["text"] += call["function"]["arguments"]
        real = choice["message"]
        assert finish == choice["finish_reason"]
        for name in ("content", "refusal", "reasoning_content"):
            assert message[name] == (real.get(name) or "")
        assert [c["text"] for c in message["calls"].values()] == [
            c["function"]["arguments"] for c in real.get("tool_calls", [])
        ]


@given(STEPS, WORDS)
@settings(max_examples=60, deadline=None)
def test_messages(step: Step, text: str) -> None:
    tools = [{"name": name, "input_schema": SCHEMA} for name in "fg"]
    body = {"messages": [{"role": "user", "content": text}], "tools": tools, "max_tokens": 9000}
    body["thinking"] = {"type": "adaptive"}
    whole, events = both(step, b"/v1/messages", body)
    built: list[Any] = []
    arguments = ""
    for event in events:
        if event["type"] == "content_block_start":
            built.append(event["content_block"])
            arguments = ""
        elif event["type"] == "content_block_delta":
            delta = {k: v for k, v in event["delta"].items() if k != "type"}
            arguments += delta.pop("partial_json", "")
            if "citation" in delta:
                built[-1]["citations"].append(delta.pop("citation"))
            for name, value in delta.items():
                built[-1][name] = built[-1].get(name, "") + value
        elif event["type"] == "content_block_stop" and arguments:
            built[-1]["input"] = json.loads(arguments)
    assert built == whole["content"]
    ending = next(event for event in events if event["type"] == "message_delta")
    assert ending["delta"]["stop_reason"] == whole["stop_reason"]
    assert ending["usage"].items() <= whole["usage"].items()
    start = events[0]["message"]
    assert (start["id"], start["model"], start["role"]) == (whole["id"], whole["model"], whole["role"])
