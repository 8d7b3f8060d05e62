"""Hugging Face: the router's chat, its own embeddings, and servers by their address."""

from __future__ import annotations

import pytest

from penstock.core.errors import GatewayError
from penstock.core.providers import PROVIDERS
from penstock.core.providers.urls import MissingBase, endpoint

HUB, TEI = PROVIDERS["huggingface"], PROVIDERS["tei"]
ROUTER = "https://router.huggingface.co"


def test_chats_go_to_the_router_and_to_endpoints_of_ones_own() -> None:
    assert endpoint(HUB, None, {}, "openai_chat", model="a/b:groq") == f"{ROUTER}/v1/chat/completions"
    own = "https://x.us-east-1.aws.endpoints.huggingface.cloud"
    for base in (own, f"{own}/v1", f"{own}/v1/"):
        assert endpoint(HUB, base, {}, "openai_chat") == f"{own}/v1/chat/completions"
    for name in ("HF_API_BASE", "HUGGINGFACE_API_BASE"):
        assert endpoint(HUB, None, {name: own}, "embeddings") == f"{own}/v1/embeddings"


@pytest.mark.parametrize("model", ["BAAI/bge-small-en", "BAAI/bge-small-en:hf-inference"])
def test_embeddings_of_its_own_have_the_model_in_the_url(model: str) -> None:
    url = f"{ROUTER}/hf-inference/models/BAAI/bge-small-en/pipeline/feature-extraction"
    assert endpoint(HUB, None, {}, "hub_embed", model=model) == url


def test_embeddings_of_another_provider_are_not_to_be_had_there() -> None:
    with pytest.raises(LookupError, match="'nebius'"):
        endpoint(HUB, None, {}, "hub_embed", model="BAAI/bge:nebius")


def test_a_model_cannot_leave_its_place_in_the_url() -> None:
    url = endpoint(HUB, None, {}, "hub_embed", model="a/b y")
    assert url.endswith("/models/a/b%20y/pipeline/feature-extraction")
    for model in ("a/b?x", "a/b#x", "a/../b", "a//b"):
        with pytest.raises(GatewayError, match="model's name"):
            endpoint(HUB, None, {}, "hub_embed", model=model)


def test_the_router_ranks_nothing_and_says_what_would() -> None:
    for base in (None, ROUTER, f"{ROUTER}/v1"):
        with pytest.raises(MissingBase, match="text-embeddings-inference"):
            endpoint(HUB, base, {}, "tei_rerank")


@pytest.mark.parametrize("end", ["", "/", "/v1", "/embed", "/rerank", "/v1/embeddings"])
def test_a_servers_own_paths_stand_at_its_root(end: str) -> None:
    for provider in (HUB, TEI):
        for what, path in (("tei_embed", "/embed"), ("tei_rerank", "/rerank")):
            assert endpoint(provider, f"http://h:1/x{end}", {}, what) == f"http://h:1/x{path}"
