"""One gateway for the whole folder, in front of three mocks (one dialect each) and, where it is there, llama-server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.clients.faces import FACES, Face
from tests.e2e.clients.upstreams import Upstream, config, mocks
from tests.e2e.serving import LLAMA_KEY, MASTER_KEY, Llama, Served, find_llama, llama_server, serving, until

DIALECTS = ("openai_chat", "openai_responses", "anthropic")


@pytest.fixture(scope="session")
def session_upstreams() -> Iterator[dict[str, Upstream]]:
    yield from mocks()


@pytest.fixture(scope="session")
def maybe_llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Llama | None]:
    """The real llama.cpp server; None where there is none."""
    found = find_llama()
    if isinstance(found, str):
        yield None
        return
    with llama_server(tmp_path_factory.mktemp("llama"), *found, context=4 * 65536, threads=1) as running:
        yield running


@pytest.fixture(scope="session")
def gateway(
    session_upstreams: dict[str, Upstream], maybe_llama: Llama | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("clients")
    urls = {dialect: upstream.mock.url for dialect, upstream in session_upstreams.items()}
    yaml = config(urls, maybe_llama.url if maybe_llama else None, LLAMA_KEY)
    with serving(folder, yaml, "--log-format", "json", LITELLM_MASTER_KEY=MASTER_KEY) as running:
        yield running


@pytest.fixture
def upstreams(session_upstreams: dict[str, Upstream]) -> dict[str, Upstream]:
    """The three mocks, without a memory of earlier tests."""
    for upstream in session_upstreams.values():
        upstream.reset()
    return session_upstreams


@pytest.fixture(params=DIALECTS)
def upstream(request: pytest.FixtureRequest, upstreams: dict[str, Upstream]) -> Upstream:
    return upstreams[request.param]


@pytest.fixture
def face_of(gateway: Served) -> Iterator[Callable[..., Face]]:
    """``face_of(dialect, **client options)``: a client of the gateway, closed after the test."""
    with ExitStack() as stack:

        def make(dialect: str, key: str = MASTER_KEY, **options: Any) -> Face:
            face = FACES[dialect](gateway.url, key, **options)
            stack.callback(face.close)
            return face

        yield make


@pytest.fixture(params=DIALECTS)
def face(request: pytest.FixtureRequest, face_of: Callable[..., Face]) -> Face:
    return face_of(request.param)


class Recorded:
    """The gateway's request records since the test began."""

    def __init__(self, gateway: Served) -> None:
        self._gateway = gateway
        # By time, not by count: the lines of the test before may still be on their way.
        self._since = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def last(self, model: str, count: int) -> dict[str, Any]:
        """The ``count``-th record of ``model``, waited for: lines are written behind the answers."""

        def rows() -> list[dict[str, Any]]:
            return [row for row in self._gateway.records() if row["model"] == model and row["time"] >= self._since]

        until(lambda: len(rows()) >= count, what=f"{count} records of {model}")
        return rows()[count - 1]

    def dropped(self, model: str, count: int) -> list[str]:
        """What was left out of the ``count``-th request."""
        found: list[str] = self.last(model, count).get("dropped", [])
        return found


@pytest.fixture
def recorded(gateway: Served) -> Recorded:
    return Recorded(gateway)


@pytest.fixture
def llama(maybe_llama: Llama | None) -> Llama:
    if maybe_llama is None:
        pytest.skip(str(find_llama()))
    return maybe_llama
