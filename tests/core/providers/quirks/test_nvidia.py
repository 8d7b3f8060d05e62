"""NVIDIA NIM: https://docs.api.nvidia.com/nim/reference/llm-apis and the issues named below."""

from __future__ import annotations

from pathlib import Path

from penstock.mock import Step
from tests.core.providers.quirks.vendor import CHAT_TOOLS, called, chunk, stream, vendor, whole

NEMOTRON = "nvidia_nim/nvidia/nemotron-3-super-120b-a12b"


async def test_unknown_fields_are_forbidden(tmp_path: Path) -> None:
    # https://github.com/sipeed/picoclaw/issues/1019 : prompt_cache_key, "Extra inputs are not permitted"
    async with vendor(tmp_path, NEMOTRON) as nim:
        asked = await nim.chat(max_completion_tokens=9, user="u", store=False, prompt_cache_key="k", seed=1)
    assert (asked.wire["max_tokens"], asked.wire["seed"]) == (9, 1)
    assert not {"max_completion_tokens", "user", "store", "prompt_cache_key"} & asked.wire.keys()
    assert asked.dropped == ["prompt_cache_key", "store", "user"]


async def test_the_user_of_a_messages_client_is_not_sent(tmp_path: Path) -> None:
    async with vendor(tmp_path, NEMOTRON) as nim:
        asked = await nim.messages(metadata={"user_id": "u"})
    assert asked.status == 200 and "user" not in asked.wire and "user" in asked.dropped


async def test_fields_of_the_model_pass(tmp_path: Path) -> None:
    # https://docs.nvidia.com/nim/large-language-models/latest/thinking-budget-control.html , nvext of NIM 1.x
    own = {"chat_template_kwargs": {"enable_thinking": True}, "nvext": {"max_thinking_tokens": 100}, "reasoning_budget": 9}
    async with vendor(tmp_path, NEMOTRON) as nim:
        top, inside = await nim.chat(**own), await nim.chat(extra_body=own)
    assert own.items() <= top.wire.items() and own.items() <= inside.wire.items()
    async with vendor(tmp_path, NEMOTRON, extra_body=own) as nim:
        assert own.items() <= (await nim.messages()).wire.items()  # the deployment's, whoever asks


async def test_text_is_a_string(tmp_path: Path) -> None:
    # older models: 422 "Input should be a valid string"
    turns = [
        {"role": "developer", "content": [{"type": "text", "text": "Be short."}]},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    async with vendor(tmp_path, NEMOTRON) as nim:
        asked = await nim.chat(messages=turns)
    assert asked.wire["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "ab"}]


async def test_guided_json_is_a_response_format(tmp_path: Path) -> None:
    # https://docs.h2o.ai/enterprise-h2ogpte/guide/models-section/nvidia-nim-llms : every current NIM enforces
    # json_schema, NIM 2 ignores a guided_json at the top
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    async with vendor(tmp_path, NEMOTRON) as nim:
        asked = await nim.chat(guided_json=schema)
    assert asked.wire["response_format"]["json_schema"]["schema"] == schema and "guided_json" not in asked.wire


async def test_gemma_refuses_the_penalties(tmp_path: Path) -> None:
    # https://github.com/Kilo-Org/kilocode/issues/9652
    fields = {"presence_penalty": 0.1, "frequency_penalty": 0.1}
    async with vendor(tmp_path, "nvidia_nim/google/gemma-2-2b-it", drop_params=True) as nim:
        gemma = await nim.chat(**fields)
    async with vendor(tmp_path, NEMOTRON, drop_params=True) as nim:
        other = await nim.chat(**fields)
    assert gemma.dropped == sorted(fields) and fields.items() <= other.wire.items()


async def test_mistrals_models_want_there_what_they_want_at_home(tmp_path: Path) -> None:
    # https://github.com/NousResearch/hermes-agent/issues/20154
    turns = [*called("call_1"), {"role": "user", "content": "And now?"}]
    async with vendor(tmp_path, "nvidia_nim/mistralai/mistral-small-4-119b-2603") as nim:
        asked = await nim.chat(messages=turns, tools=CHAT_TOOLS)
    assert [message["role"] for message in asked.wire["messages"]] == ["user", "assistant", "tool", "assistant", "user"]
    assert len(asked.wire["messages"][2]["tool_call_id"]) == 9


async def test_reasoning_in_answers(tmp_path: Path) -> None:
    answer = whole({"content": "Four.", "reasoning_content": "Two and two."})
    streamed = stream(chunk({"reasoning_content": "Two and two."}), chunk({"content": "Four."}), chunk({}, "stop"))
    async with vendor(tmp_path, NEMOTRON) as nim:
        nim.answers(answer, answer, streamed, streamed)
        chat, messages = await nim.chat(), await nim.messages()
        chunks, events = await nim.chat(stream=True), await nim.messages(stream=True)
    assert chat.message["reasoning_content"] == "Two and two." == chunks.deltas("reasoning_content")[0]
    assert messages.blocks["thinking"]["thinking"] == events.message_deltas("thinking") == "Two and two."


async def test_its_errors_are_problem_details(tmp_path: Path) -> None:
    # https://github.com/NVIDIA/garak/issues/748 : RFC 9457
    problem = {
        "type": "urn:inference-service:problem-details:unprocessable-entity",
        "title": "Unprocessable Entity",
        "status": 422,
        "detail": "body -> frequency_penalty\n  Extra inputs are not permitted (type=extra_forbidden)",
    }
    async with vendor(tmp_path, NEMOTRON) as nim:
        nim.answers(Step(status=422, body=problem), Step(status=400, body={"error": "[{'type': 'extra_forbidden'}]"}))
        first, second = await nim.chat(), await nim.chat()
    assert first.status == 422 and "body -> frequency_penalty" in first.body["error"]["message"]
    assert second.status == 400 and "extra_forbidden" in second.body["error"]["message"]
