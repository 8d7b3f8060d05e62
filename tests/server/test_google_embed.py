"""Google's embedContent and batchEmbedContents at every kind of embedding target, with Google's own client."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google import genai
from google.genai import types

from penstock.mock import Script, Step
from penstock.mock.embeddings import vector
from tests.door import open_door

KEY = "sk-client-key-0123456789"
TARGETS = {
    "google": "gemini/gemini-embedding-001, api_base: '{mock}'",
    "openai": "openai/text-embedding-3-small, api_base: '{mock}/v1'",
    "vllm": "hosted_vllm/bge-m3, api_base: '{mock}/v1'",
    "cohere": "cohere/embed-v4.0, api_base: '{mock}/v2'",
    "ollama": "ollama/nomic-embed-text, api_base: '{mock}'",
    "limited": "openai/small, api_base: '{mock}/v1'",
}
YAML = "model_list:\n" + "".join(
    f"  - model_name: {name}\n    litellm_params: {{model: {model}, api_key: sk-upstream-secret}}\n"
    + ("    model_info: {embedding_batch_size: 1}\n" if name == "limited" else "")
    for name, model in TARGETS.items()
)
each_target = pytest.mark.parametrize("name", TARGETS)


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text}]}, **more}


async def ask(door: Any, path: str, sent: Any, **headers: str) -> tuple[int, dict[str, str], Any]:
    status, told, answer = await door.post(sent, path, **{"x-goog-api-key": KEY, **headers})
    return status, told, json.loads(answer)


@each_target
@pytest.mark.parametrize("version", ["/v1beta", "/v1", "/v1alpha", ""])
async def test_one_and_several(tmp_path, name, version):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        status, headers, told = await ask(door, f"{version}/models/{name}:embedContent", body("one"))
        assert status == 200, told
        assert told["embedding"]["values"] == pytest.approx(vector("one", len(told["embedding"]["values"])))
        assert told["usageMetadata"]["promptTokenCount"] > 0
        path = f"{version}/models/{name}:batchEmbedContents"
        requests = [body(text, model=f"models/{name}") for text in ("one", "two", "three")]
        status, headers, told = await ask(door, path, {"requests": requests})
        assert status == 200, told
        rows = [row["values"] for row in told["embeddings"]]
        assert rows == [pytest.approx(vector(text, len(rows[0]))) for text in ("one", "two", "three")]
        assert headers["x-penstock-lane"] == ("same" if name == "google" else "cross")
        assert [record.status for record in door.records] == [200, 200]
        assert all(record.usage.fresh for record in door.records)
        assert all("sk-upstream-secret" in str(r.headers) and KEY not in str(r.headers) for r in door.mock.received)


@each_target
async def test_google_s_client(tmp_path, name):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        options = types.HttpOptions(base_url=door.url)
        client = genai.Client(api_key=KEY, http_options=options)
        size = None if name in ("ollama",) else 5
        config = types.EmbedContentConfig(output_dimensionality=size, task_type="RETRIEVAL_QUERY")
        for contents in ("hello", ["hello", "world"]):
            told = await client.aio.models.embed_content(model=name, contents=contents, config=config)
            texts = [contents] if isinstance(contents, str) else contents
            assert [row.values for row in told.embeddings] == [
                pytest.approx(vector(text, size or len(told.embeddings[0].values))) for text in texts
            ]
        await client.aio.aclose()
        if name == "cohere":
            assert door.mock.received[-1].json["input_type"] == "search_query"
        elif name != "google":
            assert all(record.dropped == ("taskType",) for record in door.records)


BAD = {
    "nothing": ({}, "content"),
    "no parts": ({"content": {"parts": []}}, "content"),
    "content is a text": ({"content": "hello"}, "content"),
    "no requests": ({"requests": []}, "requests"),
    "an empty request": ({"requests": [{}]}, "requests[0].content"),
    "a picture": ({"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "aGk="}}]}}, "inlineData"),
    "two sizes": (
        {"requests": [body("a", outputDimensionality=3), body("b", output_dimensionality=4)]},
        "outputDimensionality",
    ),
}


@pytest.mark.parametrize(("sent", "named"), BAD.values(), ids=BAD)
async def test_what_is_wrong_is_said_in_google_s_form(tmp_path, sent, named):
    async with open_door(tmp_path, YAML, master_key=KEY) as door:
        method = "batchEmbedContents" if "requests" in sent else "embedContent"
        status, _, told = await ask(door, f"/v1beta/models/openai:{method}", sent)
        assert status == 400 and told["error"]["status"] == "INVALID_ARGUMENT" and named in told["error"]["message"]
        assert not door.mock.received


@each_target
async def test_refusals_are_in_google_s_form(tmp_path, name, no_pauses):
    script = Script(default=Step(status=429, error="slow down"))
    async with open_door(tmp_path, YAML, master_key=KEY, script=script) as door:
        status, _, told = await ask(door, f"/v1beta/models/{name}:embedContent", body("one"))
        assert (status, told["error"]["status"]) == (429, "RESOURCE_EXHAUSTED") and told["error"]["message"]
        status, _, told = await ask(
            door, f"/v1beta/models/{name}:embedContent", body("one"), **{"x-goog-api-key": "no"}
        )
        assert (status, told["error"]["status"]) == (401, "UNAUTHENTICATED")
