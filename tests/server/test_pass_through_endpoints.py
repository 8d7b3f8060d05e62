"""``general_settings.pass_through_endpoints``, and whose credential pass-through takes."""

from __future__ import annotations

import json

import pytest

from penstock.config import load
from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.resolve import resolve
from penstock.core.providers.urls import passed_url
from penstock.runtime.credential import credential_for
from penstock.runtime.state import State
from tests.door import HELLO, open_door
from tests.server.test_pass_through import AUTH, KEY

YAML = """
model_list:
  - model_name: m
    litellm_params: {model: openai/gpt-4o, api_base: "{mock}/v1", api_key: sk-u}
general_settings:
  pass_through_endpoints:
    - path: /v1/rerank
      target: "{mock}/v2/rerank?fixed=1"
      headers: {Authorization: "bearer os.environ/COHERE_KEY", x-own: a}
      default_query_params: {lang: de}
      cost_per_request: 0.25
    - path: /tool
      target: "{mock}/base/"
      include_subpath: true
      auth: false
      forward_headers: true
      methods: [GET, POST]
    - path: /tool/inner
      target: "{mock}/other"
      timeout: 0.2
environment_variables: {COHERE_KEY: co-secret}
"""


@pytest.fixture
async def door(tmp_path):
    async with open_door(tmp_path, YAML, master_key=KEY) as opened:
        # The harness gives the state no environment; a real one has the config's own.
        config = opened.gateway.state.config
        opened.gateway.state = State(config, config.environment)
        assert opened.gateway.state.problems == []
        yield opened


async def test_an_endpoint_goes_before_what_is_served_there(door):
    body = {"query": "q", "documents": ["a"], "model": "rerank-v3.5"}
    status, headers, _ = await door.post(body, "/v1/rerank?lang=en&x=%2F", **AUTH, **{"x-mine": "1", "x-own": "client", "x-pass-x-yours": "2"})
    [got] = door.mock.received
    assert status == 200 and got.path == "/v2/rerank" and got.query == "lang=en&x=%2F&fixed=1"
    assert got.header("authorization") == "bearer co-secret" and got.header("x-own") == "a" and got.json == body
    assert got.header("x-mine") is None and got.header("x-yours") == "2" and got.header("content-type") == "application/json"
    assert headers["x-litellm-response-cost"] == "0.25"
    [record] = door.records
    assert float(record.cost) == 0.25 and record.model == "rerank-v3.5" and record.key == "master"
    await door.post(body, "/v1/rerank", **AUTH)
    assert door.mock.received[-1].query == "fixed=1&lang=de"


async def test_a_key_is_needed_unless_the_config_says_otherwise(door):
    assert (await door.post({}, "/v1/rerank"))[0] == 401 and door.mock.received == []
    status, _, _ = await door.ask("GET", "/tool/a%2Fb/c?x=1", b"", {"x-mine": "1", "authorization": "Bearer theirs"})
    [got] = door.mock.received
    assert got.path == "/base/a/b/c" and got.query == "x=1" and got.header("x-mine") == "1"
    assert got.header("authorization") is None
    assert status == 404  # the mock's own word
    assert (await door.ask("DELETE", "/tool/x"))[0] == 405
    assert (await door.ask("GET", "/tool/../v1/models"))[0] == 400
    assert (await door.ask("GET", "/tool/%2e%2e/v1/models"))[0] in (400, 401)
    assert (await door.ask("GET", "/tooling"))[0] == 401  # nothing of the endpoint's
    assert len(door.mock.received) == 1


