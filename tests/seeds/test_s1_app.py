"""Seed 1: the service over HTTP in the program itself, as `api:app` and as a router of FastAPI."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fastapi
import httpx
import pytest
from fastapi.testclient import TestClient

from penstock.mock import Mock, ThreadMock
from penstock.sdk.service import get_litellm_service
from penstock.server.las_app import app
from tests.seeds.las import COMPAT, ROOT, env_of, run_code

LAS = "/api/v1/litellm"
SAYS = {"messages": [{"role": "user", "content": "Hello!"}]}


@pytest.fixture
def mock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mock]:
    with ThreadMock() as running:
        for name, value in env_of(running.url).items():
            monkeypatch.setenv(name, value)
        yield running


def client_of(application: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://las")


@contextlib.contextmanager
def served(mock: Mock, *options: str, **more: str) -> Iterator[str]:
    """The seed's command line, and where it serves."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{COMPAT}{os.pathsep}{ROOT}", **env_of(mock.url), **more}
    command = [sys.executable, "-m", "uvicorn", "api:app", "--port", str(port), "--log-level", "warning", *options]
    with subprocess.Popen(command, env=env, cwd=COMPAT) as process:
        try:
            deadline = time.monotonic() + 30
            while process.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
                    assert json.loads(answer.read())["status"] == "healthy"
                    break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            assert process.wait(10) in (0, -15, 143)


def test_s1_12_plain_uvicorn_serves_all_of_it(mock):
    openai = pytest.importorskip("openai")
    with served(mock, "--host", "0.0.0.0") as url, httpx.Client(base_url=url) as client:
        answer = client.post(LAS + "/chat/completions", json={"model": "ollama/llama3.2", "temperature": 0.7, "max_tokens": 4096, **SAYS})
        assert answer.json()["choices"][0]["message"]["content"] == "mock/echo: Hello!"
        assert client.get(LAS + "/models?provider=ollama").json()["data"][0]["id"] == "ollama/llama3.2"
        assert len(client.get(LAS + "/providers").json()["providers"]) == 12
        assert client.post(LAS + "/vision", json={"prompt": "p", "image_url": "https://example.com/a.png", "model": "openai/gpt-4o"}).json()["response"]
        assert client.post(LAS + "/embeddings", json={"input": "x", "model": "text-embedding-3-small", "provider": "openai"}).status_code == 200
        asked = {"model": "openai/gpt-4o", "input_tokens": 1000, "output_tokens": 500}
        assert client.post(LAS + "/cost/estimate", json=asked).json()["total_cost"] == 0.0075
        assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 200
        with openai.OpenAI(base_url=url + LAS + "/v1", api_key="any", max_retries=0) as own:
            parts = own.chat.completions.create(model="ollama/llama3.2", stream=True, **SAYS)
            assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == "mock/echo: Hello!"


async def test_s1_53_http_and_python_share_upstream_cache_and_costs(mock):
    svc = get_litellm_service()
    svc.reset_costs()
    first = svc.chat_completion(**SAYS)
    async with client_of(app) as client:
        for body in ({}, {"model": "llama3.2"}, {"model": "llama3.2", "provider": "ollama", "temperature": 0.7, "max_tokens": 4096}):
            answer = (await client.post(LAS + "/chat/completions", json={**SAYS, **body})).json()
            assert answer["choices"][0]["message"]["content"] == first.choices[0].message.content
        assert len(mock.received) == 1 and svc.costs()["requests"] == 4 and svc.costs()["cached"] == 3
        await client.post(LAS + "/chat/completions", json={"model": "gpt-4o", "provider": "openai", **SAYS})
    again = await svc.achat_completion(model="gpt-4o", provider="openai", **SAYS)
    assert again._hidden_params["cache_hit"] and len(mock.received) == 2
    assert svc.costs()["by_model"]["openai/gpt-4o"]["requests"] == 2 and svc.costs()["total_cost"] > 0


