"""Mistral: https://docs.mistral.ai/api , https://docs.mistral.ai/capabilities/reasoning , mistralai SDK 3.7."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Step
from tests.core.providers.quirks.vendor import CHAT_TOOLS, MESSAGES_TOOLS, called, chunk, stream, vendor, whole

THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "Two and two."}], "closed": True}


async def test_fields_have_other_names_and_unknown_ones_are_forbidden(tmp_path: Path) -> None:
    # SDK, ChatCompletionRequest: max_tokens, random_seed, safe_prompt; no user, store, stream_options.
    async with vendor(tmp_path, "mistral/mistral-large-latest") as mistral:
        asked = await mistral.chat(
            max_completion_tokens=9, seed=4, user="u", store=False, safe_prompt=True, prompt_mode="reasoning", stream=True
        )
    assert asked.status == 200 and asked.done
    wire = {key: value for key, value in asked.wire.items() if key != "messages"}
    assert wire == {
        "model": "mistral-large-latest",
        "max_tokens": 9,
        "random_seed": 4,
        "safe_prompt": True,
        "prompt_mode": "reasoning",
        "stream": True,
    }
    assert asked.dropped == ["store", "user"]


async def test_what_somebody_would_miss_stays_unless_drop_params(tmp_path: Path) -> None:
    async with vendor(tmp_path, "mistral/m") as mistral:
        assert "logit_bias" in (await mistral.chat(logit_bias={"1": 2})).wire
    async with vendor(tmp_path, "mistral/m", drop_params=True) as mistral:
        asked = await mistral.chat(logit_bias={"1": 2}, logprobs=True)
    assert "logit_bias" not in asked.wire and asked.dropped == ["logit_bias"]
    assert asked.wire["logprobs"] is True  # in the SDK's request since 3.x


async def test_any_is_its_word_for_required(tmp_path: Path) -> None:
    # https://docs.mistral.ai/capabilities/function_calling : tool_choice auto, any, none
    async with vendor(tmp_path, "mistral/m") as mistral:
        chat = await mistral.chat(tools=CHAT_TOOLS, tool_choice="required")
        messages = await mistral.messages(tools=MESSAGES_TOOLS, tool_choice={"type": "any"})
    assert chat.wire["tool_choice"] == messages.wire["tool_choice"] == "any"


@pytest.mark.parametrize("id", ["call_PTLP8xhu3uwZk4l3nlnrrJha", "toolu_01", "1"])
async def test_ids_of_calls_are_nine_letters_and_digits(tmp_path: Path, id: str) -> None:
    # https://github.com/mistralai/mistral-vibe/issues/1075 : anything else is a 400
    async with vendor(tmp_path, "mistral/m") as mistral:
        asked = await mistral.chat(messages=called(id), tools=CHAT_TOOLS)
        again = await mistral.chat(messages=called(id), tools=CHAT_TOOLS)
    call, result = asked.wire["messages"][1]["tool_calls"][0]["id"], asked.wire["messages"][2]["tool_call_id"]
    assert re.fullmatch("[A-Za-z0-9]{9}", call) and call == result
    assert again.wire == asked.wire  # or the vendor's prompt cache would never hit
    assert asked.dropped == []


async def test_its_own_ids_stay(tmp_path: Path) -> None:
    async with vendor(tmp_path, "mistral/m") as mistral:
        asked = await mistral.chat(messages=called("D681PevKs"), tools=CHAT_TOOLS)
    assert asked.wire["messages"][2]["tool_call_id"] == "D681PevKs"


async def test_an_assistant_speaks_between_tool_and_user(tmp_path: Path) -> None:
    # https://github.com/NousResearch/hermes-agent/issues/20154 : "Unexpected role 'user' after role 'tool'"
    history = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}]},
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "seen"},
                {"type": "text", "text": "And now?"},
            ],
        },
    ]
    async with vendor(tmp_path, "mistral/m") as mistral:
        asked = await mistral.messages(messages=history, tools=MESSAGES_TOOLS)
        chat = await mistral.chat(messages=[*called("c"), {"role": "user", "content": "And now?"}], tools=CHAT_TOOLS)
    for wire in (asked.wire, chat.wire):
        assert [message["role"] for message in wire["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
        assert wire["messages"][3] == {"role": "assistant", "content": "Understood."}


async def test_a_last_message_of_the_assistant_is_a_prefix(tmp_path: Path) -> None:
    # https://docs.mistral.ai/capabilities/completion/prefix : else "Expected last role User or Tool (or Assistant
    # with prefix True)"
    turns = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One,"}]
    async with vendor(tmp_path, "mistral/m") as mistral:
        for asked in (await mistral.chat(messages=turns), await mistral.messages(messages=turns)):
            assert asked.wire["messages"][-1] == {"role": "assistant", "content": "One,", "prefix": True}


async def test_messages_hold_only_what_it_knows(tmp_path: Path) -> None:
    # https://github.com/BerriAI/litellm/issues/30835 : 422 extra_forbidden for a replayed reasoning_content
    turns = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": "a", "name": "ann"},
        {"role": "assistant", "content": "b", "reasoning_content": "r", "refusal": None, "annotations": []},
        {"role": "user", "content": "c"},
    ]
    async with vendor(tmp_path, "mistral/m") as mistral:
        asked = await mistral.chat(messages=turns)
    assert asked.wire["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    assert "messages.2.reasoning_content" in asked.dropped


async def test_thinking_parts_become_reasoning(tmp_path: Path) -> None:
    # https://docs.mistral.ai/capabilities/reasoning : content is a list of thinking and text chunks
    answer = whole({"content": [THOUGHT, {"type": "text", "text": "Four."}]})
    async with vendor(tmp_path, "mistral/magistral-medium-latest") as mistral:
        mistral.answers(answer, answer)
        chat, messages = await mistral.chat(), await mistral.messages()
    assert (chat.message["content"], chat.message["reasoning_content"]) == ("Four.", "Two and two.")
    assert messages.blocks["thinking"]["thinking"] == "Two and two." and messages.blocks["text"]["text"] == "Four."


async def test_thinking_parts_in_a_stream(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    answer = stream(
        chunk({"role": "assistant", "content": ""}),
        chunk({"content": [THOUGHT]}),
        chunk({"content": [{"type": "text", "text": "Fo"}]}),
        chunk({"content": "ur."}, "stop", usage=usage),
    )
    async with vendor(tmp_path, "mistral/magistral-medium-latest") as mistral:
        mistral.answers(answer, answer)
        chat = await mistral.chat(stream=True, stream_options={"include_usage": True})
        messages = await mistral.messages(stream=True)
        records = mistral.door.records
    assert all(isinstance(told, str) for told in chat.deltas("content"))  # OpenAI's SDK knows no lists there
    assert "".join(chat.deltas("content")) == "Four." and chat.deltas("reasoning_content") == ["Two and two."]
    assert messages.message_deltas("thinking") == "Two and two." and messages.message_deltas("text") == "Four."
    assert chat.events[-1]["usage"] == usage
    for record in records:
        assert record.usage is not None and (record.usage.input, record.usage.output) == (7, 3)


async def test_other_parts_are_left_as_they_are(tmp_path: Path) -> None:
    # SDK, ReferenceChunk: which part of which document, in words that no other dialect has
    content: list[Any] = [{"type": "text", "text": "So"}, {"type": "reference", "reference_ids": [0]}]
    async with vendor(tmp_path, "mistral/m") as mistral:
        mistral.answers(whole({"content": content}))
        assert (await mistral.chat()).message["content"] == content


async def test_its_errors(tmp_path: Path) -> None:
    # {"object": "error", "message", "type", "code"} beside a plain {"detail": [...]} of its validation
    wrong = {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "param": None, "code": "1500"}
    detail = {"detail": [{"type": "extra_forbidden", "loc": ["body", "x"], "msg": "Extra inputs are not permitted"}]}
    async with vendor(tmp_path, "mistral/m") as mistral:
        mistral.answers(Step(status=400, body=wrong), Step(status=422, body=detail))
        first, second = await mistral.chat(), await mistral.messages()
    assert first.status == 400 and "Invalid model: x" in first.body["error"]["message"]
    assert second.status == 422 and "Extra inputs are not permitted" in second.body["error"]["message"]


async def test_a_stream_that_nobody_asked_for_is_mended_too(tmp_path: Path) -> None:
    answer = stream(chunk({"content": [THOUGHT]}), chunk({"content": [{"type": "text", "text": "Four."}]}, "stop"))
    async with vendor(tmp_path, "mistral/magistral-medium-latest") as mistral:
        mistral.answers(answer, answer)
        chat, messages = await mistral.chat(), await mistral.messages()
    assert (chat.message["content"], chat.message["reasoning_content"]) == ("Four.", "Two and two.")
    assert messages.blocks["text"]["text"] == "Four."
