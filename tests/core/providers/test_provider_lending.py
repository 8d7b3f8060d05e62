"""A key of the environment goes to the vendor's own host, or to the one that the environment names beside it."""

from __future__ import annotations

import pytest

from penstock.config import Deployment
from penstock.config.secret import Secret
from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.lending import is_foreign, withheld
from penstock.core.providers.spec import Provider
from penstock.runtime.building import build_target

KEYED = [provider for provider in PROVIDERS.values() if provider.keys]
HOMED = [provider for provider in KEYED if provider.base is not None and not provider.local]
ELSEWHERE = [
    "http://127.0.0.1:1234/v1",
    "https://gateway.example.com/openai",
    "https://api.openai.com.evil.test/v1",
    "https://evil.test/api.openai.com",
]
ACCOUNT = {
    "AWS_REGION_NAME": "us-east-1",
    "WATSONX_REGION": "us-south",
    "CLOUDFLARE_ACCOUNT_ID": "a1",
    "SNOWFLAKE_ACCOUNT_ID": "acc",
    "WATSONX_PROJECT_ID": "p",
    "VERTEXAI_PROJECT": "p",
    "VERTEXAI_LOCATION": "us-central1",
}


def keys_of(provider: Provider) -> dict[str, str]:
    return {**ACCOUNT, **{name: f"key-of-{name}" for name in provider.keys}}


def sent_by(provider: Provider, api_base: str | None, env: dict[str, str], key: str | None = None) -> str:
    """The heads of all that a target would send, and of its signers what they hold."""
    given = Secret(key) if key else None
    params = {"api_base": api_base, **({"api_key": given} if given else {})}
    deployment = Deployment(
        id="d", model_name="m", model=f"{provider.name}/m", provider=provider.name, upstream_model="m",
        api_base=api_base, api_key=given, params=params,
    )  # fmt: skip
    target = build_target(deployment, {}, env)
    told = str(dict(target.env)) if target.account.foreign else ""
    for what in (*target.dialects, "embeddings", "rerank", "images_generations"):
        try:
            told += target.endpoint(what).head.decode("latin-1")
        except GatewayError:
            continue
    return told


@pytest.mark.parametrize("provider", HOMED, ids=lambda provider: provider.name)
@pytest.mark.parametrize("address", ELSEWHERE)
def test_a_foreign_address_gets_no_key_of_the_environment(provider: Provider, address: str) -> None:
    env = keys_of(provider)
    told = sent_by(provider, address, env)
    assert all(f"key-of-{name}" not in told for name in provider.keys)
    assert set(withheld(provider, address, env)) == set(provider.keys)
    # What the entry itself says goes there, also when it names the variable.
    if provider.auth in ("bearer", "x-api-key") and provider.dialects:
        assert "key-of-entry" in sent_by(provider, address, env, "key-of-entry") or provider.name == "watsonx"


@pytest.mark.parametrize("provider", HOMED, ids=lambda provider: provider.name)
def test_the_vendor_and_the_host_beside_the_key_get_it(provider: Provider) -> None:
    env = keys_of(provider)
    assert withheld(provider, None, env) == ()
    if "{" not in (provider.base or ""):
        assert not is_foreign(provider, provider.base, env)
    for base in provider.bases:
        beside = {**env, base: "https://proxy.example.com/v1"}
        assert withheld(provider, None, beside) == ()
        assert withheld(provider, "https://proxy.example.com/v1/other", beside) == ()
        assert withheld(provider, "https://other.example.com/v1", beside) == provider.keys


@pytest.mark.parametrize("provider", [p for p in KEYED if p not in HOMED], ids=lambda provider: provider.name)
def test_a_server_of_the_users_own_gets_its_key_wherever_it_is(provider: Provider) -> None:
    assert not any(is_foreign(provider, address, {}) for address in ELSEWHERE)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("openai", "https://eu.api.openai.com/v1"),
        ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        ("bedrock", "https://vpce-1-x.bedrock-runtime.eu-west-1.vpce.amazonaws.com"),
        ("bedrock", "https://bedrock-runtime-fips.us-east-1.amazonaws.com"),
        ("vertex_ai", "https://europe-west1-aiplatform.googleapis.com/v1"),
        ("vertex_ai", "https://aiplatform.eu.rep.googleapis.com"),
        ("vertex_ai_beta", "https://us-central1-aiplatform-psc.p.googleapis.com"),
        ("watsonx", "https://eu-de.ml.cloud.ibm.com"),
        ("cohere", "https://api.cohere.ai/v1"),
        ("gemini", "https://generativelanguage.googleapis.com"),
        ("huggingface", "https://x1.us-east-1.aws.endpoints.huggingface.cloud/v1"),
        ("groq", "https://api.groq.com/openai/v1"),
    ],
)
def test_a_vendors_other_hosts_are_no_foreign_ones(name: str, address: str) -> None:
    assert not is_foreign(PROVIDERS[name], address, {})


def test_the_machines_google_account_is_for_google() -> None:
    pytest.importorskip("google.auth")
    for address, signs in (("https://gate.example.com", False), ("https://us-central1-aiplatform.googleapis.com", True)):
        deployment = Deployment(
            id="d", model_name="m", model="vertex_ai/gemini-2.5-pro", provider="vertex_ai",
            upstream_model="gemini-2.5-pro", api_base=address, params={"api_base": address, "vertex_project": "p"},
        )  # fmt: skip
        endpoint = build_target(deployment, {}, {}).endpoint("gemini")
        assert (endpoint.signer is not None) is signs and b"authorization" not in endpoint.head
