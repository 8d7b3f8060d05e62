"""Anthropic Messages, driven by the official `anthropic` client."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pydantic
import pytest
from anthropic import AsyncAnthropic

from penstock.mock import Mock, Script, Step
from tests.mock.conftest import closing, dechunk, parse, plain_http, post, talk

WEATHER: Any = {
    "name": "get_weather",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 3}},
        "required": ["city", "days"],
    },
}
TIME: Any = {"name": "get_time", "input_schema": {"type": "object", "properties": {}}}
LONG: Any = {"type": "ephemeral", "ttl": "1h"}
MARK: Any = {"cache_control": {"type": "ephemeral"}}
THINK: Any = {"type": "enabled", "budget_tokens": 1024}


def client(mock: Mock, key: str = "sk-any") -> AsyncAnthropic:
    return closing(AsyncAnthropic(api_key=key, base_url=mock.url, max_retries=0, http_client=plain_http(anthropic)))


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def assistant(content: Any) -> Any:
    return {"role": "assistant", "content": content}


async def create(mock: Mock, *messages: Any, **fields: Any) -> Any:
    return await client(mock).messages.create(
        **{"model": "mock/echo", "max_tokens": 2048, "messages": list(messages) or [user("hi")], **fields}
    )


async def refused(mock: Mock, match: str, *messages: Any, **fields: Any) -> None:
    with pytest.raises(anthropic.BadRequestError, match=match) as caught:
        await create(mock, *messages, **fields)
    assert isinstance(caught.value.body, dict) and caught.value.body["type"] == "error"
    assert caught.value.body["error"]["type"] == "invalid_request_error"


async def test_whole_answer(mock: Mock) -> None:
    raw = await client(mock).messages.with_raw_response.create(model="m", max_tokens=99, messages=[user("hello there")])
    made = await raw.parse()
    assert [block.type for block in made.content] == ["text"]
    assert made.content[0].type == "text" and made.content[0].text == "mock/echo: hello there"
    assert (made.stop_reason, made.stop_sequence, made.role, made.type) == ("end_turn", None, "assistant", "message")
    assert made.usage.input_tokens == 5 and made.usage.output_tokens == 4
    assert made.usage.cache_read_input_tokens == 0
    assert raw.headers["request-id"].startswith("req_") and raw.headers["server"] == "penstock-mock"


async def test_stream_has_the_whole_event_sequence(mock: Mock) -> None:
    sent = {"model": "m", "max_tokens": 2048, "messages": [user("call get_time {}")], "tools": [TIME], "stream": True}
    sent["thinking"] = THINK
    _, _, raw = parse(
        await talk(mock, post("/v1/messages", json.dumps(sent).encode(), "anthropic-version: 2023-06-01"))
    )
    events = [event.split(b"\n") for event in b"".join(dechunk(raw)[0]).split(b"\n\n") if event]
    rows = [json.loads(lines[1][6:]) for lines in events]
    assert all(lines[0] == b"event: " + row["type"].encode() for lines, row in zip(events, rows, strict=True))
    kinds = [row["type"] for row in rows]
    assert kinds[:3] == ["message_start", "ping", "content_block_start"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    deltas = [(row["index"], row["delta"]["type"]) for row in rows if row["type"] == "content_block_delta"]
    assert list(dict.fromkeys(deltas)) == [(0, "thinking_delta"), (0, "signature_delta"), (1, "input_json_delta")]
    assert rows[0]["message"]["content"] == [] and rows[0]["message"]["usage"]["output_tokens"] == 1
    assert rows[-2]["delta"]["stop_reason"] == "tool_use" and rows[-2]["usage"]["output_tokens"] > 1


async def test_stream_helper_builds_what_the_whole_answer_says(mock: Mock) -> None:
    asked = user('call get_weather {"city":"Oslo","days":4} call get_time {}')
    fields: Any = {"model": "m", "max_tokens": 4000, "messages": [asked], "tools": [WEATHER, TIME], "thinking": THINK}
    whole = await client(mock).messages.create(**fields)
    async with client(mock).messages.stream(**fields) as stream:
        built = await stream.get_final_message()
    assert [block.type for block in built.content] == ["thinking", "tool_use", "tool_use"]
    hidden = {"id"}
    assert [b.model_dump(exclude=hidden) for b in built.content] == [
        b.model_dump(exclude=hidden) for b in whole.content
    ]
    assert built.stop_reason == whole.stop_reason == "tool_use"
    assert built.usage.output_tokens == whole.usage.output_tokens
    weather = built.content[1]
    assert (
        weather.type == "tool_use" and weather.input == {"city": "Oslo", "days": 4} and weather.id.startswith("toolu_")
    )


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ({"type": "any"}, ["get_weather"]),
        ({"type": "tool", "name": "get_time"}, ["get_time"]),
        ({"type": "auto"}, ["get_time", "get_weather"]),
        ({"type": "auto", "disable_parallel_tool_use": True}, ["get_time"]),
        ({"type": "none"}, []),
    ],
)
async def test_tool_choice(mock: Mock, choice: Any, names: list[str]) -> None:
    text = "please" if choice["type"] in ("any", "tool") else 'call get_time {} call get_weather {"city":"x","days":3}'
    made = await create(mock, user(text), tools=[WEATHER, TIME], tool_choice=choice)
    used = [block for block in made.content if block.type == "tool_use"]
    assert [block.name for block in used] == names
    assert made.stop_reason == ("tool_use" if names else "end_turn")
    if choice["type"] == "any":
        assert used[0].input == {"city": "mock", "days": 3}


async def test_tool_results(mock: Mock) -> None:
    first = await create(mock, user("call get_time {}"), tools=[TIME])
    turn = assistant([block.model_dump() for block in first.content])
    png = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
    content = [{"type": "text", "text": "noon"}, {"type": "image", "source": png}]
    result = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": content, "is_error": True}
    made = await create(mock, user("call get_time {}"), turn, user([result]), tools=[TIME])
    assert made.content[0].text == "mock/echo: tool get_time failed: noon | saw 1 image (image/png, 5 bytes)"
    plain = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "13:00"}
    made = await create(
        mock, user("call get_time {}"), turn, user([plain, {"type": "text", "text": "well?"}]), tools=[TIME]
    )
    assert made.content[0].text == "mock/echo: tool get_time said: 13:00 | well?"


async def test_tool_results_must_fit(mock: Mock) -> None:
    use = assistant([{"type": "tool_use", "id": "toolu_a", "name": "get_time", "input": {}}])
    result = {"type": "tool_result", "tool_use_id": "toolu_a", "content": "x"}
    missing = "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_a"
    await refused(mock, missing, user("x"), use, user("y"), tools=[TIME])
    await refused(mock, missing, user("x"), use, tools=[TIME])
    await refused(mock, missing, user("x"), use, user([{"type": "text", "text": "first"}, result]), tools=[TIME])
    await refused(mock, "unexpected `tool_use_id` found in `tool_result` blocks: toolu_a", user([result]), tools=[TIME])
    await refused(mock, "single result", user("x"), use, user([result, result]), tools=[TIME])


async def test_thinking_signatures_are_checked(mock: Mock) -> None:
    first = await create(mock, user("think"), thinking=THINK)
    thought, said = first.content
    assert thought.type == "thinking" and thought.signature and first.usage.output_tokens_details.thinking_tokens > 0
    turn = [thought.model_dump(), said.model_dump(exclude_none=True)]
    again = await create(mock, user("think"), assistant(turn), user("more"), thinking=THINK)
    assert again.content[1].text == "mock/echo: more"
    for fault in ({"signature": "AAAA"}, {"thinking": thought.thinking + "!"}):
        bad = assistant([{**thought.model_dump(), **fault}, said.model_dump(exclude_none=True)])
        await refused(mock, "messages.1.content.0: Invalid `signature` in `thinking` block", user("t"), bad, user("m"))
    mock.script = Script(seed=99)  # another model family
    await refused(mock, "Invalid `signature`", user("think"), assistant(turn), user("more"), thinking=THINK)
    marked = assistant([{**thought.model_dump(), "cache_control": {"type": "ephemeral"}}])
    await refused(mock, "thinking.cache_control: Extra inputs are not permitted", user("x"), marked, user("y"))


async def test_redacted_omitted_and_adaptive_thinking(mock: Mock) -> None:
    mock.queue([Step(redacted=True)])
    made = await create(mock, user("x"), thinking={"type": "adaptive"}, output_config={"effort": "high"})
    assert [block.type for block in made.content] == ["redacted_thinking", "thinking", "text"]
    assert "(high)" in made.content[1].thinking
    turn = assistant([block.model_dump(exclude_none=True) for block in made.content])
    assert (await create(mock, user("x"), turn, user("y"))).content[0].text == "mock/echo: y"
    forged = assistant([{"type": "redacted_thinking", "data": "AAAA"}, {"type": "text", "text": "x"}])
    await refused(mock, "Invalid `data` in `redacted_thinking`", user("x"), forged, user("y"))
    omitted = await create(mock, user("x"), thinking={"type": "adaptive", "display": "omitted"})
    assert omitted.content[0].thinking == "" and omitted.content[0].signature


async def test_cache_usage_depends_on_the_prefix(mock: Mock) -> None:
    def fields(ttl: str, question: str) -> dict[str, Any]:
        mark = {"type": "ephemeral", "ttl": ttl}
        return {
            "system": [{"type": "text", "text": "one two three four five", "cache_control": mark}],
            "messages": [user(question)],
        }

    first = (await create(mock, **fields("1h", "a"))).usage
    assert (first.cache_creation_input_tokens, first.cache_read_input_tokens) == (8, 0)
    assert first.cache_creation.ephemeral_1h_input_tokens == 8 and first.cache_creation.ephemeral_5m_input_tokens == 0
    second = (await create(mock, **fields("1h", "b"))).usage
    assert (second.cache_creation_input_tokens, second.cache_read_input_tokens) == (0, 8)
    assert second.input_tokens == first.input_tokens == 1
    mark = {"type": "ephemeral"}
    turn = user([{"type": "text", "text": "six seven", "cache_control": mark}])
    third = (await create(mock, turn, system=fields("1h", "")["system"])).usage
    assert third.cache_read_input_tokens == 8 and third.cache_creation.ephemeral_5m_input_tokens == 2


async def test_stop_reasons(mock: Mock) -> None:
    made = await create(mock, user("alpha STOP beta"), stop_sequences=["never", "STOP"])
    assert (made.stop_reason, made.stop_sequence, made.content[0].text) == (
        "stop_sequence",
        "STOP",
        "mock/echo: alpha ",
    )
    made = await create(mock, user("a b c d e f g"), max_tokens=4)
    assert (made.stop_reason, made.usage.output_tokens) == ("max_tokens", 4)
    mock.queue([Step(finish_reason="pause_turn"), Step(refusal="I will not.")])
    assert (await create(mock)).stop_reason == "pause_turn"
    made = await create(mock)
    assert made.stop_reason == "refusal" and made.stop_details.explanation == "I will not."


async def test_structured_output(mock: Mock) -> None:
    class Point(pydantic.BaseModel):
        x: int
        label: str

    made = await client(mock).messages.parse(model="m", max_tokens=99, messages=[user("p")], output_format=Point)
    assert made.parsed_output == Point(x=0, label="mock")
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form: Any = {"type": "json_schema", "schema": schema}
    old = await create(
        mock, extra_body={"output_format": form}, extra_headers={"anthropic-beta": "structured-outputs-2025-11-13"}
    )
    assert old.content[0].text == '{"ok":false}'
    await refused(mock, "output_format: Extra inputs are not permitted", extra_body={"output_format": form})


async def test_count_tokens_and_models(mock: Mock) -> None:
    talk_: Any = [user("one two"), assistant("three"), {"role": "system", "content": "note"}, user("four")]
    counted = await client(mock).messages.count_tokens(model="m", messages=talk_, system="be brief")
    made = await create(mock, *talk_, system="be brief")
    assert counted.input_tokens == made.usage.input_tokens == 4 * 3 + 5 + 2
    beta = await client(mock).beta.messages.create(
        model="m", max_tokens=9, messages=[user("hi")], betas=["x-2026-01-01"]
    )
    assert beta.content[0].type == "text" and mock.received[-1].header("anthropic-beta") == "x-2026-01-01"
    listed = await client(mock).models.list()
    assert [row.id for row in listed.data] == ["mock/echo"] and listed.data[0].type == "model"
    assert (await client(mock).models.retrieve("mock/echo")).display_name == "mock/echo (mock)"


@pytest.mark.parametrize(
    ("match", "fields"),
    [
        ("foo: Extra inputs are not permitted", {"extra_body": {"foo": 1}}),
        ("max_tokens: Field required", {"extra_body": {"max_tokens": None}, "drop": "max_tokens"}),
        ("at least one message is required", {"messages": []}),
        ('first message must use the "user" role', {"messages": [assistant("x")]}),
        ("messages.0.role: Input should be 'user'", {"messages": [{"role": "tool", "content": "x"}]}),
        ("all messages must have non-empty content", {"messages": [user("")]}),
        ("text content blocks must be non-empty", {"messages": [user([{"type": "text", "text": ""}])]}),
        ("cannot end with trailing whitespace", {"messages": [user("x"), assistant("so ")]}),
        ("Input tag 'video'", {"messages": [user([{"type": "video"}])]}),
        ("budget_tokens: Input should be greater than or equal to 1024", {"thinking": {**THINK, "budget_tokens": 9}}),
        ("must be greater than `thinking.budget_tokens`", {"thinking": {"type": "enabled", "budget_tokens": 9999}}),
        ("Thinking may not be enabled", {"thinking": THINK, "tools": [TIME], "tool_choice": {"type": "any"}}),
        ("Tool 'x' not found in provided tools", {"tools": [TIME], "tool_choice": {"type": "tool", "name": "x"}}),
        ("Tool names must be unique", {"tools": [TIME, TIME]}),
        ("input_schema: Field required", {"tools": [{"name": "x"}]}),
        ("custom.name: String should match", {"tools": [{**TIME, "name": "a b"}]}),
        ("A maximum of 4 blocks", {"tools": [{**TIME, "name": f"t{n}", **MARK} for n in range(5)]}),
        ("must not come after a ttl='5m'", {"tools": [{**TIME, **MARK}],
                                           "system": [{"type": "text", "text": "x", "cache_control": LONG}]}),
    ],
)  # fmt: skip
async def test_what_the_real_api_refuses(mock: Mock, match: str, fields: dict[str, Any]) -> None:
    if "drop" in fields:
        sent = json.dumps({"model": "m", "messages": [user("x")]}).encode()
        status, _, raw = parse(await talk(mock, post("/v1/messages", sent, "anthropic-version: 2023-06-01")))
        assert status == 400 and json.loads(raw)["error"]["message"] == match
        return
    messages = fields.pop("messages", [user("x")])
    await refused(mock, match, **fields, messages=messages)


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (401, anthropic.AuthenticationError, "authentication_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.APIStatusError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (529, anthropic.InternalServerError, "overloaded_error"),
    ],
)
async def test_errors_are_typed(mock: Mock, status: int, kind: type[anthropic.APIStatusError], word: str) -> None:
    mock.script = Script.always(status=status)
    with pytest.raises(kind) as caught:
        await create(mock)
    assert caught.value.status_code == status and isinstance(caught.value.body, dict)
    assert caught.value.body["error"]["type"] == word
    assert caught.value.body["request_id"] == caught.value.response.headers["request-id"]


async def test_key_missing_model_long_prompt_and_error_event() -> None:
    async with Mock(Script(context_tokens=20), api_key="sk-right-123456") as mock:
        with pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"):
            await create(mock)
        good = client(mock, "sk-right-123456").messages
        with pytest.raises(anthropic.NotFoundError, match="missing/x"):
            await good.create(model="missing/x", max_tokens=9, messages=[user("x")])
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long: 33 tokens > 20 maximum"):
            await good.create(model="m", max_tokens=9, messages=[user("x " * 29)])
        mock.script = Script.always(error_event_after=4, status=200, error={"type": "overloaded_error"})
        stream = await good.create(model="m", max_tokens=9, messages=[user("x")], stream=True)
        with pytest.raises(anthropic.APIStatusError):
            _ = [event async for event in stream]


async def test_prefill_is_accepted(mock: Mock) -> None:
    made = await create(mock, user("hi"), assistant("So"))
    assert made.content[0].text == "mock/echo: hi"
