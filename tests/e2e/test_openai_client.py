"""The official `openai` client through `penstock serve --config` to the mock and to the real llama-server: the same
assertions for both, about what every answer must be and not about what a model says."""

from __future__ import annotations

import asyncio
import json

import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError

from penstock.mock import Step

ALIAS = "extraction-model-lmstudio"
ASK = [{"role": "user", "content": "Say something about water."}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        # an enum, because the real model's words are random and could go on for ever
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo", "Lima"]}}, "required": ["city"]},
    },
}
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_a_whole_answer_has_the_alias_usage_and_our_headers(line):
    raw = line.client().chat.completions.with_raw_response.create(
        model=ALIAS, messages=ASK, max_tokens=20, extra_headers={"x-request-id": "my-id-1"}
    )
    answer = raw.parse()
    assert answer.model == ALIAS and answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert raw.headers["x-request-id"] == "my-id-1"
    assert len(raw.headers["x-litellm-call-id"]) == 36 and raw.headers["x-litellm-model-id"]
    assert raw.headers["x-litellm-model-group"] == ALIAS
    assert float(raw.headers["x-penstock-overhead-ms"]) >= 0


def test_a_stream_has_the_alias_in_every_chunk_and_one_id(line):
    chunks = list(line.client().chat.completions.create(model=ALIAS, messages=ASK, max_tokens=20, stream=True))
    assert {chunk.model for chunk in chunks} == {ALIAS}
    assert len({chunk.id for chunk in chunks}) == 1 and {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert all(chunk.choices for chunk in chunks), "no usage chunk that nobody asked for"
    assert all(chunk.usage is None for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] in (["stop"], ["length"])
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


def test_the_usage_chunk_comes_when_it_is_asked_for_and_last(line):
    chunks = list(
        line.client().chat.completions.create(
            model=ALIAS, messages=ASK, max_tokens=20, stream=True, stream_options={"include_usage": True}
        )
    )
    *rest, last = chunks
    assert all(chunk.usage is None for chunk in rest)
    assert last.choices == [] and last.model == ALIAS
    assert last.usage.prompt_tokens > 0 and last.usage.completion_tokens > 0


def test_streamed_and_whole_say_the_same(line):
    client = line.client()
    options = {"model": ALIAS, "messages": ASK, "max_tokens": 16, "temperature": 0, "seed": 7}
    whole = client.chat.completions.create(**options).choices[0]
    chunks = list(client.chat.completions.create(**options, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == whole.message.content
    assert chunks[-1].choices[0].finish_reason == whole.finish_reason


def test_tools_and_the_turn_with_their_result(line):
    client = line.client()
    options = {"model": ALIAS, "tools": [WEATHER], "max_tokens": 600, "seed": 2}
    first = client.chat.completions.create(messages=ASK, tool_choice="required", **options)
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    call = message.tool_calls[0]
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments)
    result = {"role": "tool", "tool_call_id": call.id, "content": "17 degrees, rain"}
    turns = [*ASK, message.model_dump(exclude_none=True), result]
    second = client.chat.completions.create(messages=turns, **options)
    assert second.choices[0].message.role == "assistant" and second.model == ALIAS
    assert second.usage.prompt_tokens > first.usage.prompt_tokens, "the tool's turn reached the model"
    if not line.real:
        assert "17 degrees, rain" in second.choices[0].message.content


def test_streamed_tool_calls_come_together(line):
    chunks = line.client().chat.completions.create(
        model=ALIAS, messages=ASK, tools=[WEATHER], tool_choice="required", max_tokens=600, seed=2, stream=True
    )
    names, arguments, ids, finish = [], "", [], None
    for chunk in chunks:
        assert chunk.model == ALIAS
        choice = chunk.choices[0]
        finish = choice.finish_reason or finish
        for part in choice.delta.tool_calls or []:
            if part.index:
                continue  # the random model may call twice
            names += [part.function.name] if part.function.name else []
            ids += [part.id] if part.id else []
            arguments += part.function.arguments or ""
    assert names == ["get_weather"] and len(ids) == 1 and finish == "tool_calls"
    assert "city" in json.loads(arguments)


@pytest.mark.parametrize("stream", [False, True])
def test_json_schema_is_kept(line, stream):
    schema = {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}
    told = ask_text(line.client(), stream, messages=ASK, max_tokens=200, response_format=schema)
    person = json.loads(told)
    assert set(person) == {"name", "age"} and isinstance(person["age"], int) and isinstance(person["name"], str)


@pytest.mark.parametrize("stream", [False, True])
def test_json_object_begins_as_one(line, stream):
    told = ask_text(
        line.client(),
        stream,
        messages=[{"role": "user", "content": "Answer in JSON."}],
        max_tokens=60,
        response_format={"type": "json_object"},
    )
    assert told.lstrip().startswith("{")  # the random model may run into max_tokens before it closes


def ask_text(client, stream: bool, **options) -> str:
    answer = client.chat.completions.create(model=ALIAS, stream=stream, **options)
    if not stream:
        return answer.choices[0].message.content
    return "".join(chunk.choices[0].delta.content or "" for chunk in answer)


def test_n_choices_whole_and_streamed(line):
    client = line.client()
    answer = client.chat.completions.create(model=ALIAS, messages=ASK, n=2, max_tokens=4)
    assert sorted(choice.index for choice in answer.choices) == [0, 1]
    ended = {}
    for chunk in client.chat.completions.create(model=ALIAS, messages=ASK, n=2, max_tokens=4, stream=True):
        for choice in chunk.choices:
            ended[choice.index] = choice.finish_reason or ended.get(choice.index)
    assert set(ended) == {0, 1} and all(ended.values())


def test_stop_sequences_cut_the_text(line):
    client = line.client()
    options = {"model": ALIAS, "messages": ASK, "max_tokens": 24, "temperature": 0, "seed": 3}
    text = client.chat.completions.create(**options).choices[0].message.content
    stop = text[len(text) // 2 :][:3]
    cut = client.chat.completions.create(**options, stop=[stop]).choices[0]
    assert cut.finish_reason == "stop" and stop not in cut.message.content
    assert text.startswith(cut.message.content.rstrip())


def test_logprobs_pass_whole_and_streamed(line):
    client = line.client()
    options = {"model": ALIAS, "messages": ASK, "max_tokens": 6, "logprobs": True, "top_logprobs": 2}
    whole = client.chat.completions.create(**options).choices[0]
    assert whole.logprobs.content and all(len(one.top_logprobs) == 2 for one in whole.logprobs.content)
    told = [
        one
        for chunk in client.chat.completions.create(**options, stream=True)
        if chunk.choices[0].logprobs
        for one in chunk.choices[0].logprobs.content or []
    ]
    assert told and all(one.logprob <= 0 for one in told)


def test_models_list_and_retrieve(line):
    client = line.client()
    ids = [model.id for model in client.models.list()]
    assert ids[:3] == ["extraction-model", "explanation-model", "extraction-model-openai"] and len(ids) == 7
    assert client.models.retrieve(ALIAS).id == ALIAS
    with pytest.raises(NotFoundError) as caught:
        client.models.retrieve("extraction-model-lmstudi")
    assert ALIAS in caught.value.message and caught.value.param == "model"


def test_errors_are_the_sdks_own_types(line):
    with pytest.raises(AuthenticationError) as caught:
        line.client(api_key="sk-wrong").chat.completions.create(model=ALIAS, messages=ASK)
    assert caught.value.status_code == 401 and caught.value.code == "401"
    assert caught.value.type == "token_not_found_in_db"
    with pytest.raises(BadRequestError) as caught:
        line.client().chat.completions.create(model="extraction-modle", messages=ASK)
    assert "Nearest names here: extraction-model," in caught.value.message
    with pytest.raises(BadRequestError) as caught:
        line.client().chat.completions.create(model=ALIAS, messages=[])
    assert caught.value.param == "messages"
    with pytest.raises(NotFoundError):
        line.client().post("/no/such/thing", cast_to=object, body={})


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_too_long_is_a_400_of_its_kind(line, session_mock, stream):
    if not line.real:
        told = {"type": "invalid_request_error", "code": "context_length_exceeded"}
        session_mock.queue(
            [Step(status=400, error={**told, "message": "This model's maximum context length is 9 tokens."})]
        )
    long = [{"role": "user", "content": "water " * 60_000 if line.real else "water"}]
    with pytest.raises(BadRequestError) as caught:
        line.client().chat.completions.create(model=ALIAS, messages=long, stream=stream)
    assert "ContextWindowExceededError" in caught.value.message and "context" in caught.value.message.lower()
    assert caught.value.code == "400" and caught.value.type == "invalid_request_error"


def test_unicode_comes_through_whole_and_streamed(line):
    text = 'Grüße, 世界 🌊 \u2028 \u2029 \x85 \ufeff \\u2028 "quoted" \x7f e\u0301'
    for stream in (False, True):
        told = ask_text(line.client(), stream, messages=[{"role": "user", "content": text}], max_tokens=30)
        if not line.real:
            assert told == f"mock/echo: {text}"
        else:
            assert isinstance(told, str)


async def test_a_hundred_streams_at_once(line):
    client = line.asynchronous()

    async def one(number: int) -> tuple[str, set[str], str | None]:
        ask = [{"role": "user", "content": f"number-{number}-end"}]
        text, models, finish = "", set(), None
        async for chunk in await client.chat.completions.create(
            model=ALIAS, messages=ask, max_tokens=3 if line.real else 12, stream=True
        ):
            models.add(chunk.model)
            text += chunk.choices[0].delta.content or ""
            finish = chunk.choices[0].finish_reason or finish
        return text, models, finish

    answers = await asyncio.gather(*(one(number) for number in range(100)))
    for number, (text, models, finish) in enumerate(answers):
        assert models == {ALIAS} and finish in ("stop", "length")
        if not line.real:
            assert text == f"mock/echo: number-{number}-end", "no stream's words in another's"
    await client.close()


async def test_the_asynchronous_client_asks_and_streams(line):
    async with line.asynchronous() as client:
        answer = await client.chat.completions.create(model=ALIAS, messages=ASK, max_tokens=8)
        assert answer.model == ALIAS
        stream = await client.chat.completions.create(model=ALIAS, messages=ASK, max_tokens=8, stream=True)
        assert {chunk.model async for chunk in stream} == {ALIAS}
