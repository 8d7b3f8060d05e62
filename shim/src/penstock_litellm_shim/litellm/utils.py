"""`litellm.utils`: helpers and classes that are in the module, too."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    import litellm

    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(litellm, name)
