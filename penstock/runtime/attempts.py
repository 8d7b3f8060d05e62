"""Providers that take more than one HTTP call for an answer: the whole attempt is theirs.

A row here replaces ``lanes.run`` for the targets of that provider, whatever the client's surface; keys, retries,
records and headers stay the engine's. Which one a target has is decided once, when it is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module
from typing import Any

Run = Callable[[Any], Awaitable[None]]
"""Makes an ``Attempt``, as ``lanes.run`` does. (Its type knows targets, and targets who runs them.)"""

ATTEMPTS: Mapping[str, str] = {"replicate": "penstock.runtime.replicate"}
"""Provider -> the module whose ``run`` it is; imported with the first target that needs it."""


def attempt_for(provider: str) -> Run | None:
    """Return the provider's own way to make an ``Attempt``, None for the usual one."""
    module = ATTEMPTS.get(provider)
    if module is None:
        return None
    run: Run = import_module(module).run
    return run
