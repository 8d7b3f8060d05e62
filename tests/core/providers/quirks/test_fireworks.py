"""Fireworks: https://docs.fireworks.ai/api-reference/post-chatcompletions , fireworks-ai SDK 1.2."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.core.providers.resolve import resolve
from tests.core.providers.quirks.vendor import CHAT_TOOLS, MESSAGES_TOOLS, called, chunk, stream, vendor, whole

FULL = "accounts/fireworks/models/glm-5p2"
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 3,
    "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 6},
}


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("glm-5p2", FULL),
        (FULL, FULL),
        ("accounts/me/deployedModels/own", "accounts/me/deployedModels/own"),
        ("accounts/me/models/own#accounts/me/deployments/1", "accounts/me/models/own#accounts/me/deployments/1"),
    ],
)
def test_short_names_are_written_out_at_its_own_host(written: str, sent: str) -> None:
    assert resolve(f"fireworks_ai/{written}") == ("fireworks_ai", sent)
    assert resolve(f"fireworks_ai/{written}", "http://mine.test/v1") == ("fireworks_ai", written)


async def test_the_two_names_of_the_limit_exclude_each_other(tmp_path: Path) -> None:
    # SDK: max_completion_tokens "Cannot be specified together with max_tokens"
    async with vendor(tmp_path, f"fireworks_ai/{FULL}") as fireworks:
        one = await fireworks.chat(max_completion_tokens=9)
        both = await fireworks.chat(max_completion_tokens=9, max_tokens=5)
    assert one.wire["max_tokens"] == 9 and both.wire["max_tokens"] == 5
    assert "max_completion_tokens" not in one.wire and "max_completion_tokens" not in both.wire


async def test_own_fields_pass(tmp_path: Path) -> None:
    own = {
        "context_length_exceeded_behavior": "error",
        "reasoning_history": "interleaved",
        "perf_metrics_in_response": True,
        "response_format": {"type": "grammar", "grammar": 'root ::= "a"'},
        "prompt_truncate_len": 100,
        "user": "u",
        "logit_bias": {"1": 1},
    }
    async with vendor(tmp_path, f"fireworks_ai/{FULL}") as fireworks:
        asked = await fireworks.chat(**own)
    assert own.items() <= asked.wire.items() and asked.dropped == []


@pytest.mark.parametrize(("asked_for", "sent"), [("minimal", "low"), ("xhigh", "high"), ("max", "max"), ("none", "none")])
async def test_efforts(tmp_path: Path, asked_for: str, sent: str) -> None:
    # https://docs.fireworks.ai/guides/reasoning : none, low, medium, high; GLM 5 also max
    async with vendor(tmp_path, f"fireworks_ai/{FULL}") as fireworks:
        assert (await fireworks.chat(reasoning_effort=asked_for)).wire["reasoning_effort"] == sent


async def test_earlier_reasoning_goes_back(tmp_path: Path) -> None:
    # SDK, ChatMessage.reasoning_content; what of it is used `reasoning_history` says
    history = [
        {"role": "user", "content": "look"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Let me see.", "signature": ""},
                {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "seen"}]},
    ]
    async with vendor(tmp_path, f"fireworks_ai/{FULL}") as fireworks:
        chat = await fireworks.chat(messages=called("c", reasoning_content="Let me see."), tools=CHAT_TOOLS)
        messages = await fireworks.messages(messages=history, tools=MESSAGES_TOOLS)
    for asked in (chat, messages):
        assert asked.wire["messages"][1]["reasoning_content"] == "Let me see."


async def test_answers(tmp_path: Path) -> None:
    answer = whole({"content": "Four.", "reasoning_content": "Two and two."}, usage=USAGE, perf_metrics={"speed": 1})
    streamed = stream(
        chunk({"role": "assistant"}),
        chunk({"reasoning_content": "Two and two."}),
        chunk({"content": "Four."}),
        chunk({}, "stop", usage=USAGE),
    )
    async with vendor(tmp_path, f"fireworks_ai/{FULL}") as fireworks:
        fireworks.answers(answer, answer, streamed, streamed)
        chat, messages = await fireworks.chat(), await fireworks.messages()
        chunks, events = await fireworks.chat(stream=True), await fireworks.messages(stream=True)
        records = fireworks.door.records
    assert chat.message["reasoning_content"] == "Two and two." and chat.body["perf_metrics"] == {"speed": 1}
    assert messages.blocks["thinking"]["thinking"] == events.message_deltas("thinking") == "Two and two."
    assert chunks.deltas("reasoning_content") == ["Two and two."]
    assert [record.usage.cache_read for record in records if record.usage] == [6] * 4


async def test_its_three_dialects_at_its_own_host() -> None:
    # https://docs.fireworks.ai/tools-sdks/anthropic-compatibility , /guides/response-api
    from penstock.core.providers import PROVIDERS
    from penstock.core.providers.urls import dialects_at, endpoint

    row = PROVIDERS["fireworks_ai"]
    assert dialects_at(row, None, {}) == ("openai_chat", "openai_responses", "anthropic")
    assert endpoint(row, None, {}, "anthropic", model="m") == "https://api.fireworks.ai/inference/v1/messages"
