"""Pass-through by the config's own model names, where the model stands in the path (docs.litellm.ai: bedrock.md)."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers.pass_through import LONGEST_MODEL, model_in, with_model
from tests.door import open_door

CLAUDE = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
ARN = "arn:aws:bedrock:us-west-2:123456789012:application-inference-profile/abc"
YAML = f"""
model_list:
  - model_name: my-claude
    litellm_params: &aws {{model: bedrock/{CLAUDE}, aws_bedrock_runtime_endpoint: "{{mock}}", aws_region_name: eu-west-1,
                     aws_access_key_id: AKIAONE, aws_secret_access_key: s1}}
  - model_name: "mine/claude:8b v"
    litellm_params: {{<<: *aws, aws_region_name: us-east-2, aws_access_key_id: AKIATWO}}
  - model_name: profile
    litellm_params: {{<<: *aws, model: "bedrock/{ARN}"}}
  - model_name: both
    litellm_params: {{<<: *aws, aws_access_key_id: AKIATHREE}}
  - model_name: both
    litellm_params: {{<<: *aws, aws_access_key_id: AKIAFOUR}}
  - model_name: fast
    litellm_params: {{model: gemini/gemini-2.5-flash, api_base: "{{mock}}", api_key: AIzaUpstreamSecret0000000000}}
  - model_name: eu
    litellm_params: {{model: azure/gpt-4o-eu, api_base: "{{mock}}", api_key: azure-secret-0001, api_version: 2024-10-21}}
router_settings: {{model_group_alias: {{haiku: my-claude}}}}
"""
ASK = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
METHODS = ("converse", "converse-stream", "invoke", "invoke-with-response-stream")


async def send(door, path: str, body=ASK) -> tuple[str, str]:
    """The path and the credential that the upstream saw."""
    await door.post(body, path)
    seen = door.mock.received[-1]
    return seen.path, seen.header("authorization") or seen.header("api-key") or seen.header("x-goog-api-key") or ""


@pytest.mark.parametrize("method", METHODS)
async def test_bedrocks_methods_reach_the_deployment_of_that_name(tmp_path, method):
    async with open_door(tmp_path, YAML) as door:
        for name, model, key, region in (
            ("my-claude", CLAUDE, "AKIAONE", "eu-west-1"),
            ("haiku", CLAUDE, "AKIAONE", "eu-west-1"),
            ("mine/claude:8b v", CLAUDE, "AKIATWO", "us-east-2"),
            ("profile", ARN, "AKIAONE", "us-west-2"),
        ):
            path, signed = await send(door, f"/bedrock/model/{quote(name, safe='')}/{method}")
            assert path in (f"/model/{model}/{method}", f"/model/{quote(model, safe='')}/{method}"), name
            assert f"Credential={key}/" in signed and f"/{region}/bedrock/" in signed
        assert door.records[0].target == f"bedrock/{CLAUDE}" and door.records[0].target_id


async def test_what_it_used_is_priced_as_the_deployment_is(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        for name in ("my-claude", "haiku"):
            status, _, body = await door.post(ASK, f"/bedrock/model/{name}/converse")
            assert status == 200 and json.loads(body)["usage"]["outputTokens"] > 0
        assert len({record.cost for record in door.records}) == 1 and door.records[0].cost > 0


async def test_deployments_of_one_name_take_turns(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        keys = {
            (await send(door, "/bedrock/model/both/converse"))[1].partition("Credential=")[2][:8] for _ in range(40)
        }
        assert keys == {"AKIATHRE", "AKIAFOUR"}


async def test_the_vendors_own_names_go_as_they_came(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        for name in (CLAUDE, "amazon.nova-lite-v1:0", "fast", "nobody"):  # "fast" is Gemini's
            path, _ = await send(door, f"/bedrock/model/{name}/converse")
            assert path == f"/model/{name}/converse"


async def test_other_vendors_with_the_model_in_the_path(tmp_path):
    async with open_door(tmp_path, YAML) as door:
        body = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
        path, key = await send(door, "/gemini/v1beta/models/fast:generateContent", body)
        assert path == "/v1beta/models/gemini-2.5-flash:generateContent" and key.startswith("AIza")
        path, key = await send(
            door, "/azure/openai/deployments/eu/chat/completions?api-version=2024-10-21", {"messages": []}
        )
        assert path == "/openai/deployments/gpt-4o-eu/chat/completions" and key == "azure-secret-0001"


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=30)


@given(
    NAMES,
    NAMES,
    st.sampled_from(["/model/{}/converse", "/v1beta/models/{}:generateContent", "/openai/deployments/{}/x"]),
)
def test_the_name_in_a_path_is_found_and_replaced(name, other, form):
    path = form.format(quote(name, safe=""))
    assert model_in(path) == name[:LONGEST_MODEL]
    assert with_model(path, other) == form.format(quote(other, safe=""))
