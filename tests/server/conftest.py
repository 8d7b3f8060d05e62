"""Fixtures of the tests behind a door."""

from __future__ import annotations

import pytest

from penstock.runtime.call import Call
from penstock.runtime.engine import Engine


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries come one right behind the other, for tests of what is tried and not of when."""

    async def wait(engine: Engine, call: Call, seconds: float) -> None:
        assert 0 <= seconds <= 8

    monkeypatch.setattr(Engine, "_wait", wait)
