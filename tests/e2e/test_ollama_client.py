"""The real `ollama` client through a gateway to mocks that speak one dialect each, and OpenAI's and Anthropic's clients
to a mock that speaks Ollama alone."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import ollama
import openai
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from penstock.mock import Script, Step
from tests.door import Door, open_door

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"0" * 60).decode()
ASK = [{"role": "user", "content": "hello there"}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Now", "parameters": PARAMETERS}}
CALL = [{"role": "user", "content": 'call get_weather {"city":"Oslo"} and call get_weather {"city":"Lima"}'}]
UPSTREAMS = {
    "ollama": ("ollama_chat/llama3.2:70b", ""),
    "openai_chat": ("openai/qwen3-32b", "/v1"),
    "anthropic": ("anthropic/claude-sonnet-4-5", ""),
}
PATHS = {"ollama": "/api/chat", "openai_chat": "/v1/chat/completions", "anthropic": "/v1/messages"}


@asynccontextmanager
async def gateway(tmp_path: Path, dialect: str, more: str = "", **options: Any) -> AsyncIterator[Door]:
    """A gateway whose model ``m`` is behind a mock that speaks ``dialect`` alone."""
    model, base = UPSTREAMS[dialect]
    yaml = f"""
model_list:
  - model_name: m
    litellm_params: {{model: {model}, api_base: "{{mock}}{base}", api_key: sk-upstream-key {more}}}
