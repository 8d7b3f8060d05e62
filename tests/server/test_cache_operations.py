"""The answer cache for what is no chat: embeddings input by input, and what is kept as it is."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from penstock.core.ops.embeddings_kept import inputs_of, share_tokens
from penstock.mock import Script, Step
from penstock.mock.embeddings import vector
from tests.door import Door, open_door
from tests.server.test_cache import settled, tell, yaml

PATH = "/v1/embeddings"


async def embed(door: Door, given: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    how, body = await tell(door, {"model": "m", "input": given, **more}, PATH)
    return how, json.loads(body)


def texts(told: dict[str, Any]) -> list[list[float]]:
    assert [row["index"] for row in told["data"]] == list(range(len(told["data"])))
    return [row["embedding"] for row in told["data"]]


async def test_of_a_batch_only_what_is_missing_goes_upstream_in_order(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        how, told = await embed(door, ["one", "two words", "three"])
        assert how == "miss" and texts(told) == [vector(text, 8) for text in ("one", "two words", "three")]
        how, told = await embed(door, ["four", "three", "five", "one", "four"])
        assert how == "miss"
        assert texts(told) == [vector(text, 8) for text in ("four", "three", "five", "one", "four")]
        assert door.mock.received[-1].json["input"] == ["four", "five", "four"]
        assert told["model"] == "m" and told["object"] == "list"
        how, again = await embed(door, ["five", "two words"])
        assert how == "hit" and texts(again) == [vector("five", 8), vector("two words", 8)] and door.mock.requests == 2
        how, one = await embed(door, "two words")
        assert how == "hit" and texts(one) == [vector("two words", 8)]


async def test_usage_is_the_sum_and_the_cost_is_that_of_what_was_asked(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        _, first = await embed(door, ["one", "two words", "three"])
        _, again = await embed(door, ["one", "two words", "three"])
        assert again["usage"] == first["usage"] == {"prompt_tokens": 4, "total_tokens": 4}
        _, mixed = await embed(door, ["one", "two words", "three", "x y z"])
        assert mixed["usage"]["prompt_tokens"] == 4 + 3
        miss, hit, part = door.records
        assert (miss.usage.fresh, hit.usage.fresh, part.usage.fresh) == (4, 4, 3)
        assert (hit.cost, part.cost * 4) == (0, miss.cost * 3) and (hit.cache_hit, part.cache_hit) == (True, False)


async def test_what_is_asked_beside_the_input_counts(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        await embed(door, ["one"])
        for more in ({"dimensions": 4}, {"encoding_format": "base64"}, {"input_type": "query"}):
            assert (await embed(door, ["one"], **more))[0] == "miss"
            assert (await embed(door, ["one"], **more))[0] == "hit"
        assert (await embed(door, ["one"], user="u"))[0] == "hit"
        assert (await embed(door, [1, 2, 3]))[0] == "miss", "a list of tokens is one input"
        assert (await embed(door, [[1, 2, 3], [4]]))[0] == "miss"
        assert door.mock.received[-1].json["input"] == [[4]]


async def test_an_answer_that_does_not_fit_is_no_answer(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:
        await embed(door, ["one"])
        door.mock.script = Script(default=Step(body={"object": "list", "data": [], "usage": {}}))
        status, _, body = await door.post({"model": "m", "input": ["one", "two"]}, PATH)
        assert status == 502 and b"one vector for each" in body
        assert (await embed(door, ["one"]))[0] == "hit"


async def test_batches_that_are_asked_for_together_share(tmp_path) -> None:
    async with open_door(tmp_path, yaml(), script=Script(default=Step(latency_ms=200))) as door:
        answers = await asyncio.gather(*(door.post({"model": "m", "input": ["a", "b"]}, PATH) for _ in range(4)))
        assert door.mock.requests == 1 and len({body for _, _, body in answers}) <= 2
        assert all(texts(json.loads(body)) == [vector("a", 8), vector("b", 8)] for _, _, body in answers)
        assert sorted(headers["x-penstock-cache"] for _, headers, _ in answers) == ["miss"] + ["shared"] * 3


def test_tokens_are_shared_out_to_the_last(seen: int = 0) -> None:
    for tokens in range(40):
        for sizes in ([1], [1, 1, 1], [5, 0, 9], [0, 0], list(range(17))):
            shares = share_tokens(tokens, [b"x" * size for size in sizes])  # type: ignore[misc]
            assert sum(shares) == (tokens if sum(sizes) else 0) and min(shares) >= 0


def test_one_input_is_told_from_several() -> None:
    assert [inputs_of(raw) for raw in (b'"a"', b"[1,2]", b"[]")] == [None] * 3  # type: ignore[arg-type]
    assert len(inputs_of(b'["a", "b"]') or ()) == 2 and len(inputs_of(b"[[1],[2],[3]]") or ()) == 3  # type: ignore[arg-type]


# As they are ----------------------------------------------------------------------------------------------------------

WHOLE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "rerank": ("/v1/rerank", {"model": "m", "query": "q", "documents": ["a", "b"]}, {"top_n": 1}),
    "completion": ("/v1/completions", {"model": "m", "prompt": "q", "max_tokens": 5}, {"max_tokens": 6}),
    "ollama": ("/api/embed", {"model": "m", "input": ["a", "b"]}, {"truncate": False}),
    "google": ("/v1beta/models/m:embedContent", {"content": {"parts": [{"text": "a"}]}}, {"outputDimensionality": 4}),
}


@pytest.mark.parametrize("kind", WHOLE)
async def test_an_operation_is_kept_as_it_is(kind: str, tmp_path) -> None:
    path, body, more = WHOLE[kind]
    target = "cohere/rerank-v3.5" if kind == "rerank" else "openai/real-model"
    config = yaml(target=target) if kind != "rerank" else yaml(target=target).replace("{mock}/v1", "{mock}")
    async with open_door(tmp_path, config) as door:
        how, first = await tell(door, body, path)
        assert how == "miss"
        assert await tell(door, body, path) == ("hit", first)
        assert (await tell(door, {**body, **more}, path))[0] == "miss"


async def test_a_completion_is_given_as_a_stream_too(tmp_path) -> None:
    body = {"model": "m", "prompt": "q", "max_tokens": 5}
    async with open_door(tmp_path, yaml()) as door:
        _, first = await tell(door, body, "/v1/completions")
        how, stream = await tell(door, {**body, "stream": True}, "/v1/completions")
        text = "".join(
            json.loads(line[6:])["choices"][0]["text"]
            for line in stream.decode().splitlines()
            if line.startswith("data: {") and json.loads(line[6:])["choices"]
        )
        assert how == "hit" and text == json.loads(first)["choices"][0]["text"] and stream.endswith(b"data: [DONE]\n\n")
        _, streamed = await tell(door, {**body, "stream": True, "seed": 1}, "/v1/completions")
        how, whole = await tell(door, {**body, "seed": 1}, "/v1/completions")
        assert how == "hit" and json.loads(whole)["choices"][0]["text"] == text


def form(boundary: str, file: bytes, name: str = "a.wav", **fields: str) -> bytes:
    parts = [f'--{boundary}\r\ncontent-disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return b"".join(parts) + head + file + f"\r\n--{boundary}--\r\n".encode()


async def test_a_transcription_is_of_the_same_sound_however_it_is_wrapped(tmp_path) -> None:
    async with open_door(tmp_path, yaml()) as door:

        async def hear(boundary: str, file: bytes, name: str = "a.wav", **fields: str) -> tuple[str, bytes]:
            lines = {"content-type": f"multipart/form-data; boundary={boundary}"}
            body = form(boundary, file, name, model="m", **fields)
            status, headers, answer = await door.ask("POST", "/v1/audio/transcriptions", body, lines)
            assert status == 200, answer
            await settled(door)
            return headers.get("x-penstock-cache", "-"), answer

        how, first = await hear("one", b"RIFFsound")
        assert how == "miss"
        assert await hear("other", b"RIFFsound", "b.wav") == ("hit", first)
        assert (await hear("one", b"RIFFother"))[0] == "miss"
        assert (await hear("one", b"RIFFsound", language="de"))[0] == "miss"
        assert (await hear("one", b"RIFFsound", response_format="text"))[0] == "miss"
        assert (await hear("one", b"RIFFsound", response_format="text"))[0] == "hit"
        assert (await hear("one", b"RIFFsound", stream="true"))[0] == "-"
