"""A name or a path that would lead to another place at the upstream, with our key: refused before anything is sent.
And whose key goes where."""

from __future__ import annotations

import json

import pytest

from tests.core.providers.test_provider_paths import HOSTILE
from tests.door import HELLO, open_door

YAML = """
model_list:
  - {model_name: "bedrock/*", litellm_params: {model: "bedrock/*", aws_bedrock_runtime_endpoint: "{mock}", aws_region_name: us-east-1, api_key: key-of-bedrock}}
  - {model_name: "gemini/*", litellm_params: {model: "gemini/*", api_base: "{mock}", api_key: key-of-gemini}}
  - {model_name: "azure/*", litellm_params: {model: "azure/*", api_base: "{mock}", api_version: 2024-10-21, api_key: key-of-azure}}
  - {model_name: "vertex_ai/*", litellm_params: {model: "vertex_ai/*", api_base: "{mock}", vertex_project: p, api_key: key-of-vertex}}
  - {model_name: "replicate/*", litellm_params: {model: "replicate/*", api_base: "{mock}/v1", api_key: key-of-replicate}}
  - {model_name: mine, litellm_params: {model: "bedrock/..", aws_bedrock_runtime_endpoint: "{mock}", aws_region_name: us-east-1, api_key: key-of-bedrock}}
router_settings: {num_retries: 0}
"""


@pytest.mark.parametrize("provider", ["bedrock", "gemini", "azure", "vertex_ai"])
async def test_hostile_names_reach_no_upstream(tmp_path, provider):
    async with open_door(tmp_path, YAML) as door:
        for name in HOSTILE:
            if provider == "vertex_ai" and "/" in name:
                continue  # a publisher's model, which stands in the body
            for stream in (False, True):
                status, _, body = await door.post({**HELLO, "model": f"{provider}/{name}", "stream": stream})
                assert status == 400 and json.loads(body)["error"]["param"] == "model", (name, body)
        status, _, body = await door.post({**HELLO, "model": "mine"})
        assert status == 400 and b"'..'" in body, "the config's own, too"
        assert door.mock.received == []


PATHS = [
    "/{}/model/../x", "/{}/model/%2e%2e/x", "/{}/model/%2E%2e/x", "/{}/model/a%2f..%2fb", "/{}/model/%252e%252e/x",
    "/{}/model/a%5c..%5cb", "/{}/a\\b", "/{}//x", "/{}/a%00b", "/{}/a%0d%0ab", "/{}/model/..%3bx/y", "/{}%2fmodel/x",
]  # fmt: skip


@pytest.mark.parametrize("provider", ["bedrock", "vertex_ai", "gemini", "azure"])
async def test_hostile_paths_reach_no_upstream(tmp_path, provider):
    async with open_door(tmp_path, YAML) as door:
        for path in PATHS:
            head = f"POST {path.format(provider)} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
            answer = await door.raw(head.encode())
            assert answer.split()[1] in (b"400", b"404"), (path, answer)
        assert door.mock.received == []


LM_STUDIO = """
model_list:
  - model_name: local
    litellm_params: {model: openai/local-model, api_base: "{mock}/v1"}
  - model_name: named
    litellm_params: {model: openai/local-model, api_base: "{mock}/v1", api_key: os.environ/OPENAI_API_KEY}
  - model_name: claude
    litellm_params: {model: anthropic/claude-sonnet-4-5, api_base: "{mock}"}
router_settings: {num_retries: 0}
"""
KEYS = {"OPENAI_API_KEY": "sk-openai-of-the-environment", "ANTHROPIC_API_KEY": "sk-ant-of-the-environment"}


async def test_a_local_server_does_not_get_the_vendors_key(tmp_path):
    """Seed 3's LM Studio block, with the variable set."""
    async with open_door(tmp_path, LM_STUDIO, env=KEYS) as door:
        for name, key in (("local", b"dummy"), ("named", KEYS["OPENAI_API_KEY"].encode()), ("claude", b"dummy")):
            status, _, body = await door.post({**HELLO, "model": name})
            assert status == 200, body
            sent = str(door.mock.received[-1].headers)
            assert key.decode() in sent and ("of-the-environment" in sent) is (name == "named")
        [local, claude] = door.gateway.state.problems
        assert "OPENAI_API_KEY of the environment is not sent to 127.0.0.1" in local
        assert "write api_key: os.environ/OPENAI_API_KEY" in local and "ANTHROPIC_API_KEY" in claude
    async with open_door(tmp_path, LM_STUDIO, env={**KEYS, "OPENAI_BASE_URL": "{mock}/v1"}) as door:
        await door.post({**HELLO, "model": "local"})
        assert KEYS["OPENAI_API_KEY"] in str(door.mock.received[-1].headers)