async def test_the_longest_path_counts(door):
    await door.ask("GET", "/tool/inner", b"", AUTH)
    assert door.mock.received[-1].path == "/other"
    assert (await door.ask("GET", "/tool/inner"))[0] == 401


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{path: x, target: 'http://a/'}", "path"),
        ("{path: /, target: 'http://a/'}", "path"),
        ("{path: /x}", "target"),
        ("{path: /x, target: 'ftp://a/'}", "ftp"),
        ("{path: /x, target: 'http://u:p@a/'}", "credentials"),
        ("{path: /x, target: 'http://a', headers: {a: os.environ/NOBODY}}", "headers.a"),
        ("{path: /x, target: 'http://a', headers: {a: b os.environ/NOBODY}}", "NOBODY"),
        ("{path: /x, target: 'http://a', headers: {'a b': c}}", "a b"),
        ("{path: /x, target: 'http://a', methods: GET}", "methods"),
        ("{path: /x, target: 'http://a', cost_per_request: -1}", "cost_per_request"),
        ("{path: /x, target: 'http://a', timeout: soon}", "timeout"),
        ("5", "mapping"),
    ],
)
async def test_an_endpoint_that_is_wrong_is_told_and_not_served(row, says, tmp_path):
    yaml = f"model_list: []\ngeneral_settings:\n  pass_through_endpoints: [{row}]\n"
    async with open_door(tmp_path, yaml) as door:
        [problem] = [p for p in door.gateway.state.problems if "pass_through_endpoints[0]" in p]
        assert says in problem and "p@" not in problem
        assert (await door.ask("GET", "/x"))[0] == 404


async def test_an_endpoint_says_what_is_wrong_on_the_way(door):
    door.gateway.state.config.general.values.clear()
    await door.mock.stop()
    status, _, body = await door.post(HELLO, "/v1/rerank", **AUTH)
    assert status == 500 and json.loads(body)["error"]["type"] == "internal_server_error"
    assert "co-secret" not in body.decode()


# Whose credential -----------------------------------------------------------------------------------------------------

LENDERS = """
model_list:
  - model_name: near
    litellm_params: {model: openai/local, api_base: "http://127.0.0.1:1/v1", api_key: sk-near}
  - model_name: own
    litellm_params: {model: openai/gpt-4o, api_key: sk-own}
  - model_name: claude
    litellm_params: {model: anthropic/claude-x, api_key: sk-claude}
  - model_name: marked
    litellm_params: {model: anthropic/claude-y, api_key: sk-marked, use_in_pass_through: true}
  - model_name: v
    litellm_params: {model: hosted_vllm/a, api_base: "http://127.0.0.1:2/v1"}
  - model_name: w
    litellm_params: {model: hosted_vllm/b, api_base: "http://127.0.0.1:3/v1"}
  - model_name: "*"
    litellm_params: {model: "*"}
"""


def state_of(tmp_path, env: dict[str, str], yaml: str = LENDERS) -> State:
    path = tmp_path / "c.yaml"
    path.write_text(yaml)
    config = load(path, env, resolve=resolve).config
    assert config is not None
    return State(config, env)


