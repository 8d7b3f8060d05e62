"""The mocks of Cohere's API and of text-embeddings-inference: they refuse what the real ones refuse, and whatever JSON
comes they answer 200 or a 4xx."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from penstock.core.dialects import cohere as dialect
from penstock.core.ir import collect
from penstock.core.sse import encode as sse_event
from penstock.mock import Mock, Script, Step
from tests.laws.strategies import run_decoder

LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "user", "model", "text", "f", "REQUIRED"])
KEYS = "role content text type image_url url tool_calls tool_call_id function name arguments parameters".split()
ANY = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
FIELDS = (
    "messages tools tool_choice response_format thinking p k stop_sequences documents texts inputs input_type "
    "embedding_types query truncate"
).split()
USER: Any = {"role": "user", "content": "go"}
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}}
TOOL: Any = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}
CALL: Any = {"id": "f_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
SAID: Any = {"role": "assistant", "tool_plan": "So.", "tool_calls": [CALL]}
RESULT: Any = {"role": "tool", "tool_call_id": "f_1", "content": "done"}


def asked(body: Any, path: str = "/v2/chat", **script: Any) -> Any:
    mock = Mock(Script(**script), keep=0)
    raw = json.dumps(body).encode()
    _, reply = mock.respond(mock.record("POST", path.encode(), [], raw, 1), len(raw))
    return reply


@given(
    st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4),
    st.sampled_from(["/v2/chat", "/v2/embed", "/v2/rerank", "/embed", "/rerank"]),
    st.booleans(),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_body_gets_an_answer(odd: dict[str, Any], path: str, sound: bool, stream: bool) -> None:
    body = {"model": "m", "stream": stream, **({"messages": [USER]} if sound else {}), **odd}
    reply = asked(body, path, unknown_fields="accept")
    assert 200 <= reply.status < 500
    if reply.frames is not None:
        assert [frame.data["type"] for frame in reply.frames][-1] == "message-end"
    elif reply.status >= 400:
        told = msgspec.json.decode(reply.body)
        assert "message" in told or "error" in told


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": []}, "messages must not be empty"),
        ({"nonsense": 1}, "parameter 'nonsense' is not a valid field"),
        ({"top_p": 0.5}, "parameter 'top_p' is not a valid field"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "must be one of system, user"),
        ({"messages": [{"role": "user", "content": ""}]}, "at least 1 token long"),
        ({"messages": [{"role": "user", "content": "x", "name": "ann"}]}, "messages[0].name"),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "is not supported in a message of role user"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}, "last message"),
        ({"messages": [USER, SAID, USER]}, "found in no tool message"),
        ({"messages": [USER, RESULT]}, "is of no call before it"),
        ({"tool_choice": "auto", "tools": [TOOL]}, "REQUIRED or NONE"),
        ({"tool_choice": "NONE"}, "goes with tools"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "parameters of type object"),
        ({"tools": [TOOL], "strict_tools": True}, "at least one parameter must be required"),
        ({"tools": [TOOL], "response_format": {"type": "json_object"}}, "not supported with RAG"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "must be text or json_object"),
        ({"response_format": {"type": "json_object", "json_schema": {"type": "array"}}}, "of type object"),
        ({"p": 1}, "between 0.01 and 0.99"),
        ({"k": 501}, "between 0 and 500"),
        ({"frequency_penalty": -1}, "between 0 and 1"),
        ({"stop_sequences": list("abcdef")}, "at most 5"),
        ({"max_tokens": -1}, "whole number"),
        ({"thinking": {"type": "adaptive"}}, "enabled or disabled"),
        ({"model": "command-r-08-2024", "thinking": {"type": "enabled"}}, "thinking is not supported"),
        ({"model": "missing/x"}, "not found"),
        ({"model": None}, "model is required"),
    ],
)
def test_refusals(fields: dict[str, Any], words: str) -> None:
    reply = asked({"model": "m", "messages": [USER], **fields})
    assert reply.status in (400, 404) and words in msgspec.json.decode(reply.body)["message"]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ({"url": "data:image/png;base64,iVBORw0KGgo="}, ""),
        ({"url": "https://example.com/a.png", "detail": "low"}, ""),
        ({"url": "data:image/png;base64,%%%"}, "no valid base64"),
        ({"url": "data:application/pdf;base64,aGk="}, "data URI of a jpeg"),
        ({"url": "ftp://example.com"}, "data URI of a jpeg"),
        ({"url": "https://example.com/a.png", "detail": "most"}, "one of auto, low, high"),
        ({"uri": "https://example.com/a.png"}, "an object with a url"),
    ],
)
def test_images_are_looked_at(image: dict[str, Any], words: str) -> None:
    message = {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": image}]}
    told = msgspec.json.decode(asked({"model": "m", "messages": [message]}).body)
    if words:
        assert words in told["message"]
    else:
        assert "saw 1 image" in told["message"]["content"][0]["text"]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"tools": [TOOL], "tool_choice": "REQUIRED"},
        {"thinking": {"type": "enabled", "token_budget": 9}, "logprobs": True},
        {"messages": [USER, SAID, RESULT]},
        {"max_tokens": 2},
    ],
)
def test_a_stream_says_what_the_whole_answer_says(fields: dict[str, Any]) -> None:
    body = {"model": "m", "messages": [USER], **fields}
    whole = dialect.parse_response(asked(body).body)
    frames = asked({**body, "stream": True}).frames
    sent = b"".join(sse_event(Raw(msgspec.json.encode(frame.data)), frame.name.encode()) for frame in frames)
    assert collect(run_decoder(dialect.decoder(), [sent])) == whole


def test_a_step_has_the_last_word() -> None:
    reply = asked({"model": "m", "messages": [USER]}, default=Step(status=429, error={"message": "later", "id": "x"}))
    assert (reply.status, msgspec.json.decode(reply.body)) == (429, {"message": "later", "id": "x"})
    told = msgspec.json.decode(asked({"model": "m", "messages": [USER]}, default=Step(usage="absent")).body)
    assert "usage" not in told
    assert asked({"model": "m"}, "/v2/chat", dialects=frozenset({"openai_chat"})).status == 404


def test_the_embedding_servers_limits() -> None:
    reply = asked({"inputs": ["x"] * 33}, "/embed")
    told = msgspec.json.decode(reply.body)
    assert reply.status == 422 and told["error_type"] == "Validation"
    assert told["error"] == "batch size 33 > maximum allowed batch size 32"
    assert asked({"inputs": "word " * 600}, "/embed").status == 413
    assert asked({"inputs": "word " * 600, "truncate": True}, "/embed").status == 200
    assert asked({"query": "q", "texts": ["x"] * 33}, "/rerank").status == 422
    assert asked({"model": "m", "texts": ["x"] * 97, "input_type": "clustering"}, "/v2/embed").status == 400
