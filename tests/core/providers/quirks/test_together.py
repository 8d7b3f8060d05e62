"""Together AI: https://docs.together.ai/reference/chat-completions-1 , together SDK 3.1."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.core.providers.quirks.vendor import chunk, stream, vendor, whole

LLAMA = "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo"


async def test_fields_have_other_names_and_shapes(tmp_path: Path) -> None:
    # SDK, CompletionCreateParamsBase: max_tokens, stop: a sequence, not a string; logprobs: int
    async with vendor(tmp_path, LLAMA) as together:
        asked = await together.chat(max_completion_tokens=9, stop="x", logprobs=True, top_logprobs=3)
        plain = await together.chat(stop=["x", "y"], logprobs=True)
        without = await together.chat(logprobs=False, top_logprobs=None)
        messages = await together.messages(stop_sequences=["x"])
    assert asked.wire["model"] == "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    assert {key: asked.wire[key] for key in ("max_tokens", "stop", "logprobs")} == {
        "max_tokens": 9,
        "stop": ["x"],
        "logprobs": 3,
    }
    assert not {"max_completion_tokens", "top_logprobs"} & asked.wire.keys() and asked.dropped == []
    assert (plain.wire["stop"], plain.wire["logprobs"]) == (["x", "y"], 1)
    assert "logprobs" not in without.wire
    assert (messages.wire["stop"], messages.wire["max_tokens"]) == (["x"], 5000)


async def test_its_own_number_of_logprobs_stays(tmp_path: Path) -> None:
    async with vendor(tmp_path, LLAMA) as together:
        assert (await together.chat(logprobs=5)).wire["logprobs"] == 5


@pytest.mark.parametrize(("asked_for", "sent"), [("minimal", "low"), ("medium", "medium"), ("xhigh", "high")])
async def test_efforts(tmp_path: Path, asked_for: str, sent: str) -> None:
    # SDK: Literal["low", "medium", "high"]
    async with vendor(tmp_path, "together_ai/openai/gpt-oss-120b") as together:
        assert (await together.chat(reasoning_effort=asked_for)).wire["reasoning_effort"] == sent


async def test_reasoning_is_turned_off_by_a_switch(tmp_path: Path) -> None:
    # SDK, Reasoning.enabled
    async with vendor(tmp_path, "together_ai/deepseek-ai/DeepSeek-V3.1") as together:
        for asked in (
            await together.chat(reasoning_effort="none"),
            await together.messages(thinking={"type": "disabled"}),
        ):
            assert asked.wire["reasoning"] == {"enabled": False} and "reasoning_effort" not in asked.wire


async def test_own_fields_and_marks_pass(tmp_path: Path) -> None:
    own = {"repetition_penalty": 1.1, "min_p": 0.1, "safety_model": "s", "context_length_exceeded_behavior": "truncate"}
    async with vendor(tmp_path, LLAMA) as together:
        asked = await together.chat(**own, messages=[{"role": "developer", "content": "Be short."}])
    assert own.items() <= asked.wire.items()
    assert asked.wire["messages"] == [{"role": "system", "content": "Be short."}]


async def test_eos_is_stop_and_reasoning_has_the_usual_name(tmp_path: Path) -> None:
    # SDK, Choice.finish_reason: "stop", "eos", ...; ChatCompletionMessage.reasoning
    answer = whole({"content": 'Say "eos".', "reasoning": "Two and two."}, "eos", prompt=[])
    async with vendor(tmp_path, LLAMA) as together:
        together.answers(answer, answer)
        chat, messages = await together.chat(), await together.messages()
    assert chat.body["choices"][0]["finish_reason"] == "stop" and chat.message["content"] == 'Say "eos".'
    assert chat.message["reasoning_content"] == "Two and two."
    assert messages.body["stop_reason"] == "end_turn" and messages.blocks["thinking"]["thinking"] == "Two and two."


async def test_eos_and_reasoning_in_a_stream(tmp_path: Path) -> None:
    answer = stream(
        chunk({"role": "assistant", "content": "", "reasoning": "Two and two.", "token_id": 1}),
        chunk({"content": "Four.", "token_id": 2}),
        chunk({"content": "", "token_id": 3}, "eos", usage={"prompt_tokens": 7, "completion_tokens": 3}),
    )
    async with vendor(tmp_path, LLAMA) as together:
        together.answers(answer, answer)
        chat, messages = await together.chat(stream=True), await together.messages(stream=True)
    assert [event["choices"][0]["finish_reason"] for event in chat.events] == [None, None, "stop"]
    assert chat.deltas("reasoning_content") == ["Two and two."]
    assert messages.message_deltas("thinking") == "Two and two." and messages.message_deltas("text") == "Four."


async def test_log_probabilities_in_openais_form(tmp_path: Path) -> None:
    # SDK, LogProbs: tokens and token_logprobs side by side; ChatCompletionChunk's choice: one number
    lists = {"tokens": ["Fo", "ur"], "token_logprobs": [-0.5, -1.0], "token_ids": [1, 2]}
    expected = [
        {"token": "Fo", "logprob": -0.5, "bytes": None, "top_logprobs": []},
        {"token": "ur", "logprob": -1.0, "bytes": None, "top_logprobs": []},
    ]
    async with vendor(tmp_path, LLAMA) as together:
        together.answers(
            whole({"content": "Four"}, choice={"logprobs": lists}),
            stream(
                {**chunk(), "choices": [{"index": 0, "delta": {"content": "Fo"}, "logprobs": -0.5}]},
                {**chunk(), "choices": [{"index": 0, "delta": {"content": "ur"}, "logprobs": -1}]},
                chunk({}, "stop"),
            ),
        )
        one, many = await together.chat(logprobs=True), await together.chat(logprobs=True, stream=True)
    assert one.body["choices"][0]["logprobs"]["content"] == expected
    told = [event["choices"][0].get("logprobs") for event in many.events]
    assert [entry for part in told if part for entry in part["content"]] == expected


async def test_openais_own_log_probabilities_stay(tmp_path: Path) -> None:
    content = {"content": [{"token": "a", "logprob": -1.0, "bytes": None, "top_logprobs": []}], "refusal": None}
    async with vendor(tmp_path, LLAMA) as together:
        together.answers(whole({"content": "a"}, choice={"logprobs": content}))
        assert (await together.chat()).body["choices"][0]["logprobs"] == content
