"""watsonx.ai from a client to the wire: IAM, the body's own words, streams, deployments, embeddings and rerank."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.mock.script import Rule, Script, Step
from tests.door import open_door
from tests.runtime.cloud.issuer import Issuer, issuing

MODEL = "ibm/granite-4-h-small"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        made.answer = {"access_token": "iam-1", "expires_in": 3600, "expiration": 4_000_000_000, "token_type": "Bearer"}
        yield made


def config(model: str = MODEL, **params: Any) -> str:
    params = {"model": f"watsonx/{model}", "api_base": "{mock}", "api_key": "ibm-key", "project_id": "p-1", **params}
    lines = "\n".join(f"      {key}: {json.dumps(value)}" for key, value in params.items() if value is not None)
    return f"model_list:\n  - model_name: m\n    litellm_params:\n{lines}\nrouter_settings: {{num_retries: 0}}\n"


async def test_a_key_is_exchanged_and_the_body_is_ibms(issuer: Issuer, tmp_path: Path) -> None:
    async with open_door(tmp_path, config(), env={"WATSONX_IAM_URL": issuer.url}) as door:
        for _ in range(2):
            status, headers, body = await door.post({**HELLO, "stop": "x", "temperature": 0.5, "stream": False})
            assert status == 200 and headers["x-penstock-lane"] == "same", body
        told = json.loads(body)
        assert told["model"] == "m" and told["choices"][0]["message"]["content"] == "mock/echo: hi"
        sent = door.mock.received[-1]
        assert sent.path == "/ml/v1/text/chat" and sent.query == "version=2024-03-13"
        assert sent.header("authorization") == "Bearer iam-1"
        assert sent.json == {
            "model_id": MODEL, "project_id": "p-1", "messages": HELLO["messages"], "stop": ["x"], "temperature": 0.5,
        }  # fmt: skip
        assert door.records[-1].usage.output > 0
    (asked,) = issuer.asked
    assert (asked.method, asked.path) == ("POST", "/identity/token")
    assert asked.form == {"grant_type": "urn:ibm:params:oauth:grant-type:apikey", "apikey": "ibm-key"}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_streams_have_a_url_of_their_own(issuer: Issuer, tmp_path: Path, path: str) -> None:
    said: dict[str, Any] = {**HELLO, "stream": True, "max_tokens": 50}
    if path == "/v1/responses":
        said = {"model": "m", "input": "hi", "stream": True}
    elif path == "/v1/chat/completions":
        said["stream_options"] = {"include_usage": True}
    async with open_door(tmp_path, config(), env={"WATSONX_IAM_URL": issuer.url + "/identity/token"}) as door:
        status, _, body = await door.post(said, path)
        assert status == 200 and b" hi" in body, body
        sent = door.mock.received[-1]
        assert sent.path == "/ml/v1/text/chat_stream" and not {"model", "stream", "stream_options"} & set(sent.json)
        usage = door.records[-1].usage
        assert usage is not None and not usage.estimated and usage.output > 0
        if path == "/v1/chat/completions":
            assert body.endswith(b"data: [DONE]\n\n") and b'"usage":{' in body


@pytest.mark.parametrize(
    ("said", "sent_as"),
    [
        ({"tools": [TOOL]}, {"tool_choice_option": "auto"}),
        ({"tools": [TOOL], "tool_choice": "required"}, {"tool_choice_option": "required"}),
        ({"tools": [TOOL], "tool_choice": "none"}, {"tool_choice_option": "none"}),
        ({"tools": [TOOL], "tool_choice": None}, {"tool_choice_option": "auto"}),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        ),
        ({}, {}),
    ],
)
async def test_tool_choice(issuer: Issuer, tmp_path: Path, said: dict[str, Any], sent_as: dict[str, Any]) -> None:
    async with open_door(tmp_path, config(), env={"WATSONX_IAM_URL": issuer.url}) as door:
        status, _, body = await door.post({**HELLO, **said})
        assert status == 200, body
        sent = door.mock.received[-1].json
        assert {key: sent[key] for key in ("tool_choice", "tool_choice_option") if key in sent} == sent_as
        forced = said.get("tool_choice") not in (None, "none")
        assert (json.loads(body)["choices"][0]["finish_reason"] == "tool_calls") == forced


async def test_a_client_of_another_dialect_calls_a_tool(issuer: Issuer, tmp_path: Path) -> None:
    said = {
        "model": "m", "max_tokens": 99, "messages": HELLO["messages"], "tool_choice": {"type": "any"},
        "tools": [{"name": "f", "input_schema": {"type": "object", "properties": {}}}],
    }  # fmt: skip
    async with open_door(tmp_path, config(), env={"WATSONX_IAM_URL": issuer.url}) as door:
        status, headers, body = await door.post(said, "/v1/messages")
        assert status == 200 and json.loads(body)["content"][0]["type"] == "tool_use", body
        assert door.mock.received[-1].json["tool_choice_option"] == "required"


async def test_a_deployment_has_its_model_and_its_space(issuer: Issuer, tmp_path: Path) -> None:
    yaml = config("deployment/d-1", project_id=None)
    async with open_door(tmp_path, yaml, env={"WATSONX_IAM_URL": issuer.url}) as door:
        for stream, path in ((False, "/ml/v1/deployments/d-1/text/chat"), (True, "/ml/v1/deployments/d-1/text/chat_stream")):
            status, _, body = await door.post({**HELLO, "stream": stream, "project_id": "theirs"})
            assert status == 200, body
            sent = door.mock.received[-1]
            assert sent.path == path and not {"model_id", "project_id", "space_id"} & set(sent.json)
        status, _, body = await door.post({"model": "m", "input": "hi"}, "/v1/embeddings")
        assert status == 401 and b"a deployment of watsonx has no embeddings" in body


@pytest.mark.parametrize(
    ("params", "env", "payer"),
    [
        ({"space_id": "s-1", "project_id": None}, {"WATSONX_PROJECT_ID": "p-env"}, {"space_id": "s-1"}),
        ({"project_id": None}, {"WX_PROJECT_ID": "p-wx"}, {"project_id": "p-wx"}),
        ({"project_id": None}, {"WATSONX_DEPLOYMENT_SPACE_ID": "s-env"}, {"space_id": "s-env"}),
        ({"project_id": "p-1"}, {"WATSONX_PROJECT_ID": "p-env"}, {"project_id": "p-1"}),
    ],
)
async def test_who_pays(
    issuer: Issuer, tmp_path: Path, params: dict[str, Any], env: dict[str, str], payer: dict[str, str]
) -> None:
    async with open_door(tmp_path, config(**params), env={"WATSONX_IAM_URL": issuer.url, **env}) as door:
        status, _, body = await door.post({**HELLO, "project_id": "theirs", "model_id": "theirs"})
        assert status == 200, body
        sent = door.mock.received[-1].json  # not who the client says
        assert {key: sent[key] for key in ("project_id", "space_id") if key in sent} == payer
        assert sent["model_id"] == MODEL


@pytest.mark.parametrize(
    ("params", "env", "line"),
    [
        ({"api_key": None, "token": "iam-given"}, {}, "Bearer iam-given"),
        ({"token": "iam-given"}, {}, "Bearer iam-given"),
        ({"api_key": None, "zen_api_key": "emVu"}, {"WATSONX_APIKEY": "k"}, "ZenApiKey emVu"),
        ({"api_key": None}, {"WATSONX_ZENAPIKEY": "emVu", "WATSONX_APIKEY": "k"}, "ZenApiKey emVu"),
        ({"api_key": None}, {"WATSONX_TOKEN": "iam-env", "WATSONX_APIKEY": "k"}, "Bearer iam-env"),
        ({"api_key": None}, {"WATSONX_API_KEY": "k"}, "Bearer iam-1"),
        ({"api_key": None}, {"WX_API_KEY": "k"}, "Bearer iam-1"),
        ({"api_key": "eyJ0.eyJ1.sig"}, {}, "Bearer eyJ0.eyJ1.sig"),
        ({"api_key": "own"}, {"WATSONX_TOKEN": "iam-env"}, "Bearer iam-1"),
        ({"api_key": None, "extra_headers": {"Authorization": "Basic eA=="}}, {}, "Basic eA=="),
    ],
)
async def test_which_credential_is_used(
    issuer: Issuer, tmp_path: Path, params: dict[str, Any], env: dict[str, str], line: str
) -> None:
    # The address stands beside the key: so the key is for it.
    beside = {"WATSONX_URL": "{mock}", "WATSONX_IAM_URL": issuer.url}
    async with open_door(tmp_path, config(**params), env={**beside, **env}) as door:
        status, _, body = await door.post(HELLO)
        assert status == 200, body
        got = [value for name, value in door.mock.received[-1].headers if name == "authorization"]
        assert got == [line]
        assert len(issuer.asked) == (line == "Bearer iam-1")


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ({"api_key": None}, ["WATSONX_APIKEY", "WATSONX_TOKEN", "api_key"]),
        ({"project_id": None}, ["project_id (or WATSONX_PROJECT_ID)", "space_id (or WATSONX_SPACE_ID)"]),
        ({"api_base": None}, ["WATSONX_REGION", "api_base"]),
    ],
)
async def test_what_is_missing_is_named(issuer: Issuer, tmp_path: Path, params: dict[str, Any], named: list[str]) -> None:
    async with open_door(tmp_path, config(**params), env={"WATSONX_IAM_URL": issuer.url}) as door:
        status, _, body = await door.post(HELLO)
        message = json.loads(body)["error"]["message"]
        assert status == 401 and all(word in message for word in named), message
        assert "ibm-key" not in message


async def test_embeddings_and_rerank(issuer: Issuer, tmp_path: Path) -> None:
    async with open_door(tmp_path, config("ibm/slate-30m-english-rtrvr"), env={"WATSONX_IAM_URL": issuer.url}) as door:
        status, _, body = await door.post({"model": "m", "input": ["a b", "c"], "encoding_format": "float"}, "/v1/embeddings")
        told = json.loads(body)
        assert status == 200 and [row["index"] for row in told["data"]] == [0, 1] and told["model"] == "m", body
        assert told["data"][0]["embedding"] != told["data"][1]["embedding"] and told["usage"]["prompt_tokens"] == 3
        sent = door.mock.received[-1]
        assert (sent.path, sent.query) == ("/ml/v1/text/embeddings", "version=2024-03-13")
        assert sent.json == {"inputs": ["a b", "c"], "model_id": "ibm/slate-30m-english-rtrvr", "project_id": "p-1"}
        status, _, body = await door.post({"model": "m", "input": "one"}, "/v1/embeddings")
        assert status == 200 and door.mock.received[-1].json["inputs"] == ["one"]
        status, _, body = await door.post({"model": "m", "input": [1, 2]}, "/v1/embeddings")
        assert status == 400 and b"texts, not tokens" in body
        said = {"model": "m", "query": "red fox", "documents": ["a dog", {"text": "the red fox"}, "red"], "top_n": 2}
        status, _, body = await door.post({**said, "return_documents": True}, "/rerank")
        told = json.loads(body)
        assert status == 200 and [row["index"] for row in told["results"]] == [1, 2], body
        assert told["results"][0]["document"] == {"text": "the red fox"} and told["usage"]["prompt_tokens"] > 0
        sent = door.mock.received[-1]
        assert sent.path == "/ml/v1/text/rerank" and sent.json["inputs"][1] == {"text": "the red fox"}
        assert sent.json["parameters"] == {"return_options": {"top_n": 2}}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_errors_have_ibms_words(issuer: Issuer, tmp_path: Path, path: str) -> None:
    async with open_door(tmp_path, config("missing/model"), env={"WATSONX_IAM_URL": issuer.url}) as door:
        status, _, body = await door.post({**HELLO, "max_tokens": 9}, path)
        message = json.loads(body)["error"]["message"]
        assert status == 404 and "`missing/model` does not exist" in message and "trace" not in message


LONG = {
    "errors": [{
        "code": "invalid_input_argument",
        "message": "Invalid input argument for Model 'x': {\"error\":{\"message\":\"This model's maximum context length is "
        "131072 tokens. However, your request has 600039 input tokens.\"}}",
    }],
    "trace": "903ff69e", "status_code": 400,
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_an_error_in_a_stream_is_an_error(issuer: Issuer, tmp_path: Path, path: str) -> None:
    """langchain-ai/langchainjs pull request 10721 has the event."""
    raw = f"id: 1\nevent: error\ndata: {json.dumps(LONG)}\n\n"
    step = Step(body=raw, headers={"content-type": "text/event-stream"})
    async with open_door(
        tmp_path, config(), env={"WATSONX_IAM_URL": issuer.url}, script=Script(rules=[Rule(step=step)])
    ) as door:
        status, _, body = await door.post({**HELLO, "max_tokens": 9, "stream": True}, path)
        assert status == 400 and b"maximum context length" in body and b"[DONE]" not in body, body


@pytest.mark.parametrize(
    ("base", "region", "url"),
    [
        (None, "eu-de", "https://eu-de.ml.cloud.ibm.com/ml/v1/text/chat?version=2024-03-13"),
        ("https://cpd.test", None, "https://cpd.test/ml/v1/text/chat?version=2024-03-13"),
        ("https://cpd.test/ml/v1/", None, "https://cpd.test/ml/v1/text/chat?version=2024-03-13"),
        ("https://cpd.test/x/ml/v1/text/chat?version=2025-02-11", None, "https://cpd.test/x/ml/v1/text/chat?version=2025-02-11"),
        ("https://cpd.test/ml/v1/text/generation", None, "https://cpd.test/ml/v1/text/chat?version=2024-03-13"),
        ("https://cpd.test/ml/v1/deployments/d/text/chat_stream", None, "https://cpd.test/ml/v1/deployments/d/text/chat?version=2024-03-13"),
        ("https://us-south.ml.cloud.ibm.com/ml/gateway/v1", None, "https://us-south.ml.cloud.ibm.com/ml/gateway/v1/chat/completions"),
    ],
)
def test_addresses(base: str | None, region: str | None, url: str) -> None:
    from penstock.config import Deployment
    from penstock.config.secret import Secret
    from penstock.runtime.building import build_target

    params = {"project_id": "p", "api_key": Secret("k"), **({"watsonx_region_name": region} if region else {})}
    deployment = Deployment(id="1", model_name="m", model=f"watsonx/{MODEL}", provider="watsonx", upstream_model=MODEL, api_base=base, params=params)
    target = build_target(deployment, {}, {})
    assert target.endpoint("openai_chat").url == url
    assert (target.edit is None) == ("gateway" in url)
