"""Azure's URLs, against the requests that the openai SDK's own Azure client makes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import APIConnectionError, AzureOpenAI

from penstock.core.providers import PROVIDERS
from penstock.core.providers.urls import MissingBase, endpoint

AZURE = PROVIDERS["azure"]
BASE = "https://r.openai.azure.com"
NONE = {"api_version": "2024-10-21", "api_key": "k", "max_retries": 0}
CALLS: dict[str, Any] = {
    "openai_chat": lambda c, model: c.chat.completions.create(model=model, messages=[]),
    "completions": lambda c, model: c.completions.create(model=model, prompt="p"),
    "embeddings": lambda c, model: c.embeddings.create(model=model, input="i"),
    "images_generations": lambda c, model: c.images.generate(model=model, prompt="p"),
    "audio_speech": lambda c, model: c.audio.speech.create(model=model, input="i", voice="alloy"),
    "models": lambda c, model: c.models.list(),
}


class Sent(Exception):
    """Carries the URL of a request that is not sent."""


def url_of_sdk(op: str, model: str, **options: Any) -> str:
    client = AzureOpenAI(**{**NONE, **options})

    def stop(request: Any, **_: Any) -> Any:
        raise Sent(str(request.url))

    client._client.send = stop  # type: ignore[method-assign]
    with pytest.raises((Sent, APIConnectionError)) as caught:
        CALLS[op](client, model)
    return str(caught.value if isinstance(caught.value, Sent) else caught.value.__cause__)


@pytest.mark.parametrize("op", CALLS)
@pytest.mark.parametrize("model", ["gpt-4", "my deployment", "ft-1.5_x"])
def test_the_same_url_as_the_sdk(op: str, model: str) -> None:
    ours = endpoint(AZURE, BASE, {}, op, model=model, api_version="2024-10-21")
    assert ours == url_of_sdk(op, model, azure_endpoint=BASE)


@given(
    st.sampled_from(["https://r.openai.azure.com", "https://apim.test/ai", "http://127.0.0.1:9"]),
    st.sampled_from(
        ["", "/", "/openai", "/openai/", "/openai/deployments/gpt-4", "/openai/deployments/gpt-4/embeddings"]
    ),
    st.sampled_from(["", "?api-version=2024-10-21"]),
)
def test_one_url_for_every_spelling(host: str, end: str, query: str) -> None:
    url = endpoint(AZURE, host + end + query, {}, "openai_chat", model="gpt-4", api_version="2024-10-21")
    assert url == f"{host}/openai/deployments/gpt-4/chat/completions?api-version=2024-10-21"
    assert endpoint(AZURE, url, {}, "openai_chat", model="other", api_version="9") == url


@given(
    st.sampled_from(["", "/", "/chat/completions", "/responses"]), st.sampled_from(["openai_chat", "openai_responses"])
)
def test_v1_needs_no_version(end: str, op: str) -> None:
    tail = {"openai_chat": "chat/completions", "openai_responses": "responses"}[op]
    assert endpoint(AZURE, f"{BASE}/openai/v1{end}", {}, op, model="gpt-4") == f"{BASE}/openai/v1/{tail}"


def test_versions() -> None:
    # S1-22
    def chat(env: dict[str, str], version: str | None) -> str:
        return endpoint(AZURE, None, {"AZURE_API_BASE": BASE, **env}, "openai_chat", model="gpt-4", api_version=version)

    dated = f"{BASE}/openai/deployments/gpt-4/chat/completions?api-version="
    assert chat({}, None) == dated + "2025-02-01-preview"
    assert chat({"AZURE_API_VERSION": "2024-06-01"}, None) == dated + "2024-06-01"
    assert chat({"AZURE_API_VERSION": "2024-06-01"}, "2024-10-21") == dated + "2024-10-21"
    assert chat({}, "v1") == f"{BASE}/openai/v1/chat/completions"
    assert chat({}, "preview") == f"{BASE}/openai/v1/chat/completions?api-version=preview"


def test_responses_are_in_v1_only() -> None:
    url = endpoint(AZURE, BASE, {}, "openai_responses", model="gpt-4", api_version="2024-10-21")
    assert url == f"{BASE}/openai/v1/responses"


def test_what_is_missing_is_named() -> None:
    with pytest.raises(MissingBase, match="AZURE_API_BASE"):
        endpoint(AZURE, None, {}, "openai_chat", model="gpt-4")
    with pytest.raises(LookupError, match="deployment"):
        endpoint(AZURE, BASE, {}, "openai_chat")
