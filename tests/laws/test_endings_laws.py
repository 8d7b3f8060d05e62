"""How answers end: a word that is no known success of its dialect is no success in any client's, whole or streamed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import eventstream, sse
from penstock.core.dialects import DIALECTS, EDITORS
from penstock.core.dialects.anthropic import wire as anthropic
from penstock.core.dialects.base import View
from penstock.core.dialects.bedrock import wire as bedrock
from penstock.core.dialects.cohere import names as cohere
from penstock.core.dialects.endings import Words
from penstock.core.dialects.gemini import wire as gemini
from penstock.core.dialects.ollama import names as ollama
from penstock.core.dialects.openai_chat import names as chat
from penstock.core.errors import GatewayError
from penstock.core.ir import Response, collect, explode
from tests.laws.strategies import run_encoder

VIEW = View(model="asked", mint=lambda prefix: f"{prefix}new", now=7)
WORDS: dict[str, Words] = {
    "openai_chat": chat.WORDS,
    "completions": chat.WORDS,
    "anthropic": anthropic.WORDS,
    "gemini": gemini.WORDS,
    "bedrock": bedrock.WORDS,
    "cohere": cohere.WORDS,
    "ollama": ollama.WORDS,
}
# What a client of each dialect takes for an answer that is as it should be.
SUCCESS = re.compile(
    rb'"finish_reason": ?"(stop|tool_calls|function_call|COMPLETE|STOP_SEQUENCE|TOOL_CALL)"'
    rb'|"stop_reason": ?"(end_turn|tool_use|stop_sequence|pause_turn)"'
    rb'|"finishReason": ?"STOP"|"stopReason": ?"(end_turn|tool_use|stop_sequence|pause_turn)"'
    rb'|"done_reason": ?"stop"|"status": ?"completed"[^}]*?"error"|response\.completed'
)


def chat_answer(said: bool, word: str) -> tuple[Any, list[Any]]:
    message = {"role": "assistant", "content": "half" if said else None}
    whole = {"id": "1", "choices": [{"index": 0, "message": message, "finish_reason": word}]}
    steps = [{"id": "1", "choices": [{"index": 0, "delta": {"content": "half"}}]}] * said
    return whole, [*steps, {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": word}]}]


def completion(said: bool, word: str) -> tuple[Any, list[Any]]:
    told = {"id": "1", "choices": [{"index": 0, "text": "half" if said else "", "finish_reason": word}]}
    return told, [told]


def message(said: bool, word: str) -> tuple[Any, list[Any]]:
    content = [{"type": "text", "text": "half"}] * said
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "content": content, "stop_reason": word}
    steps: list[Any] = [{"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}}]
    if said:
        steps.append({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        steps.append({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "half"}})
        steps.append({"type": "content_block_stop", "index": 0})
    steps.append({"type": "message_delta", "delta": {"stop_reason": word}, "usage": {}})
    return whole, [*steps, {"type": "message_stop"}]


def content(said: bool, word: str) -> tuple[Any, list[Any]]:
    candidate: dict[str, Any] = {"index": 0, "finishReason": word, "finishMessage": "why"}
    if said:
        candidate["content"] = {"role": "model", "parts": [{"text": "half"}]}
    return {"candidates": [candidate]}, [{"candidates": [candidate]}]


def converse(said: bool, word: str) -> tuple[Any, list[Any]]:
    whole = {"output": {"message": {"role": "assistant", "content": [{"text": "half"}] * said}}, "stopReason": word}
    steps: list[Any] = [("messageStart", {"role": "assistant"})]
    if said:
        steps.append(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "half"}}))
    return whole, [*steps, ("messageStop", {"stopReason": word})]


def cohere_answer(said: bool, word: str) -> tuple[Any, list[Any]]:
    told = [{"type": "text", "text": "half"}] * said
    whole = {"id": "1", "finish_reason": word, "message": {"role": "assistant", "content": told}}
    steps: list[Any] = [{"type": "message-start", "id": "1"}]
    if said:
        delta = {"message": {"content": {"type": "text", "text": "half"}}}
        steps.append({"type": "content-start", "index": 0, "delta": delta})
    return whole, [*steps, {"type": "message-end", "delta": {"finish_reason": word}}]


def ollama_answer(said: bool, word: str) -> tuple[Any, list[Any]]:
    told = {"message": {"role": "assistant", "content": "half" if said else ""}, "done": True, "done_reason": word}
    return told, [told]


MAKE: dict[str, Callable[[bool, str], tuple[Any, list[Any]]]] = {
    "openai_chat": chat_answer,
    "completions": completion,
    "anthropic": message,
    "gemini": content,
    "bedrock": converse,
    "cohere": cohere_answer,
    "ollama": ollama_answer,
}


def sent(dialect: str, steps: list[Any]) -> bytes:
    if dialect == "bedrock":
        return b"".join(eventstream.event(name, json.dumps(fields).encode()) for name, fields in steps)
    if dialect == "ollama":
        return b"".join(json.dumps(step).encode() + b"\n" for step in steps)
    end = sse.DONE if dialect in ("openai_chat", "completions") else b""
    return b"".join(sse.encode(json.dumps(step).encode()) for step in steps) + end


def streamed(dialect: str, steps: list[Any]) -> Response:
    spoken = DIALECTS[dialect]
    decoder, lines = spoken.decoder(), spoken.framer()
    events = [told for event in lines.feed(sent(dialect, steps)) for told in decoder.feed(event)]
    return collect([*events, *decoder.close()])


def outcomes(dialect: str, said: bool, word: str) -> list[Response | GatewayError]:
    whole, steps = MAKE[dialect](said, word)
    out: list[Response | GatewayError] = []
    for read in (
        lambda: DIALECTS[dialect].parse_response(json.dumps(whole).encode()),
        lambda: streamed(dialect, steps),
    ):
        try:
            out.append(read())
        except GatewayError as error:
            out.append(error)
    return out


def known(words: Words) -> set[str]:
    return {word for word, reason in words.ends.items() if not reason.startswith("other:")}


words = st.sampled_from(
    sorted({word for one in WORDS.values() for word in (*one.ends, *one.fails)})
    + ["SOMETHING_NEW", "something_new", "load", "null", "ERROR_LIMIT", "e\u2028", "queued"]
) | st.text(min_size=1, max_size=8)


@given(words)
def test_a_word_that_is_no_known_success_is_none_for_any_client(word: str) -> None:
    for dialect, table in WORDS.items():
        spelled = word.lower() if table is chat.WORDS else word
        if spelled in known(table):
            continue
        for said in (False, True):
            for outcome in outcomes(dialect, said, word):
                if isinstance(outcome, GatewayError):
                    assert outcome.row.status >= 500 and outcome.row.retry == "target"
                    assert not said or spelled in table.fails
                    continue
                assert spelled not in table.fails and (said or spelled in table.ends)
                for client in DIALECTS.values():
                    body = client.render_response(outcome, VIEW).body
                    stream = run_encoder(client.encoder(VIEW), explode(outcome))
                    assert not SUCCESS.search(body) and not SUCCESS.search(stream), (dialect, client.name, word)


@pytest.mark.parametrize("dialect", sorted(WORDS))
def test_every_word_of_the_tables_says_the_same_whole_and_streamed(dialect: str) -> None:
    for word in (*WORDS[dialect].ends, *WORDS[dialect].fails):
        whole, stream = outcomes(dialect, True, word)
        assert type(whole) is type(stream), word
        if isinstance(whole, GatewayError):
            assert isinstance(stream, GatewayError) and whole.kind == stream.kind == WORDS[dialect].fails[word]
        else:
            assert isinstance(stream, Response) and whole.choices[0].finish == stream.choices[0].finish


@pytest.mark.parametrize("dialect", sorted(WORDS))
def test_an_answer_without_a_word_and_without_content_is_none(dialect: str) -> None:
    if dialect == "ollama":
        return  # older servers tell no reason, and a model may say nothing
    whole, _ = MAKE[dialect](False, "")
    with pytest.raises(GatewayError) as caught:
        DIALECTS[dialect].parse_response(json.dumps(whole).encode())
    assert caught.value.kind == "broken_answer"


@pytest.mark.parametrize("status", ["in_progress", "queued", "failed", "cancelled", "something_new"])
def test_a_response_that_is_not_completed_is_no_answer(status: str) -> None:
    body = {"id": "resp_1", "status": status, "output": []}
    with pytest.raises(GatewayError):
        DIALECTS["openai_responses"].parse_response(json.dumps(body).encode())


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter", "something_new", None])
def test_an_incomplete_response_is_complete_for_nobody(reason: str | None) -> None:
    text = {"type": "output_text", "text": "half", "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete", "content": [text]}
    body = {"id": "resp_1", "status": "incomplete", "incomplete_details": {"reason": reason}, "output": [item]}
    answer = DIALECTS["openai_responses"].parse_response(json.dumps(body).encode())
    for client in DIALECTS.values():
        assert not SUCCESS.search(client.render_response(answer, VIEW).body)
        assert not SUCCESS.search(run_encoder(client.encoder(VIEW), explode(answer)))


ERROR = {"message": "Their words.", "type": "server_error", "code": 502}
FAILED = [
    {"error": ERROR},
    {"id": "1", "error": ERROR, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]},
    {"id": "1", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": ERROR}]},
    {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "abort"}]},
]


@pytest.mark.parametrize("body", FAILED)
def test_a_chats_error_under_status_200_is_one_in_both_lanes(body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    with pytest.raises(GatewayError):
        EDITORS["openai_chat"].Stream(b'"m"', True).feed(sse.Event(b"", data))  # type: ignore[arg-type]
    whole = data.replace(b'"delta"', b'"message"')
    for read in (DIALECTS["openai_chat"].parse_response, lambda raw: EDITORS["openai_chat"].answer(raw, b'"m"')):  # type: ignore[arg-type]
        with pytest.raises(GatewayError):
            read(whole)


@pytest.mark.parametrize("choices", [None, []])
def test_an_answer_without_choices_is_none(choices: Any) -> None:
    data = json.dumps({"id": "1", "choices": choices, "error": None}).encode()
    for read in (DIALECTS["openai_chat"].parse_response, lambda raw: EDITORS["openai_chat"].answer(raw, b'"m"')):  # type: ignore[arg-type]
        with pytest.raises(GatewayError) as caught:
            read(data)
        assert caught.value.kind == "broken_answer"


def test_an_empty_error_beside_an_answer_is_none() -> None:
    whole, _ = chat_answer(True, "stop")
    for nothing in (None, "", {}, False):
        assert DIALECTS["openai_chat"].parse_response(json.dumps({**whole, "error": nothing}).encode()).choices


def test_only_what_its_service_has_nothing_to_recover_from_is_asked_again_at_once():
    for dialect, words in WORDS.items():
        assert words.at_once <= words.fails.keys(), dialect
        assert {words.fails[word] for word in words.at_once} <= {"upstream_error"}, "what is overloaded wants its pause"
        for word in words.fails:
            with pytest.raises(GatewayError) as caught:
                words.read(word, said=False)
            assert caught.value.retry_after == (0.0 if word in words.at_once else None)
    assert gemini.WORDS.at_once == gemini.WORDS.fails.keys()
