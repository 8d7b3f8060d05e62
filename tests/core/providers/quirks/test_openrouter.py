"""OpenRouter: https://openrouter.ai/docs/api/reference/overview and the pages named below, openrouter SDK 1.3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Step
from tests.core.providers.quirks.vendor import CHAT_TOOLS, called, chunk, stream, vendor, whole
from tests.runtime.made import target_of

CLAUDE = "openrouter/anthropic/claude-sonnet-4.5"
DETAILS = [{"type": "reasoning.text", "text": "Two and two.", "signature": "sig", "format": "anthropic-claude-v1", "index": 0}]
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "cost": 0.00014,
    "is_byok": False,
    "prompt_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 4},
    "cost_details": {"upstream_inference_cost": None},
}


async def test_only_the_first_segment_is_the_provider(tmp_path: Path) -> None:
    async with vendor(tmp_path, CLAUDE) as openrouter:
        asked = await openrouter.chat()
    assert asked.wire["model"] == "anthropic/claude-sonnet-4.5" and asked.path == "/v1/chat/completions"
    assert asked.body["model"] == "m"


async def test_own_fields_pass(tmp_path: Path) -> None:
    # https://openrouter.ai/docs/api/reference/parameters , /guides/routing/model-fallbacks , /provider-selection
    own: dict[str, Any] = {
        "models": ["anthropic/claude-sonnet-4.5", "openai/gpt-4o"],
        "provider": {"order": ["anthropic"], "allow_fallbacks": False},
        "plugins": [{"id": "web"}],
        "reasoning": {"max_tokens": 2000, "exclude": True},
        "usage": {"include": True},
        "transforms": ["middle-out"],
    }
    async with vendor(tmp_path, CLAUDE) as openrouter:
        top = await openrouter.chat(**own)
        inside = await openrouter.chat(extra_body=own)
    assert own.items() <= top.wire.items() and own.items() <= inside.wire.items()
    assert "extra_body" not in inside.wire and top.dropped == inside.dropped == []


async def test_cache_marks_of_a_messages_request_pass(tmp_path: Path) -> None:
    # https://openrouter.ai/docs/guides/best-practices/prompt-caching : cache_control on parts
    system = [{"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}]
    async with vendor(tmp_path, CLAUDE) as openrouter:
        asked = await openrouter.messages(system=system)
    assert asked.wire["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


@pytest.mark.parametrize("env", [{"OR_SITE_URL": "https://mine.test", "OR_APP_NAME": "mine"}, {}])
def test_the_headers_that_name_the_application(tmp_path: Path, env: dict[str, str]) -> None:
    # https://openrouter.ai/docs/app-attribution : HTTP-Referer and X-Title; OR_SITE_URL and OR_APP_NAME are LiteLLM's
    head = target_of(tmp_path, env, model=CLAUDE, api_key="sk-or").endpoint("openai_chat").head.decode()
    assert ("http-referer: https://mine.test\r\n" in head and "x-title: mine\r\n" in head) is bool(env)
    assert ("http-referer" in head) is bool(env)


async def test_headers_of_the_deployment_pass(tmp_path: Path) -> None:
    async with vendor(tmp_path, CLAUDE, extra_headers={"HTTP-Referer": "https://mine.test"}) as openrouter:
        await openrouter.chat()
        assert openrouter.mock.received[-1].header("http-referer") == "https://mine.test"


async def test_reasoning_of_a_whole_answer(tmp_path: Path) -> None:
    # https://openrouter.ai/docs/guides/best-practices/reasoning-tokens : reasoning and reasoning_details
    answer = whole({"content": "Four.", "reasoning": "Two and two.", "reasoning_details": DETAILS}, provider="Anthropic")
    async with vendor(tmp_path, CLAUDE) as openrouter:
        openrouter.answers(answer, answer)
        chat, messages = await openrouter.chat(), await openrouter.messages()
    assert chat.message["reasoning_details"] == DETAILS and chat.body["provider"] == "Anthropic"
    assert chat.message["reasoning"] == chat.message["reasoning_content"] == "Two and two."
    assert messages.blocks["thinking"]["thinking"] == "Two and two."


async def test_reasoning_details_come_back_as_they_were(tmp_path: Path) -> None:
    # "preserving reasoning blocks": the sequence must match what the model said
    async with vendor(tmp_path, CLAUDE) as openrouter:
        asked = await openrouter.chat(messages=called("call_1", reasoning_details=DETAILS), tools=CHAT_TOOLS)
    assert asked.wire["messages"][1]["reasoning_details"] == DETAILS


async def test_comments_reasoning_and_usage_of_a_stream(tmp_path: Path) -> None:
    # https://openrouter.ai/docs/api/reference/streaming : comments; usage in the last chunk
    answer = stream(
        ": OPENROUTER PROCESSING",
        ": OPENROUTER PROCESSING",
        chunk({"role": "assistant", "content": "", "reasoning": "Two and two.", "reasoning_details": DETAILS}),
        chunk({"content": "Four."}),
        chunk({"content": ""}, "stop"),
        chunk({"role": "assistant", "content": ""}, None, usage=USAGE),
    )
    async with vendor(tmp_path, CLAUDE) as openrouter:
        openrouter.answers(answer, answer)
        chat = await openrouter.chat(stream=True, stream_options={"include_usage": True})
        messages = await openrouter.messages(stream=True)
        records = openrouter.door.records
    assert chat.deltas("reasoning_content") == ["Two and two."] and chat.deltas("content") == ["Four."]
    assert chat.deltas("reasoning_details") == [DETAILS]
    assert chat.events[-1]["usage"]["cost"] == 0.00014 and chat.done
    assert messages.message_deltas("thinking") == "Two and two." and messages.message_deltas("text") == "Four."
    for record in records:
        used = record.usage
        assert used is not None
        assert (used.fresh, used.cache_read, used.cache_write, used.output, used.reasoning) == (5, 3, 2, 5, 4)


async def test_an_error_in_the_middle_of_a_stream(tmp_path: Path) -> None:
    # https://openrouter.ai/docs/api/reference/errors-and-debugging : a chunk with `error` and finish_reason "error"
    broken = chunk({"content": ""}, "error", error={"code": 502, "message": "Provider disconnected"}, provider="X")
    answer = stream(chunk({"content": "Fo"}), broken, body_drip_ms=1)
    async with vendor(tmp_path, CLAUDE) as openrouter:
        openrouter.answers(answer, answer)
        chat, messages = await openrouter.chat(stream=True), await openrouter.messages(stream=True)
        errors = [record.error for record in openrouter.door.records]
    assert chat.deltas("content") == ["Fo"] and not chat.done
    assert "Provider disconnected" in chat.events[-1]["error"]["message"]
    assert messages.events[-1]["type"] == "error"
    assert "message_stop" not in [event["type"] for event in messages.events]
    assert errors == ["upstream_bad_gateway"] * 2


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 429, "message": "Rate limited", "metadata": {"raw": "slow down", "provider_name": "X"}}},
        {
            "id": "g",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "Fo"},
                    "finish_reason": "error",
                    "error": {"code": 429, "message": "Rate limited", "metadata": {"raw": "slow down"}},
                }
            ],
        },
    ],
    ids=["alone", "in a choice"],
)
async def test_an_error_under_status_200(tmp_path: Path, body: Any) -> None:
    async with vendor(tmp_path, CLAUDE) as openrouter:
        openrouter.answers(Step(body=body), Step(body=body))
        chat, messages = await openrouter.chat(), await openrouter.messages()
    for asked in (chat, messages):
        assert asked.status == 429 and "Rate limited: slow down" in asked.body["error"]["message"]


async def test_a_word_error_in_an_answer_is_no_error(tmp_path: Path) -> None:
    answer = whole({"content": 'It says "error".'}, error=None)
    streamed = stream(chunk({"content": '{"error": 1}'}), chunk({}, "stop"))
    async with vendor(tmp_path, CLAUDE) as openrouter:
        openrouter.answers(answer, streamed)
        assert (await openrouter.chat()).message["content"] == 'It says "error".'
        assert (await openrouter.chat(stream=True)).deltas("content") == ['{"error": 1}']


async def test_mistrals_models_want_there_what_they_want_at_home(tmp_path: Path) -> None:
    # https://github.com/charmbracelet/crush/issues/279
    turns = [*called("call_1"), {"role": "user", "content": "And now?"}]
    async with vendor(tmp_path, "openrouter/mistralai/devstral-medium") as openrouter:
        asked = await openrouter.chat(messages=turns, tools=CHAT_TOOLS)
    assert [message["role"] for message in asked.wire["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert len(asked.wire["messages"][2]["tool_call_id"]) == 9


def test_its_own_messages_api_is_used_at_its_own_host() -> None:
    # https://openrouter.ai/docs/api/api-reference/anthropic-messages : signatures of thinking survive there
    from penstock.core.providers import PROVIDERS
    from penstock.core.providers.urls import dialects_at, endpoint

    row = PROVIDERS["openrouter"]
    assert "anthropic" in dialects_at(row, None, {})
    assert endpoint(row, None, {}, "anthropic", model="m") == "https://openrouter.ai/api/v1/messages"
