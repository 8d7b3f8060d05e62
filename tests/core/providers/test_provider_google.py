"""Google's URLs: the Gemini API and Vertex AI, however the user wrote the base."""

from __future__ import annotations

import pytest

from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.google import vertex_dialects
from penstock.core.providers.resolve import auth_headers, endpoint
from penstock.core.providers.urls import dialects_at

GEMINI, VERTEX = PROVIDERS["gemini"], PROVIDERS["vertex_ai"]
HOST = "https://generativelanguage.googleapis.com/v1beta"
ACCOUNT = {"VERTEXAI_PROJECT": "p-1", "VERTEXAI_LOCATION": "europe-west4"}
PLACE = "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4"


@pytest.mark.parametrize(
    ("api_base", "url"),
    [
        (None, f"{HOST}/models/gemini-2.5-flash:generateContent"),
        ("https://generativelanguage.googleapis.com", f"{HOST}/models/gemini-2.5-flash:generateContent"),
        (f"{HOST}/", f"{HOST}/models/gemini-2.5-flash:generateContent"),
        (f"{HOST}/openai", f"{HOST}/models/gemini-2.5-flash:generateContent"),
        (f"{HOST}/models", f"{HOST}/models/gemini-2.5-flash:generateContent"),
        (f"{HOST}/models/other", f"{HOST}/models/other:generateContent"),
        (f"{HOST}/models/other:streamGenerateContent", f"{HOST}/models/other:generateContent"),
        ("http://127.0.0.1:99", "http://127.0.0.1:99/v1beta/models/gemini-2.5-flash:generateContent"),
        ("http://proxy/google/v1", "http://proxy/google/v1/models/gemini-2.5-flash:generateContent"),
        ("http://proxy?tag=x", "http://proxy/v1beta/models/gemini-2.5-flash:generateContent?tag=x"),
    ],
)
def test_the_gemini_api_however_it_is_written(api_base: str | None, url: str) -> None:
    assert endpoint(GEMINI, api_base, {}, "gemini", model="gemini-2.5-flash") == url


def test_streams_and_counts_have_methods_of_their_own() -> None:
    assert endpoint(GEMINI, None, {}, "gemini_stream", model="m") == f"{HOST}/models/m:streamGenerateContent?alt=sse"
    assert endpoint(GEMINI, f"{HOST}?a=b", {}, "gemini_stream", model="m").endswith("?alt=sse&a=b")
    assert endpoint(GEMINI, None, {}, "gemini_count_tokens", model="m") == f"{HOST}/models/m:countTokens"


def test_a_models_name_cannot_leave_its_place_in_the_path() -> None:
    assert endpoint(GEMINI, None, {}, "gemini", model="a/b c").startswith(f"{HOST}/models/a%2Fb%20c:")
    with pytest.raises(GatewayError, match="a dot segment"):
        endpoint(GEMINI, None, {}, "gemini", model="a/../b?c#d")
    assert endpoint(GEMINI, None, {}, "gemini", model="tunedModels/x-1") == f"{HOST}/tunedModels/x-1:generateContent"


def test_the_openai_door_is_spoken_to_where_the_base_names_it() -> None:
    assert dialects_at(GEMINI, None, {}) == ("gemini",)
    assert dialects_at(GEMINI, f"{HOST}/openai/", {}) == ("openai_chat",)
    assert dialects_at(GEMINI, "http://127.0.0.1:99", {}) == ("gemini",)
    assert endpoint(GEMINI, f"{HOST}/openai", {}, "openai_chat") == f"{HOST}/openai/chat/completions"
    assert endpoint(GEMINI, None, {}, "embeddings") == f"{HOST}/openai/embeddings"


@pytest.mark.parametrize("what", ["gemini", "gemini_stream", "gemini_count_tokens"])
def test_the_key_has_a_header_of_its_own(what: str) -> None:
    assert auth_headers(GEMINI, "k", what) == [(b"x-goog-api-key", b"k")]


@pytest.mark.parametrize(
    ("model", "what", "path"),
    [
        ("gemini-2.5-flash", "gemini", "/publishers/google/models/gemini-2.5-flash:generateContent"),
        ("google/gemini-2.5-flash", "gemini", "/publishers/google/models/gemini-2.5-flash:generateContent"),
        (
            "gemini-2.5-flash",
            "gemini_stream",
            "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        ("1234567890", "gemini", "/endpoints/1234567890:generateContent"),
        (
            "claude-sonnet-4-5@20250929",
            "anthropic",
            "/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
        ),
        (
            "claude-sonnet-4-5@20250929",
            "anthropic_stream",
            "/publishers/anthropic/models/claude-sonnet-4-5@20250929:streamRawPredict",
        ),
        ("claude-x", "anthropic_count_tokens", "/publishers/anthropic/models/count-tokens:rawPredict"),
        ("meta/llama-4-maverick-17b-128e-instruct-maas", "openai_chat", "/endpoints/openapi/chat/completions"),
    ],
)
def test_vertex_ai_by_publisher(model: str, what: str, path: str) -> None:
    assert endpoint(VERTEX, None, ACCOUNT, what, model=model) == PLACE + path


@pytest.mark.parametrize(
    ("place", "host"),
    [
        ("global", "aiplatform.googleapis.com"),
        ("us", "aiplatform.us.rep.googleapis.com"),
        ("us-east5", "us-east5-aiplatform.googleapis.com"),
        ("", "us-central1-aiplatform.googleapis.com"),
    ],
)
def test_vertex_ai_by_place(place: str, host: str) -> None:
    url = endpoint(VERTEX, None, {"VERTEXAI_PROJECT": "p-1", "VERTEXAI_LOCATION": place}, "gemini", model="m")
    assert url.startswith(f"https://{host}/v1/projects/p-1/locations/{place or 'us-central1'}/publishers/google/")


def test_vertex_ai_behind_a_host_of_the_users() -> None:
    assert endpoint(VERTEX, "http://h:1", ACCOUNT, "gemini", model="m") == (
        "http://h:1/v1/projects/p-1/locations/europe-west4/publishers/google/models/m:generateContent"
    )
    given = "http://h:1/v1/projects/other/locations/eu"
    assert endpoint(VERTEX, given, {}, "gemini", model="m") == given + "/publishers/google/models/m:generateContent"
    beta = endpoint(PROVIDERS["vertex_ai_beta"], None, ACCOUNT, "gemini", model="m")
    assert "/v1beta1/projects/p-1/" in beta


def test_a_project_that_is_missing_is_named() -> None:
    with pytest.raises(LookupError, match="VERTEXAI_PROJECT"):
        endpoint(VERTEX, None, {"VERTEXAI_LOCATION": "eu"}, "gemini", model="m")
    with pytest.raises(LookupError, match="'embeddings'"):
        endpoint(VERTEX, None, ACCOUNT, "embeddings", model="m")


def test_what_a_model_on_vertex_ai_speaks() -> None:
    assert vertex_dialects("claude-opus-4-1@20250805") == ("anthropic",)
    assert vertex_dialects("gemini-3-pro-preview") == vertex_dialects("google/gemini-2.5-pro") == ("gemini",)
    assert vertex_dialects("deepseek-ai/deepseek-r1-0528-maas") == ("openai_chat",)
