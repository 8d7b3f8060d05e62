"""Embeddings and rankings in the words of Cohere and of Hugging Face, through the quick door against the mock."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from struct import unpack
from typing import Any

import pytest

from penstock.core.providers import urls
from penstock.mock import Rule, Script, Step
from penstock.mock.embeddings import vector
from tests.door import open_door
from tests.server.test_ops import yaml

ROUTER = "https://router.huggingface.co"
PNG = "data:image/png;base64,iVBORw0KGgo="


def rows(body: bytes) -> list[Any]:
    return [row["embedding"] for row in json.loads(body)["data"]]


def message(body: bytes) -> str:
    return str(json.loads(body)["error"]["message"])


# ---- Cohere


@pytest.mark.parametrize("model", ["cohere/embed-v4.0", "cohere_chat/embed-v4.0"])
@pytest.mark.parametrize("base", ["{mock}", "{mock}/v1", "{mock}/v2", "{mock}/v1/embed"])
async def test_cohere_is_asked_in_its_own_words(model: str, base: str, tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml(model, base)) as door:
        body = {"model": "m", "input": ["one", "two words"], "dimensions": 4, "user": "u", "truncate": "END"}
        status, headers, answer = await door.post(body, "/v1/embeddings")
        told = json.loads(answer)
        assert status == 200 and told["model"] == "m" and headers["x-penstock-lane"] == "cross"
        assert rows(answer) == [vector("one", 4), vector("two words", 4)]
        assert told["usage"] == {"prompt_tokens": 3, "total_tokens": 3} and door.records[0].usage.fresh == 3
        [sent] = door.mock.received
        assert sent.path == "/v2/embed" and sent.json == {
            "model": "embed-v4.0",
            "texts": ["one", "two words"],
            "input_type": "search_document",
            "embedding_types": ["float"],
            "output_dimension": 4,
            "truncate": "END",
        }


async def test_cohere_takes_96_texts_at_once(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(100)]
    async with open_door(tmp_path, yaml("cohere/embed-v4.0", "{mock}")) as door:
        _, _, answer = await door.post({"model": "m", "input": texts, "input_type": "search_query"}, "/v1/embeddings")
        assert rows(answer) == [vector(text, 8) for text in texts]
        assert sorted(len(sent.json["texts"]) for sent in door.mock.received) == [4, 96]
        assert {sent.json["input_type"] for sent in door.mock.received} == {"search_query"}


async def test_cohere_embeds_images_one_by_one_and_among_texts(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("cohere/embed-v4.0", "{mock}")) as door:
        status, _, answer = await door.post({"model": "m", "input": [PNG, PNG]}, "/v1/embeddings")
        assert status == 200 and len(rows(answer)) == 2
        for sent in door.mock.received:
            assert sent.json["images"] == [PNG] and sent.json["input_type"] == "image" and "texts" not in sent.json
        assert door.records[0].usage.fresh == 0, "images are billed as such, and not by the length of their base64"
        status, _, _ = await door.post({"model": "m", "input": ["a cat", PNG]}, "/v1/embeddings")
        assert status == 200 and door.mock.received[-1].json["inputs"] == [
            {"content": [{"type": "text", "text": "a cat"}]},
            {"content": [{"type": "image_url", "image_url": {"url": PNG}}]},
        ]


async def test_types_of_coheres_vectors(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("cohere/embed-v4.0", "{mock}")) as door:
        body = {"model": "m", "input": "x"}
        _, _, answer = await door.post({**body, "encoding_format": "base64"}, "/v1/embeddings")
        assert list(unpack("<8f", b64decode(rows(answer)[0]))) == vector("x", 8)
        assert door.mock.received[-1].json["embedding_types"] == ["float"]
        _, headers, answer = await door.post({**body, "encoding_format": "int8"}, "/v1/embeddings")
        assert all(isinstance(number, int) for number in rows(answer)[0]) and "x-penstock-dropped" not in headers
        _, headers, answer = await door.post({**body, "embedding_types": ["uint8", "float"]}, "/v1/embeddings")
        assert door.mock.received[-1].json["embedding_types"] == ["uint8"] and min(rows(answer)[0]) >= 0
        assert headers["x-penstock-dropped"] == "embedding_types"
        status, _, answer = await door.post({**body, "input": [1, 2]}, "/v1/embeddings")
        assert status == 400 and "embeds texts, not tokens" in message(answer)


async def test_coheres_refusals_of_embeddings_and_rankings(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("cohere/embed-v4.0", "{mock}")) as door:
        body = {"model": "m", "input": "x", "input_type": "nonsense"}
        status, _, answer = await door.post(body, "/v1/embeddings")
        assert status == 400 and "valid input_type must be provided" in message(answer)
        door.mock.queue([Step(status=498), Step(status=429)])
        ask = {"model": "m", "query": "q", "documents": ["d"]}
        status, _, answer = await door.post(ask, "/rerank")
        assert status == 401 and "invalid token" in message(answer)
        status, _, answer = await door.post(ask, "/rerank")
        assert status == 429 and "Trial key" in message(answer)


async def test_the_compatible_door_keeps_openais_words(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("cohere/embed-v4.0", "{mock}/compatibility/v1")) as door:
        status, _, answer = await door.post({"model": "m", "input": ["a"]}, "/v1/embeddings")
        assert status == 200 and rows(answer) == [vector("a", 8)]
        assert door.mock.received[0].path == "/compatibility/v1/embeddings"


# ---- Hugging Face


@pytest.mark.parametrize("model", ["tei/bge", "huggingface/BAAI/bge-small"])
async def test_a_server_by_its_address_counts_tokens_at_openais_path(model: str, tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml(model, "{mock}")) as door:
        _, _, answer = await door.post({"model": "m", "input": ["one", "two words"]}, "/v1/embeddings")
        assert rows(answer) == [vector("one", 8), vector("two words", 8)]
        assert json.loads(answer)["usage"]["prompt_tokens"] == 3
        assert door.mock.received[0].path == "/v1/embeddings"


@pytest.mark.parametrize("base", ["{mock}", "{mock}/v1", "{mock}/embed"])
async def test_what_only_embed_reads_goes_there(base: str, tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("huggingface/BAAI/bge", base)) as door:
        body = {"model": "m", "input": ["one", "word " * 600], "truncate": True, "dimensions": 4, "normalize": False}
        status, _, answer = await door.post(body, "/v1/embeddings")
        assert status == 200 and rows(answer)[0] == vector("one", 4)
        assert json.loads(answer)["usage"]["prompt_tokens"] > 0, "counted here: the server does not"
        [sent] = door.mock.received
        assert sent.path == "/embed"
        assert sent.json == {"inputs": body["input"], "truncate": True, "dimensions": 4, "normalize": False}


async def test_an_address_that_is_embed_is_asked_there(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("tei/bge", "{mock}/embed")) as door:
        _, _, answer = await door.post({"model": "m", "input": "one", "encoding_format": "base64"}, "/v1/embeddings")
        assert list(unpack("<8f", b64decode(rows(answer)[0]))) == vector("one", 8)
        assert [(sent.path, sent.json) for sent in door.mock.received] == [("/embed", {"inputs": ["one"]})]
        await door.post({"model": "m", "input": [1, 2, 3]}, "/v1/embeddings")
        assert door.mock.received[-1].json == {"inputs": [[1, 2, 3]]}


async def test_a_server_takes_32_inputs_at_once(tmp_path: Path) -> None:
    texts = [f"text {n}" for n in range(70)]
    async with open_door(tmp_path, yaml("tei/bge", "{mock}/embed")) as door:
        status, _, answer = await door.post({"model": "m", "input": texts}, "/v1/embeddings")
        assert status == 200 and rows(answer) == [vector(text, 8) for text in texts]
        assert sorted(len(sent.json["inputs"]) for sent in door.mock.received) == [6, 32, 32]


@pytest.mark.parametrize("status", [413, 422])
async def test_a_server_that_takes_less_is_asked_again_and_remembered(status: int, tmp_path: Path) -> None:
    refusal = Step(status=status, error="batch size 5 > maximum allowed batch size 2")
    async with open_door(tmp_path, yaml("tei/bge", "{mock}/embed")) as door:
        door.mock.queue([refusal])
        got, _, answer = await door.post({"model": "m", "input": list("abcde")}, "/v1/embeddings")
        assert got == 200 and rows(answer) == [vector(text, 8) for text in "abcde"]
        assert [len(sent.json["inputs"]) for sent in door.mock.received] == [5, 2, 2, 1]
        await door.post({"model": "m", "input": list("abc")}, "/v1/embeddings")
        assert [len(sent.json["inputs"]) for sent in door.mock.received[4:]] == [2, 1]
        await door.post({"model": "m", "query": "q", "documents": list("abc")}, "/rerank")
        assert [len(sent.json["texts"]) for sent in door.mock.received[6:]] == [2, 1]


async def test_many_documents_are_ranked_in_pieces(tmp_path: Path) -> None:
    documents = [f"no {n}" for n in range(70)]
    documents[40], documents[65] = "query words", "query"
    async with open_door(tmp_path, yaml("tei/reranker", "{mock}")) as door:
        ask = {"model": "m", "query": "query words", "documents": documents, "top_n": 2, "truncate": True}
        status, _, answer = await door.post(ask, "/rerank")
        assert status == 200 and [row["index"] for row in json.loads(answer)["results"]] == [40, 65]
        assert sorted(len(sent.json["texts"]) for sent in door.mock.received) == [6, 32, 32]
        assert all(sent.json["truncate"] is True for sent in door.mock.received)


async def test_a_smaller_ranking_server_says_so(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("huggingface/BAAI/reranker", "{mock}")) as door:
        door.mock.queue([Step(status=422, error="batch size 3 > maximum allowed batch size 1")])
        ask = {"model": "m", "query": "b", "documents": ["a", "b", "c"]}
        status, _, answer = await door.post(ask, "/rerank")
        assert status == 200 and json.loads(answer)["results"][0]["index"] == 1
        assert [len(sent.json["texts"]) for sent in door.mock.received] == [3, 1, 1, 1]


async def test_a_servers_refusals_say_what_to_do(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("tei/bge", "{mock}/embed")) as door:
        status, _, answer = await door.post({"model": "m", "input": "word " * 600}, "/v1/embeddings")
        assert status == 400 and "ContextWindowExceeded" in message(answer) and "truncate: true" in message(answer)
        door.mock.queue([Step(status=424), Step(status=429), Step(status=424)])
        status, _, answer = await door.post({"model": "m", "input": "x"}, "/v1/embeddings")
        assert status == 502 and "Inference failed" in message(answer) and "of another kind" in message(answer)
        status, _, answer = await door.post({"model": "m", "input": "x"}, "/v1/embeddings")
        assert status == 429 and "overloaded" in message(answer)
        status, _, answer = await door.post({"model": "m", "query": "q", "documents": ["d"]}, "/rerank")
        assert status == 502 and "of another kind" in message(answer)


async def test_a_limit_of_the_deployments_own(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("tei/bge", "{mock}", info="{embedding_batch_size: 2}")) as door:
        await door.post({"model": "m", "input": list("abc")}, "/v1/embeddings")
        assert sorted(len(sent.json["input"]) for sent in door.mock.received) == [1, 2]
        await door.post({"model": "m", "query": "q", "documents": list("abc")}, "/rerank")
        assert sorted(len(sent.json["texts"]) for sent in door.mock.received[2:]) == [1, 2]


async def test_vectors_for_tokens_are_no_embedding(tmp_path: Path) -> None:
    async with open_door(tmp_path, yaml("tei/bert", "{mock}/embed")) as door:
        door.mock.script = Script(rules=[Rule(step=Step(body=[[[0.1, 0.2], [0.3, 0.4]]]))])
        status, _, answer = await door.post({"model": "m", "input": "x"}, "/v1/embeddings")
        assert status == 502 and "a vector for each token" in message(answer)


async def test_chats_of_the_router_keep_the_providers_suffix(tmp_path: Path) -> None:
    hello = [{"role": "user", "content": "hello"}]
    async with open_door(tmp_path, yaml("huggingface/openai/gpt-oss-120b:groq", "{mock}/v1")) as door:
        status, headers, _ = await door.post({"model": "m", "messages": hello})
        assert status == 200 and headers["x-penstock-lane"] == "same"
        [sent] = door.mock.received
        assert sent.path == "/v1/chat/completions" and sent.json["model"] == "openai/gpt-oss-120b:groq"
        assert sent.header("authorization") == "Bearer sk-upstream"


async def test_the_hubs_own_inference_has_the_model_in_its_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
model_list:
  - model_name: m
    litellm_params: {model: huggingface/BAAI/bge-small, api_key: hf-upstream}
router_settings: {num_retries: 0}
"""
    async with open_door(tmp_path, text) as door:
        real = urls.hub_url
        monkeypatch.setattr(urls, "hub_url", lambda model: real(model).replace(ROUTER, door.mock.url))
        status, _, answer = await door.post({"model": "m", "input": ["a", "b"]}, "/v1/embeddings")
        assert status == 200 and rows(answer) == [vector("a", 8), vector("b", 8)]
        [sent] = door.mock.received
        assert sent.path == "/hf-inference/models/BAAI/bge-small/pipeline/feature-extraction"
        assert sent.json == {"inputs": ["a", "b"]} and sent.header("authorization") == "Bearer hf-upstream"
        status, _, answer = await door.post({"model": "m", "query": "q", "documents": ["d"]}, "/rerank")
        assert status == 401 and "give its address as api_base" in message(answer)
