"""Whole Chat answers, usage, and what a client of the official SDK makes of our streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from penstock.core import sse
from penstock.core.dialects import openai_chat as chat
from penstock.core.dialects.base import View
from penstock.core.envelope import open_body
from penstock.core.errors import GatewayError
from penstock.core.ir import (
    Choice,
    Citation,
    Image,
    Opaque,
    Refusal,
    Response,
    Seal,
    Text,
    Thinking,
    ToolUse,
    Url,
    Usage,
    explode,
)
from tests.laws.strategies import run_encoder

VIEW = View(model="asked-for", now=1_700_000_000, mint=lambda prefix: prefix + "minted")


def parse(message: Any = None, finish: str | None = "stop", **more: Any) -> Response:
    choice = {"index": 0, "message": message or {"role": "assistant", "content": "a"}, "finish_reason": finish}
    return chat.parse_response(json.dumps({"id": "x", "model": "m", "choices": [choice], **more}).encode())


def written(*blocks: Any, view: View = VIEW, finish: str = "stop", **more: Any) -> dict[str, Any]:
    response = Response(id="x", model="real", choices=(Choice(tuple(blocks), finish),), **more)
    body: dict[str, Any] = json.loads(chat.render_response(response, view).body)
    return body


def chunks(*blocks: Any, view: View = VIEW, finish: str = "stop", **more: Any) -> list[dict[str, Any]]:
    response = Response(id="x", model="real", choices=(Choice(tuple(blocks), finish),), **more)
    events = sse.Decoder().feed(run_encoder(chat.encoder(view), explode(response)))
    return [json.loads(event.data) for event in events if event.data != b"[DONE]"]


# Reading --------------------------------------------------------------------------------------------------------------


def test_an_answer_with_everything() -> None:
    message = {
        "role": "assistant",
        "content": "a",
        "refusal": None,
        "reasoning_content": "hm",
        "annotations": [
            {"type": "url_citation", "url_citation": {"url": "u", "title": "t", "start_index": 0, "end_index": 1}}
        ],
        "audio": {"id": "audio_1"},
        "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1.0}'}}],
    }
    response = parse(message, "tool_calls", created=7, service_tier="flex", system_fingerprint="fp", usage=None)
    assert response.choices[0].blocks == (
        Opaque("openai_chat", "message.audio", b'{"id": "audio_1"}'),
        Thinking("hm"),
        Text("a", citations=(Citation("u", "t", "", 0, 1),)),
        ToolUse("1", "f", '{"x": 1.0}'),
    )
    assert (response.created, response.service_tier, response.usage) == (7, "flex", None)
    assert response.extra == (Opaque("openai_chat", "system_fingerprint", b'"fp"'),)


def test_awkward_servers() -> None:
    message = {
        "content": "",
        "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}, {"function": {"name": "g"}}],
    }
    response = parse(message, None, created="now", id=None)
    assert response.choices[0].blocks == (ToolUse("call_0", "f", '{"x": 1}'), ToolUse("call_1", "g", ""))
    assert (response.choices[0].finish, response.id, response.created) == ("tool_use", "", 0)


def test_choices_are_put_in_the_order_of_their_indexes() -> None:
    choices = [{"index": n, "message": {"content": str(n)}, "finish_reason": "stop"} for n in (1, 0)]
    response = chat.parse_response(json.dumps({"choices": choices}).encode())
    assert [choice.blocks for choice in response.choices] == [(Text("0"),), (Text("1"),)]


def test_parts_in_an_answer() -> None:
    content = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]
    assert parse({"content": content}).choices[0].blocks == (Thinking("hm"), Text("a"))


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"id":"x"}', b'{"choices":5}', b'{"choices":[{}]}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        chat.parse_response(body)
    assert caught.value.kind == "broken_answer"


def test_an_error_in_a_200() -> None:
    with pytest.raises(GatewayError) as caught:
        chat.parse_response(b'{"error":{"code":429,"message":"slow down"}}')
    assert caught.value.kind == "upstream_rate_limit"


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 4, "total_tokens": 14}, Usage(10, output=4)),
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 40,
                "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10, "audio_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 30, "audio_tokens": 2},
            },
            Usage(30, 60, 10, 0, 40, 30, 5, 2),
        ),
        (
            {"prompt_tokens": 10, "completion_tokens": 1, "prompt_cache_hit_tokens": 8},
            Usage(2, 8, output=1),
        ),  # DeepSeek
        ({"prompt_tokens": 10, "completion_tokens": 1, "cached_tokens": 8}, Usage(2, 8, output=1)),  # Moonshot
        (  # LiteLLM
            {
                "prompt_tokens": 10,
                "completion_tokens": 1,
                "cache_read_input_tokens": 2,
                "cache_creation_input_tokens": 7,
                "prompt_tokens_details": {
                    "cached_tokens": 2,
                    "cache_creation_token_details": {"ephemeral_1h_input_tokens": 3},
                },
            },
            Usage(1, 2, 4, 3, 1),
        ),
        (  # xAI counts reasoning beside the completion
            {
                "prompt_tokens": 10,
                "completion_tokens": 2,
                "total_tokens": 20,
                "completion_tokens_details": {"reasoning_tokens": 8},
            },
            Usage(10, output=10, reasoning=8),
        ),
        ({}, None),
        ("many", None),
        ({"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": 7}, Usage(3, output=2)),
    ],
)
def test_usage_is_disjoint(usage: Any, wanted: Usage | None) -> None:
    assert parse(usage=usage).usage == wanted


# Writing --------------------------------------------------------------------------------------------------------------


def test_the_clients_own_name_for_the_model_and_the_ids_it_relies_on() -> None:
    body = written(Text("a"))
    assert (body["model"], body["object"], body["id"], body["created"]) == (
        "asked-for",
        "chat.completion",
        "chatcmpl-x",
        VIEW.now,
    )
    minted = json.loads(chat.render_response(Response(id="", model="m", choices=()), VIEW).body)
    assert minted["id"] == "chatcmpl-minted"
    assert all(chunk["model"] == "asked-for" and chunk["created"] == VIEW.now for chunk in chunks(Text("a")))


def test_thoughts_keep_their_seals_for_the_next_turn() -> None:
    message = written(Thinking("hm", Seal("anthropic", "s")), Thinking("", Seal("openai", "e")), Text("a"))["choices"][
        0
    ]["message"]
    assert message["reasoning_content"] == "hm"
    assert message["thinking_blocks"] == [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "thinking", "thinking": "", "signature": "penstock.seal.openai.e"},
    ]
    body = {"model": "m", "messages": [message]}
    again = chat.parse_request(open_body(json.dumps(body).encode())).messages[0].blocks
    assert again == (Thinking("hm", Seal("anthropic", "s")), Thinking("", Seal("openai", "e")), Text("a"))


def test_citations_move_with_their_text() -> None:
    message = written(
        Text("abc"),
        Text("def", citations=(Citation("u", "t", "q", 1, 2), Citation("w"), Citation(quote="no url"))),
    )["choices"][0]["message"]
    inner = [note["url_citation"] for note in message["annotations"]]
    assert inner == [
        {"url": "u", "title": "t", "start_index": 4, "end_index": 5, "content": "q"},
        {"url": "w", "title": "", "start_index": 3, "end_index": 6},
    ]


def test_what_an_answer_cannot_carry_is_reported() -> None:
    blocks = (
        Text("a", citations=(Citation(quote="q"),)),
        Image(Url("u")),
        Opaque("anthropic", "server_tool_use", b"{}"),
    )
    rendered = chat.render_response(Response(id="x", model="m", choices=(Choice(blocks),)), VIEW)
    places = ["choices.0.blocks.0.citations", "choices.0.blocks.1", "choices.0.blocks.2"]
    assert [loss.path for loss in rendered.losses] == places
    encoder = chat.encoder(VIEW)
    run_encoder(encoder, explode(Response(id="x", model="m", choices=(Choice(blocks),))))
    assert [loss.path for loss in encoder.losses] == places


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_use", "tool_calls"),
        ("filter", "content_filter"),
        ("refusal", "content_filter"),
        ("pause", "stop"),
        ("context", "length"),
        ("other:eos_token", "length"),
    ],
)
def test_finish_reasons(finish: str, word: str) -> None:
    assert written(Text("a"), finish=finish)["choices"][0]["finish_reason"] == word
    assert chunks(Text("a"), finish=finish)[-1]["choices"][0]["finish_reason"] == word


def test_a_refusal_in_words_stops_as_the_vendor_does() -> None:
    assert written(Refusal("no"), finish="refusal")["choices"][0]["finish_reason"] == "stop"
    assert chunks(Refusal("no"), finish="refusal")[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_client_of_the_functions_of_2023_is_answered_in_its_form() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "functions": [{"name": "f"}]}
    view = View(model="m", request=chat.parse_request(open_body(json.dumps(body).encode())))
    blocks = (ToolUse("1", "f", '{"x":1}'), ToolUse("2", "f", "{}"))
    choice = written(*blocks, view=view, finish="tool_use")["choices"][0]
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"x":1}'}
    assert "tool_calls" not in choice["message"]
    deltas = [
        chunk["choices"][0]["delta"].get("function_call", {}) for chunk in chunks(*blocks, view=view, finish="tool_use")
    ]
    assert [delta["name"] for delta in deltas if "name" in delta] == ["f"]
    assert "".join(delta.get("arguments", "") for delta in deltas) == '{"x":1}'


def test_usage_is_shown_only_to_who_asked() -> None:
    usage = Usage(5, 3, 2, 1, 4, 2)
    asked = chunks(Text("a"), usage=usage)
    assert [chunk["usage"] is None for chunk in asked] == [True] * (len(asked) - 1) + [False]
    assert asked[-1]["choices"] == []
    assert not any("usage" in chunk for chunk in chunks(Text("a"), view=View(model="m", usage=False), usage=usage))
    whole = written(Text("a"), usage=usage)["usage"]
    assert whole == asked[-1]["usage"]
    assert (whole["prompt_tokens"], whole["completion_tokens"], whole["total_tokens"]) == (11, 4, 15)
    assert whole["prompt_tokens_details"]["cached_tokens"] == whole["cache_read_input_tokens"] == 3
    assert whole["prompt_tokens_details"]["cache_write_tokens"] == whole["cache_creation_input_tokens"] == 3


def test_a_failure_ends_the_stream_without_a_mark_of_success() -> None:
    encoder = chat.encoder(VIEW)
    data = encoder.fail(GatewayError("upstream_overloaded", "busy", provider="acme"))
    event = sse.Decoder().feed(data)[0]
    error = json.loads(event.data)["error"]
    assert (error["type"], error["code"], error["param"]) == ("overloaded_error", "529", None)
    assert error["message"] == "litellm.InternalServerError: InternalServerError: AcmeException - busy"
    assert b"[DONE]" not in data


def test_a_ping_is_a_comment() -> None:
    assert sse.Decoder().feed(chat.encoder(VIEW).ping()) == []


def test_json_with_line_ends_stays_on_one_line() -> None:
    logprobs = b'{\n "content": [ {"token": "a", "logprob": -0.10} ]\r\n}'
    response = Response(id="x", model="m", choices=(Choice((Text("a"),), logprobs=logprobs),))
    stream = run_encoder(chat.encoder(VIEW), explode(response))
    found = [event for event in sse.Decoder().feed(stream) if b"-0.10" in event.data]
    assert len(found) == 1 and json.loads(found[0].data)["choices"][0]["logprobs"] == json.loads(logprobs)


# The official client --------------------------------------------------------------------------------------------------

RICH = (
    Thinking("one"),
    Thinking("two", Seal("anthropic", "s")),
    Text("abc", citations=(Citation("u", "t", "", 0, 1), Citation("w", "t", "", 1, 2))),
    Text("def"),
    ToolUse("1", "f", '{"x":1}'),
    ToolUse("2", "g", ""),
)


def test_the_official_client_adds_our_chunks_up() -> None:
    types = pytest.importorskip("openai.types.chat")
    streaming = pytest.importorskip("openai.lib.streaming.chat")
    state = streaming.ChatCompletionStreamState()
    for chunk in chunks(*RICH, finish="tool_use", usage=Usage(5, output=2)):
        state.handle_chunk(types.ChatCompletionChunk.model_validate(chunk))
    final = state.get_final_completion()
    message = final.choices[0].message
    assert message.content == "abcdef"
    assert [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls] == [
        ("1", "f", '{"x":1}'),
        ("2", "g", "{}"),
    ]
    assert message.model_extra["reasoning_content"] == "onetwo"
    assert final.choices[0].finish_reason == "tool_calls" and final.usage.total_tokens == 7


def test_the_official_client_reads_our_whole_answers() -> None:
    types = pytest.importorskip("openai.types.chat")
    final = types.ChatCompletion.model_validate(written(*RICH, finish="tool_use", usage=Usage(5, output=2)))
    assert final.choices[0].message.content == "abcdef"
    assert [note.url_citation.url for note in final.choices[0].message.annotations] == ["u", "w"]
    assert final.choices[0].message.tool_calls[1].function.arguments == "{}"
