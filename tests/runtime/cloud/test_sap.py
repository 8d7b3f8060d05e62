"""SAP AI Core from a client to the wire: service keys, the orchestration service's envelope, streams, embeddings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.core.dialects import sap as dialect
from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.sap import envelope, service_key
from penstock.core.providers.urls import endpoint
from penstock.mock.script import Rule, Script, Step
from tests.door import open_door
from tests.runtime.cloud.issuer import Issuer, issuing

HELLO = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
SECRET = "sap-secret-0123456789"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as made:
        yield made


def key(issuer: Issuer, base: str = "{mock}") -> dict[str, Any]:
    return {"clientid": "sb-1", "clientsecret": SECRET, "url": issuer.url, "serviceurls": {"AI_API_URL": base}}


def config(model: str = "gpt-4o", **params: Any) -> str:
    params = {"model": f"sap/{model}", "deployment_id": "d-1", **params}
    lines = "\n".join(f"      {key}: {json.dumps(value)}" for key, value in params.items() if value is not None)
    return f"model_list:\n  - model_name: m\n    litellm_params:\n{lines}\nrouter_settings: {{num_retries: 0}}\n"


async def test_chat_in_its_envelope(issuer: Issuer, tmp_path: Path) -> None:
    env = {"AICORE_SERVICE_KEY": json.dumps(key(issuer)), "AICORE_RESOURCE_GROUP": "team"}
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    yaml = config(temperature=0.5, masking={"providers": []})
    async with open_door(tmp_path, yaml, env=env) as door:
        for _ in range(2):
            status, _, body = await door.post({**HELLO, "tools": [tool], "tool_choice": "auto", "max_tokens": 50})
            assert status == 200, body
        told = json.loads(body)
        assert told["model"] == "m" and told["choices"][0]["message"]["content"] == "mock/echo: hi"
        sent = door.mock.received[-1]
        assert sent.path == "/v2/inference/deployments/d-1/v2/completion"
        assert sent.header("authorization") == "Bearer tok-1" and sent.header("ai-resource-group") == "team"
        assert sent.json == {
            "config": {
                "modules": {
                    "masking": {"providers": []},
                    "prompt_templating": {
                        "prompt": {"template": HELLO["messages"], "tools": [tool]},
                        "model": {
                            "name": "gpt-4o", "version": "latest",
                            "params": {"tool_choice": "auto", "max_tokens": 50, "temperature": 0.5},
                        },
                    },
                }
            }
        }  # fmt: skip
        assert door.records[-1].usage.output > 0 and not door.records[-1].usage.estimated
    (asked,) = issuer.asked
    assert (asked.method, asked.path) == ("POST", "/oauth/token")
    assert asked.form == {"grant_type": "client_credentials", "client_id": "sb-1", "client_secret": SECRET}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_streams(issuer: Issuer, tmp_path: Path, path: str) -> None:
    said: dict[str, Any] = {**HELLO, "stream": True, "max_tokens": 50}
    if path == "/v1/responses":
        said = {"model": "m", "input": "hi", "stream": True}
    async with open_door(tmp_path, config(), env={"AICORE_SERVICE_KEY": json.dumps({"credentials": key(issuer)})}) as door:
        status, headers, body = await door.post(said, path)
        assert status == 200 and b" hi" in body and headers["x-penstock-lane"] == "cross", body
        sent = door.mock.received[-1].json["config"]
        assert sent["stream"] == {"enabled": True}
        params = sent["modules"]["prompt_templating"]["model"]["params"]
        assert params["stream_options"] == {"include_usage": True} and "stream" not in params
        assert door.records[-1].usage.output > 0 and not door.records[-1].usage.estimated


async def test_embeddings(issuer: Issuer, tmp_path: Path) -> None:
    env = {"AICORE_SERVICE_KEY": json.dumps(key(issuer))}
    async with open_door(tmp_path, config("text-embedding-3-small"), env=env) as door:
        status, _, body = await door.post({"model": "m", "input": ["a", "b c"], "dimensions": 4}, "/v1/embeddings")
        told = json.loads(body)
        assert status == 200 and len(told["data"]) == 2 and told["model"] == "m", body
        assert len(told["data"][0]["embedding"]) == 4 and told["usage"]["prompt_tokens"] == 3
        sent = door.mock.received[-1]
        assert sent.path == "/v2/inference/deployments/d-1/v2/embeddings" and sent.header("ai-resource-group") == "default"
        model = {"name": "text-embedding-3-small", "params": {"dimensions": 4}}
        assert sent.json == {"config": {"modules": {"embeddings": {"model": model}}}, "input": {"text": ["a", "b c"]}}


async def test_single_variables_and_the_deployments_own_key(issuer: Issuer, tmp_path: Path) -> None:
    single = {
        "AICORE_CLIENT_ID": "c-env", "AICORE_CLIENT_SECRET": "s-env", "AICORE_AUTH_URL": f"{issuer.url}/oauth/token",
        "AICORE_BASE_URL": "{mock}/v2", "AICORE_DEPLOYMENT_ID": "d-env",
    }  # fmt: skip
    async with open_door(tmp_path, config(deployment_id=None), env=single) as door:
        assert (await door.post(HELLO))[0] == 200
        assert door.mock.received[-1].path == "/v2/inference/deployments/d-env/v2/completion"
    assert issuer.asked[-1].form["client_id"] == "c-env"
    own = config(api_key=json.dumps(key(issuer)), resource_group="mine")
    async with open_door(tmp_path, own, env={**single, "AICORE_BASE_URL": "http://127.0.0.1:9"}) as door:
        status, _, body = await door.post(HELLO)  # all of the key: never one account's secret at another's address
        assert status == 200, body
        assert door.mock.received[-1].header("ai-resource-group") == "mine"
    assert issuer.asked[-1].form["client_id"] == "sb-1"


@pytest.mark.parametrize(
    ("params", "env", "named"),
    [
        ({}, {}, "AICORE_SERVICE_KEY"),
        ({}, {"AICORE_CLIENT_ID": "c", "AICORE_AUTH_URL": "https://x"}, "missing: AICORE_CLIENT_SECRET"),
        ({"api_key": "{nonsense"}, {}, "no JSON object"),
        ({"api_key": json.dumps({"clientid": SECRET})}, {}, "no clientsecret and no url and no serviceurls.AI_API_URL"),
        ({"deployment_id": None}, {"KEY": ""}, "deployment_id (or AICORE_DEPLOYMENT_ID)"),
    ],
)
async def test_what_is_missing_is_named(
    issuer: Issuer, tmp_path: Path, params: dict[str, Any], env: dict[str, str], named: str
) -> None:
    if "KEY" in env:
        env = {"AICORE_SERVICE_KEY": json.dumps(key(issuer))}
    async with open_door(tmp_path, config(**params), env=env) as door:
        status, _, body = await door.post(HELLO)
        assert status == 401 and named in json.loads(body)["error"]["message"], body
        assert SECRET.encode() not in body and issuer.asked == []


@pytest.mark.parametrize("told", [{"request_id": "1", "code": 400, "message": "Input Filter: filtered", "location": "Filtering"}])
@pytest.mark.parametrize("listed", [False, True])
async def test_errors_keep_their_words(issuer: Issuer, tmp_path: Path, told: dict[str, Any], listed: bool) -> None:
    body: Any = {"error": [told] if listed else told}
    script = Script(rules=[Rule(step=Step(status=400, body=body))])
    env = {"AICORE_SERVICE_KEY": json.dumps(key(issuer))}
    async with open_door(tmp_path, config(), env=env, script=script) as door:
        status, _, answer = await door.post(HELLO)
        assert status == 400 and "Input Filter: filtered" in json.loads(answer)["error"]["message"]


async def test_an_error_in_a_stream_is_an_error(issuer: Issuer, tmp_path: Path) -> None:
    event = {"error": {"request_id": "1", "code": 429, "message": "too fast", "location": "LLM Module"}}
    step = Step(body=f"data: {json.dumps(event)}\n\n", headers={"content-type": "text/event-stream"})
    env = {"AICORE_SERVICE_KEY": json.dumps(key(issuer))}
    async with open_door(tmp_path, config(), env=env, script=Script(rules=[Rule(step=step)])) as door:
        status, _, body = await door.post({**HELLO, "stream": True})
        assert status == 429 and b"too fast" in body and b"[DONE]" not in body


def test_thoughts_keep_their_signatures() -> None:
    message = {"role": "assistant", "content": "Rome", "reasoning_content": [{"content": "hm", "signature": "sig"}]}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = json.dumps({"request_id": "1", "final_result": {"id": "x", "model": "claude", "choices": [choice]}}).encode()
    blocks = dialect.parse_response(body).choices[0].blocks
    assert blocks[0].text == "hm" and blocks[0].seal.data == "sig" and blocks[1].text == "Rome"  # type: ignore[union-attr]


@pytest.mark.parametrize("body", [b"{}", b'{"final_result":null}', b"nonsense", b"[]"])
def test_an_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(GatewayError) as caught:
        dialect.parse_response(body)
    assert caught.value.kind == "broken_answer"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("https://api.ai.test", "https://api.ai.test/v2/inference/deployments/d/v2/completion"),
        ("https://api.ai.test/v2/", "https://api.ai.test/v2/inference/deployments/d/v2/completion"),
        ("https://api.ai.test/v2/inference/deployments/x", "https://api.ai.test/v2/inference/deployments/x/v2/completion"),
        ("https://api.ai.test/v2/inference/deployments/x/v2/completion", "https://api.ai.test/v2/inference/deployments/x/v2/completion"),
    ],
)
def test_addresses(base: str, expected: str) -> None:
    assert endpoint(PROVIDERS["sap"], base, {"AICORE_DEPLOYMENT_ID": "d"}, "sap", model="m") == expected


async def test_a_models_own_deployment_speaks_its_own_interface(issuer: Issuer, tmp_path: Path) -> None:
    base = "{mock}/v2/inference/deployments/x/chat/completions?api-version=2024-10-21"
    yaml = config(api_key=json.dumps(key(issuer)), api_base=base, deployment_id=None)
    async with open_door(tmp_path, yaml) as door:
        status, headers, body = await door.post(HELLO)
        assert status == 200 and headers["x-penstock-lane"] == "same", body
        sent = door.mock.received[-1]
        assert sent.path == "/v2/inference/deployments/x/chat/completions" and sent.query == "api-version=2024-10-21"
        assert sent.json["messages"] == HELLO["messages"] and sent.header("ai-resource-group") == "default"


def test_a_service_key_never_shows_itself() -> None:
    with pytest.raises(ValueError, match="no clientsecret") as caught:
        service_key(json.dumps({"clientid": SECRET, "url": SECRET}))
    assert SECRET not in str(caught.value)


def test_nothing_of_a_request_is_lost() -> None:
    import msgspec

    said = {"model": "m", "messages": [], "top_k": 1, "stream": False, "placeholder_values": {"a": "b"}, "model_version": "7"}
    fields = msgspec.json.decode(json.dumps(said), type=dict[str, msgspec.Raw])
    envelope(fields)
    told = json.loads(msgspec.json.encode(fields))
    assert told["placeholder_values"] == {"a": "b"} and "stream" not in told["config"]
    assert told["config"]["modules"]["prompt_templating"]["model"] == {"name": "m", "version": "7", "params": {"top_k": 1}}