router_settings: {{num_retries: 0}}
"""
    async with open_door(tmp_path, yaml, script=Script(dialects=frozenset({dialect})), **options) as door:
        yield door


@pytest.fixture(params=list(UPSTREAMS))
def dialect(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def client(door: Door, **options: Any) -> ollama.AsyncClient:
    return ollama.AsyncClient(host=door.url, timeout=10, **options)


async def test_a_chat_whole_and_streamed(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        whole = await client(door).chat("m", ASK)
        assert whole.message.role == "assistant" and whole.message.content == "mock/echo: hello there"
        assert whole.model == "m" and whole.done and whole.done_reason == "stop" and whole.created_at
        assert whole.prompt_eval_count and whole.eval_count and whole.total_duration
        parts = [part async for part in await client(door).chat("m", ASK, stream=True)]
        assert "".join(part.message.content or "" for part in parts) == whole.message.content and len(parts) > 2
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
        assert {part.model for part in parts} == {"m"}
        last = parts[-1]
        assert (last.prompt_eval_count, last.eval_count) == (whole.prompt_eval_count, whole.eval_count)
        assert last.total_duration and last.done_reason == "stop"
        assert {one.path for one in door.mock.received} == {PATHS[dialect]}
        assert {record.lane for record in door.records} == {"same" if dialect == "ollama" else "cross"}
        assert all(record.usage is not None and not record.usage.estimated for record in door.records)


async def test_streaming_is_the_default_and_is_ndjson(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        status, headers, body = await door.post({"model": "m", "messages": ASK}, "/api/chat")
        assert status == 200 and headers["content-type"] == "application/x-ndjson"
        told = [json.loads(line) for line in body.decode().splitlines()]
        assert told[-1]["done"] is True and len(told) > 2
        assert door.mock.received[-1].json["stream"] is True


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_and_their_results(tmp_path: Path, dialect: str, stream: bool) -> None:
    async with gateway(tmp_path, dialect) as door:
        asked = client(door)
        if stream:
            parts = [part async for part in await asked.chat("m", CALL, tools=[WEATHER], stream=True)]
            calls = [call for part in parts for call in part.message.tool_calls or ()]
            turn: Any = ollama.Message(role="assistant", tool_calls=calls)
        else:
            turn = (await asked.chat("m", CALL, tools=[WEATHER])).message
        assert [call.function.name for call in turn.tool_calls] == ["get_weather"] * 2
        assert [call.function.arguments for call in turn.tool_calls] == [{"city": "Oslo"}, {"city": "Lima"}]
        results = [
            {"role": "tool", "content": text, "tool_name": "get_weather"} for text in ("11 degrees", "20 degrees")
        ]
        said = (await asked.chat("m", [*CALL, turn, *results], tools=[WEATHER])).message.content
        assert said == "mock/echo: tool get_weather said: 11 degrees; tool get_weather said: 20 degrees"


async def test_image_schema_options_and_thinking(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        asked = client(door)
        seen = await asked.chat("m", [{"role": "user", "content": "look", "images": [PNG]}])
        assert seen.message.content == "mock/echo: look | saw 1 image (image/png, 68 bytes)"
        person = await asked.chat(
            "m", ASK, format=SCHEMA, options={"temperature": 0.2, "num_predict": 50, "num_ctx": 4096}
        )
        assert json.loads(person.message.content or "") == {"name": "mock", "age": 0}
        body = door.mock.received[-1].json
        if dialect == "ollama":
            assert body["format"] == SCHEMA and body["options"] == {
                "temperature": 0.2,
                "num_predict": 50,
                "num_ctx": 4096,
            }
        else:
            assert body["temperature"] == 0.2 and 50 in (body.get("max_tokens"), body.get("max_completion_tokens"))
            assert "extra.options.num_ctx" in door.records[-1].dropped
        anything = await asked.chat("m", ASK, format="json")
        assert isinstance(json.loads(anything.message.content or ""), dict)
        thought = await asked.chat("m", ASK, think="high")
        assert (thought.message.thinking or "").startswith("mock reasoning") and thought.message.content
        parts = [part async for part in await asked.chat("m", ASK, think=True, stream=True)]
        if dialect != "openai_chat":  # Chat has no word for "think, as hard as you like"
            assert "".join(part.message.thinking or "" for part in parts).startswith("mock reasoning")
        assert "".join(part.message.content or "" for part in parts) == "mock/echo: hello there"
        short = await asked.chat("m", ASK, options={"num_predict": 2})
        assert short.done_reason == "length"


async def test_generate(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        asked = client(door)
        whole = await asked.generate("m", "once upon", system="be brief", images=[PNG])
        assert whole.response == "mock/echo: once upon | saw 1 image (image/png, 68 bytes)" and whole.model == "m"
        assert whole.done_reason == "stop" and whole.prompt_eval_count and whole.eval_count
        assert door.mock.received[-1].path == ("/api/generate" if dialect == "ollama" else PATHS[dialect])
        parts = [part async for part in await asked.generate("m", "once upon", think="low", stream=True)]
        assert "".join(part.response or "" for part in parts) == "mock/echo: once upon"
        assert "".join(part.thinking or "" for part in parts).startswith("mock reasoning")
        assert json.loads((await asked.generate("m", "a person", format=SCHEMA)).response) == {"name": "mock", "age": 0}
        filled = await asked.generate("m", "def f(", "return 1")
        assert "def f(" in filled.response
        raw = await asked.generate("m", "[INST] hi [/INST]", raw=True)
        assert raw.response.endswith("[INST] hi [/INST]")
        sent = door.mock.received[-1].json
        assert sent.get("raw") is True if dialect == "ollama" else "extra.raw" in door.records[-1].dropped
        loaded = await asked.generate("m")
        assert loaded.done and loaded.done_reason == "load" and loaded.response == ""
        assert (await asked.chat("m", [], keep_alive=0)).done_reason == "unload"


async def test_lists_show_and_version(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        asked = client(door)
        (listed,) = (await asked.list()).models
        assert listed.model == "m" and listed.digest and listed.modified_at and listed.details is not None
        shown = await asked.show("m")
        assert {"completion", "tools", "vision"} <= set(shown.capabilities or ()) and shown.modelinfo and shown.details
        assert (await asked.ps()).models == []
        version = (await door.ask("GET", "/api/version"))[2]
        assert tuple(map(int, json.loads(version)["version"].split("."))) >= (0, 9, 0)
        assert (await door.ask("HEAD", "/"))[0] == 200  # how the command line asks whether someone is there


@pytest.mark.parametrize("dialect", ["ollama", "openai_chat"])
async def test_embeddings(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        asked = client(door)
        both = await asked.embed("m", ["a", "b"], dimensions=4)
        assert [len(row) for row in both.embeddings] == [4, 4] and both.model == "m" and both.prompt_eval_count == 2
        one = await asked.embed("m", "a", dimensions=4)
        assert one.embeddings[0] == both.embeddings[0] != both.embeddings[1]
        old = await asked.embeddings("m", "a")
        assert len(old.embedding) == 8
        paths = ["/api/embed", "/api/embeddings"] if dialect == "ollama" else ["/v1/embeddings"]
        assert sorted({received.path for received in door.mock.received}) == paths
        assert door.records[0].usage is not None and door.records[0].usage.input == 2
        with pytest.raises(ollama.ResponseError) as caught:
            await asked.embed("nobody", "a")
        assert caught.value.status_code == 404


async def test_errors_are_typed_and_in_its_shape(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect, master_key="sk-gateway-1") as door:
        with pytest.raises(ollama.ResponseError) as caught:
            await client(door).chat("m", ASK)
        assert caught.value.status_code == 401 and "Authentication" in caught.value.error
        asked = client(door, headers={"Authorization": "Bearer sk-gateway-1"})
        with pytest.raises(ollama.ResponseError) as caught:
            await asked.chat("nobody", ASK)
        assert caught.value.status_code == 404 and "nobody" in caught.value.error
        with pytest.raises(ollama.ResponseError) as caught:
            await asked.pull("m")
        assert caught.value.status_code == 404
        door.mock.queue([Step(status=429), Step(status=500)])
        for status in (429, 500):
            with pytest.raises(ollama.ResponseError) as caught:
                await asked.chat("m", ASK)
            assert caught.value.status_code == status and not caught.value.error.startswith("{")
        # Pauses bring the first words out before the error comes.
        door.mock.queue([Step(error_event_after=6, error="it broke", tokens_per_second=20, chunk_size=4)])
        parts: list[Any] = []
        with pytest.raises(ollama.ResponseError) as caught:
            async for part in await asked.chat("m", ASK, stream=True):
                parts.append(part)
        assert parts and "it broke" in caught.value.error
        await door.settle()


async def test_a_stream_that_breaks_off_says_so(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        door.mock.queue([Step(cut_after_events=4, cut="end", tokens_per_second=20, chunk_size=4)])
        parts = []
        with pytest.raises(ollama.ResponseError):
            async for part in await client(door).chat("m", ASK, stream=True):
                parts.append(part)
        assert parts and not parts[-1].done


@pytest.mark.parametrize("dialect", ["ollama", "openai_chat"])
async def test_line_ends_of_unicode_reach_the_client(tmp_path: Path, dialect: str) -> None:
    """Its HTTP library cuts lines at them; a U+2028 in an answer must not break its JSON."""
    async with gateway(tmp_path, dialect) as door:
        door.mock.queue([Step(text="a\u2028b\u2029c\x85d\x0be\n\x1cf"), Step(text="a\u2028b")])
        parts = [part async for part in await client(door).chat("m", ASK, stream=True)]
        assert "".join(part.message.content or "" for part in parts) == "a\u2028b\u2029c\x85d\x0be\n\x1cf"
        parts = [part async for part in await client(door).generate("m", "x", stream=True)]
        assert "".join(part.response or "" for part in parts) == "a\u2028b"


async def test_silence_is_filled_and_the_client_does_not_notice(tmp_path: Path, dialect: str) -> None:
    async with gateway(tmp_path, dialect) as door:
        door.gateway.state.keep_alive = 0.05
        door.mock.queue([Step(ttft_ms=300), Step(stall_after_events=4, stall_ms=300, tokens_per_second=50)])
        import asyncio

        async def tick() -> None:
            while True:
                door.gateway.tick()
                await asyncio.sleep(0.02)

        ticking = asyncio.create_task(tick())
        try:
            for _ in range(2):
                parts = [part async for part in await client(door).chat("m", ASK, stream=True)]
                assert "".join(part.message.content or "" for part in parts) == "mock/echo: hello there"
            door.mock.queue([Step(ttft_ms=300)])
            body = (await door.post({"model": "m", "messages": ASK}, "/api/chat"))[2]
            assert body.startswith(b"  ")  # it was there
        finally:
            ticking.cancel()


async def test_the_synchronous_client_and_langs_models_name(tmp_path: Path) -> None:
    """A tag in the public name survives, too."""
    yaml = """
