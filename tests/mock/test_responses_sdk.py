"""OpenAI Responses, driven by the official `openai` client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest
from openai import AsyncOpenAI

from penstock.mock import Mock, Script, Step
from tests.mock.conftest import closing, dechunk, parse, plain_http, post, talk

WEATHER: Any = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": True,
}
PATCH: Any = {"type": "custom", "name": "apply_patch", "description": "free text"}
NAMED: Any = {"type": "custom", "name": "apply_patch"}
SPACE: Any = {"type": "namespace", "name": "files", "description": "d", "tools": [{**WEATHER, "name": "read"}]}
INCLUDE: Any = ["reasoning.encrypted_content"]


def responses(mock: Mock) -> Any:
    return closing(
        AsyncOpenAI(api_key="sk-any", base_url=mock.url + "/v1", max_retries=0, http_client=plain_http(openai))
    ).responses


async def test_whole_answer(mock: Mock) -> None:
    made = await responses(mock).create(
        model="mock/echo", input="hello there", instructions="be brief", metadata={"a": "b"}
    )
    assert made.output_text == "mock/echo: hello there"
    assert (made.status, made.object, made.instructions, made.metadata) == (
        "completed",
        "response",
        "be brief",
        {"a": "b"},
    )
    assert made.output[0].id.startswith("msg_") and made.output[0].status == "completed"
    assert made.usage.input_tokens == 2 + 3 + 2 and made.usage.total_tokens == made.usage.input_tokens + 4
    assert made.usage.output_tokens_details.reasoning_tokens == 0 and made.usage.input_tokens_details.cached_tokens == 0


async def test_stream_has_the_full_sequence(mock: Mock) -> None:
    sent = {"model": "m", "stream": True, "input": "call get_weather {\"city\":\"Rome\"}", "tools": [WEATHER],
            "reasoning": {"effort": "low", "summary": "auto"}}  # fmt: skip
    _, _, raw = parse(await talk(mock, post("/v1/responses", json.dumps(sent).encode())))
    events = [event.split(b"\n") for event in b"".join(dechunk(raw)[0]).split(b"\n\n") if event]
    rows = [json.loads(lines[1][6:]) for lines in events]
    assert [row["sequence_number"] for row in rows] == list(range(len(rows)))
    assert all(lines[0] == b"event: " + row["type"].encode() for lines, row in zip(events, rows, strict=True))
    kinds = list(dict.fromkeys((row.get("output_index"), row["type"].removeprefix("response.")) for row in rows))
    assert kinds == [
        (None, "created"), (None, "in_progress"),
        (0, "output_item.added"), (0, "reasoning_summary_part.added"), (0, "reasoning_summary_text.delta"),
        (0, "reasoning_summary_text.done"), (0, "reasoning_summary_part.done"), (0, "output_item.done"),
        (1, "output_item.added"), (1, "function_call_arguments.delta"), (1, "function_call_arguments.done"),
        (1, "output_item.done"), (None, "completed"),
    ]  # fmt: skip
    assert rows[-1]["response"]["output"][1]["arguments"] == '{"city":"Rome"}' and b"[DONE]" not in raw


async def test_stream_helper_agrees_with_the_whole_answer(mock: Mock) -> None:
    async with responses(mock).stream(model="m", input="one two three") as stream:
        kinds = [event.type async for event in stream]
        built = await stream.get_final_response()
    assert built.output_text == "mock/echo: one two three"
    assert "response.content_part.added" in kinds and kinds.count("response.output_text.delta") == 5


async def test_function_round_trip_by_items_and_by_id(mock: Mock) -> None:
    create = responses(mock).create
    asked = {"role": "user", "content": [{"type": "input_text", "text": 'call get_weather {"city":"Bern"}'}]}
    first = await create(model="m", input=[asked], tools=[WEATHER])
    call = first.output[0]
    assert (call.type, call.name, call.arguments) == ("function_call", "get_weather", '{"city":"Bern"}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    by_items = await create(model="m", input=[asked, call.model_dump(exclude_none=True), result], tools=[WEATHER])
    by_id = await create(model="m", input=[result], previous_response_id=first.id, tools=[WEATHER])
    assert by_items.output_text == by_id.output_text == "mock/echo: tool get_weather said: rain"
    assert by_id.usage.input_tokens == by_items.usage.input_tokens
    with pytest.raises(openai.BadRequestError, match=f"No tool output found for function call {call.call_id}"):
        await create(model="m", input="next", previous_response_id=first.id)
    with pytest.raises(openai.BadRequestError, match="No tool call found for function call output with call_id"):
        await create(model="m", input=[result])
    with pytest.raises(openai.BadRequestError) as gone:
        await create(model="m", input="x", previous_response_id="resp_nope")
    assert gone.value.code == "previous_response_not_found"


@pytest.mark.parametrize(
    ("choice", "parallel", "names"),
    [
        ("required", None, ["get_weather"]),
        ({"type": "function", "name": "get_weather"}, None, ["get_weather"]),
        (NAMED, None, ["apply_patch"]),
        ({"type": "allowed_tools", "mode": "required", "tools": [NAMED]}, None, ["apply_patch"]),
        ("auto", None, ["get_weather", "read"]),
        ("auto", False, ["get_weather"]),
        ("none", None, []),
    ],
)  # fmt: skip
async def test_tools(mock: Mock, choice: Any, parallel: bool | None, names: list[str]) -> None:
    text = 'call get_weather {"city":"x"} call files.read {"city":"y"}' if choice in ("auto", "none") else "please"
    fields: Any = {} if parallel is None else {"parallel_tool_calls": parallel}
    made = await responses(mock).create(
        model="m", input=text, tools=[WEATHER, PATCH, SPACE, {"type": "web_search"}], tool_choice=choice, **fields
    )
    calls = [item for item in made.output if item.type in ("function_call", "custom_tool_call")]
    assert [item.name for item in calls] == names
    for item in calls:
        assert item.namespace == ("files" if item.name == "read" else None)
        if item.type == "custom_tool_call":
            assert item.input == "mock input"


async def test_custom_tool_streams_its_input(mock: Mock) -> None:
    stream = await responses(mock).create(
        model="m", input="x", tools=[PATCH], tool_choice={"type": "custom", "name": "apply_patch"}, stream=True
    )
    events = [event async for event in stream]
    deltas = [event.delta for event in events if event.type == "response.custom_tool_call_input.delta"]
    assert "".join(deltas) == "mock input" and len(deltas) == 2


async def test_reasoning_is_sealed(mock: Mock) -> None:
    create = responses(mock).create
    fields: Any = {"model": "m", "reasoning": {"effort": "high", "summary": "auto"}, "include": INCLUDE, "store": False}
    first = await create(input="think", **fields)
    thought = first.output[0]
    assert thought.type == "reasoning" and thought.encrypted_content and "high" in thought.summary[0].text
    assert first.usage.output_tokens_details.reasoning_tokens > 0
    talk_ = [
        {"role": "user", "content": "think"},
        thought.model_dump(exclude_none=True),
        {"role": "user", "content": "more"},
    ]
    assert (await create(input=talk_, **fields)).output_text == "mock/echo: more"
    talk_[1] = {**talk_[1], "encrypted_content": "gAAAforged"}
    with pytest.raises(openai.BadRequestError, match="The encrypted content gAAA...rged could not be verified") as bad:
        await create(input=talk_, **fields)
    assert bad.value.code == "invalid_encrypted_content"
    talk_[1] = {"type": "reasoning", "id": thought.id, "summary": []}
    with pytest.raises(openai.NotFoundError, match="not persisted when `store` is set to false"):
        await create(input=talk_, **fields)


async def test_structured_output_and_limits(mock: Mock) -> None:
    class Point(pydantic.BaseModel):
        x: int
        label: str

    made = await responses(mock).parse(model="m", input="p", text_format=Point)
    assert made.output_parsed == Point(x=0, label="mock")
    short = await responses(mock).create(model="m", input="a b c d", max_output_tokens=3)
    assert short.status == "incomplete" and short.incomplete_details.reason == "max_output_tokens"
    stream = await responses(mock).create(model="m", input="a b c d", max_output_tokens=3, stream=True)
    assert [event async for event in stream][-1].type == "response.incomplete"
    mock.queue([Step(finish_reason="content_filter"), Step(finish_reason="failed"), Step(refusal="No.")])
    filtered = await responses(mock).create(model="m", input="x")
    assert (filtered.status, filtered.incomplete_details.reason) == ("incomplete", "content_filter")
    assert (await responses(mock).create(model="m", input="x")).error.code == "server_error"
    refused = await responses(mock).create(model="m", input="x")
    assert refused.output[0].content[0].refusal == "No."


async def test_stored_responses(mock: Mock) -> None:
    api = responses(mock)
    made = await api.create(model="m", input=[{"role": "user", "content": "one"}, {"role": "user", "content": "two"}])
    assert (await api.retrieve(made.id)).output_text == "mock/echo: two"
    listed = await api.input_items.list(made.id, order="asc", limit=1)
    assert listed.data[0].content[0].text == "one" and listed.has_more
    assert [item.content[0].text async for item in api.input_items.list(made.id)] == ["two", "one"]
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        await api.cancel(made.id)
    await api.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        await api.retrieve(made.id)
    unkept = await api.create(model="m", input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        await api.retrieve(unkept.id)
    later = await api.create(model="m", input="x", background=True)
    assert [later.status, (await api.retrieve(later.id)).status] == ["queued", "in_progress"]
    assert (await api.retrieve(later.id)).status == "completed"
    never = await api.create(model="m", input="x", background=True)
    assert (await api.cancel(never.id)).status == (await api.retrieve(never.id)).status == "cancelled"
    assert (await api.input_tokens.count(model="m", input="hello there")).input_tokens == 5


async def test_logprobs_images_and_files(mock: Mock) -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,aGVsbG8=", "detail": "auto"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGVsbG8h"},
    ]
    made = await responses(mock).create(
        model="m", input=[{"role": "user", "content": parts}], top_logprobs=2, include=["message.output_text.logprobs"]
    )
    assert made.output_text == "mock/echo: look | saw 2 image (image/png, 5 bytes), file (application/pdf, 6 bytes)"
    assert "".join(row.token for row in made.output[0].content[0].logprobs) == made.output_text


async def test_errors(mock: Mock) -> None:
    create = responses(mock).create
    with pytest.raises(openai.NotFoundError):
        await create(model="missing/x", input="x")
    with pytest.raises(openai.BadRequestError) as no_input:
        await create(model="m", input=None)
    assert no_input.value.param == "input"
    mock.script = Script(unknown_fields="reject")
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'foo'"):
        await create(model="m", input="x", extra_body={"foo": 1})
    for status, kind in ((429, openai.RateLimitError), (500, openai.InternalServerError)):
        mock.script = Script.always(status=status)
        with pytest.raises(kind):
            await create(model="m", input="x")
    mock.script = Script.always(error_event_after=3, error="words")
    stream = await create(model="m", input="x", stream=True)
    events = [event async for event in stream]
    assert events[-1].type == "error" and events[-1].message == "words"


async def test_dialects_can_be_switched_off() -> None:
    async with Mock(Script(dialects=frozenset({"openai_chat"}))) as mock:
        with pytest.raises(openai.NotFoundError):
            await responses(mock).create(model="m", input="x")
        status, _, raw = parse(await talk(mock, post("/v1/messages", b"{}", "anthropic-version: 2023-06-01")))
        assert status == 404 and "type" in json.loads(raw)["error"]
        listed = await closing(
            AsyncOpenAI(api_key="x", base_url=mock.url + "/v1", max_retries=0, http_client=plain_http(openai))
        ).models.list()
        assert listed.data[0].id == "mock/echo"
