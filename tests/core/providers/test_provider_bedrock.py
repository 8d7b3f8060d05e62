"""Where a request to Bedrock goes: model ids of every spelling, regions, ARNs, own endpoints."""

from __future__ import annotations

import pytest

from penstock.core.providers import PROVIDERS
from penstock.core.providers.bedrock import Place, place_of, region_of_host
from penstock.core.providers.resolve import resolve
from penstock.core.providers.urls import MissingBase, endpoint

ROW = PROVIDERS["bedrock"]
US = {"AWS_REGION_NAME": "us-east-1"}
HOST = "https://bedrock-runtime.us-east-1.amazonaws.com"
PROFILE = "arn:aws:bedrock:eu-central-1:123456789012:application-inference-profile/a1b2c3"
CLAUDE = "anthropic.claude-3-sonnet-20240229-v1:0"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (CLAUDE, Place(CLAUDE, "")),
        (f"converse/us.{CLAUDE}", Place(f"us.{CLAUDE}", "")),
        (f"invoke/{CLAUDE}", Place(CLAUDE, "")),
        (f"us-west-2/{CLAUDE}", Place(CLAUDE, "us-west-2")),
        (f"converse/us-gov-west-1/{CLAUDE}", Place(CLAUDE, "us-gov-west-1")),
        (f"us-west-2/1-month-commitment/{CLAUDE}", Place(CLAUDE, "us-west-2")),
        ("global.anthropic.claude-opus-4-6-v1", Place("global.anthropic.claude-opus-4-6-v1", "")),
        (PROFILE, Place(PROFILE, "eu-central-1")),
        (f"converse/us-east-1/{PROFILE}", Place(PROFILE, "eu-central-1")),
        (
            "llama/arn:aws:bedrock:us-east-1:1:imported-model/r4c4kewx2s0n",
            Place("arn:aws:bedrock:us-east-1:1:imported-model/r4c4kewx2s0n", "us-east-1"),
        ),
        ("converse/claude-3-sonnet", Place(CLAUDE, "")),
        ("eu-west-1/llama2-70b", Place("meta.llama2-70b-chat-v1", "eu-west-1")),
        ("mistral-7b", Place("mistral.mistral-7b-instruct-v0:2", "")),
        ("my/own-model", Place("my/own-model", "")),
        ("anthropic.claude-9-unheard", Place("anthropic.claude-9-unheard", "")),
    ],
)
def test_what_a_name_says(name: str, place: Place) -> None:
    assert place_of(name) == place


@pytest.mark.parametrize("short", ["claude-3-opus", "claude-3-sonnet", "llama2-70b", "mistral-7b"])
def test_the_short_ids_of_users_files(short: str) -> None:
    """Whether by the registry's own rule or behind a region, the id is written out."""
    provider, model = resolve(f"bedrock/{short}")
    assert provider == "bedrock" and "." in model and place_of(f"us-east-1/{short}").model == model


@pytest.mark.parametrize("name", ["agent/ABC/DEF", "agentcore/arn:aws:x", "async_invoke/m"])
def test_what_is_no_model(name: str) -> None:
    with pytest.raises(LookupError, match="not served"):
        place_of(name)


@pytest.mark.parametrize(
    ("base", "what", "model", "url"),
    [
        (None, "bedrock", CLAUDE, f"{HOST}/model/anthropic.claude-3-sonnet-20240229-v1%3A0/converse"),
        (None, "bedrock_stream", "amazon.nova-pro-v1:0", f"{HOST}/model/amazon.nova-pro-v1%3A0/converse-stream"),
        (None, "embeddings", "amazon.titan-embed-text-v2:0", f"{HOST}/model/amazon.titan-embed-text-v2%3A0/invoke"),
        (
            None,
            "bedrock",
            PROFILE,
            f"{HOST}/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A123456789012%3Aapplication-inference-profile%2Fa1b2c3/converse",
        ),
        ("https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com/", "bedrock", "m", "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com/model/m/converse"),
        ("http://proxy:1/aws?x=1", "bedrock", "m", "http://proxy:1/aws/model/m/converse?x=1"),
        ("http://proxy:1/model/other%3A0/converse", "bedrock_stream", "m", "http://proxy:1/model/other%3A0/converse-stream"),
        ("http://proxy:1/model", "bedrock", "m", "http://proxy:1/model/m/converse"),
    ],
)
def test_urls(base: str | None, what: str, model: str, url: str) -> None:
    assert endpoint(ROW, base, US, what, model=model) == url


def test_the_environments_endpoint_and_a_region_that_is_missing() -> None:
    env = {"AWS_BEDROCK_RUNTIME_ENDPOINT": "https://vpce.example"}
    assert endpoint(ROW, None, env, "bedrock", model="m") == "https://vpce.example/model/m/converse"
    assert endpoint(ROW, "http://own", env, "bedrock", model="m") == "http://own/model/m/converse"
    with pytest.raises(MissingBase, match="AWS_REGION_NAME"):
        endpoint(ROW, None, {}, "bedrock", model="m")
    with pytest.raises(LookupError, match="moderations"):
        endpoint(ROW, None, US, "moderations", model="m")


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.eu-west-1.amazonaws.com", "eu-west-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("vpce-0a.bedrock-runtime.ap-southeast-2.vpce.amazonaws.com", "ap-southeast-2"),
        ("localhost", ""),
        ("127.0.0.1", ""),
    ],
)
def test_the_region_of_a_host_signs(host: str, region: str) -> None:
    assert region_of_host(host) == region