model_list:
  - model_name: "qwen3:8b"
    litellm_params: {model: "ollama/qwen3:8b", api_base: "{mock}"}
"""
    import asyncio

    async with open_door(tmp_path, yaml, script=Script(dialects=frozenset({"ollama"}))) as door:
        sync = ollama.Client(host=door.url, timeout=10)
        answer = await asyncio.to_thread(sync.chat, "qwen3:8b", ASK)
        assert answer.model == "qwen3:8b" and door.mock.received[-1].json["model"] == "qwen3:8b"
        assert door.mock.received[-1].header("authorization") is None


# OpenAI's and Anthropic's clients to Ollama ---------------------------------------------------------------------------


async def test_openais_client_to_ollama(tmp_path: Path) -> None:
    async with gateway(tmp_path, "ollama") as door:
        asked = AsyncOpenAI(base_url=door.url + "/v1", api_key="x", max_retries=0)
        whole = await asked.chat.completions.create(model="m", messages=ASK, max_tokens=50, temperature=0.7, seed=1)
        assert whole.choices[0].message.content == "mock/echo: hello there" and whole.model == "m"
        assert (
            whole.usage is not None
            and whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        )
        received = door.mock.received[-1]
        assert received.path == "/api/chat" and received.json == {
            "model": "llama3.2:70b",
            "messages": ASK,
            "options": {"temperature": 0.7, "seed": 1, "num_predict": 50},
            "stream": False,
        }
        chunks = [
            chunk
            async for chunk in await asked.chat.completions.create(
                model="m", messages=ASK, stream=True, stream_options={"include_usage": True}
            )
        ]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "mock/echo: hello there"
        assert chunks[-1].usage and chunks[-1].usage.completion_tokens
        image = [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        ]
        seen = await asked.chat.completions.create(model="m", messages=[{"role": "user", "content": image}])
        assert seen.choices[0].message.content == "mock/echo: look | saw 1 image (image/png, 68 bytes)"
        form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
        person = await asked.chat.completions.create(model="m", messages=ASK, response_format=form)
        assert json.loads(person.choices[0].message.content or "") == {"name": "mock", "age": 0}
        assert door.mock.received[-1].json["format"] == SCHEMA
        await asked.chat.completions.create(
            model="m", messages=ASK, extra_body={"guided_json": SCHEMA, "num_ctx": 8192}
        )
        assert door.mock.received[-1].json["format"] == SCHEMA
        assert door.mock.received[-1].json["options"] == {"num_ctx": 8192}
        await asked.chat.completions.create(model="m", messages=ASK, response_format={"type": "json_object"})
        assert door.mock.received[-1].json["format"] == "json"
        scored = await asked.chat.completions.create(model="m", messages=ASK, logprobs=True, top_logprobs=2)
        assert scored.choices[0].logprobs and scored.choices[0].logprobs.content
        assert len(scored.choices[0].logprobs.content[0].top_logprobs) == 2


async def test_openais_client_calls_tools_of_ollama(tmp_path: Path) -> None:
    async with gateway(tmp_path, "ollama") as door:
        asked = AsyncOpenAI(base_url=door.url + "/v1", api_key="x", max_retries=0)
        turn = (await asked.chat.completions.create(model="m", messages=CALL, tools=[WEATHER])).choices[0]
        assert turn.finish_reason == "tool_calls"
        calls = turn.message.tool_calls or []
        assert [json.loads(c.function.arguments) for c in calls] == [{"city": "Oslo"}, {"city": "Lima"}]
        results = [{"role": "tool", "tool_call_id": c.id, "content": f"r{n}"} for n, c in enumerate(calls)]
        history = [*CALL, turn.message.model_dump(exclude_none=True), *reversed(results)]
        said = await asked.chat.completions.create(model="m", messages=history, tools=[WEATHER])
        assert said.choices[0].message.content == "mock/echo: tool get_weather said: r1; tool get_weather said: r0"
        async with asked.chat.completions.stream(model="m", messages=CALL, tools=[WEATHER]) as stream:
            final = (await stream.get_final_completion()).choices[0]
        assert final.finish_reason == "tool_calls" and len(final.message.tool_calls or ()) == 2


async def test_a_missing_model_is_named_with_its_command(tmp_path: Path) -> None:
    """Seed S3-38."""
    yaml = """