async def test_s1_53_settings_of_the_service_hold_over_http_at_once(mock):
    svc = get_litellm_service()
    before = svc.config
    try:
        svc.update_config(default_provider="openai", default_model="gpt-4o-mini", temperature=0.25)
        async with client_of(app) as client:
            answer = await client.post(LAS + "/chat/completions", json={"messages": [{"role": "user", "content": "settings"}]})
            assert answer.status_code == 200 and mock.received[-1].json["model"] == "gpt-4o-mini"
            assert mock.received[-1].json["temperature"] == 0.25
            ids = [row["id"] for row in (await client.get(LAS + "/models?provider=openai")).json()["data"]]
            assert "openai/gpt-4o-mini" in ids
    finally:
        svc.config = before
        svc._setup_litellm()


async def test_streams_errors_and_other_mounts_come_through_the_application(mock):
    async with client_of(app) as client:
        answer = await client.post(LAS + "/chat/completions", json={"stream": True, **SAYS})
        assert answer.headers["content-type"].startswith("text/event-stream") and answer.text.endswith("data: [DONE]\n\n")
        for body in (b"{", b"[]", b'{"model": 5}', b'{"provider": 5, "messages": []}'):
            answer = await client.post(LAS + "/chat/completions", content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error", answer.text
        answer = await client.post(LAS + "/chat/completions", json={"model": "groq/llama-3.3-70b-versatile", **SAYS})
        assert answer.status_code == 401 and "GROQ_API_KEY" in answer.text
        answer = await client.post("/v1/messages", json={"model": "openai/gpt-4o", "max_tokens": 9, **SAYS})
        assert answer.json()["type"] == "message" and "temperature" not in mock.received[-1].json


@pytest.mark.parametrize(
    ("client", "headers", "status"),
    [("203.0.113.9", {}, 401), ("127.0.0.1", {"x-forwarded-for": "203.0.113.9"}, 401), ("127.0.0.1", {}, 200)],
)
@pytest.mark.parametrize("server", ["192.0.2.1", "las.example"])
async def test_strangers_are_not_served_without_a_key(client, headers, status, server, mock):
    """A bridge that names the host asked for as its server (AWS Lambda's) makes nobody local."""
    transport = httpx.ASGITransport(app, client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{server}") as asks:
        answer = await asks.get(LAS + "/models", headers={"host": "localhost", **headers})
        assert answer.status_code == status, answer.text


async def test_a_master_key_closes_the_application(mock, monkeypatch):
    monkeypatch.setenv("LITELLM_MASTER_KEY", "sk-master-of-the-house")
    from penstock.server.las_app import ServiceApp

    async with client_of(ServiceApp()) as client:
        assert (await client.post(LAS + "/chat/completions", json=SAYS)).status_code == 401
        key = {"authorization": "Bearer sk-master-of-the-house"}
        assert (await client.post(LAS + "/chat/completions", json=SAYS, headers=key)).status_code == 200


def test_the_router_of_fastapi(mock, monkeypatch):
    monkeypatch.syspath_prepend(str(COMPAT))
    from routers.litellm_router import router

    async def reads(request: fastapi.Request) -> None:
        await request.body()

    async def refuses(request: fastapi.Request) -> None:
        if request.headers.get("x-secret") != "open":
            raise fastapi.HTTPException(403)

    for dependency, headers in ((reads, {}), (refuses, {"x-secret": "open"})):
        application = fastapi.FastAPI()
        application.include_router(router, dependencies=[fastapi.Depends(dependency)])
        with TestClient(application) as client:
            answer = client.post(LAS + "/chat/completions", json=SAYS, headers=headers)
            assert answer.json()["choices"][0]["message"]["content"] == "mock/echo: Hello!"
            assert client.post(LAS + "/v1/chat/completions", json={"model": "openai/gpt-4o", **SAYS}, headers=headers).status_code == 200
            assert client.get(LAS + "/providers", headers=headers).status_code == 200
            if headers:
                assert client.post(LAS + "/chat/completions", json=SAYS).status_code == 403
            assert LAS + "/vision" in client.get("/openapi.json").json()["paths"]


def test_without_fastapi_the_router_says_what_there_is_instead(mock, tmp_path):
    code = "import sys\nsys.modules['fastapi'] = None\ntry:\n    import routers.litellm_router\nexcept ImportError as error:\n    print(error)\nimport api"
    assert "serve `api:app`, which needs none" in run_code(code, mock.url, tmp_path)


def test_the_folder_that_is_put_on_the_path(tmp_path):
    told = subprocess.run([sys.executable, "-m", "penstock.compat"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert Path(told.stdout.strip()) == COMPAT
