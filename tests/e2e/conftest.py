"""Fixtures of the end-to-end tests: gateways as processes, the mock and the real llama-server behind them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI, OpenAI

from penstock.mock import Mock, Script
from tests.e2e.serving import LLAMA_KEY, MASTER_KEY, Llama, Served, as_openai, find_llama, llama_server, seed3, serving

MOCK_KEY = "sk-upstream-mock-90be42"


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama]:
    """The real llama.cpp server, or a skip that says why."""
    found = find_llama()
    if isinstance(found, str):
        pytest.skip(found)
    with llama_server(tmp_path_factory.mktemp("llama"), *found) as running:
        yield running


@pytest.fixture(scope="session")
def session_mock() -> Iterator[Mock]:
    with Mock.thread(api_key=MOCK_KEY) as running:
        yield running


@pytest.fixture
def mock(session_mock: Mock) -> Mock:
    """A mock upstream in a thread; it forgets everything between two tests."""
    session_mock.reset()
    session_mock.script = Script()
    return session_mock


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """``served(yaml, *arguments, **env)``: a gateway as a process, stopped after the test whatever happens."""
    with ExitStack() as stack:

        def start(yaml: str | None = None, *arguments: str, **env: str) -> Served:
            folder = tmp_path / f"served-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return stack.enter_context(serving(folder, yaml, *arguments, **env))

        yield start


def quiet(mock: Mock) -> None:
    """Waits until a new gateway has asked its engines what they speak: no step of a test is for those questions."""
    seen, still = -1, 0
    while still < 6:
        time.sleep(0.05)
        still = still + 1 if mock.requests == seen else 0
        seen = mock.requests


@dataclass
class Line:
    """A gateway in front of an upstream. ``real``: the upstream is llama-server."""

    gateway: Served
    real: bool

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(
            base_url=self.gateway.base_url, **{"api_key": MASTER_KEY, "max_retries": 0, "timeout": 30, **options}
        )

    def asynchronous(self, **options: Any) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=self.gateway.base_url, **{"api_key": MASTER_KEY, "max_retries": 0, "timeout": 60, **options}
        )


@pytest.fixture(scope="session", params=["mock", "llama"])
def session_line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    """`penstock serve --config` with the YAML of a real application, in front of the mock and of llama-server."""
    if request.param == "llama":
        yaml = as_openai(seed3(request.getfixturevalue("llama").url, LLAMA_KEY))  # it is no Ollama
    else:
        yaml = seed3(request.getfixturevalue("session_mock").url, MOCK_KEY)
    with serving(tmp_path_factory.mktemp("line"), yaml, LITELLM_MASTER_KEY=MASTER_KEY) as gateway:
        if request.param == "mock":
            quiet(request.getfixturevalue("session_mock"))
        yield Line(gateway, request.param == "llama")


@pytest.fixture
def line(session_line: Line, session_mock: Mock) -> Line:
    session_mock.reset()
    session_mock.script = Script()
    return session_line


@pytest.fixture(scope="session")
def session_line_of_mock(session_mock: Mock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    folder = tmp_path_factory.mktemp("mock-line")
    with serving(folder, seed3(session_mock.url, MOCK_KEY), LITELLM_MASTER_KEY=MASTER_KEY) as gateway:
        quiet(session_mock)
        yield Line(gateway, False)


@pytest.fixture
def line_of_mock(session_line_of_mock: Line, mock: Mock) -> Line:
    """The same gateway, always in front of the mock."""
    return session_line_of_mock


@pytest.fixture(scope="session")
def session_plain_line(session_mock: Mock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Line]:
    yaml = seed3(session_mock.url, MOCK_KEY).replace("num_retries: 2", "num_retries: 0")
    with serving(tmp_path_factory.mktemp("plain-line"), yaml, LITELLM_MASTER_KEY=MASTER_KEY) as gateway:
        quiet(session_mock)
        yield Line(gateway, False)


@pytest.fixture
def plain_line(session_plain_line: Line, mock: Mock) -> Line:
    """In front of the mock, without retries of the gateway's own."""
    return session_plain_line
