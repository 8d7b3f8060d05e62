"""Groq: https://console.groq.com/docs/openai , https://console.groq.com/docs/reasoning , groq SDK 1.7."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.mock import Step
from tests.core.providers.quirks.vendor import CHAT_TOOLS, called, chunk, stream, vendor, whole

QWEN, OSS, LLAMA = "groq/qwen/qwen3-32b", "groq/openai/gpt-oss-120b", "groq/llama-3.3-70b-versatile"
USAGE = {"queue_time": 0.01, "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


async def test_names_in_messages_are_a_400(tmp_path: Path) -> None:
    # https://console.groq.com/docs/openai#currently-unsupported-openai-features
    turns = [{"role": "user", "content": "a", "name": "ann"}]
    async with vendor(tmp_path, LLAMA) as groq:
        asked = await groq.chat(messages=turns, max_completion_tokens=9, user="u")
    assert asked.wire["messages"] == [{"role": "user", "content": "a"}]
    assert asked.wire["model"] == "llama-3.3-70b-versatile"
    assert (asked.wire["max_completion_tokens"], asked.wire["user"]) == (9, "u")
    assert asked.dropped == ["messages.0.name"]


async def test_unsupported_fields_go_with_drop_params_only(tmp_path: Path) -> None:
    fields = {"logprobs": True, "top_logprobs": 2, "logit_bias": {"1": 1}, "n": 2}
    async with vendor(tmp_path, LLAMA) as groq:
        assert fields.items() <= (await groq.chat(**fields)).wire.items()
    async with vendor(tmp_path, LLAMA, drop_params=True) as groq:
        asked = await groq.chat(**fields)
    assert not fields.keys() & asked.wire.keys() and asked.dropped == sorted(fields)


async def test_own_fields_pass(tmp_path: Path) -> None:
    own = {"reasoning_format": "parsed", "disable_tool_validation": True, "search_settings": {"country": "norway"}}
    async with vendor(tmp_path, QWEN) as groq:
        assert own.items() <= (await groq.chat(**own)).wire.items()


@pytest.mark.parametrize(
    ("model", "asked_for", "sent"),
    [(QWEN, "high", "default"), (QWEN, "none", "none"), (OSS, "minimal", "low"), (OSS, "max", "high"), (OSS, "low", "low")],
)
async def test_efforts_differ_by_model(tmp_path: Path, model: str, asked_for: str, sent: str) -> None:
    # SDK, CompletionCreateParams.reasoning_effort: none and default for Qwen 3, low to high for GPT-OSS
    async with vendor(tmp_path, model) as groq:
        asked = await groq.chat(reasoning_effort=asked_for)
    assert asked.wire["reasoning_effort"] == sent
    assert asked.dropped == (["reasoning_effort"] if asked_for != sent else [])


async def test_models_that_do_not_reason_get_no_effort(tmp_path: Path) -> None:
    # "reasoning_effort is not supported with this model": an agent that thinks would get nothing but 400s
    async with vendor(tmp_path, LLAMA) as groq:
        asked = await groq.messages(thinking={"type": "enabled", "budget_tokens": 4096})
        as_it_is = await groq.chat(reasoning_effort="low")
    assert "reasoning_effort" not in asked.wire and "reasoning_effort" in asked.dropped
    assert as_it_is.wire["reasoning_effort"] == "low"  # the vendor says what is wrong with it


async def test_the_config_knows_better(tmp_path: Path) -> None:
    # LiteLLM's allowed_openai_params: a model of tomorrow may take what the row says it refuses
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    async with vendor(tmp_path, LLAMA, allowed_openai_params=["reasoning_effort", "response_format"]) as groq:
        asked = await groq.messages(
            thinking={"type": "enabled", "budget_tokens": 1024},
            output_config={"format": {"type": "json_schema", "schema": schema}},
        )
    assert asked.wire["reasoning_effort"] == "low" and "tools" not in asked.wire
    assert asked.wire["response_format"]["type"] == "json_schema"


async def test_tiers_have_other_names(tmp_path: Path) -> None:
    # SDK: auto, on_demand, flex, performance
    async with vendor(tmp_path, OSS) as groq:
        asked = [(await groq.chat(service_tier=tier)).wire["service_tier"] for tier in ("default", "priority", "flex")]
    assert asked == ["on_demand", "performance", "flex"]


async def test_reasoning_goes_back_under_its_own_name(tmp_path: Path) -> None:
    # SDK, ChatCompletionAssistantMessageParam.reasoning
    async with vendor(tmp_path, OSS) as groq:
        asked = await groq.chat(messages=called("call_1", reasoning_content="Let me see."), tools=CHAT_TOOLS)
    assert asked.wire["messages"][1]["reasoning"] == "Let me see."
    assert "reasoning_content" not in asked.wire["messages"][1] and asked.dropped == []


async def test_models_that_do_not_reason_refuse_it_in_messages(tmp_path: Path) -> None:
    # https://github.com/vercel/ai/pull/8057 , https://github.com/janhq/jan/issues/8136 : "property ... is unsupported"
    replayed = {"reasoning": "a", "reasoning_content": "a", "refusal": None, "thinking_blocks": []}
    async with vendor(tmp_path, LLAMA) as groq:
        asked = await groq.chat(messages=called("call_1", **replayed), tools=CHAT_TOOLS)
    assert not replayed.keys() & asked.wire["messages"][1].keys()
    assert asked.dropped == ["messages.1.reasoning", "messages.1.reasoning_content", "messages.1.thinking_blocks"]


async def test_a_schema_that_the_model_does_not_enforce_is_a_forced_call(tmp_path: Path) -> None:
    # https://console.groq.com/docs/structured-outputs : json_schema on some models only
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    async with vendor(tmp_path, LLAMA) as groq:
        asked = await groq.messages(output_config={"format": {"type": "json_schema", "schema": schema}})
    assert "response_format" not in asked.wire
    assert asked.wire["tool_choice"]["function"]["name"] == asked.wire["tools"][0]["function"]["name"]
    assert asked.blocks["text"]["text"] == '{"n": 0}' or asked.blocks["text"]["text"] == '{"n":0}'


async def test_reasoning_in_answers(tmp_path: Path) -> None:
    answer = whole({"content": "Four.", "reasoning": "Two and two."}, x_groq={"id": "req_1"})
    async with vendor(tmp_path, OSS) as groq:
        groq.answers(answer, answer)
        chat, messages = await groq.chat(), await groq.messages()
    assert chat.message["reasoning"] == chat.message["reasoning_content"] == "Two and two."
    assert chat.body["x_groq"] == {"id": "req_1"}
    assert messages.blocks["thinking"]["thinking"] == "Two and two."


async def test_reasoning_and_usage_of_a_stream(tmp_path: Path) -> None:
    # SDK, ChatCompletionChunk.x_groq.usage: "Only sent in the final chunk"
    answer = stream(
        chunk({"role": "assistant", "content": ""}, x_groq={"id": "req_1"}),
        chunk({"reasoning": "Two and two."}),
        chunk({"content": "Four."}),
        chunk({}, "stop", x_groq={"id": "req_1", "usage": {**USAGE, "prompt_tokens_details": {"cached_tokens": 4}}}),
    )
    async with vendor(tmp_path, OSS) as groq:
        groq.answers(answer, answer, answer)
        chat = await groq.chat(stream=True)
        counted = await groq.chat(stream=True, stream_options={"include_usage": True})
        messages = await groq.messages(stream=True)
        records = groq.door.records
    assert chat.deltas("reasoning_content") == ["Two and two."] and chat.done
    assert not any("usage" in event for event in chat.events)  # the client did not ask for it
    assert counted.events[-1]["usage"]["prompt_tokens"] == 7
    assert messages.message_deltas("thinking") == "Two and two."
    for record in records:
        used = record.usage
        assert used is not None and (used.fresh, used.cache_read, used.output, used.estimated) == (3, 4, 3, False)


async def test_usage_of_its_own_does_not_hide_the_real_one(tmp_path: Path) -> None:
    # SDK, ChatCompletion.x_groq.usage of a whole answer: only dram_cached_tokens and sram_cached_tokens
    answer = whole({"content": "a"}, x_groq={"id": "r", "usage": {"dram_cached_tokens": 1, "sram_cached_tokens": 0}})
    async with vendor(tmp_path, OSS) as groq:
        groq.answers(answer)
        assert (await groq.chat()).body["usage"]["prompt_tokens"] == 7


async def test_a_stream_that_was_stopped_says_so(tmp_path: Path) -> None:
    # SDK, x_groq.error: "An error string indicating why a stream was stopped early"
    answer = stream(
        chunk({"content": "Fo"}), chunk({}, None, x_groq={"id": "r", "error": "over capacity"}), body_drip_ms=1
    )
    async with vendor(tmp_path, OSS) as groq:
        groq.answers(answer, answer)
        chat, messages = await groq.chat(stream=True), await groq.messages(stream=True)
    assert "over capacity" in chat.events[-1]["error"]["message"] and not chat.done
    assert messages.events[-1]["type"] == "error" and "over capacity" in messages.events[-1]["error"]["message"]


async def test_rate_limits_tell_when_to_come_again(tmp_path: Path) -> None:
    # https://console.groq.com/docs/rate-limits : retry-after, in seconds
    error = {"error": {"message": "Rate limit reached", "type": "tokens", "code": "rate_limit_exceeded"}}
    async with vendor(tmp_path, LLAMA) as groq:
        groq.answers(Step(status=429, body=error, headers={"retry-after": "7"}))
        asked = await groq.chat()
    assert asked.status == 429 and asked.headers["retry-after"] == "7"
