"""Whatever JSON comes, the mock answers 200 or a 4xx of the path's dialect; nothing crashes, also not in a stream."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.mock import Mock, Script

LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "user", "assistant", "tool", "text", "x"])
ANY = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "content", "type", "name", "text", "id", "function"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
NAMES = (
    "messages", "input", "tools", "tool_choice", "stream", "stop", "stop_sequences", "n", "max_tokens",
    "response_format",
    "text", "system", "thinking", "output_config", "reasoning", "reasoning_effort", "include", "instructions",
    "stream_options", "logprobs", "top_logprobs", "cache_control", "previous_response_id", "store", "background",
)  # fmt: skip
BODIES = st.dictionaries(st.sampled_from(NAMES), ANY, max_size=5)
GOOD: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "input": "hi", "max_tokens": 50, "model": "m"}
PATHS = (b"/v1/chat/completions", b"/v1/messages", b"/v1/responses", b"/v1/messages/count_tokens")
HEADERS = [("anthropic-version", "2023-06-01"), ("anthropic-beta", "x")]


@given(BODIES, st.sampled_from(PATHS), st.booleans())
@settings(max_examples=250, deadline=None)
def test_any_body_gets_an_answer(odd: dict[str, Any], path: bytes, sound: bool) -> None:
    mock = Mock(Script(unknown_fields="accept"), keep=0)
    body = json.dumps({**(GOOD if sound else {}), **odd}).encode()
    received = mock.record("POST", path, HEADERS, body, 1)
    _, reply = mock.respond(received, len(body))
    assert 200 <= reply.status < 500
    if reply.frames is not None:
        assert len(list(reply.frames)) > 2
        return
    made = msgspec.json.decode(reply.body)
    assert ("error" in made) is (reply.status >= 400) or made.get("error") is None
    if reply.status >= 400:
        assert isinstance(made["error"]["message"], str) and made["error"]["message"]


@given(st.binary(max_size=40), st.sampled_from(PATHS))
@settings(max_examples=60, deadline=None)
def test_any_bytes_get_an_answer(body: bytes, path: bytes) -> None:
    mock = Mock(keep=0)
    _, reply = mock.respond(mock.record("POST", path, HEADERS, body, 1), len(body))
    assert 400 <= reply.status < 500
