"""Cohere's three operations, and its OpenAI-compatible door: one URL however `api_base` is spelt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.providers import PROVIDERS
from penstock.core.providers.urls import dialects_at, endpoint

NAMES = ("cohere", "cohere_chat")
COHERE = PROVIDERS["cohere"]
PATHS = {"cohere": "/v2/chat", "cohere_embed": "/v2/embed", "rerank": "/v2/rerank"}
hosts = st.sampled_from(["http://localhost:8000", "https://gw.test/cohere", "https://api.cohere.com.evil.test"])
ends = st.sampled_from(["", "/", "/v2", "/v2/", "/v2/chat", "/v2/embed", "/compatibility/v1", "/compatibility"])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("what", PATHS)
@pytest.mark.parametrize(
    "api_base",
    [
        None,
        "https://api.cohere.com",
        "https://api.cohere.com/v2",
        "https://api.cohere.com/v1/chat",
        "https://api.cohere.com/v1/rerank",
        "https://api.cohere.com/compatibility/v1",
    ],
)
def test_the_vendors_own_api(name: str, what: str, api_base: str | None) -> None:
    assert endpoint(PROVIDERS[name], api_base, {}, what) == f"https://api.cohere.com{PATHS[what]}"


def test_the_vendors_older_host_and_its_regions_stay() -> None:
    for base in ("https://api.cohere.ai", "https://api.cohere.ai/v1", "https://api.cohere.ai/v1/chat"):
        assert endpoint(COHERE, base, {}, "cohere") == "https://api.cohere.ai/v2/chat"
        assert endpoint(COHERE, base, {}, "rerank") == "https://api.cohere.ai/v2/rerank"
    assert endpoint(COHERE, "https://eu.api.cohere.com/v1", {}, "cohere") == "https://eu.api.cohere.com/v2/chat"


@given(hosts, ends, st.sampled_from(sorted(PATHS)))
def test_one_url_for_every_spelling(host: str, end: str, what: str) -> None:
    assert endpoint(COHERE, host + end, {}, what) == host + PATHS[what]
    assert endpoint(COHERE, f"{host}{end}?tag=x", {}, what) == f"{host}{PATHS[what]}?tag=x"
    assert endpoint(COHERE, None, {"COHERE_API_BASE": host + end}, what) == host + PATHS[what]


@given(hosts, st.sampled_from(["/v1", "/v1/", "/v1/chat"]))
def test_version_1_is_another_api(host: str, end: str) -> None:
    assert endpoint(COHERE, host + end, {}, "cohere") == f"{host}/v2/chat"
    assert endpoint(COHERE, host + end, {}, "cohere_embed") == f"{host}/v2/embed"


def test_a_ranking_is_asked_for_where_the_user_says() -> None:
    assert endpoint(COHERE, "http://h:1/v1", {}, "rerank") == "http://h:1/v1/rerank"
    assert endpoint(COHERE, "http://h:1/x/rerank", {}, "rerank") == "http://h:1/x/rerank"


@pytest.mark.parametrize(
    ("api_base", "dialect"),
    [
        (None, "cohere"),
        ("https://api.cohere.com/v2", "cohere"),
        ("http://localhost:4010", "cohere"),
        ("https://api.cohere.ai/v1/chat", "cohere"),
        ("https://api.cohere.ai/compatibility/v1", "openai_chat"),
        ("https://api.cohere.ai/compatibility/v1/", "openai_chat"),
        ("https://gw.test/cohere/compatibility/v1", "openai_chat"),
        ("http://localhost:4010/v1/chat/completions", "openai_chat"),
    ],
)
def test_the_base_says_what_is_spoken(api_base: str | None, dialect: str) -> None:
    for name in NAMES:
        assert dialects_at(PROVIDERS[name], api_base, {}) == (dialect,)


def test_the_compatible_door_where_it_is_named() -> None:
    base = "https://api.cohere.ai/compatibility/v1"
    assert endpoint(COHERE, base, {}, "openai_chat") == f"{base}/chat/completions"
    assert endpoint(COHERE, base, {}, "embeddings") == f"{base}/embeddings"
    assert endpoint(COHERE, None, {}, "models") == f"{base}/models"
