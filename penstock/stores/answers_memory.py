"""Answers in this process's memory: bounded in bytes, those that nobody has asked for longest go first."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

MAX_BYTES = 64 * 1024 * 1024
_AROUND = 200  # bytes of an entry beside key and value: the objects that hold them


class MemoryAnswers:
    """A ``stores.base.Answers`` in memory. ``clock``: seconds, monotonic. ``max_entries``: how many, 0 = any."""

    at_once = True

    def __init__(
        self, max_bytes: int = MAX_BYTES, clock: Callable[[], float] = time.monotonic, max_entries: int = 0
    ) -> None:
        self._max = max_bytes
        self._most = max_entries or max_bytes
        self._clock = clock
        self._size = 0
        self._values: dict[str, tuple[bytes, float]] = {}  # the one asked for longest ago first

    async def get(self, key: str) -> bytes | None:
        found = self._values.pop(key, None)
        if found is None:
            return None
        if self._clock() >= found[1]:
            self._size -= _size(key, found[0])
            return None
        self._values[key] = found
        return found[0]

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._drop(key)
        size = _size(key, value)
        if size > self._max:
            return
        self._values[key] = (value, float("inf") if ttl is None else self._clock() + ttl)
        self._size += size
        while self._size > self._max or len(self._values) > self._most:
            self._drop(next(iter(self._values)))

    async def delete(self, keys: Sequence[str]) -> int:
        return sum(self._drop(key) for key in keys)

    async def flush(self) -> None:
        self._values.clear()
        self._size = 0

    async def ping(self) -> None:
        return None

    async def info(self) -> Mapping[str, object]:
        return {"entries": len(self._values), "bytes": self._size, "max_bytes": self._max}

    async def close(self) -> None:
        await self.flush()

    def _drop(self, key: str) -> bool:
        found = self._values.pop(key, None)
        if found is None:
            return False
        self._size -= _size(key, found[0])
        return self._clock() < found[1]


def _size(key: str, value: bytes) -> int:
    return len(key) + len(value) + _AROUND
