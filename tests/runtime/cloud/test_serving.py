"""What a cloud makes of a deployment is told, not done: accounts stay as they are, and no cloud knows a target."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.config import Deployment
from penstock.core.providers import PROVIDERS
from penstock.runtime.account import Account
from penstock.runtime.cloud.serving import AS_ITS_ROW_SAYS, serving_of
from tests.rules.repo import ROOT, python_files
from tests.runtime.made import state_of, target_of


def account_of(provider: str, model: str, env: Mapping[str, str] | None = None, **fields: Any) -> Account:
    deployment = Deployment(
        id="1", model_name="m", model=f"{provider}/{model}", provider=provider, upstream_model=model, **fields
    )
    return Account(provider=PROVIDERS[provider], model=model, deployment=deployment, settings={}, env=env or {})


@pytest.mark.parametrize("provider", list(PROVIDERS))
def test_the_environment_and_the_account_stay_as_they_are(provider: str) -> None:
    env = {"DATABRICKS_HOST": "adb.test", "AWS_REGION": "eu-west-1", "VERTEXAI_PROJECT": "p"}
    params = {"account_id": "a", "deployment_id": "d", "watsonx_region_name": "jp", "vertex_location": "eu"}
    account = account_of(provider, "claude-opus-4-6", env, params=params, defaults={"temperature": 1})
    kept = (dict(env), account.model, account.label)
    first = serving_of(account, account.provider.dialects)
    again = serving_of(account, account.provider.dialects)
    assert (dict(env), account.model, account.label) == kept
    told = ("model", "path_model", "rules_of", "forms_of", "env", "dialects", "stream_names", "body", "drop")
    assert [getattr(first, name) for name in told] == [getattr(again, name) for name in told]


def test_most_are_served_as_their_row_says() -> None:
    others = [name for name in PROVIDERS if serving_of(account_of(name, "m"), ()) is not AS_ITS_ROW_SAYS]
    assert sorted(others) == sorted(
        "azure azure_ai bedrock cloudflare sap snowflake vertex_ai vertex_ai_beta watsonx".split()
    )


def test_a_model_s_place_at_each_cloud() -> None:
    bedrock = serving_of(account_of("bedrock", "us-east-1/anthropic.claude-3-haiku-20240307-v1:0"), ("bedrock",))
    assert bedrock.model == bedrock.path_model == "anthropic.claude-3-haiku-20240307-v1:0"
    assert bedrock.env is not None and bedrock.env["AWS_REGION_NAME"] == "us-east-1"
    claude = serving_of(account_of("vertex_ai", "claude-opus-4-6"), ("gemini",))
    assert claude.dialects == ("anthropic",) and claude.drop == ("model",)
    assert "anthropic_version" in claude.body
    series = serving_of(account_of("azure", "responses/mine"), ("openai_chat", "openai_responses"))
    assert series.dialects == ("openai_responses",) and series.rules_of == "responses/mine"
    payer = serving_of(account_of("watsonx", "x", params={"project_id": "p"}), ("openai_chat",))
    assert payer.edit is not None and payer.seal is not None
    assert payer.stream_names == {"openai_chat": "openai_chat_stream"}


def test_no_repr_shows_the_environment() -> None:
    account = account_of("databricks", "m", {"DATABRICKS_HOST": "h", "DATABRICKS_TOKEN": "dapi-secret"})
    serving = serving_of(account, ("openai_chat",))
    assert serving.env is not None and "secret" not in repr(account) + repr(serving)


@pytest.mark.parametrize("name", [name for name in python_files("penstock") if "runtime/cloud/" in name])
def test_a_cloud_takes_an_account_and_knows_no_target(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "runtime.targets" not in text and "runtime.building" not in text


@pytest.mark.parametrize(
    ("model", "upstream", "dialects"),
    [
        ("openai/responses/gpt-5.1", "gpt-5.1", ("openai_responses",)),
        ("responses/gpt-5.1", "gpt-5.1", ("openai_responses",)),
        ("azure/responses/prod", "prod", ("openai_responses",)),
        ("hosted_vllm/responses/qwen", "qwen", ("openai_responses",)),
        ("groq/responses/x", "x", ("openai_responses",)),
        ("mistral/responses/x", "responses/x", None),  # which has no such API
        ("openai/gpt-5.1", "gpt-5.1", None),
    ],
)
def test_the_word_that_asks_for_responses(tmp_path: Path, model: str, upstream: str, dialects: Any) -> None:
    provider = {"custom_llm_provider": "openai"} if model.startswith("responses/") else {}
    target = target_of(tmp_path, model=model, api_base="http://h.test/v1", api_key="k", **provider)
    assert target.model == upstream
    assert (target.dialects == ("openai_responses",)) == (dialects is not None)


def test_it_may_stand_for_a_star(tmp_path: Path) -> None:
    state = state_of(tmp_path, 'model_list: [{model_name: "openai/*", litellm_params: {model: "openai/*"}}]')
    name = "openai/responses/gpt-5.1"
    [target] = state.plan(name).targets[name]
    assert (target.model, target.dialects) == ("gpt-5.1", ("openai_responses",))
