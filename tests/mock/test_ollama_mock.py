"""The mock's Ollama, asked by Ollama's own client, and what it refuses as the server's Go does."""

from __future__ import annotations

import json
from typing import Any

import httpx
import ollama
import pytest

from penstock.mock import Mock, Script, Step

ASK = [{"role": "user", "content": "hello there"}]


async def post(mock: Mock, path: str, body: Any) -> httpx.Response:
    async with httpx.AsyncClient(base_url=mock.url, trust_env=False) as asked:
        return await asked.post(path, content=body if isinstance(body, bytes) else json.dumps(body))


async def test_whole_and_streamed_say_the_same() -> None:
    async with Mock() as mock:
        asked = ollama.AsyncClient(host=mock.url)
        whole = await asked.chat("mock/echo", ASK, think=True, logprobs=True, top_logprobs=2)
        parts = [
            p async for p in await asked.chat("mock/echo", ASK, think=True, logprobs=True, top_logprobs=2, stream=True)
        ]
        assert "".join(p.message.content or "" for p in parts) == whole.message.content == "mock/echo: hello there"
        assert "".join(p.message.thinking or "" for p in parts) == whole.message.thinking
        told = [row.token for p in parts for row in p.logprobs or ()]
        assert told == [row.token for row in whole.logprobs or ()]
        assert (parts[-1].eval_count, parts[-1].prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)


async def test_every_endpoint_answers_its_client() -> None:
    async with Mock(script=Script(models=("llama3.2:70b",))) as mock:
        asked = ollama.AsyncClient(host=mock.url)
        assert (await asked.generate("m", "once")).response == "mock/echo: once"
        assert [model.model for model in (await asked.list()).models] == ["llama3.2:70b"]
        assert (await asked.ps()).models[0].expires_at and (await asked.show("m")).capabilities
        assert len((await asked.embed("m", ["a", "b"])).embeddings) == 2
        assert (await asked.embeddings("m", "a")).embedding == (await asked.embed("m", "a")).embeddings[0]
        assert (await asked.chat("m", [], keep_alive=0)).done_reason in ("load", "unload")


@pytest.mark.parametrize(
    ("path", "body", "status", "said"),
    [
        ("/api/chat", b"", 400, "missing request body"),
        ("/api/chat", b"{", 400, "invalid character"),
        ("/api/chat", {"messages": ASK}, 400, "model is required"),
        ("/api/chat", {"model": "missing/x", "messages": ASK}, 404, "model 'missing/x' not found"),
        (
            "/api/chat",
            {"model": "m", "messages": [{"role": "user", "content": [{"type": "text"}]}]},
            400,
            "cannot unmarshal array",
        ),
        ("/api/chat", {"model": "m", "messages": ASK, "think": "very"}, 400, "invalid think value"),
        ("/api/chat", {"model": "m", "messages": ASK, "format": "yaml"}, 400, "invalid format"),
        (
            "/api/chat",
            {"model": "m", "messages": [{"role": "user", "content": "", "images": ["!"]}]},
            400,
            "illegal base64",
        ),
        ("/api/chat", {"model": "m", "messages": ASK, "options": 3}, 400, "cannot unmarshal number"),
        ("/api/generate", {"model": "m", "prompt": "p", "raw": True, "system": "s"}, 400, "raw mode does not support"),
        ("/api/embed", {"model": "m", "input": [1]}, 400, "invalid input type"),
        ("/api/nothing", {}, 404, "404 page not found"),
    ],
)
async def test_what_it_refuses(path: str, body: Any, status: int, said: str) -> None:
    async with Mock() as mock:
        answer = await post(mock, path, body)
        assert answer.status_code == status and said in answer.json()["error"]


async def test_arguments_that_are_no_object_are_refused() -> None:
    calls = [{"function": {"name": "f", "arguments": '{"a":1}'}}]
    async with Mock() as mock:
        turns = [*ASK, {"role": "assistant", "content": "", "tool_calls": calls}]
        answer = await post(mock, "/api/chat", {"model": "m", "messages": turns})
        assert answer.status_code == 400 and "arguments" in answer.json()["error"]


async def test_faults_of_lines() -> None:
    async with Mock() as mock:
        for fault, sign in (("crlf", b"\r\n"), ("comments", b"\n\n"), ("missing_done", b'"done":false}\n')):
            mock.queue([Step(malform=(fault,))])
            data = (await post(mock, "/api/chat", {"model": "m", "messages": ASK})).content
            assert sign in data and (b'"done":true' in data) == (fault != "missing_done")
        mock.queue([Step(error_event_after=2, error="it broke"), Step(status=500, error={"message": "bad"})])
        data = (await post(mock, "/api/chat", {"model": "m", "messages": ASK})).content
        assert data.split(b"\n")[-2] == b'{"error":"it broke"}'
        assert (await post(mock, "/api/chat", {"model": "m", "messages": ASK})).json() == {"error": "bad"}


async def test_openais_embeddings() -> None:
    async with Mock() as mock:
        answer = (await post(mock, "/v1/embeddings", {"model": "m", "input": ["a", "b"], "dimensions": 3})).json()
        assert [len(row["embedding"]) for row in answer["data"]] == [3, 3] and answer["usage"]["prompt_tokens"] == 2
        assert (await post(mock, "/v1/embeddings", {"model": "m", "input": []})).status_code == 400
