"""The official google-genai client through Penstock, on upstreams of every dialect: nothing in it knows of a gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("google.genai")

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from penstock.mock import Step
from tests.door import Door, open_door

KEY = "sk-genai-5d21"
PNG = bytes.fromhex("89504e470d0a1a0a") + b"\x00" * 60
YAML = """
model_list:
  - model_name: gemini
    litellm_params: {model: gemini/gemini-3-pro-preview, api_base: "{mock}", api_key: AIza-upstream}
  - model_name: older
    litellm_params: {model: gemini/gemini-2.5-flash, api_base: "{mock}", api_key: AIza-upstream}
  - model_name: chat
    litellm_params: {model: openai/gpt-x, api_base: "{mock}/v1", api_key: sk-upstream}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}", api_key: sk-upstream}
  - model_name: vendor/with:tag
    litellm_params: {model: openai/gpt-y, api_base: "{mock}/v1", api_key: sk-upstream}
router_settings: {num_retries: 0}
"""
EVERY = pytest.mark.parametrize("model", ["gemini", "older", "chat", "claude"])


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with open_door(tmp_path, YAML, master_key=KEY) as opened:
        yield opened
    _KEPT.clear()


_KEPT: list[Any] = []


def client(door: Door, key: str = KEY) -> Any:
    made = genai.Client(api_key=key, http_options=types.HttpOptions(base_url=door.url))
    _KEPT.append(made)  # it closes its connections when it is collected
    return made.aio


def weather(city: str) -> dict[str, str]:
    """The weather of a city."""
    return {"city": city, "sky": "clear"}


WEATHER = types.Tool(
    function_declarations=[
        types.FunctionDeclaration(
            name="get_weather",
            description="The weather of a city.",
            parameters=types.Schema(
                type=types.Type.OBJECT,
                properties={
                    "city": types.Schema(type=types.Type.STRING),
                    "days": types.Schema(type=types.Type.INTEGER),
                },
                required=["city"],
            ),
        )
    ]
)


@EVERY
async def test_a_chat(door: Door, model: str) -> None:
    config = types.GenerateContentConfig(system_instruction="Be brief.", temperature=0.3, max_output_tokens=50, top_k=4)
    answer = await client(door).models.generate_content(model=model, contents="hello", config=config)
    assert answer.text == "mock/echo: hello" and answer.model_version == model
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    used = answer.usage_metadata
    assert (
        used.prompt_token_count > 0 and used.total_token_count == used.prompt_token_count + used.candidates_token_count
    )
    assert b"Be brief." in door.mock.received[-1].body


@EVERY
async def test_a_stream(door: Door, model: str) -> None:
    chunks = [
        chunk
        async for chunk in await client(door).models.generate_content_stream(model=model, contents="one two three")
    ]
    assert "".join(chunk.text or "" for chunk in chunks) == "mock/echo: one two three" and len(chunks) > 3
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.candidates_token_count > 0
    assert {chunk.model_version for chunk in chunks} == {model}


@EVERY
@pytest.mark.parametrize("stream", [False, True])
async def test_a_call_and_its_result(door: Door, model: str, stream: bool) -> None:
    """The signature of a Gemini 3 call goes to the client and back, or the mock would refuse the second turn."""
    config = types.GenerateContentConfig(tools=[WEATHER])
    asked = types.Content(role="user", parts=[types.Part(text='call get_weather {"city":"Paris","days":2}')])
    if stream:
        parts = []
        async for chunk in await client(door).models.generate_content_stream(
            model=model, contents=[asked], config=config
        ):
            for candidate in chunk.candidates or ():
                parts += [
                    part for part in candidate.content.parts or () if part.function_call or part.thought_signature
                ]
        said = types.Content(role="model", parts=parts)
    else:
        said = (
            (await client(door).models.generate_content(model=model, contents=[asked], config=config))
            .candidates[0]
            .content
        )
    call = next(part.function_call for part in said.parts if part.function_call)
    assert (call.name, call.args) == ("get_weather", {"city": "Paris", "days": 2})
    result = types.Part(
        function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "clear sky"})
    )
    contents = [asked, said, types.Content(role="user", parts=[result])]
    answer = await client(door).models.generate_content(model=model, contents=contents, config=config)
    assert answer.text == "mock/echo: tool get_weather said: clear sky"


@EVERY
async def test_the_clients_own_loop_of_calls(door: Door, model: str) -> None:
    """``tools=[a function]``: the client calls it by itself and sends the result."""
    door.mock.queue([Step(tool_calls=({"name": "weather", "arguments": {"city": "Oslo"}},))])
    config = types.GenerateContentConfig(tools=[weather])
    answer = await client(door).models.generate_content(model=model, contents="what is it like?", config=config)
    assert "tool weather said" in answer.text and "Oslo" in answer.text and "clear" in answer.text


@EVERY
async def test_forced_calls(door: Door, model: str) -> None:
    calling = types.FunctionCallingConfig(mode="ANY", allowed_function_names=["get_weather"])
    config = types.GenerateContentConfig(tools=[WEATHER], tool_config=types.ToolConfig(function_calling_config=calling))
    answer = await client(door).models.generate_content(model=model, contents="hi", config=config)
    assert [call.name for call in answer.function_calls] == ["get_weather"]


@EVERY
async def test_an_image(door: Door, model: str) -> None:
    contents = ["what is this?", types.Part.from_bytes(data=PNG, mime_type="image/png")]
    answer = await client(door).models.generate_content(model=model, contents=contents)
    assert answer.text == "mock/echo: what is this? | saw 1 image (image/png, 68 bytes)"


class Recipe(BaseModel):
    name: str
    minutes: int
    tags: list[str]


@EVERY
async def test_a_schema(door: Door, model: str) -> None:
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=Recipe)
    answer = await client(door).models.generate_content(model=model, contents="a recipe", config=config)
    assert isinstance(answer.parsed, Recipe) and answer.parsed.name == "mock"
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_json_schema=Recipe.model_json_schema()
    )
    answer = await client(door).models.generate_content(model=model, contents="a recipe", config=config)
    assert Recipe.model_validate_json(answer.text).tags == []


@EVERY
async def test_thoughts(door: Door, model: str) -> None:
    thinking = types.ThinkingConfig(include_thoughts=True)
    thinking.thinking_level = types.ThinkingLevel.LOW if model == "gemini" else None
    thinking.thinking_budget = None if model == "gemini" else 2048
    config = types.GenerateContentConfig(thinking_config=thinking, max_output_tokens=8000)
    answer = await client(door).models.generate_content(model=model, contents="think", config=config)
    shown = [part.text for part in answer.candidates[0].content.parts if part.thought and part.text]
    assert answer.text == "mock/echo: think" and shown and shown[0].startswith("mock reasoning")
    assert answer.usage_metadata.thoughts_token_count > 0
    turns = ["think", answer.candidates[0].content, "go on"]
    again = await client(door).models.generate_content(model=model, contents=turns, config=config)
    assert again.text == "mock/echo: go on"


@EVERY
async def test_counting(door: Door, model: str) -> None:
    counted = await client(door).models.count_tokens(model=model, contents="one two three four five")
    assert 3 < counted.total_tokens < 40


@EVERY
async def test_a_chat_session(door: Door, model: str) -> None:
    chat = client(door).chats.create(model=model)
    assert (await chat.send_message("first")).text == "mock/echo: first"
    assert (await chat.send_message("second")).text == "mock/echo: second"
    assert len(chat.get_history()) == 4


async def test_a_model_with_slashes_and_colons_in_its_name(door: Door) -> None:
    answer = await client(door).models.generate_content(model="vendor/with:tag", contents="hi")
    assert answer.text == "mock/echo: hi"


async def test_the_list_of_models(door: Door) -> None:
    listed = [model async for model in await client(door).models.list(config={"page_size": 2})]
    assert [model.name for model in listed] == [
        *("models/gemini", "models/older", "models/chat", "models/claude", "models/vendor/with:tag")
    ]
    assert (await client(door).models.get(model="claude")).name == "models/claude"
    with pytest.raises(errors.ClientError) as caught:
        await client(door).models.get(model="clade")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND") and "claude" in caught.value.message


@pytest.mark.parametrize("version", ["v1", "v1beta", "v1alpha"])
async def test_every_version_of_the_api(door: Door, version: str) -> None:
    options = types.HttpOptions(base_url=door.url, api_version=version)
    made = genai.Client(api_key=KEY, http_options=options)
    own = made.aio
    assert (await own.models.generate_content(model="chat", contents="hi")).text == "mock/echo: hi"
    assert [model.name async for model in await own.models.list()][0] == "models/gemini"


async def test_errors_are_typed(door: Door) -> None:
    with pytest.raises(errors.ClientError) as caught:
        await client(door, "sk-wrong").models.generate_content(model="chat", contents="hi")
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
    with pytest.raises(errors.ClientError) as caught:
        await client(door).models.generate_content(model="clade", contents="hi")
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT") and "claude" in caught.value.message
    for model in ("gemini", "chat", "claude"):
        for status, kind, word in (
            (429, errors.ClientError, "RESOURCE_EXHAUSTED"),
            (503, errors.ServerError, "UNAVAILABLE"),
            (500, errors.ServerError, "INTERNAL"),
        ):
            door.mock.queue([Step(status=status)])
            with pytest.raises(kind) as raised:
                await client(door).models.generate_content(model=model, contents="hi")
            assert (raised.value.code, raised.value.status) == (status, word)


@pytest.mark.parametrize("model", ["gemini", "chat", "claude"])
async def test_an_error_amid_a_stream(door: Door, model: str) -> None:
    door.mock.queue([Step(error_event_after=3)])
    with pytest.raises(errors.APIError):
        async for _ in await client(door).models.generate_content_stream(model=model, contents="one two three"):
            pass
    door.mock.queue([Step(cut_after_events=3, cut="close")])
    with pytest.raises((errors.APIError, OSError, RuntimeError)) as caught:
        async for _ in await client(door).models.generate_content_stream(model=model, contents="one two three"):
            pass
    assert "closed before the end" in str(caught.value) or "complete" in str(caught.value)


@pytest.mark.parametrize("model", ["gemini", "chat"])
async def test_signs_of_life_do_not_disturb_the_client(door: Door, model: str) -> None:
    """It takes a comment between two events for an error (google-genai 3.3, ``_iter_response_stream``)."""
    door.gateway.state.keep_alive = 0.01
    door.mock.queue([Step(ttft_ms=150, tokens_per_second=40)])
    ticking = asyncio.create_task(tick(door))
    chunks = [
        chunk.text or ""
        async for chunk in await client(door).models.generate_content_stream(model=model, contents="a b")
    ]
    ticking.cancel()
    assert "".join(chunks) == "mock/echo: a b"
    door.mock.queue([Step(ttft_ms=150)])
    ticking = asyncio.create_task(tick(door))
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    _, _, answer = await door.post(body, f"/v1beta/models/{model}:streamGenerateContent", x_goog_api_key=KEY)
    ticking.cancel()
    assert answer.startswith(b"\n") and json.loads(answer)[-1]["candidates"][0]["finishReason"] == "STOP"


async def tick(door: Door) -> None:
    while True:
        await asyncio.sleep(0.02)
        door.gateway.tick()


async def test_a_blocked_prompt(door: Door) -> None:
    door.mock.queue([Step(refusal="no")])
    answer = await client(door).models.generate_content(model="gemini", contents="hi")
    assert answer.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT and not answer.candidates


async def test_what_only_google_knows_reaches_google(door: Door) -> None:
    config = types.GenerateContentConfig(
        safety_settings=[
            types.SafetySetting(category="HARM_CATEGORY_HATE_SPEECH", threshold="BLOCK_LOW_AND_ABOVE"),
        ],
        media_resolution="MEDIA_RESOLUTION_LOW",
    )
    await client(door).models.generate_content(model="gemini", contents="hi", config=config)
    sent = door.mock.received[-1]
    assert sent.path == "/v1beta/models/gemini-3-pro-preview:generateContent"
    assert sent.header("x-goog-api-key") == "AIza-upstream" and "model" not in sent.json
    assert sent.json["safetySettings"][0]["threshold"] == "BLOCK_LOW_AND_ABOVE"
    assert sent.json["generationConfig"] == {"mediaResolution": "MEDIA_RESOLUTION_LOW"}
    status, headers, _ = await door.post(
        {"contents": [{"parts": [{"text": "hi"}]}], "safetySettings": []},
        "/v1beta/models/chat:generateContent",
        x_goog_api_key=KEY,
    )
    assert status == 200 and "extra.safetySettings" in headers["x-penstock-dropped"].split(",")


async def test_a_stream_without_events_is_one_array(door: Door) -> None:
    body = {"contents": [{"parts": [{"text": "one two three"}]}]}
    for model in ("gemini", "chat"):
        path = f"/v1beta/models/{model}:streamGenerateContent"
        status, headers, answer = await door.post(body, path, x_goog_api_key=KEY)
        chunks = json.loads(answer)
        assert status == 200 and headers["content-type"].startswith("application/json") and len(chunks) > 3
        texts = [part.get("text", "") for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
        assert "".join(texts) == "mock/echo: one two three"
        door.mock.queue([Step(error_event_after=3)])
        _, _, answer = await door.post(body, path, x_goog_api_key=KEY)
        told = json.loads(answer)  # alone when it came before anything else was told
        assert (told[-1] if isinstance(told, list) else told)["error"]["code"] >= 500


async def test_a_key_in_the_query(door: Door) -> None:
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    assert (await door.post(body, f"/v1beta/models/chat:generateContent?key={KEY}"))[0] == 200
    assert (await door.post(body, "/v1beta/models/chat:generateContent?key=wrong"))[0] == 401
    status, _, answer = await door.post(body, "/v1beta/models/chat:generateContent")
    assert status == 401 and json.loads(answer)["error"]["status"] == "UNAUTHENTICATED"
    assert (await door.ask("GET", f"/v1beta/models?key={KEY}"))[0] == 200
    assert (await door.ask("GET", f"/v1/models?key={KEY}"))[0] == 401  # OpenAI's path
    chat = {"model": "chat", "messages": [{"role": "user", "content": "hi"}]}
    assert (await door.post(chat, f"/v1/chat/completions?key={KEY}"))[0] == 401
    assert all(KEY not in record.path for record in door.records)


@pytest.mark.parametrize("model", ["gemini", "chat"])
async def test_embeddings(door: Door, model: str) -> None:
    told = await client(door).models.embed_content(model=model, contents=["hello", "world"])
    rows = [row.values for row in told.embeddings]
    assert len(rows) == (1 if model == "gemini" else 2), "by the model's name the client makes one content of them"
    assert len({tuple(row) for row in rows}) == len(rows)
    with pytest.raises(errors.ClientError, match="nobody"):
        await client(door).models.embed_content(model="nobody", contents="hello")
