"""`litellm.exceptions`: the exceptions of the SDK, which have these names."""

from __future__ import annotations

from typing import Any

from penstock.sdk.exceptions import NAMES, class_of


def __getattr__(name: str) -> Any:
    if name not in NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return class_of(name)


def __dir__() -> list[str]:
    return sorted(NAMES)