@pytest.mark.parametrize(
    ("provider", "model", "env", "key"),
    [
        ("openai", "gpt-4o", {}, "sk-own"),
        ("openai", "own", {}, "sk-own"),
        ("openai", "local", {}, "sk-near"),
        ("openai", "unheard-of", {}, "sk-own"),  # at the vendor's own host before any other
        ("openai", "local", {"OPENAI_API_KEY": "sk-env"}, "sk-env"),
        ("anthropic", "claude-x", {"ANTHROPIC_API_KEY": "sk-env"}, "sk-marked"),
        ("groq", "x", {"GROQ_API_KEY": "gsk"}, "gsk"),
        ("openai", "x", {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, "sk-near"),  # neither is: the first
    ],
)
def test_whose_key_is_taken(provider, model, env, key, tmp_path):
    state = state_of(tmp_path, env)
    found = credential_for(state, PROVIDERS[provider], model)
    assert found.key == key and credential_for(state, PROVIDERS[provider], model) is found


@pytest.mark.parametrize(("model", "port"), [("a", 2), ("b", 3), ("w", 3), ("", 2)])
def test_an_engine_is_found_by_its_model(model, port, tmp_path):
    found = credential_for(state_of(tmp_path, {}), PROVIDERS["hosted_vllm"], model)
    assert found.target.deployment.api_base == f"http://127.0.0.1:{port}/v1"


@pytest.mark.parametrize("provider", ["bedrock", "sagemaker", "gigachat", "watsonx"])
def test_what_must_be_signed_is_not_sent_unsigned(provider, tmp_path):
    """As long as nobody signs for it."""
    from penstock.runtime.cloud import SIGNERS

    if provider in SIGNERS:
        pytest.skip("it is signed")
    with pytest.raises(GatewayError) as error:
        _ = credential_for(state_of(tmp_path, {"AWS_REGION": "x"}), PROVIDERS[provider], "").key
    assert error.value.kind == "not_configured" and provider in error.value.message


@pytest.mark.parametrize(
    ("provider", "base", "rest", "url"),
    [
        ("openai", None, "/v1/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openai", None, "/chat/completions", "https://api.openai.com/v1/chat/completions"),
        ("openai", "http://h", "/v1/x/", "http://h/v1/x/"),
        ("openai", "http://h/p/v1/chat/completions", "/files", "http://h/p/v1/files"),
        ("openai", "http://h/v1?tenant=1", "/v1/x", "http://h/v1/x?tenant=1"),
        ("groq", None, "/openai/v1/models", "https://api.groq.com/openai/v1/models"),
        ("groq", None, "/v1/models", "https://api.groq.com/openai/v1/models"),
        ("groq", None, "/models", "https://api.groq.com/openai/v1/models"),
        ("anthropic", None, "/v1/messages", "https://api.anthropic.com/v1/messages"),
        ("anthropic", "http://h/v1", "/v1/messages", "http://h/v1/messages"),
        ("anthropic", "http://h/anthropic/v1/messages", "/v1/files", "http://h/anthropic/v1/files"),
        ("gemini", None, "/v1beta/models/x:generateContent", "https://generativelanguage.googleapis.com/v1beta/models/x:generateContent"),
        ("gemini", None, "/models/x:generateContent", "https://generativelanguage.googleapis.com/v1beta/models/x:generateContent"),
        ("gemini", None, "/upload/v1beta/files", "https://generativelanguage.googleapis.com/upload/v1beta/files"),
        ("gemini", "http://h/v1beta/openai", "/v1/models", "http://h/v1/models"),
        ("cohere", None, "/v2/chat", "https://api.cohere.com/v2/chat"),
        ("cohere", None, "/v1/embed", "https://api.cohere.com/v1/embed"),
        ("mistral", None, "/v1/ocr", "https://api.mistral.ai/v1/ocr"),
        ("hosted_vllm", "http://h:8000/v1", "/tokenize", "http://h:8000/tokenize"),
        ("hosted_vllm", "http://h:8000/v1", "/v1/models", "http://h:8000/v1/models"),
        ("ollama", "http://h:11434", "/api/tags", "http://h:11434/api/tags"),
        ("azure", "https://r.openai.azure.com/openai/deployments/d", "/openai/deployments/x/chat/completions",
         "https://r.openai.azure.com/openai/deployments/x/chat/completions"),
        ("bedrock", "https://bedrock.example", "/model/a%3Ab%2Fc/converse", "https://bedrock.example/model/a%3Ab%2Fc/converse"),
        ("vertex_ai", None, "/v1/projects/p/locations/europe-west4/publishers/google/models/x:generateContent",
         "https://europe-west4-aiplatform.googleapis.com/v1/projects/p/locations/europe-west4/publishers/google/models/x:generateContent"),
        ("vertex_ai", None, "/publishers/google/models/x:generateContent",
         "https://us-east5-aiplatform.googleapis.com/v1/projects/pp/locations/us-east5/publishers/google/models/x:generateContent"),
        ("vertex_ai", None, "/v1beta1/projects/p/locations/global/endpoints/openapi/chat/completions",
         "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/endpoints/openapi/chat/completions"),
        ("vertex_ai", "http://h/v1", "/v1/projects/p/locations/x/models", "http://h/v1/projects/p/locations/x/models"),
    ],
)  # fmt: skip
def test_where_a_path_goes(provider, base, rest, url):
    env = {"VERTEXAI_PROJECT": "pp", "VERTEXAI_LOCATION": "us-east5"}
    assert passed_url(PROVIDERS[provider], base, env, rest) == url