model_list:
  - model_name: gone
    litellm_params: {model: ollama/missing/llama9, api_base: "{mock}"}
router_settings: {num_retries: 0}
"""
    async with open_door(tmp_path, yaml, script=Script(dialects=frozenset({"ollama"}))) as door:
        with pytest.raises(openai.NotFoundError) as caught:
            await AsyncOpenAI(base_url=door.url + "/v1", api_key="x", max_retries=0).chat.completions.create(
                model="gone", messages=ASK
            )
        assert "missing/llama9" in str(caught.value) and "ollama pull missing/llama9" in str(caught.value)
        with pytest.raises(ollama.ResponseError) as refused:
            await client(door).chat("gone", ASK)
        assert refused.value.status_code == 404 and "ollama pull missing/llama9" in refused.value.error


async def test_anthropics_client_to_ollama(tmp_path: Path) -> None:
    async with gateway(tmp_path, "ollama") as door:
        asked = AsyncAnthropic(base_url=door.url, api_key="x", max_retries=0)
        basis: dict[str, Any] = {"model": "m", "max_tokens": 4096}
        whole = await asked.messages.create(messages=ASK, system="be brief", **basis)
        assert whole.content[0].text == "mock/echo: hello there" and whole.stop_reason == "end_turn"  # type: ignore[union-attr]
        assert whole.usage.input_tokens and whole.usage.output_tokens and whole.id
        assert door.mock.received[-1].json["messages"][0] == {"role": "system", "content": "be brief"}
        async with asked.messages.stream(
            messages=ASK, thinking={"type": "enabled", "budget_tokens": 2048}, **basis
        ) as stream:
            final = await stream.get_final_message()
        assert [block.type for block in final.content] == ["thinking", "text"]
        assert door.mock.received[-1].json["think"] == "low"
        tools = [{"name": "get_weather", "description": "Now", "input_schema": PARAMETERS}]
        turn = await asked.messages.create(messages=CALL, tools=tools, **basis)
        calls = [block for block in turn.content if block.type == "tool_use"]
        assert turn.stop_reason == "tool_use" and [call.input for call in calls] == [{"city": "Oslo"}, {"city": "Lima"}]
        results = [{"type": "tool_result", "tool_use_id": call.id, "content": "11 degrees"} for call in calls]
        history = [*CALL, {"role": "assistant", "content": turn.content}, {"role": "user", "content": results}]
        said = await asked.messages.create(messages=history, tools=tools, **basis)
        assert said.content[0].text.count("tool get_weather said: 11 degrees") == 2  # type: ignore[union-attr]
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        seen = await asked.messages.create(
            messages=[
                {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": "look"}]}
            ],
            **basis,
        )
        assert "saw 1 image (image/png, 68 bytes)" in seen.content[0].text  # type: ignore[union-attr]


async def test_responses_client_to_ollama(tmp_path: Path) -> None:
    async with gateway(tmp_path, "ollama") as door:
        asked = AsyncOpenAI(base_url=door.url + "/v1", api_key="x", max_retries=0)
        whole = await asked.responses.create(model="m", input="hello there", reasoning={"effort": "high"})
        assert whole.output_text == "mock/echo: hello there" and door.mock.received[-1].json["think"] == "high"
        async with asked.responses.stream(model="m", input="hello there") as stream:
            final = await stream.get_final_response()
        assert final.output_text == "mock/echo: hello there" and final.usage and final.usage.output_tokens


async def test_a_deployments_options_reach_ollama(tmp_path: Path, dialect: str) -> None:
    """``num_ctx`` in litellm_params is how LiteLLM's users set it; it has no place at the top of Ollama's body."""
    if dialect != "ollama":
        return
    async with gateway(tmp_path, dialect, ", num_ctx: 16384, temperature: 0.5, keep_alive: 30m") as door:
        await client(door).chat("m", ASK, options={"temperature": 0.1})
        await AsyncOpenAI(base_url=door.url + "/v1", api_key="x").chat.completions.create(model="m", messages=ASK)
        own, cross = (received.json for received in door.mock.received)
        assert own["options"] == {"temperature": 0.1, "num_ctx": 16384} and own["keep_alive"] == "30m"
        assert cross["options"] == {"num_ctx": 16384, "temperature": 0.5} and cross["keep_alive"] == "30m"


def test_an_empty_line_would_break_the_client() -> None:
    """Why the keep-alive is a space: if this ever passes without an error, a blank line would do."""
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=b"\n"))
    broken = ollama.Client(transport=transport)
    with pytest.raises(json.JSONDecodeError):
        list(broken.chat("m", ASK, stream=True))


@pytest.mark.parametrize(
    "fault", ["crlf", "comments", "pings", "no_role", "unterminated", "duplicate_start", "empty_finish_reason"]
)
@pytest.mark.parametrize("surface", ["/api/chat", "/v1/chat/completions"])
async def test_an_untidy_ollama_is_understood(tmp_path: Path, fault: str, surface: str) -> None:
    async with gateway(tmp_path, "ollama") as door:
        door.mock.queue([Step(malform=(fault,), split_bytes=7)])
        _, _, body = await door.post({"model": "m", "messages": ASK, "stream": True}, surface)
        text = body.decode()
        assert text.count("hello") >= 1 and '"error"' not in text
        assert text.rstrip().endswith("[DONE]" if "v1" in surface else "}")
        if surface == "/api/chat":
            assert [json.loads(line) for line in text.splitlines()][-1]["done"] is True


@pytest.mark.parametrize("fault", ["bad_json", "missing_done", "html", "garbage_event", "empty_body"])
@pytest.mark.parametrize("surface", ["/api/chat", "/v1/chat/completions"])
async def test_a_broken_ollama_is_an_error(tmp_path: Path, fault: str, surface: str) -> None:
    async with gateway(tmp_path, "ollama") as door:
        door.mock.queue([Step(malform=(fault,))])
        status, _, body = await door.post({"model": "m", "messages": ASK, "stream": True}, surface)
        assert '"error"' in body.decode() and "[DONE]" not in body.decode()
        assert status in (200, 500, 502) and door.records[-1].error
