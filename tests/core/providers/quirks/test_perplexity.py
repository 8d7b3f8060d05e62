"""Perplexity: https://docs.perplexity.ai/api-reference/chat-completions-post , perplexityai SDK 0.46."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.mock import Step
from tests.core.providers.quirks.vendor import CHAT_TOOLS, MESSAGES_TOOLS, chunk, stream, vendor, whole

RESULTS = [
    {"title": "One", "url": "https://a.test/1", "date": "2026-01-02", "snippet": "s", "source": "web"},
    {"title": "Two", "url": "https://b.test/2", "date": None},
]
URLS = [result["url"] for result in RESULTS]
USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "reasoning_tokens": 2,
    "num_search_queries": 3,
    "citation_tokens": 40,
    "search_context_size": "low",
    "cost": {"input_tokens_cost": 0.1, "output_tokens_cost": 0.2, "total_cost": 0.3},
}


async def test_roles_take_turns(tmp_path: Path) -> None:
    # https://github.com/perplexityai/api-discussion/issues/265 : "After the (optional) system message(s), user and
    # assistant roles should be alternating."
    turns = [
        {"role": "system", "content": "Be short."},
        {"role": "developer", "content": "In verse."},
        {"role": "user", "content": "Hello."},
        {"role": "user", "content": "Who are you?"},
        {"role": "assistant", "content": "Me."},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "user", "content": "b"},
    ]
    async with vendor(tmp_path, "perplexity/sonar") as perplexity:
        asked = await perplexity.chat(messages=turns)
    assert asked.wire["messages"] == [
        {"role": "system", "content": "Be short."},
        {"role": "system", "content": "In verse."},
        {"role": "user", "content": "Hello.\n\nWho are you?"},
        {"role": "assistant", "content": "Me."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    assert asked.dropped == ["messages.1.role"]  # nothing else was lost


async def test_a_message_with_more_in_it_is_not_joined(tmp_path: Path) -> None:
    more = [{"role": "user", "content": "a"}, {"role": "user", "content": "b", "cache": 1}]
    others = [{"role": "user", "content": "a", "name": "ann"}, {"role": "user", "content": "b", "name": "bob"}]
    async with vendor(tmp_path, "perplexity/sonar") as perplexity:
        for turns in (more, others):
            assert (await perplexity.chat(messages=turns)).wire["messages"] == turns


async def test_it_calls_no_tools(tmp_path: Path) -> None:
    # "Tool calling is not supported for this model"
    async with vendor(tmp_path, "perplexity/sonar") as perplexity:
        chat = await perplexity.chat(tools=CHAT_TOOLS, seed=1)
        messages = await perplexity.messages(tools=MESSAGES_TOOLS)
    assert chat.wire["tools"] == CHAT_TOOLS and chat.wire["seed"] == 1  # a Chat client hears it from the vendor
    assert "tools" not in messages.wire and "tools" in messages.dropped
    async with vendor(tmp_path, "perplexity/sonar", drop_params=True) as perplexity:
        chat = await perplexity.chat(tools=CHAT_TOOLS, tool_choice="auto", seed=1)
    assert not {"tools", "tool_choice", "seed"} & chat.wire.keys() and chat.dropped == ["seed", "tool_choice", "tools"]


async def test_own_fields_pass_and_the_limit_has_its_older_name(tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "search_domain_filter": ["-a.test"],
        "search_recency_filter": "week",
        "return_images": True,
        "return_related_questions": True,
        "web_search_options": {"search_context_size": "low"},
        "search_mode": "academic",
    }
    async with vendor(tmp_path, "perplexity/sonar-pro") as perplexity:
        asked = await perplexity.chat(**own, max_completion_tokens=9)
    assert own.items() <= asked.wire.items() and asked.wire["max_tokens"] == 9
    assert "max_completion_tokens" not in asked.wire and asked.dropped == []


async def test_json_mode_is_a_schema_or_nothing(tmp_path: Path) -> None:
    # SDK, ResponseFormat: text, json_schema, regex
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {}}}}
    async with vendor(tmp_path, "perplexity/sonar", drop_params=True) as perplexity:
        kept = await perplexity.chat(response_format=schema)
        gone = await perplexity.chat(response_format={"type": "json_object"})
    assert kept.wire["response_format"] == schema
    assert "response_format" not in gone.wire and gone.dropped == ["response_format"]


async def test_sources_of_a_whole_answer(tmp_path: Path) -> None:
    answer = whole({"content": "So [1], so [2]."}, citations=URLS, search_results=RESULTS, usage=USAGE)
    async with vendor(tmp_path, "perplexity/sonar") as perplexity:
        perplexity.answers(answer, answer)
        chat, messages = await perplexity.chat(), await perplexity.messages()
        records = perplexity.door.records
    assert chat.body["search_results"] == RESULTS and chat.body["citations"] == URLS and chat.body["usage"] == USAGE
    assert [note["url_citation"] for note in chat.message["annotations"]] == [
        {"url": URLS[0], "title": "One", "start_index": 3, "end_index": 6},
        {"url": URLS[1], "title": "Two", "start_index": 11, "end_index": 14},
    ]
    assert [(cited["url"], cited["title"]) for cited in messages.blocks["text"]["citations"]] == [
        (URLS[0], "One"),
        (URLS[1], "Two"),
    ]
    for record in records:
        assert record.usage is not None and (record.usage.output, record.usage.reasoning) == (5, 2)


async def test_a_source_without_a_mark_is_of_the_whole_text(tmp_path: Path) -> None:
    async with vendor(tmp_path, "perplexity/sonar") as perplexity:
        perplexity.answers(whole({"content": "So."}, citations=URLS[:1]))
        (note,) = (await perplexity.chat()).message["annotations"]
    assert (note["url_citation"]["start_index"], note["url_citation"]["end_index"]) == (0, 3)


async def test_a_stream_says_everything_twice_and_ends_without_a_mark(tmp_path: Path) -> None:
    # SDK, StreamChunk and Choice: each chunk has the delta and the whole message so far, sources and usage; no [DONE]
    def said(delta: str, so_far: str, finish: str | None) -> dict[str, Any]:
        made = chunk({"role": "assistant", "content": delta}, finish, citations=URLS, search_results=RESULTS, usage=USAGE)
        made["choices"][0]["message"] = {"role": "assistant", "content": so_far}
        return made

    answer = stream(said("So ", "So ", None), said("[1].", "So [1].", None), said("", "So [1].", "stop"), done=False)
    async with vendor(tmp_path, "perplexity/sonar") as perplexity:
        perplexity.answers(answer, answer)
        chat, messages = await perplexity.chat(stream=True), await perplexity.messages(stream=True)
        records = perplexity.door.records
    assert "".join(chat.deltas("content")) == "So [1]." and chat.done
    (notes,) = chat.deltas("annotations")  # once, not with each chunk
    assert [note["url_citation"]["title"] for note in notes] == ["One", "Two"]
    assert messages.message_deltas("text") == "So [1]."
    cited = [event["delta"]["citation"] for event in messages.events if "citation" in event.get("delta", {})]
    assert [citation["url"] for citation in cited] == URLS
    assert [record.usage.output for record in records if record.usage] == [5, 5]


async def test_its_errors_reach_the_client(tmp_path: Path) -> None:
    error = {"error": {"message": "Last message must have role `user`.", "type": "invalid_message", "code": 400}}
    async with vendor(tmp_path, "perplexity/sonar") as perplexity:
        perplexity.answers(Step(status=400, body=error))
        asked = await perplexity.chat()
    assert asked.status == 400 and "must have role `user`" in asked.body["error"]["message"]
