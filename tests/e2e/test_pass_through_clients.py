"""The vendors' own SDKs on pass-through paths: they are told nothing but the address and the gateway's key."""

from __future__ import annotations

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from tests.door import open_door
from tests.server.test_pass_through import KEY, UPSTREAM, YAML

ASK = [{"role": "user", "content": "hello"}]


async def test_openai_at_its_prefix(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        for base in ("/openai/v1", "/openai"):
            client = openai.AsyncOpenAI(base_url=door.url + base, api_key=KEY, max_retries=0)
            answer = await client.chat.completions.create(model="gpt-4o-mini", messages=ASK)
            assert answer.choices[0].message.content == "mock/echo: hello"
            parts = []
            options = {"include_usage": True}
            stream = await client.chat.completions.create(model="gpt-4o-mini", messages=ASK, stream=True, stream_options=options)
            async for chunk in stream:
                parts += [choice.delta.content or "" for choice in chunk.choices]
            assert "".join(parts) == "mock/echo: hello"
            response = await client.responses.create(model="gpt-4o-mini", input="hello")
            assert response.output_text == "mock/echo: hello"
            vectors = await client.embeddings.create(model="text-embedding-3-small", input="hello")
            assert len(vectors.data[0].embedding) > 1
            assert [model.id async for model in client.models.list()]
            await client.close()
        assert all(record.status == 200 for record in door.records)
        assert all(record.cost for record in door.records if record.method == "POST")
        assert {sent.header("authorization") for sent in door.mock.received} == {f"Bearer {UPSTREAM}"}
        await door.settle()


async def test_openais_errors_are_the_vendors(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        client = openai.AsyncOpenAI(base_url=door.url + "/openai/v1", api_key=KEY, max_retries=0)
        with pytest.raises(openai.BadRequestError) as bad:
            await client.chat.completions.create(model="gpt-4o-mini", messages=[])
        assert bad.value.body and "litellm" not in str(bad.value)  # nothing was put before the vendor's words
        wrong = openai.AsyncOpenAI(base_url=door.url + "/openai/v1", api_key="sk-wrong-000", max_retries=0)
        with pytest.raises(openai.AuthenticationError):
            await wrong.models.list()
        await client.close()
        await wrong.close()


async def test_anthropic_at_its_prefix(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        client = anthropic.AsyncAnthropic(base_url=door.url + "/anthropic", api_key=KEY, max_retries=0)
        answer = await client.messages.create(model="claude-sonnet-4-5", max_tokens=50, messages=ASK)
        assert answer.content[0].text == "mock/echo: hello"
        async with client.messages.stream(model="claude-sonnet-4-5", max_tokens=50, messages=ASK) as stream:
            assert "".join([text async for text in stream.text_stream]) == "mock/echo: hello"
        counted = await client.messages.count_tokens(model="claude-sonnet-4-5", messages=ASK)
        assert counted.input_tokens > 0
        wrong = anthropic.AsyncAnthropic(base_url=door.url + "/anthropic", api_key="sk-wrong-000", max_retries=0)
        with pytest.raises(anthropic.AuthenticationError):
            await wrong.messages.create(model="claude-sonnet-4-5", max_tokens=50, messages=ASK)
        whole, streamed = [record for record in door.records if record.usage is not None][:2]
        assert (whole.usage, whole.cost) == (streamed.usage, streamed.cost) and whole.cost > 0 and streamed.stream
        await client.close()
        await wrong.close()
        await door.settle()


async def test_google_genai_at_its_prefix(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        options = types.HttpOptions(base_url=door.url + "/gemini")
        client = genai.Client(api_key=KEY, http_options=options)
        answer = await client.aio.models.generate_content(model="gemini-2.5-flash", contents="hello")
        assert answer.text == "mock/echo: hello"
        parts = [
            chunk.text or ""
            async for chunk in await client.aio.models.generate_content_stream(model="gemini-2.5-flash", contents="hello")
        ]
        assert "".join(parts) == "mock/echo: hello"
        assert [record.model for record in door.records] == ["gemini-2.5-flash"] * 2
        assert all(record.cost for record in door.records)
        await client.aio.aclose()
        await door.settle()


async def test_an_azure_client_with_the_gateway_as_its_endpoint(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        client = openai.AsyncAzureOpenAI(azure_endpoint=door.url, api_key=KEY, api_version="2024-10-21", max_retries=0)
        for model in ("m", "c"):  # any model here, not only OpenAI's
            answer = await client.chat.completions.create(model=model, messages=ASK)
            assert answer.model == model and answer.choices[0].message.content == "mock/echo: hello"
            stream = await client.chat.completions.create(model=model, messages=ASK, stream=True)
            text = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
            assert "".join(text) == "mock/echo: hello"
        response = await client.responses.create(model="m", input="hello")
        assert response.output_text == "mock/echo: hello"
        vectors = await client.embeddings.create(model="m", input="hello")
        assert vectors.data
        sound = await client.audio.transcriptions.create(model="m", file=("a.wav", b"RIFF0000WAVE"))
        assert sound.text
        assert {record.lane for record in door.records} <= {"same", "cross"}
        await client.close()
        await door.settle()
