"""The mock of Google's API: it refuses what the real one refuses, and whatever JSON comes it answers 200 or a 4xx."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.mock import Mock, Script
from penstock.mock.gemini_check import seal

LEAF = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "user", "model", "text", "f"])
KEYS = "role parts text functionCall functionResponse name args response inlineData thoughtSignature mode type".split()
ANY = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
FIELDS = "contents tools toolConfig generationConfig systemInstruction system_instruction safetySettings".split()
METHODS = ("generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse", "countTokens")
USER: Any = {"role": "user", "parts": [{"text": "go"}]}


def asked(body: Any, path: str = "/v1beta/models/gemini-3-pro:generateContent", **script: Any) -> Any:
    mock = Mock(Script(**script), keep=0)
    raw = json.dumps(body).encode()
    _, reply = mock.respond(mock.record("POST", path.encode(), [], raw, 1), len(raw))
    return reply


@given(st.dictionaries(st.sampled_from(FIELDS), ANY, max_size=4), st.sampled_from(METHODS), st.booleans())
@settings(max_examples=250, deadline=None)
def test_any_body_gets_an_answer(odd: dict[str, Any], method: str, sound: bool) -> None:
    body = {**({"contents": [USER]} if sound else {}), **odd}
    reply = asked(body, f"/v1beta/models/m:{method}", unknown_fields="accept")
    assert 200 <= reply.status < 500
    if reply.frames is not None:
        assert list(reply.frames)
        return
    made = msgspec.json.decode(reply.body)
    for one in made if isinstance(made, list) else [made]:
        assert ("error" in one) is (reply.status >= 400)


CALL: Any = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": seal(0, "f")}
RESULT: Any = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "contents is not specified"),
        ({"contents": [USER], "nonsense": 1}, 'Unknown name "nonsense"'),
        ({"contents": [USER], "generationConfig": {"max_tokens": 1}}, "generation_config"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ({"contents": [{"parts": [{}]}]}, "oneof field 'data'"),
        ({"contents": [USER, {"role": "model", "parts": [CALL]}]}, "function call turn"),
        ({"contents": [USER, {"role": "model", "parts": [CALL, CALL]}, RESULT]}, "number of function response parts"),
        ({"contents": [USER, RESULT]}, "number of function response parts"),
        ({"contents": [USER, {"role": "model", "parts": [{**CALL, "thoughtSignature": "QUJD"}]}, RESULT]}, "Corrupted"),
        (
            {"contents": [USER, {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}, RESULT]},
            "missing a thought_signature",
        ),
        (
            {"contents": [USER], "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}},
            "without function_declarations",
        ),
        (
            {"contents": [USER], "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"$ref": "#"}}]}]},
            'Unknown name "$ref"',
        ),
        ({"contents": [USER], "generationConfig": {"stopSequences": list("abcdef")}}, "stop_sequences"),
        (
            {"contents": [USER], "generationConfig": {"thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": 1}}},
            "only set only one",
        ),
    ],
)
def test_what_the_real_api_refuses(body: Any, words: str) -> None:
    reply = asked(body)
    error = json.loads(reply.body)["error"]
    assert reply.status == error["code"] == 400 and words in error["message"] and error["status"] == "INVALID_ARGUMENT"


def test_what_it_takes() -> None:
    turns = [USER, {"role": "model", "parts": [CALL]}, RESULT]
    told = json.loads(asked({"contents": turns}).body)
    assert told["candidates"][0]["content"]["parts"][0]["text"] == "mock/echo: tool f said: {}"
    dummy = {**CALL, "thoughtSignature": "skip_thought_signature_validator"}
    assert asked({"contents": [USER, {"role": "model", "parts": [dummy]}, RESULT]}).status == 200
    older = [USER, {"role": "model", "parts": [{"functionCall": {"name": "f"}}]}, RESULT]
    assert asked({"contents": older}, "/v1beta/models/gemini-2.5-flash:generateContent").status == 200
    snake = {"system_instruction": {"parts": {"text": "x"}}, "contents": {"parts": {"text": "hi"}}}
    assert asked(snake).status == 200


def test_claude_on_vertex_ai() -> None:
    path = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-x:rawPredict"
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    assert json.loads(asked(body, path).body)["content"][0]["text"] == "mock/echo: hi"
    for wrong in ({**body, "model": "x"}, {**body, "anthropic_version": "1"}, {**body, "stream": True}):
        assert asked(wrong, path).status == 400


def test_a_wrong_key_is_a_400_and_none_a_403() -> None:
    mock = Mock(api_key="k", keep=0)
    for headers, status in (([("x-goog-api-key", "no")], 400), ([], 403), ([("x-goog-api-key", "k")], 200)):
        raw = json.dumps({"contents": [USER]}).encode()
        _, reply = mock.respond(mock.record("POST", b"/v1beta/models/m:generateContent", headers, raw, 1), len(raw))
        assert reply.status == status, reply.body
    _, reply = mock.respond(mock.record("POST", b"/v1beta/models/m:generateContent?key=k", [], raw, 1), len(raw))
    assert reply.status == 200
