"""`litellm.types.utils`: the classes of answers, which are the SDK's."""

from __future__ import annotations

from typing import Any

from penstock.sdk import answers


def __getattr__(name: str) -> Any:
    found = getattr(answers, name, None)
    if not isinstance(found, type):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return found
