"""DeepSeek: https://api-docs.deepseek.com/api/create-chat-completion and the guides named below."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Step
from tests.core.providers.quirks.vendor import CHAT_TOOLS, MESSAGES_TOOLS, called, chunk, stream, vendor, whole

PRO = "deepseek/deepseek-v4-pro"
OFF = {"type": "disabled"}
NAMED = {"type": "function", "function": {"name": "look"}}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_cache_hit_tokens": 6,
    "prompt_cache_miss_tokens": 4,
    "completion_tokens_details": {"reasoning_tokens": 2},
}


async def test_fields_and_messages(tmp_path: Path) -> None:
    # max_tokens; content is a string; roles are system, user, assistant, tool
    turns = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    async with vendor(tmp_path, PRO) as deepseek:
        asked = await deepseek.chat(messages=turns, max_completion_tokens=9, user="u", thinking=OFF)
    assert asked.wire["messages"] == [{"role": "system", "content": "Be short."}, {"role": "user", "content": "ab"}]
    assert (asked.wire["max_tokens"], asked.wire["user"], asked.wire["thinking"]) == (9, "u", OFF)
    assert "max_completion_tokens" not in asked.wire


async def test_prefix_completion(tmp_path: Path) -> None:
    # https://api-docs.deepseek.com/guides/chat_prefix_completion
    turns = [{"role": "user", "content": "Sort."}, {"role": "assistant", "content": "```python\n"}]
    async with vendor(tmp_path, PRO) as deepseek:
        for asked in (await deepseek.chat(messages=turns), await deepseek.messages(messages=turns[:1] + [
            {"role": "assistant", "content": "```python"}
        ])):  # fmt: skip
            assert asked.wire["messages"][-1]["prefix"] is True


async def test_thoughts_come_back_where_tools_were_called(tmp_path: Path) -> None:
    # https://api-docs.deepseek.com/guides/thinking_mode#tool-calls : else "The reasoning_content in the thinking mode
    # must be passed back to the API."
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
    async with vendor(tmp_path, PRO) as deepseek:
        chat = await deepseek.chat(messages=called("c1", reasoning_content="Let me see."), tools=CHAT_TOOLS)
        messages = await deepseek.messages(messages=history, tools=MESSAGES_TOOLS)
        forgotten = await deepseek.chat(messages=called("c1"), tools=CHAT_TOOLS)
    assert chat.wire["messages"][1]["reasoning_content"] == "Let me see."
    assert messages.wire["messages"][1]["reasoning_content"] == "Let me see."
    # https://github.com/deepseek-ai/deepseek-harness/discussions/739 : the field must be there, if empty
    assert forgotten.wire["messages"][1]["reasoning_content"] == ""


async def test_no_effort_is_no_thinking(tmp_path: Path) -> None:
    # thinking mode is on unless `thinking` says otherwise; an effort of "none" is no word of its Chat API
    async with vendor(tmp_path, PRO) as deepseek:
        chat = await deepseek.chat(reasoning_effort="none")
        messages = await deepseek.messages(thinking=OFF)
        hard = await deepseek.chat(reasoning_effort="max")
    for asked in (chat, messages):
        assert asked.wire["thinking"] == OFF and "reasoning_effort" not in asked.wire
    assert hard.wire["reasoning_effort"] == "max" and "thinking" not in hard.wire


@pytest.mark.parametrize("choice", ["required", NAMED])
async def test_a_forced_call_and_thinking_exclude_each_other(tmp_path: Path, choice: Any) -> None:
    # https://github.com/deepseek-ai/DeepSeek-V3/issues/1376 : "Thinking mode does not support this tool_choice"
    async with vendor(tmp_path, PRO) as deepseek:
        forced = await deepseek.chat(tools=CHAT_TOOLS, tool_choice=choice)
        both = await deepseek.chat(tools=CHAT_TOOLS, tool_choice=choice, reasoning_effort="high")
        free = await deepseek.chat(tools=CHAT_TOOLS, tool_choice="auto")
    assert forced.wire["thinking"] == OFF and forced.wire["tool_choice"] == choice
    assert "thinking" not in both.wire and both.wire["tool_choice"] == choice  # the vendor says what is wrong
    assert "thinking" not in free.wire
    async with vendor(tmp_path, PRO, drop_params=True) as deepseek:
        both = await deepseek.chat(tools=CHAT_TOOLS, tool_choice=choice, reasoning_effort="high")
    assert both.wire["tool_choice"] == "auto" and both.dropped == ["tool_choice"]


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-reasoner"])
async def test_old_names_say_themselves_whether_they_think(tmp_path: Path, model: str) -> None:
    async with vendor(tmp_path, f"deepseek/{model}") as deepseek:
        asked = await deepseek.chat(tools=CHAT_TOOLS, tool_choice="required")
    assert "thinking" not in asked.wire and asked.wire["tool_choice"] == "required"


async def test_schemas_are_not_enforced(tmp_path: Path) -> None:
    # response_format is text or json_object: "This response_format type is unavailable now"
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}
    async with vendor(tmp_path, PRO) as deepseek:
        assert (await deepseek.chat(response_format=wanted)).wire["response_format"] == wanted
        messages = await deepseek.messages(output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert messages.wire["tool_choice"]["type"] == "function" and messages.wire["thinking"] == OFF
    assert messages.blocks["text"]["text"].replace(" ", "") == '{"n":0}'
    async with vendor(tmp_path, PRO, drop_params=True) as deepseek:
        weaker = await deepseek.chat(response_format=wanted)
    assert weaker.wire["response_format"] == {"type": "json_object"} and weaker.dropped == ["response_format"]


async def test_counters_of_cache_and_reasoning(tmp_path: Path) -> None:
    # https://api-docs.deepseek.com/guides/kv_cache : prompt_tokens = hit + miss
    answer = whole({"content": "Four.", "reasoning_content": "Two and two."}, usage=USAGE)
    async with vendor(tmp_path, PRO) as deepseek:
        deepseek.answers(answer, answer)
        chat, messages = await deepseek.chat(), await deepseek.messages()
        records = deepseek.door.records
    assert chat.body["usage"] == USAGE and chat.message["reasoning_content"] == "Two and two."
    assert messages.body["usage"]["cache_read_input_tokens"] == 6 and messages.body["usage"]["input_tokens"] == 4
    for record in records:
        used = record.usage
        assert used is not None
        assert (used.fresh, used.cache_read, used.output, used.reasoning) == (4, 6, 5, 2)


async def test_a_stream_of_thoughts(tmp_path: Path) -> None:
    answer = stream(
        ": keep-alive",
        chunk({"role": "assistant", "content": None, "reasoning_content": "Two "}),
        chunk({"content": None, "reasoning_content": "and two."}),
        chunk({"content": "Four.", "reasoning_content": None}),
        chunk({"content": "", "reasoning_content": None}, "stop", usage=USAGE),
    )
    async with vendor(tmp_path, PRO) as deepseek:
        deepseek.answers(answer, answer)
        chat, messages = await deepseek.chat(stream=True), await deepseek.messages(stream=True)
        records = deepseek.door.records
    assert "".join(chat.deltas("reasoning_content")) == "Two and two." and chat.deltas("content") == ["Four."]
    assert messages.message_deltas("thinking") == "Two and two." and messages.message_deltas("text") == "Four."
    assert [record.usage.cache_read for record in records if record.usage] == [6, 6]


async def test_insufficient_system_resource(tmp_path: Path) -> None:
    # finish_reason "insufficient_system_resource": the answer was cut, which is a failure that another may not have
    answer = whole({"content": "Fo"}, "insufficient_system_resource")
    async with vendor(tmp_path, PRO) as deepseek:
        deepseek.answers(answer)
        asked = await deepseek.chat()
        assert asked.status >= 500 and "insufficient_system_resource" in asked.body["error"]["message"]


async def test_an_empty_account_is_no_fault_of_the_client(tmp_path: Path) -> None:
    # https://api-docs.deepseek.com/quick_start/error_codes : 402 Insufficient Balance
    error = {"error": {"message": "Insufficient Balance", "type": "unknown_error", "param": None, "code": "x"}}
    async with vendor(tmp_path, PRO) as deepseek:
        deepseek.answers(Step(status=402, body=error))
        asked = await deepseek.chat()
    assert "Insufficient Balance" in asked.body["error"]["message"] and asked.status >= 400
