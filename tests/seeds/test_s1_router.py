"""Seed 1: the router of a service that keeps its models as provider and name, at ``/api/v1/litellm``."""

from __future__ import annotations

import json

import pytest

from penstock.mock import Script
from tests.door import open_door
from tests.seeds.test_s0_shared import PIXEL, SAYS, lines, sent, told

LAS = "/api/v1/litellm"
WILD = """
model_list:
  - model_name: "*"
    litellm_params: {model: "*"}
router_settings: {num_retries: 0}
"""
# Where each provider is asked, so that all of them are the mock.
ENV = {
    "OLLAMA_BASE_URL": "{mock}",
    "OPENAI_API_KEY": "sk-openai",
    "OPENAI_API_BASE": "{mock}/v1",
    "ANTHROPIC_API_KEY": "sk-ant",
    "ANTHROPIC_API_BASE": "{mock}",
    "GEMINI_API_KEY": "sk-gem",
    "GEMINI_API_BASE": "{mock}",
}


async def test_s1_01_and_s1_13_a_chat_with_ollama(tmp_path):
    body = {"model": "ollama/llama3.2", "stream": False, "temperature": 0.7, "max_tokens": 4096, **SAYS}
    async with open_door(tmp_path, WILD, env=ENV) as door:
        answer = await told(door, body, LAS + "/chat/completions")
        assert answer["object"] == "chat.completion" and answer["choices"][0]["message"]["content"]
        asked = door.mock.received[-1]
        assert asked.path.startswith("/api/chat") and asked.json["model"] == "llama3.2"
        assert asked.json["options"]["temperature"] == 0.7 and asked.json["options"]["num_predict"] == 4096
        assert "authorization" not in lines(door)
        answer = await told(door, {"model": "ollama/nomic-embed-text", "input": "hello"}, LAS + "/embeddings")
        assert answer["data"][0]["embedding"] and sent(door)["model"] == "nomic-embed-text"


