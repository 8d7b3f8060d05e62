"""Guards that only tests have: each does one thing that a guard of somebody else's may do."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from penstock.config.keys_guards import NAMES
from penstock.core.guarding.rules import Finding
from penstock.guards import GUARDS
from penstock.guards.base import Guard, Said, Shown

SEEN: list[Shown] = []
"""What any of them was shown."""


class Seeing(Guard):
    """Notes what it is shown, and finds nothing."""

    def look(self, shown: Shown) -> Said:
        SEEN.append(shown)
        return []


class Raising(Guard):
    def look(self, shown: Shown) -> Said:
        raise RuntimeError("the secret is tulip")


class Nonsense(Guard):
    def look(self, shown: Shown) -> Said:
        return self.settings.params.get("returns")  # type: ignore[return-value]


class Hanging(Guard):
    waits = True

    async def look(self, shown: Shown) -> Any:  # type: ignore[override]
        await asyncio.sleep(30)
        return []


class Asking(Guard):
    """Waits a moment, and finds ``word``; masks or blocks it, as ``action`` says."""

    waits = True

    async def look(self, shown: Shown) -> Any:  # type: ignore[override]
        SEEN.append(shown)
        await asyncio.sleep(self.settings.params.get("seconds", 0.01))
        word, action = self.settings.params.get("word", "tulip"), self.settings.params.get("action", "block")
        return [
            Finding("FLOWER", number, at, at + len(word), action)
            for number, text in enumerate(shown.texts)
            if (at := text.find(word)) >= 0
        ]


_FAKES = {"seeing": Seeing, "raising": Raising, "nonsense": Nonsense, "hanging": Hanging, "asking": Asking}


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> list[Shown]:
    """Let configs name these guards; what they are shown."""
    import penstock.guards

    for name in _FAKES:
        monkeypatch.setitem(NAMES, name, name)  # type: ignore[arg-type]
        monkeypatch.setitem(GUARDS, name, ("", ""))  # type: ignore[arg-type]
    real = penstock.guards.make_guard
    make = lambda settings: _FAKES[settings.kind](settings) if settings.kind in _FAKES else real(settings)  # noqa: E731
    monkeypatch.setattr("penstock.runtime.guards.make_guard", make)
    SEEN.clear()
    return SEEN
