"""Rules that vendors enforce and that gateways have met in the field: the mock refuses what they refuse, in their words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from penstock.mock import Mock, Script
from penstock.mock.claude_rules import version
from penstock.mock.gemini_check import seal

USER = {"role": "user", "content": "hi"}
VERSION = [("anthropic-version", "2023-06-01")]
THREADS = [*VERSION, ("anthropic-beta", "message-threads-2026-08-12")]


def asked(body: Any, path: str, headers: Any = (), mock: Mock | None = None) -> tuple[int, Any]:
    mock = mock or Mock(Script(), keep=0)
    raw = json.dumps(body).encode()
    _, reply = mock.respond(mock.record("POST", path.encode(), list(headers), raw, 1), len(raw))
    if reply.frames is not None:
        return reply.status, [frame.data for frame in reply.frames]
    return reply.status, json.loads(reply.body)


def words(told: Any) -> str:
    return str(told.get("detail") or told.get("message") or told["error"]["message"])


def messages(**fields: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": [USER], **fields}


# Claude --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "number"),
    [
        ("claude-opus-4-7", (4, 7)),
        ("us.anthropic.claude-opus-4-8-v1", (4, 8)),
        ("claude-sonnet-5", (5, 0)),
        ("claude-sonnet-4-5-20250929", (4, 5)),
        ("claude-opus-4-20250514", (4, 0)),
        ("claude-3-5-sonnet-20241022", (0, 0)),
        ("gpt-5", (0, 0)),
    ],
)
def test_versions_of_claude(model: str, number: tuple[int, int]) -> None:
    assert version(model) == number


NEW = [
    ({"temperature": 0.2}, "`temperature` is deprecated"),
    ({"top_p": 0.5}, "`top_p` is deprecated"),
    ({"top_k": 5}, "`top_k` is deprecated"),
    ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 2000}, "thinking.type.adaptive"),
]


@pytest.mark.parametrize(("fields", "told"), NEW)
def test_new_claudes_take_no_sampling_and_think_adaptively(fields: dict[str, Any], told: str) -> None:
    for model in ("claude-opus-4-7", "claude-opus-4-8", "claude-sonnet-5"):
        status, answer = asked(messages(model=model, **fields), "/v1/messages", VERSION)
        assert status == 400 and told in words(answer)
    assert asked(messages(model="claude-opus-4-6", **fields), "/v1/messages", VERSION)[0] == 200


@pytest.mark.parametrize(("fields", "told"), NEW)
def test_so_they_do_on_bedrock(fields: dict[str, Any], told: str) -> None:
    names = {"temperature": "temperature", "top_p": "topP"}
    more = {name: fields[name] for name in ("top_k", "thinking") if name in fields}
    limits = {names[name]: fields[name] for name in names if name in fields}
    body = {
        "messages": [{"role": "user", "content": [{"text": "hi"}]}],
        "inferenceConfig": {**limits, "maxTokens": 2000},
    }
    if more:
        body["additionalModelRequestFields"] = more
    status, answer = asked(body, "/model/us.anthropic.claude-opus-4-8-v1/converse")
    assert status == 400 and told in words(answer)
    assert asked(body, "/model/us.anthropic.claude-sonnet-4-5-20250929-v1:0/converse")[0] == 200


def test_claudes_from_4_6_on_take_no_prefill() -> None:
    turns = [USER, {"role": "assistant", "content": "I"}]
    for model, status in (("claude-opus-4-6", 400), ("claude-sonnet-4-5", 200)):
        assert asked(messages(model=model, messages=turns), "/v1/messages", VERSION)[0] == status


def used(**fields: Any) -> dict[str, Any]:
    use = {"type": "tool_use", "id": "a", "name": "f", "input": {}, **fields}
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "R"}
    return {"messages": [USER, {"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"temperature": 1.5}, "range: 0..1"),
        ({"top_p": -0.1}, "range: 0..1"),
        ({"stop_sequences": ["\n"]}, "must contain non-whitespace"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": " \n"}]}]}, "non-whitespace text"),
        ({"messages": [{"role": "assistant", "content": "Hello"}, USER]}, "first message"),
        ({"messages": [USER, {"role": "assistant", "content": "so "}]}, "trailing whitespace"),
        (used(id="functions.f:0"), "^[a-zA-Z0-9_-]+$"),
        (used(name="a.b"), "tool_use.name"),
        (used(input=None), "valid dictionary"),
        ({"tools": [{"name": "n" * 129, "input_schema": {"type": "object"}}]}, "{1,128}$"),
    ],
)
def test_what_anthropic_refuses(fields: dict[str, Any], told: str) -> None:
    status, answer = asked(messages(**fields), "/v1/messages", VERSION)
    assert status == 400 and told in words(answer)


# Threads -------------------------------------------------------------------------------------------------------------


def test_a_thread_is_kept_and_gone_on_with() -> None:
    mock = Mock(Script(), keep=0)
    status, first = asked(messages(thread={"type": "create"}, system="s"), "/v1/messages", THREADS, mock)
    assert status == 200
    go_on = {"type": "continue", "previous_message_id": first["id"]}
    status, second = asked(messages(thread=go_on), "/v1/messages", THREADS, mock)
    assert status == 200 and second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
    status, told = asked(messages(thread=go_on, system="s"), "/v1/messages", THREADS, mock)
    assert status == 400 and "system" in words(told)


def test_a_thread_that_cannot_be_is_refused_with_a_code() -> None:
    gone = {"type": "continue", "previous_message_id": "msg_gone"}
    status, told = asked(messages(thread=gone), "/v1/messages", THREADS)
    assert (status, told["error"]["details"]) == (404, {"error_code": "thread_not_found"})
    create = {"thread": {"type": "create"}}
    status, told = asked(messages(**create, cache_control={"type": "ephemeral"}), "/v1/messages", THREADS)
    details = {"error_code": "thread_unsupported_request", "unsupported": ["cache_control"]}
    assert (status, told["error"]["details"]) == (400, details)
    assert asked(messages(**create), "/v1/messages", VERSION)[0] == 400
    vertex = "/v1/projects/p/locations/l/publishers/anthropic/models/claude-sonnet-4-5:rawPredict"
    body = {**messages(**create), "anthropic_version": "vertex-2023-10-16"}
    del body["model"]
    status, told = asked(body, vertex, THREADS)
    assert (status, told["error"]["details"]) == (400, {"error_code": "thread_unsupported_request"})


# Google --------------------------------------------------------------------------------------------------------------


def replayed(signature: Any) -> tuple[int, Any]:
    call = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": signature}
    result = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}}]}
    turns = [{"role": "user", "parts": [{"text": "go"}]}, {"role": "model", "parts": [call]}, result]
    return asked({"contents": turns}, "/v1beta/models/gemini-3-pro:generateContent")


def test_a_signature_is_base64_and_its_substitutes_are() -> None:
    for word in ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go"):
        assert replayed(word)[0] == replayed(base64.b64encode(word.encode()).decode())[0] == 200
    assert replayed(seal(0, "f"))[0] == 200
    for bad in ("not base64!", "abcde", "penstock.seal.x", 5):
        status, told = replayed(bad)
        assert status == 400 and "Base64 decoding failed" in words(told)
    assert "Corrupted" in words(replayed(base64.b64encode(b"another").decode())[1])


# OpenAI, Mistral, ChatGPT ----------------------------------------------------------------------------------------------


def chat(id: str = "call_1", name: str = "f", model: str = "gpt-5", **fields: Any) -> dict[str, Any]:
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": "{}"}}
    turns = [USER, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": id, "content": "R"}]
    return {"model": model, "messages": turns, **fields}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (chat(id="c" * 41), "maximum length 40"),
        (chat(name="n" * 65), "maximum length 64"),
        (chat(name="a.b"), "does not match pattern"),
        (chat(stop=["a", "b", "c", "d", "e"]), "maximum length 4"),
        (chat(tools=[{"type": "function", "function": {"name": "n" * 65}}]), "maximum length 64"),
        (chat(model="mistral-large-latest"), "length of 9"),
    ],
)
def test_what_chat_servers_refuse(body: dict[str, Any], told: str) -> None:
    status, answer = asked(body, "/v1/chat/completions")
    assert status == 400 and told in words(answer)


def test_mistrals_ids_are_nine_letters_and_digits() -> None:
    assert asked(chat(id="abc123XYZ", model="mistral-large-latest"), "/v1/chat/completions")[0] == 200


def test_a_call_id_of_responses_has_at_most_64_characters() -> None:
    def items(id: str) -> list[Any]:
        call = {"type": "function_call", "call_id": id, "name": "f", "arguments": "{}"}
        return [USER, call, {"type": "function_call_output", "call_id": id, "output": "R"}]

    assert asked({"model": "m", "input": items("c" * 64)}, "/v1/responses")[0] == 200
    status, told = asked({"model": "m", "input": items("c" * 65)}, "/v1/responses")
    assert status == 400 and "maximum length 64" in words(told)


CODEX = {"model": "gpt-5.1", "instructions": "i", "input": [USER], "stream": True, "store": False}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"stream": False}, "Stream must be set to true"),
        ({"store": True}, "Store must be set to false"),
        ({"input": "hi"}, "Input must be a list"),
        ({"instructions": ""}, "Instructions are required"),
        ({"temperature": 1}, "Unsupported parameter: temperature"),
        ({"max_output_tokens": 9}, "Unsupported parameter: max_output_tokens"),
    ],
)
def test_what_chatgpts_codex_backend_refuses(fields: dict[str, Any], told: str) -> None:
    status, answer = asked({**CODEX, **fields}, "/backend-api/codex/responses")
    assert (status, words(answer)) == (400, told)
    assert asked(CODEX, "/backend-api/codex/responses")[0] == 200
    assert asked(CODEX, "/backend-api/codex/chat/completions")[0] == 404