async def test_s1_02_a_stream(tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        status, headers, body = await door.post({"model": "ollama/llama3.2", "stream": True, **SAYS}, LAS + "/chat/completions")
        assert status == 200 and headers["content-type"].startswith("text/event-stream") and body.endswith(b"data: [DONE]\n\n")


async def test_s1_03_the_provider_may_stand_beside_the_model(tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        for path in ("/chat/completions", "/v1/chat/completions"):
            await told(door, {"model": "ollama/llama3.2", **SAYS}, LAS + path)
            one = door.mock.received[-1]
            await told(door, {"model": "llama3.2", "provider": "ollama", **SAYS}, LAS + path)
            other = door.mock.received[-1]
            assert (one.path, one.json) == (other.path, other.json)


@pytest.mark.parametrize("key", ["any", "sk-whatever"])
async def test_s1_04_an_openai_client_speaks_to_it_with_any_key(key, tmp_path):
    openai = pytest.importorskip("openai")
    async with open_door(tmp_path, WILD, env=ENV) as door:
        async with openai.AsyncOpenAI(base_url=f"{door.url}{LAS}/v1", api_key=key, max_retries=0) as client:
            answer = await client.chat.completions.create(model="ollama/llama3.2", **SAYS)
            assert answer.choices[0].message.content
            parts = [chunk async for chunk in await client.chat.completions.create(model="ollama/llama3.2", stream=True, **SAYS)]
            assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == answer.choices[0].message.content
            assert (await client.embeddings.create(model="ollama/nomic-embed-text", input="x")).data[0].embedding
            assert isinstance((await client.models.list()).data, list)


async def test_s1_05_models_of_one_provider(tmp_path):
    text = WILD.replace('"*"', "local", 1).replace('model: "*"', "model: ollama/llama3.2")
    text = text.replace("router_settings", "  - model_name: far\n    litellm_params: {model: openai/gpt-4o, api_key: k}\nrouter_settings")
    async with open_door(tmp_path, text, env=ENV) as door:

        async def ids(query=""):
            status, _, body = await door.ask("GET", LAS + "/models" + query)
            assert status == 200 and json.loads(body)["object"] == "list"
            return [row["id"] for row in json.loads(body)["data"]]

        assert all(name.startswith("ollama/") for name in await ids("?provider=ollama")) and await ids("?provider=ollama")
        assert await ids("?provider=nobody") == []
        assert {"ollama/llama3.2", "openai/gpt-4o"} <= set(await ids())


async def test_s1_06_and_s1_25_providers(tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        status, _, body = await door.ask("GET", LAS + "/providers")
        rows = {row["id"]: row for row in json.loads(body)["providers"]}
        named = "ollama openai anthropic gemini groq openrouter huggingface together_ai deepseek azure bedrock vllm".split()
        assert status == 200 and set(named) <= set(rows)
        for row in rows.values():
            assert set(row) >= {"id", "name", "model_format", "features", "api_key_required", "configured"}
        assert rows["openai"]["configured"] and not rows["groq"]["configured"] and not rows["ollama"]["api_key_required"]
    from penstock.core.providers import PROVIDERS

    assert len(PROVIDERS) >= 100


@pytest.mark.parametrize("url", [PIXEL, "https://example.com/cat.png"])
async def test_s1_07_and_s1_08_a_picture_and_one_prompt(url, tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        answer = await told(door, {"prompt": "what?", "image_url": url, "model": "openai/gpt-4o"}, LAS + "/vision")
        assert answer["object"] == "chat.completion"
        assert answer["response"] == answer["content"] == answer["choices"][0]["message"]["content"]
        assert [part["type"] for part in sent(door)["messages"][0]["content"]] == ["text", "image_url"]
        assert sent(door)["messages"][0]["content"][1]["image_url"]["url"] == url


@pytest.mark.parametrize("text", ["hello", ["hello", "you"]])
async def test_s1_09_embeddings_of_a_provider(text, tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        answer = await told(door, {"input": text, "model": "text-embedding-3-small", "provider": "openai"}, LAS + "/embeddings")
        assert answer["object"] == "list" and answer["usage"]["prompt_tokens"] > 0
        assert len(answer["data"]) == (1 if isinstance(text, str) else 2)
        assert all(isinstance(value, float) for value in answer["data"][0]["embedding"])


async def test_s1_10_and_s1_11_what_a_request_will_cost(tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        asked = {"model": "openai/gpt-4o", "input_tokens": 1000, "output_tokens": 500}
        answer = await told(door, asked, LAS + "/cost/estimate")
        assert (answer["input_cost"], answer["output_cost"], answer["total_cost"]) == (0.0025, 0.005, 0.0075)
        assert (await told(door, {**asked, "model": "ollama/llama3.2"}, LAS + "/cost/estimate"))["total_cost"] == 0.0


@pytest.mark.parametrize(
    ("model", "path", "header", "value"),
    [
        ("openai/gpt-4o", "/v1/chat/completions", "authorization", "Bearer sk-openai"),
        ("anthropic/claude-3-5-sonnet-20241022", "/v1/messages", "x-api-key", "sk-ant"),
        ("gemini/gemini-2.0-flash-exp", "generateContent", "x-goog-api-key", "sk-gem"),
    ],
)
async def test_s1_14_s1_15_and_s1_16_the_key_of_each_provider_goes_to_it_alone(model, path, header, value, tmp_path):
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    see = [{"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]}]
    async with open_door(tmp_path, WILD, env=ENV) as door:
        await told(door, {"model": model, "max_tokens": 20, "messages": see, "tools": [tool]}, LAS + "/chat/completions")
        asked = door.mock.received[-1]
        assert path in asked.path and lines(door)[header] == value
        others = {"sk-openai", "sk-ant", "sk-gem"} - {value.rpartition(" ")[2]}
        assert not any(other in json.dumps(lines(door)) for other in others)
        assert PIXEL.rpartition(",")[2] in json.dumps(asked.json) and asked.json["tools"]


@pytest.mark.parametrize(
    ("provider", "given", "wanted"),
    [
        ("groq", "groq/llama-3.3-70b-versatile", "llama-3.3-70b-versatile"),
        ("openrouter", "openrouter/anthropic/claude-3.5-sonnet", "anthropic/claude-3.5-sonnet"),
        ("huggingface", "huggingface/meta-llama/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-3B-Instruct"),
        ("together_ai", "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("deepseek", "deepseek/deepseek-chat", "deepseek-chat"),
    ],
)
async def test_s1_17_s1_18_s1_19_s1_20_and_s1_21_only_the_first_part_is_the_provider(provider, given, wanted, tmp_path):
    text = WILD.replace('{model: "*"}', f'{{model: {given}, api_base: "{{mock}}/v1", api_key: sk-own}}')
    async with open_door(tmp_path, text) as door:
        await told(door, {"model": given, **SAYS}, LAS + "/chat/completions")
        asked = door.mock.received[-1]
        assert asked.json["model"] == wanted and asked.path.endswith("/chat/completions")
        assert lines(door)["authorization"] == "Bearer sk-own"


async def test_s1_22_azure_has_the_deployment_in_its_path(tmp_path):
    text = WILD.replace('{model: "*"}', '{model: azure/gpt-4, api_base: "{mock}", api_key: sk-az, api_version: "2024-02-01"}')
    async with open_door(tmp_path, text) as door:
        await told(door, {"model": "azure/gpt-4", **SAYS}, LAS + "/chat/completions")
        asked = door.mock.received[-1]
        assert asked.path.split("?")[0] == "/openai/deployments/gpt-4/chat/completions"
        assert lines(door)["api-key"] == "sk-az"


async def test_s1_24_vllm_is_a_server_like_openais(tmp_path):
    text = WILD.replace('{model: "*"}', '{model: vllm/my-model, api_base: "{mock}/v1"}')
    async with open_door(tmp_path, text) as door:
        await told(door, {"model": "vllm/my-model", **SAYS}, LAS + "/chat/completions")
        assert sent(door)["model"] == "my-model"


async def test_s1_55_a_page_of_another_origin_may_ask(tmp_path):
    async with open_door(tmp_path, WILD, env=ENV, master_key="sk-m-1234567890") as door:
        ask = {"origin": "http://page.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        status, headers, _ = await door.ask("OPTIONS", LAS + "/chat/completions", b"", ask)
        assert status in (200, 204) and headers["access-control-allow-origin"] in ("*", "http://page.example")
        page = {"origin": "http://page.example", "authorization": "Bearer sk-m-1234567890"}
        status, headers, _ = await door.post({"model": "ollama/llama3.2", **SAYS}, LAS + "/chat/completions", **page)
        assert status == 200 and headers["access-control-allow-origin"] in ("*", "http://page.example")


async def test_s1_56_the_document_of_all_urls_and_a_page_that_shows_it(tmp_path):
    async with open_door(tmp_path, WILD, env=ENV) as door:
        status, _, body = await door.ask("GET", "/openapi.json")
        paths = json.loads(body)["paths"]
        assert status == 200 and {LAS + "/vision", LAS + "/cost/estimate", LAS + "/providers"} <= set(paths)
        status, headers, body = await door.ask("GET", "/docs")
        assert status == 200 and headers["content-type"].startswith("text/html")
        assert b"http://" not in body and b"https://" not in body.replace(b"https://www.w3.org", b"")


async def test_s1_23_bedrock_is_asked_in_its_own_form(tmp_path):
    pytest.importorskip("botocore")
    text = WILD.replace(
        '{model: "*"}',
        "{model: bedrock/anthropic.claude-3-sonnet, aws_access_key_id: AKIDEXAMPLE, aws_secret_access_key: secret, "
        'aws_region_name: us-east-1, aws_bedrock_runtime_endpoint: "{mock}"}',
    )
    async with open_door(tmp_path, text, script=Script()) as door:
        await door.post({"model": "bedrock/anthropic.claude-3-sonnet", "max_tokens": 9, **SAYS}, LAS + "/chat/completions")
        asked = door.mock.received[-1]
        assert asked.path.startswith("/model/anthropic.claude-3-sonnet")
        assert lines(door)["authorization"].startswith("AWS4-HMAC-SHA256")
