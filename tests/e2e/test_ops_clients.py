"""The official `openai` client's small operations through `penstock serve`: to the mock, and embeddings, rerank and
completions to the real llama-server."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, OpenAI

from penstock.mock import Mock
from penstock.mock.embeddings import vector
from penstock.mock.ops import sound
from tests.e2e.serving import LLAMA_KEY, MASTER_KEY, clean_env, find_llama, free_port, get, serving

MODELS = {
    "embed": "openai/text-embedding-3-small",
    "batched": "openai/text-embedding-3-small",
    "base": "hosted_vllm/base",
    "chat": "openrouter/some/chat",
    "claude": "anthropic/claude-x",
    "judge": "openai/omni-moderation-latest",
    "painter": "openai/gpt-image-1",
    "voice": "openai/tts-1",
    "ear": "openai/whisper-1",
}


def config(mock: str) -> str:
    rows = []
    for name, model in MODELS.items():
        base = mock if model.startswith("anthropic/") else f"{mock}/v1"
        info = "\n    model_info: {embedding_batch_size: 2}" if name == "batched" else ""
        rows.append(f"  - model_name: {name}\n    litellm_params: {{model: {model}, api_base: {base}, api_key: k}}{info}\n")
    return "model_list:\n" + "".join(rows) + f"general_settings: {{master_key: {MASTER_KEY}}}\n"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenAI]:
    with Mock.thread() as mock, serving(tmp_path_factory.mktemp("ops"), config(mock.url)) as gateway:
        yield OpenAI(base_url=gateway.base_url, api_key=MASTER_KEY, max_retries=0, timeout=20)


def test_embeddings_in_the_clients_default_base64(client):
    told = client.embeddings.create(model="embed", input=["one", "two words"])
    assert [row.embedding for row in told.data] == [vector("one", 8), vector("two words", 8)]
    assert told.model == "embed" and told.usage.total_tokens == 3 and [row.index for row in told.data] == [0, 1]


def test_embeddings_as_floats_in_batches_with_dimensions(client):
    told = client.embeddings.create(model="batched", input=list("abcde"), encoding_format="float", dimensions=3)
    assert [row.embedding for row in told.data] == [vector(text, 3) for text in "abcde"]


@pytest.mark.parametrize("model", ["base", "chat", "claude"])
def test_completions_whole_and_streamed(client, model):
    whole = client.completions.create(model=model, prompt="Hello", max_tokens=20)
    assert whole.object == "text_completion" and whole.model == model and whole.choices[0].text == "mock/echo: Hello"
    assert whole.usage.completion_tokens > 0 and whole.choices[0].finish_reason == "stop"
    chunks = list(client.completions.create(model=model, prompt="Hello", stream=True, max_tokens=20))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == "mock/echo: Hello"
    assert {chunk.model for chunk in chunks} == {model} and chunks[-1].choices[0].finish_reason == "stop"


def test_completions_of_several_prompts(client):
    told = client.completions.create(model="chat", prompt=["a", "b"], echo=True)
    assert [choice.text for choice in told.choices] == ["amock/echo: a", "bmock/echo: b"]
    with pytest.raises(BadRequestError, match="tokens"):
        client.completions.create(model="chat", prompt=[1, 2, 3])


def test_moderations_with_and_without_a_model(client):
    assert client.moderations.create(model="judge", input="we attack").results[0].flagged
    told = client.moderations.create(input=["hello", "an attack"])
    assert [row.flagged for row in told.results] == [False, True] and told.results[1].categories.violence


def test_images_made_edited_and_streamed(client):
    made = client.images.generate(model="painter", prompt="a cat", n=2)
    assert len(made.data) == 2 and made.data[0].b64_json and made.usage.output_tokens == 200
    edited = client.images.edit(model="painter", prompt="a hat", image=[("a.png", b"\x89PNG1"), ("b.png", b"\x89PNG2")])
    assert edited.data[0].b64_json
    events = list(client.images.generate(model="painter", prompt="a cat", stream=True, partial_images=1))
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]


def test_speech_whole_and_streamed(client, tmp_path):
    assert client.audio.speech.create(model="voice", input="Hello", voice="alloy").content == sound("Hello")
    with client.audio.speech.with_streaming_response.create(model="voice", input="Hi there", voice="alloy") as answer:
        answer.stream_to_file(tmp_path / "said.wav")
    assert (tmp_path / "said.wav").read_bytes() == sound("Hi there")


def test_transcriptions_and_translations(client):
    data = sound("some words")
    told = client.audio.transcriptions.create(model="ear", file=("a.wav", data), language="en")
    assert told.text == f"mock heard {len(data)} bytes of a.wav"
    long = client.audio.transcriptions.create(
        model="ear", file=("a.wav", data), response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert long.duration > 0
    assert client.audio.transcriptions.create(model="ear", file=("a.wav", data), response_format="srt").startswith("1\n00:")
    assert client.audio.translations.create(model="ear", file=("a.wav", data)).text == told.text
    events = list(client.audio.transcriptions.create(model="ear", file=("a.wav", data), stream=True))
    assert events[-1].type == "transcript.text.done" and events[-1].text == told.text


def test_a_large_file_passes(client):
    data = sound("x") + bytes(8 * 1024 * 1024)
    assert f"heard {len(data)} bytes" in client.audio.transcriptions.create(model="ear", file=("big.wav", data)).text


# ---- the real engine


@contextmanager
def engine(folder: Path, *arguments: str) -> Iterator[str]:
    found = find_llama()
    if isinstance(found, str):
        pytest.skip(found)
    port = free_port()
    command = [str(found[0]), "-m", str(found[1]), "--host", "127.0.0.1", "--port", str(port), "-c", "4096", "-np", "1"]  # with two slots a text's vector depends on its neighbour in the batch
    with (folder / "engine.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "-t", "2", "--offline", "--api-key", LLAMA_KEY, *arguments],
            env=clean_env(folder), stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        end = time.monotonic() + 30
        while get(f"http://127.0.0.1:{port}/health", 1.0)[0] != 200:
            assert process.poll() is None and time.monotonic() < end, (folder / "engine.log").read_text(errors="replace")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


def engine_config(url: str, provider: str = "llama_cpp") -> str:
    params = f"{{model: {provider}/tiny, api_base: {url}, api_key: {LLAMA_KEY}}}"
    return (
        f"model_list:\n  - model_name: tiny\n    litellm_params: {params}\n    model_info: {{embedding_batch_size: 2}}\n"
        f"general_settings: {{master_key: {MASTER_KEY}}}\n"
    )


@pytest.mark.parametrize("provider", ["llama_cpp", "openai"])
def test_real_embeddings_are_the_same_in_every_encoding_and_batch(provider, tmp_path):
    (tmp_path / "e").mkdir()
    with engine(tmp_path / "e", "--embeddings", "--pooling", "mean") as url, serving(tmp_path, engine_config(url, provider)) as gateway:
        client = OpenAI(base_url=gateway.base_url, api_key=MASTER_KEY, max_retries=0)
        packed = client.embeddings.create(model="tiny", input=["one", "two", "three"])
        plain = client.embeddings.create(model="tiny", input=["one", "two", "three"], encoding_format="float")
        alone = client.embeddings.create(model="tiny", input="three", encoding_format="float")
        assert packed.model == "tiny" and packed.usage.prompt_tokens > 0 and len(packed.data) == 3
        for one, two in zip(packed.data, plain.data, strict=True):
            assert one.embedding == pytest.approx(two.embedding, rel=1e-3, abs=1e-4)
        assert plain.data[2].embedding == pytest.approx(alone.data[0].embedding, rel=1e-3, abs=1e-4)
        tokens = client.embeddings.create(model="tiny", input=[[1, 2], [5]])
        assert len(tokens.data) == 2 and tokens.usage.prompt_tokens == 3


def test_real_rerank(tmp_path):
    (tmp_path / "e").mkdir()
    with engine(tmp_path / "e", "--reranking") as url, serving(tmp_path, engine_config(url)) as gateway:
        body = {"model": "tiny", "query": "cat", "documents": ["a dog", "a cat", "a bird"], "top_n": 2, "return_documents": True}
        for path in ("/rerank", "/v1/rerank", "/v2/rerank"):
            answer = httpx.post(gateway.url + path, json=body, headers={"authorization": f"Bearer {MASTER_KEY}"})
            told = answer.json()
            assert answer.status_code == 200 and told["model"] == "tiny" and len(told["results"]) == 2, told
            scores = [row["relevance_score"] for row in told["results"]]
            assert scores == sorted(scores, reverse=True) and told["usage"]["total_tokens"] > 0
            assert told["results"][0]["document"]["text"] == body["documents"][told["results"][0]["index"]]


@pytest.mark.parametrize("mode", ["", "chat"])
def test_real_completions(llama, mode, tmp_path):
    text = engine_config(llama.url).replace("embedding_batch_size: 2", f"mode: {mode}" if mode else "x: 1")
    with serving(tmp_path, text) as gateway:
        client = OpenAI(base_url=gateway.base_url, api_key=MASTER_KEY, max_retries=0)
        options = {"model": "tiny", "prompt": "Once upon", "max_tokens": 12, "temperature": 0, "seed": 3}
        whole = client.completions.create(**options)
        assert whole.object == "text_completion" and whole.model == "tiny" and whole.usage.prompt_tokens > 0
        chunks = list(client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
        assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
        assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
        several = client.completions.create(**{**options, "prompt": ["Once", "upon"]})
        assert [choice.index for choice in several.choices] == [0, 1]
        told = client.completions.create(**options, logprobs=2).choices[0].logprobs
        assert told is None or mode == "" or (told.tokens and len(told.text_offset) == len(told.tokens))
        assert json.loads(whole.model_dump_json())["id"]
