"""A store in this process's memory: gone with the process, bounded in bytes (the least recently written go first)."""

from __future__ import annotations

import time
from collections.abc import Callable

MAX_BYTES = 256 * 1024 * 1024


class MemoryStore:
    """A ``stores.base.Store`` in memory. ``clock``: seconds, monotonic."""

    def __init__(self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic) -> None:
        self._max = max_bytes
        self._clock = clock
        self._size = 0
        self._values: dict[str, tuple[bytes, float | None]] = {}  # oldest first

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._drop(key)
        self._values[key] = (value, None if ttl is None else self._clock() + ttl)
        self._size += len(key) + len(value)
        while self._size > self._max and len(self._values) > 1:
            self._drop(next(iter(self._values)))

    async def get(self, key: str) -> bytes | None:
        found = self._values.get(key)
        if found is None:
            return None
        value, until = found
        if until is not None and self._clock() >= until:
            self._drop(key)
            return None
        return value

    async def delete(self, key: str) -> bool:
        there = await self.get(key) is not None
        self._drop(key)
        return there

    async def close(self) -> None:
        self._values.clear()
        self._size = 0

    def _drop(self, key: str) -> None:
        found = self._values.pop(key, None)
        if found is not None:
            self._size -= len(key) + len(found[0])
