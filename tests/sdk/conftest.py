"""A mock upstream in a thread of its own, and calls that go to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from penstock import sdk
from penstock.mock import Mock, Script, Step, ThreadMock

ASKED = [{"role": "user", "content": "hello"}]


@pytest.fixture
def mock() -> Iterator[Mock]:
    with ThreadMock() as running:
        yield running


@pytest.fixture
def to(mock: Mock) -> dict[str, Any]:
    """The arguments that lead to the mock."""
    return {"api_base": f"{mock.url}/v1", "api_key": "sk-of-the-call-8421"}


@pytest.fixture(autouse=True)
def unheard() -> Iterator[None]:
    yield
    sdk.flush()
    for heard in (sdk.success_callback, sdk.failure_callback, sdk.callbacks):
        heard.clear()


def always(**step: Any) -> Script:
    return Script.always(**step)


def failing(status: int, **step: Any) -> Script:
    return Script.always(status=status, **step)


__all__ = ["ASKED", "Step", "always", "failing"]
