"""OpenAI Chat, driven by the official `openai` client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pydantic
import pytest
from openai import AsyncOpenAI

from penstock.mock import Mock, Script, Step
from tests.mock.conftest import closing, plain_http

WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
            "required": ["city", "unit"],
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}}
NAMED: Any = {"type": "function", "function": {"name": "get_time"}}


def client(mock: Mock, key: str = "sk-any") -> AsyncOpenAI:
    return closing(AsyncOpenAI(api_key=key, base_url=mock.url + "/v1", max_retries=0, http_client=plain_http(openai)))


def user(text: Any) -> Any:
    return [{"role": "user", "content": text}]


async def test_whole_answer_has_the_real_shape(mock: Mock) -> None:
    raw = await client(mock).chat.completions.with_raw_response.create(model="mock/echo", messages=user("hello there"))
    made = raw.parse()
    assert made.choices[0].message.content == "mock/echo: hello there"
    assert made.choices[0].finish_reason == "stop"
    assert made.system_fingerprint == "fp_penstock_mock"
    assert raw.headers["server"] == "penstock-mock"
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-ratelimit-limit-requests"] == "10000"
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert made.usage.prompt_tokens == 3 + 2  # the role; "hello", " there"
    assert made.usage.completion_tokens_details and made.usage.completion_tokens_details.reasoning_tokens == 0


async def test_stream_starts_with_the_role_and_ends_with_usage_only_if_asked(mock: Mock) -> None:
    for asked in (True, False):
        options: Any = {"stream_options": {"include_usage": True}} if asked else {}
        stream = await client(mock).chat.completions.create(model="m", messages=user("one two"), stream=True, **options)
        chunks = [chunk async for chunk in stream]
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[0].choices[0].delta.content == ""
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "mock/echo: one two"
        finish = chunks[-2] if asked else chunks[-1]
        assert finish.choices[0].finish_reason == "stop" and finish.choices[0].delta.content is None
        assert [bool(chunk.usage) for chunk in chunks] == [False] * (len(chunks) - 1) + [asked]
        assert (chunks[-1].choices == []) is asked
        assert len({chunk.id for chunk in chunks}) == 1


async def test_parallel_tool_calls_whole_and_streamed_agree(mock: Mock) -> None:
    asked: Any = user('call get_weather {"city":"Paris","unit":"c"} and call get_time {}')
    whole = await client(mock).chat.completions.create(model="m", messages=asked, tools=[WEATHER, TIME])
    calls = whole.choices[0].message.tool_calls or []
    assert [(c.function.name, c.function.arguments) for c in calls if c.type == "function"] == [
        ("get_weather", '{"city":"Paris","unit":"c"}'),
        ("get_time", "{}"),
    ]
    assert whole.choices[0].finish_reason == "tool_calls" and whole.choices[0].message.content is None
    stream = await client(mock).chat.completions.create(model="m", messages=asked, tools=[WEATHER, TIME], stream=True)
    pieces: dict[int, list[str]] = {}
    names: dict[int, str] = {}
    async for chunk in stream:
        for delta in chunk.choices[0].delta.tool_calls or []:
            assert delta.function is not None
            if delta.id:
                names[delta.index] = delta.function.name or ""
            pieces.setdefault(delta.index, []).append(delta.function.arguments or "")
    assert names == {0: "get_weather", 1: "get_time"}
    assert "".join(pieces[0]) == '{"city":"Paris","unit":"c"}' and len(pieces[0]) > 3
    one = await client(mock).chat.completions.create(
        model="m", messages=asked, tools=[WEATHER, TIME], parallel_tool_calls=False
    )
    assert len(one.choices[0].message.tool_calls or []) == 1


@pytest.mark.parametrize(
    ("choice", "names"),
    [
        ("required", ["get_weather"]),
        ({"type": "function", "function": {"name": "get_time"}}, ["get_time"]),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [NAMED]}}, ["get_time"]),
        ("none", []),
        ("auto", []),
    ],
)  # fmt: skip
async def test_tool_choice(mock: Mock, choice: Any, names: list[str]) -> None:
    made = await client(mock).chat.completions.create(
        model="m", messages=user("hello"), tools=[WEATHER, TIME], tool_choice=choice
    )
    calls: Any = made.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls] == names
    if names == ["get_weather"]:
        assert json.loads(calls[0].function.arguments) == {"city": "mock", "unit": "c"}


async def test_tool_result_is_quoted_and_orphans_are_refused(mock: Mock) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "get_time", "arguments": "{}"}}
    talk: Any = [*user("time?"), {"role": "assistant", "tool_calls": [call]}]
    result: Any = {"role": "tool", "tool_call_id": "call_1", "content": "12:30"}
    made = await client(mock).chat.completions.create(model="m", messages=[*talk, result], tools=[TIME])
    assert made.choices[0].message.content == "mock/echo: tool get_time said: 12:30"
    with pytest.raises(openai.BadRequestError, match="did not have response messages: call_1"):
        await client(mock).chat.completions.create(model="m", messages=[*talk, *user("x")])
    with pytest.raises(openai.BadRequestError, match="must be a response to a preceeding message"):
        await client(mock).chat.completions.create(model="m", messages=[*user("x"), result])


async def test_structured_output_validates(mock: Mock) -> None:
    class Point(pydantic.BaseModel):
        x: int
        label: str
        tags: list[str]

    made = await client(mock).chat.completions.parse(model="m", messages=user("p"), response_format=Point)
    assert made.choices[0].message.parsed == Point(x=0, label="mock", tags=[])
    free = await client(mock).chat.completions.create(
        model="m", messages=user("p"), response_format={"type": "json_object"}
    )
    assert json.loads(free.choices[0].message.content or "") == {"mock": True}


async def test_n_stop_length_logprobs_reasoning_refusal(mock: Mock) -> None:
    create = client(mock).chat.completions.create
    three = await create(model="m", messages=user("x"), n=3)
    assert [c.message.content for c in three.choices] == [
        "mock/echo: x", "mock/echo: x (choice 1)", "mock/echo: x (choice 2)"
    ]  # fmt: skip
    stopped = await create(model="m", messages=user("alpha STOP beta"), stop=["nothing", " STOP"])
    assert stopped.choices[0].message.content == "mock/echo: alpha" and stopped.choices[0].finish_reason == "stop"
    short = await create(model="m", messages=user("a b c d e f"), max_completion_tokens=3)
    assert short.choices[0].finish_reason == "length" and short.usage and short.usage.completion_tokens == 3
    likely = await create(model="m", messages=user("x"), logprobs=True, top_logprobs=2)
    rows = likely.choices[0].logprobs and likely.choices[0].logprobs.content
    assert rows and "".join(row.token for row in rows) == "mock/echo: x" and len(rows[0].top_logprobs) == 2
    deep = await create(model="m", messages=user("x"), reasoning_effort="high")
    assert deep.choices[0].message.model_extra and "high" in deep.choices[0].message.model_extra["reasoning_content"]
    assert deep.usage and deep.usage.completion_tokens_details and deep.usage.completion_tokens_details.reasoning_tokens
    mock.queue([Step(refusal="I will not.")])
    refused = await create(model="m", messages=user("x"))
    assert refused.choices[0].message.refusal == "I will not." and refused.choices[0].message.content is None


async def test_images_and_sounds_are_acknowledged(mock: Mock) -> None:
    png = "data:image/png;base64,aGVsbG8="
    parts: Any = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": png}},
        {"type": "input_audio", "input_audio": {"data": "aGVsbG8h", "format": "wav"}},
    ]
    made = await client(mock).chat.completions.create(model="m", messages=user(parts))
    assert (
        made.choices[0].message.content
        == "mock/echo: look | saw 2 image (image/png, 5 bytes), audio (audio/wav, 6 bytes)"
    )


async def test_long_prefixes_are_cached_the_second_time(mock: Mock) -> None:
    talk: Any = [{"role": "system", "content": "word " * 1500}, *user("x")]
    cached = []
    for _ in range(2):
        made = await client(mock).chat.completions.create(model="m", messages=talk)
        assert made.usage and made.usage.prompt_tokens_details
        cached.append(made.usage.prompt_tokens_details.cached_tokens)
    assert cached == [0, 1408]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError), (401, openai.AuthenticationError), (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError), (409, openai.ConflictError), (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError), (500, openai.InternalServerError), (503, openai.InternalServerError),
    ],
)  # fmt: skip
async def test_statuses_are_typed_exceptions(mock: Mock, status: int, kind: type[openai.APIStatusError]) -> None:
    mock.script = Script.always(status=status, error="scripted words", headers={"retry-after": "7"})
    with pytest.raises(kind, match="scripted words") as caught:
        await client(mock).chat.completions.create(model="m", messages=user("x"))
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.type is not None
    mock.script = Script.always(status=429)
    with pytest.raises(openai.RateLimitError) as limited:
        await client(mock).chat.completions.create(model="m", messages=user("x"))
    assert limited.value.response.headers["retry-after"] == "1"


async def test_validation_errors_have_openais_words() -> None:
    async with Mock(api_key="sk-right-key-123", script=Script(context_tokens=50, max_body_bytes=4000)) as mock:
        good = client(mock, "sk-right-key-123").chat.completions
        with pytest.raises(openai.AuthenticationError) as wrong:
            await client(mock, "sk-wrong-key-999").chat.completions.create(model="m", messages=user("x"))
        assert wrong.value.code == "invalid_api_key" and "sk-wrong" not in str(wrong.value)
        with pytest.raises(openai.NotFoundError) as missing:
            await good.create(model="missing/gpt", messages=user("x"))
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as long:
            await good.create(model="m", messages=user("word " * 60))
        assert long.value.code == "context_length_exceeded"
        with pytest.raises(openai.BadRequestError) as empty:
            await good.create(model="m", messages=[])
        assert empty.value.param == "messages"
        with pytest.raises(openai.APIStatusError) as large:
            await good.create(model="m", messages=user("x" * 5000))
        assert large.value.status_code == 413
        with pytest.raises(openai.BadRequestError) as nameless:
            await good.create(messages=user("x"), model=None)  # type: ignore[arg-type]
        assert nameless.value.code == "missing_required_parameter" and nameless.value.param == "model"


async def test_models(mock: Mock) -> None:
    mock.script = Script(models=("mock/echo", "gpt-x"))
    listed = await client(mock).models.list()
    assert [row.id for row in listed.data] == ["mock/echo", "gpt-x"]
    assert (await client(mock).models.retrieve("mock/echo")).owned_by == "penstock-mock"
    with pytest.raises(openai.NotFoundError):
        await client(mock).models.retrieve("nope")


async def test_scripted_content(mock: Mock) -> None:
    create = client(mock).chat.completions.create
    mock.queue([
        Step(text="said", model="other", usage={"prompt_tokens": 999, "prompt_tokens_details": {"cached_tokens": 5}}),
        Step(tool_calls=({"name": "f", "arguments": "{not json"},)),
        Step(usage="absent"),
        Step(usage="zero", finish_reason="content_filter"),
        Step(length=40, chunk_size=7),
    ])  # fmt: skip
    said = await create(model="m", messages=user("x"))
    assert (said.choices[0].message.content, said.model) == ("said", "other")
    assert said.usage and said.usage.prompt_tokens == 999 and said.usage.prompt_tokens_details
    assert said.usage.prompt_tokens_details.cached_tokens == 5
    called: Any = (await create(model="m", messages=user("x"))).choices[0].message.tool_calls
    assert called[0].function.arguments == "{not json"
    assert (await create(model="m", messages=user("x"))).usage is None
    zero = await create(model="m", messages=user("x"))
    assert zero.usage and zero.usage.prompt_tokens == 0 and zero.choices[0].finish_reason == "content_filter"
    stream = await create(model="m", messages=user("x"), stream=True)
    texts = [chunk.choices[0].delta.content or "" async for chunk in stream]
    assert {len(text) for text in texts[1:-2]} == {7} and len("".join(texts).split()) == 40


async def test_an_error_event_ends_the_stream(mock: Mock) -> None:
    mock.script = Script.always(error_event_after=3, error="mid-stream words")
    stream = await client(mock).chat.completions.create(model="m", messages=user("a b c d"), stream=True)
    seen = 0
    with pytest.raises(openai.APIError, match="mid-stream words"):
        async for _ in stream:
            seen += 1
    assert seen == 3
