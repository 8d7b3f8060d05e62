"""Azure AI Foundry from a client to the wire."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.door import open_door
from tests.runtime.cloud.issuer import Issuer, issuing
from tests.runtime.cloud.test_entra import ACCOUNT, HELLO, config


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


async def test_a_model_of_the_inference_api(tmp_path: Path) -> None:
    yaml = config(model="azure_ai/DeepSeek-V3.1", api_base="{mock}/models", api_version="", api_key="k")
    async with open_door(tmp_path, yaml) as door:
        status, headers, body = await door.post({**HELLO, "top_k": 7, "stream": True})
        assert status == 200 and b"[DONE]" in body and headers["x-penstock-lane"] == "same"
        sent = door.mock.received[-1]
        assert sent.path == "/models/chat/completions" and sent.query == "api-version=2024-05-01-preview"
        assert sent.header("api-key") == "k" and sent.header("extra-parameters") == "pass-through"
        assert sent.json["model"] == "DeepSeek-V3.1" and sent.json["top_k"] == 7
        assert sent.json["stream_options"] == {"include_usage": True}
        assert (await door.post({"model": "m", "input": "hi"}, "/v1/embeddings"))[0] == 200
        assert door.mock.received[-1].path == "/models/embeddings"
        assert (await door.post({"model": "m", "query": "q", "documents": ["a", "b"]}, "/rerank"))[0] == 200
        assert door.mock.received[-1].path.endswith("/rerank")


@pytest.mark.parametrize("model", ["Phi-4", "Mistral-Large-2411"])
async def test_models_that_refuse_stream_options(tmp_path: Path, model: str) -> None:
    yaml = config(model=f"azure_ai/{model}", api_base="{mock}/models", api_version="", api_key="k")
    async with open_door(tmp_path, yaml) as door:
        assert (await door.post({**HELLO, "stream": True}))[0] == 200
        assert "stream_options" not in door.mock.received[-1].json


@pytest.mark.parametrize(
    ("model", "info"),
    [("azure_ai/claude-sonnet-4-5", ""), ("azure/claude-sonnet-4-5", ""), ("azure_ai/prod", "base_model: claude-sonnet-4-5")],
)
async def test_claude(tmp_path: Path, model: str, info: str) -> None:
    base = "{mock}/anthropic" if model.startswith("azure/") else "{mock}"
    more = f"    model_info: {{{info}}}" if info else ""
    yaml = config(model=model, api_base=base, api_version="", api_key="k", more=more)
    async with open_door(tmp_path, yaml) as door:
        said = {"model": "m", "max_tokens": 99, "messages": HELLO["messages"]}
        status, headers, body = await door.post(said, "/v1/messages")
        assert status == 200 and headers["x-penstock-lane"] == "same", body
        sent = door.mock.received[-1]
        assert sent.path == "/anthropic/v1/messages" and sent.json["model"] == model.partition("/")[2]
        assert (sent.header("x-api-key"), sent.header("api-key"), sent.header("authorization")) == ("k", "k", None)
        assert sent.header("anthropic-version") == "2023-06-01"
        schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
        status, headers, body = await door.post({**HELLO, "response_format": schema})
        assert status == 200 and headers["x-penstock-lane"] == "cross", body
        assert "output_config" in door.mock.received[-1].json or "output_format" in door.mock.received[-1].json
        status, _, body = await door.post({"model": "m", "messages": HELLO["messages"]}, "/v1/messages/count_tokens")
        assert status == 200 and door.mock.received[-1].path == "/anthropic/v1/messages/count_tokens"


async def test_openais_interface_speaks_responses_too(tmp_path: Path) -> None:
    yaml = config(model="azure_ai/gpt-5", api_base="{mock}/openai/v1", api_version="", api_key="k")
    async with open_door(tmp_path, yaml) as door:
        status, headers, _ = await door.post({"model": "m", "input": "hi"}, "/v1/responses")
        assert status == 200 and headers["x-penstock-lane"] == "same"
        assert door.mock.received[-1].path == "/openai/v1/responses"
        assert (await door.post({**HELLO, "max_tokens": 9}))[0] == 200
        sent = door.mock.received[-1]
        assert sent.path == "/openai/v1/chat/completions" and sent.json["max_completion_tokens"] == 9
        assert sent.header("extra-parameters") is None


@pytest.mark.parametrize(("path", "model"), [("/models", "DeepSeek-R1"), ("", "claude-opus-4-1")])
async def test_entra_id_in_place_of_a_key(issuer: Issuer, tmp_path: Path, path: str, model: str) -> None:
    yaml = config(model=f"azure_ai/{model}", api_base="{mock}" + path, api_version="", **ACCOUNT)
    async with open_door(tmp_path, yaml, env={"AZURE_AUTHORITY_HOST": issuer.url}) as door:
        status, _, body = await door.post(HELLO)
        assert status == 200, body
        sent = door.mock.received[-1]
        assert sent.header("authorization") == "Bearer tok-1"
        assert sent.header("api-key") is None and sent.header("x-api-key") is None
    assert len(issuer.asked) == 1


async def test_an_error_of_the_inference_api(tmp_path: Path) -> None:
    from penstock.mock.script import Rule, Script, Step

    refusal: dict[str, Any] = {"error": {"code": "unknown_model", "message": "Unknown model: nope", "details": "Unknown model: nope"}}
    script = Script(rules=[Rule(step=Step(status=400, body=refusal))])
    yaml = config(model="azure_ai/nope", api_base="{mock}/models", api_version="", api_key="k")
    async with open_door(tmp_path, yaml, script=script) as door:
        status, _, body = await door.post(HELLO)
        assert status == 400 and "Unknown model: nope" in json.loads(body)["error"]["message"]
