"""Providers that take more than one HTTP call for an answer: the whole attempt is theirs.

A row here replaces ``lanes.run`` for the targets of that provider, whatever the client's surface; keys, retries,
records and headers stay the engine's. Which one a target has is decided once, when it is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from importlib import import_module

Attempt = Callable[..., Awaitable[None]]
"""Takes the pool, the call and the target, as ``lanes.run`` does. (Their types know targets, and targets attempts.)"""

ATTEMPTS: Mapping[str, str] = {"replicate": "penstock.runtime.replicate"}
"""Provider -> the module whose ``run`` it is; imported with the first target that needs it."""


def attempt_for(provider: str) -> Attempt | None:
    """The provider's own attempt, None for the usual one."""
    module = ATTEMPTS.get(provider)
    if module is None:
        return None
    run: Attempt = import_module(module).run
    return run
