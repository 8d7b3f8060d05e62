"""Azure AI Foundry's URLs: every form that users have in their files, and what is spoken there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers import PROVIDERS
from penstock.core.providers.foundry import foundry_dialects, token_scope
from penstock.core.providers.resolve import auth_headers, more_headers
from penstock.core.providers.urls import MissingBase, endpoint

FOUNDRY = PROVIDERS["azure_ai"]
R = "https://r.services.ai.azure.com"
SERVERLESS = "https://cohere-x.eastus2.models.ai.azure.com"
CHAT, VERSION = "/chat/completions", "?api-version=2024-05-01-preview"


def url(base: str, op: str = "openai_chat", version: str | None = None, model: str = "DeepSeek-V3.1") -> str:
    return endpoint(FOUNDRY, base, {}, op, model=model, api_version=version)


@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize(
    ("base", "expected"),
    [
        # the resource, its Model Inference API, and a project
        (R, f"{R}/models{CHAT}{VERSION}"),
        (f"{R}/models", f"{R}/models{CHAT}{VERSION}"),
        (f"{R}/models{CHAT}", f"{R}/models{CHAT}{VERSION}"),
        (f"{R}/api/projects/p", f"{R}/models{CHAT}{VERSION}"),
        (f"{R}/anthropic", f"{R}/models{CHAT}{VERSION}"),
        # OpenAI's interface, of the resource and of a project
        (f"{R}/openai/v1", f"{R}/openai/v1{CHAT}"),
        (f"{R}/openai", f"{R}/openai/v1{CHAT}"),
        (f"{R}/openai/v1{CHAT}", f"{R}/openai/v1{CHAT}"),
        (f"{R}/api/projects/p/openai/v1", f"{R}/api/projects/p/openai/v1{CHAT}"),
        ("https://r.openai.azure.com/openai/v1", f"https://r.openai.azure.com/openai/v1{CHAT}"),
        ("https://r.openai.azure.com", f"https://r.openai.azure.com/openai/v1{CHAT}"),
        ("https://r.cognitiveservices.azure.com", f"https://r.cognitiveservices.azure.com/openai/v1{CHAT}"),
        # serverless: a host of its own
        (SERVERLESS, SERVERLESS + CHAT),
        (f"{SERVERLESS}/v1", f"{SERVERLESS}/v1{CHAT}"),
        (f"{SERVERLESS}/v1{CHAT}", f"{SERVERLESS}/v1{CHAT}"),
        ("https://Mistral-large-x-serverless.eastus2.inference.ai.azure.com", f"https://Mistral-large-x-serverless.eastus2.inference.ai.azure.com{CHAT}"),
        # behind a gateway of the user's
        ("https://apim.test/foundry", f"https://apim.test/foundry{CHAT}"),
        ("https://apim.test/foundry/models", f"https://apim.test/foundry/models{CHAT}{VERSION}"),
        ("https://openai.test/x", f"https://openai.test/x{CHAT}"),
        ("https://anthropic.test/models", f"https://anthropic.test/models{CHAT}{VERSION}"),
    ],
)
def test_chat(base: str, expected: str, slash: str) -> None:
    assert url(base + slash) == expected
    assert url(expected) == expected  # given back as base, it is the same


def test_a_version_that_is_given_wins() -> None:
    assert url(f"{R}/models{CHAT}?api-version=9&x=1") == f"{R}/models{CHAT}?api-version=9&x=1"
    assert url(R, version="2025-01-01") == f"{R}/models{CHAT}?api-version=2025-01-01"
    assert url(f"{R}/openai/v1", version="2025-01-01") == f"{R}/openai/v1{CHAT}"
    assert url(f"{R}/openai/v1", version="preview") == f"{R}/openai/v1{CHAT}?api-version=preview"
    dated = "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert url("https://r.openai.azure.com", version="2024-10-21", model="d") == dated
    assert url(dated) == dated
    assert url(SERVERLESS, version="2024-05-01-preview") == f"{SERVERLESS}{CHAT}{VERSION}"


@pytest.mark.parametrize(
    ("op", "base", "expected"),
    [
        ("embeddings", R, f"{R}/models/embeddings{VERSION}"),
        ("embeddings", f"{R}/openai/v1", f"{R}/openai/v1/embeddings"),
        ("embeddings", SERVERLESS, f"{SERVERLESS}/embeddings"),
        ("openai_responses", R, f"{R}/openai/v1/responses"),
        ("openai_responses", f"{R}/openai/v1/responses", f"{R}/openai/v1/responses"),
        ("openai_responses", f"{R}/api/projects/p/openai/v1", f"{R}/api/projects/p/openai/v1/responses"),
        ("anthropic", R, f"{R}/anthropic/v1/messages"),
        ("anthropic", f"{R}/anthropic", f"{R}/anthropic/v1/messages"),
        ("anthropic", f"{R}/anthropic/v1", f"{R}/anthropic/v1/messages"),
        ("anthropic", f"{R}/anthropic/v1/messages", f"{R}/anthropic/v1/messages"),
        ("anthropic", f"{R}/models", f"{R}/anthropic/v1/messages"),
        ("anthropic", f"{R}/api/projects/p", f"{R}/anthropic/v1/messages"),
        ("anthropic", "https://anthropic.test", "https://anthropic.test/anthropic/v1/messages"),
        ("anthropic_count_tokens", f"{R}/anthropic/v1/messages", f"{R}/anthropic/v1/messages/count_tokens"),
        ("rerank", R, f"{R}/providers/cohere/v2/rerank"),
        ("rerank", f"{R}/models", f"{R}/providers/cohere/v2/rerank"),
        ("rerank", f"{R}/providers/cohere/v2", f"{R}/providers/cohere/v2/rerank"),
        ("rerank", f"{R}/providers/cohere/v2/rerank", f"{R}/providers/cohere/v2/rerank"),
        ("rerank", SERVERLESS, f"{SERVERLESS}/v1/rerank"),
        ("rerank", f"{SERVERLESS}/v1", f"{SERVERLESS}/v1/rerank"),
        ("rerank", f"{SERVERLESS}/v2/rerank", f"{SERVERLESS}/v2/rerank"),
        ("images_generations", R, f"{R}/openai/deployments/DeepSeek-V3.1/images/generations?api-version=2025-04-01-preview"),
        ("images_generations", f"{R}/openai/v1", f"{R}/openai/v1/images/generations"),
    ],
)
def test_other_operations(op: str, base: str, expected: str) -> None:
    assert url(base, op) == expected


@given(
    st.sampled_from([R, "https://apim.test/f", "http://127.0.0.1:9"]),
    st.sampled_from(["", "/", "/models", "/openai/v1", "/anthropic/v1/messages", "/models/chat/completions", "/api/projects/p"]),
    st.sampled_from(["openai_chat", "embeddings", "anthropic", "openai_responses", "rerank"]),
)
def test_an_endpoint_given_back_is_the_same_endpoint(host: str, path: str, op: str) -> None:
    made = url(host + path, op)
    assert made.startswith(host) and url(made, op) == made


@pytest.mark.parametrize(
    ("model", "base", "version", "dialects"),
    [
        ("DeepSeek-V3.1", R, "", ("openai_chat",)),
        ("DeepSeek-V3.1", f"{R}/models", "", ("openai_chat",)),
        ("gpt-5", f"{R}/openai/v1", "", ("openai_chat", "openai_responses")),
        ("gpt-5", f"{R}/openai/v1/responses", "", ("openai_responses",)),
        ("gpt-5", "https://r.openai.azure.com", "", ("openai_chat", "openai_responses")),
        ("gpt-5", "https://r.openai.azure.com", "2024-10-21", ("openai_chat",)),
        ("claude-sonnet-4-5", R, "", ("anthropic",)),
        ("Claude-Opus", f"{R}/models", "", ("anthropic",)),
        ("my-own", f"{R}/anthropic", "", ("anthropic",)),
        ("claude-x", "https://apim.test/chat/completions", "", ("openai_chat",)),
        ("x", "https://anthropic.test", "", ("openai_chat",)),
    ],
)
def test_what_is_spoken_there(model: str, base: str, version: str, dialects: tuple[str, ...]) -> None:
    assert foundry_dialects(model, base, version) == dialects


@pytest.mark.parametrize(
    ("base", "dialect", "names"),
    [
        (R, "openai_chat", ["api-key", "extra-parameters"]),
        (f"{R}/openai/v1", "openai_chat", ["api-key"]),
        (SERVERLESS, "openai_chat", ["api-key", "authorization"]),
        (R, "anthropic", ["api-key", "x-api-key"]),
        (R, "rerank", ["api-key"]),
    ],
)
def test_headers(base: str, dialect: str, names: list[str]) -> None:
    at = url(base, dialect)
    found = dict(auth_headers(FOUNDRY, "KEY", dialect, at) + more_headers(FOUNDRY, at))
    assert sorted(name.decode() for name in found) == names
    assert all(b"KEY" in value for name, value in found.items() if name != b"extra-parameters")
    token = auth_headers(FOUNDRY, "eyJ0.eyJ1.sig", dialect, at)
    assert token == [(b"authorization", b"Bearer eyJ0.eyJ1.sig")]


def test_scopes_of_tokens() -> None:
    assert token_scope(R) == "https://cognitiveservices.azure.com/.default"
    assert token_scope(f"{R}/api/projects/p") == "https://ai.azure.com/.default"
    assert token_scope("https://r.services.ai.azure.us/models") == "https://cognitiveservices.azure.us/.default"
    assert token_scope("") == token_scope("https://gw.test") == "https://cognitiveservices.azure.com/.default"


def test_claude_behind_the_azure_prefix() -> None:
    azure = PROVIDERS["azure"]
    for base in (f"{R}/anthropic", f"{R}/anthropic/v1/messages"):
        assert endpoint(azure, base, {}, "anthropic", model="claude") == f"{R}/anthropic/v1/messages"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(MissingBase, match="AZURE_AI_API_BASE"):
        endpoint(FOUNDRY, None, {}, "openai_chat", model="m")
