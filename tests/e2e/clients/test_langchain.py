"""LangChain's chat models of OpenAI (Chat and Responses) and of Anthropic, and its embeddings, in front of the gateway.

One process asks everything. It has an environment of its own, for LangChain's clients want their own versions.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.mock import Rule, Step
from tests.e2e.clients.cli import run
from tests.e2e.clients.doc_blocks import run_block
from tests.e2e.clients.faces import PNG
from tests.e2e.clients.install import python_client
from tests.e2e.clients.upstreams import Upstream
from tests.e2e.serving import MASTER_KEY, Llama, Served

pytestmark = pytest.mark.timeout(1000)  # the first run installs the clients
SCRIPT = Path(__file__).parent / "python" / "chain.py"
DIALECTS = ("openai_chat", "openai_responses", "anthropic")
FINISH = {"chat": "stop", "responses": "completed", "messages": "end_turn"}


@pytest.fixture(scope="module")
def found(
    gateway: Served,
    session_upstreams: dict[str, Upstream],
    maybe_llama: Llama | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, Any]]:
    """Everything that the script found out."""
    python = python_client("langchain")
    for upstream in session_upstreams.values():
        upstream.reset()
        upstream.mock.script = upstream.script(rules=[Rule(contains="fail with 429", step=Step(status=429))])
    folder = tmp_path_factory.mktemp("langchain")
    told = ask(python, folder, gateway, " ".join(f"via-{dialect}" for dialect in DIALECTS))
    if maybe_llama is not None:
        told |= ask(python, folder, gateway, "llama", CASES="whole streamed forced structured_by_schema")
    yield told
    for upstream in session_upstreams.values():
        upstream.reset()


def ask(python: Path, folder: Path, gateway: Served, models: str, **env: str) -> dict[str, Any]:
    done = run([python, SCRIPT], folder, GATEWAY=gateway.url, KEY=MASTER_KEY, PNG=PNG, MODELS=models, **env)
    assert done.code == 0, done
    told: dict[str, Any] = json.loads(done.out.splitlines()[-1])
    return told


@pytest.mark.parametrize("kind", FINISH)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_call_of_the_clients(found: dict[str, Any], dialect: str, kind: str) -> None:
    model = f"via-{dialect}"
    hello = "mock/echo: hello"
    read = {"text": hello, "model": model, "finish": FINISH[kind], "counted": True}
    call = {"name": "get_weather", "args": {"city": "Rome"}, "text": "mock/echo: tool get_weather said: rain"}
    ada = {"name": "Ada", "grown": False}
    assert {name: value for name, value in found.items() if name.endswith(f" {kind} {model}")} == {
        f"{name} {kind} {model}": value
        for name, value in {
            "whole": read,
            "asynchronous": hello,
            "streamed": {**read, "deltas": hello},
            "asynchronous_stream": hello,
            "tools": {**call, "text": call["text"] + " in Rome"},
            "tools_streamed": call,
            "forced": ["get_weather"],
            "structured": ada,
            "structured_by_tool": ada,
            "structured_by_schema": ada,
            "vision": "mock/echo: look | saw 1 image (image/png, 70 bytes)",
            "batch": ["mock/echo: one", "mock/echo: two"],
        }.items()
    }


@pytest.mark.parametrize("kind", FINISH)
def test_errors_are_the_clients_own_classes(found: dict[str, Any], kind: str) -> None:
    wrong, busy = found[f"wrong_key {kind}"], found[f"busy {kind}"]
    assert wrong["status"] == 401 and wrong["error"].endswith("AuthenticationError")
    assert busy["status"] == 429 and busy["error"].endswith("RateLimitError")


def test_embeddings(found: dict[str, Any]) -> None:
    assert found["embeddings"] == {"rows": 2, "floats": True}


@pytest.mark.parametrize("kind", FINISH)
def test_a_real_engine(found: dict[str, Any], llama: Llama, kind: str) -> None:
    for name in ("whole", "streamed"):
        told = found[f"{name} {kind} llama"]
        assert told["model"] == "llama" and told["counted"] and told["finish"], told
    assert found[f"streamed {kind} llama"]["deltas"] == found[f"streamed {kind} llama"]["text"]
    assert set(found[f"forced {kind} llama"]) == {"get_weather"}
    assert found[f"structured_by_schema {kind} llama"]["name"] in ("Ada", "Bob")


def test_the_block_of_the_documentation(tmp_path: Path) -> None:
    done = run_block(python_client("langchain"), "langchain_openai", tmp_path / "block")
    assert done.code == 0 and done.out.split("\n")[:-1] == ["mock/echo: hello"] * 3, done
