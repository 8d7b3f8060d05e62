"""Answers in this process's memory: bounded in bytes, those that nobody has asked for longest go first.

Beside those with a name it keeps such as are known by a mark only, under a number, in the same room. Each is one run of
bytes: sixteen objects for an answer were sixteen places that have left the processor's caches when it is pushed out,
and cost more than to write it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from struct import Struct

MAX_BYTES = 64 * 1024 * 1024
_AROUND = 300  # bytes of an entry beside its value: key, node, the objects' heads
_END = Struct("<d")  # when it ends, before every value
_BESIDE = _AROUND - _END.size
_pack, _unpack = _END.pack, _END.unpack_from


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
        # When it ends, and the value; the one asked for longest ago first. (A dict finds its first entry behind all
        # that were taken away before it: when this was full, that took longer than the rest of a request.)
        self.values: OrderedDict[str | int, bytes] = OrderedDict()

    def look(self, key: str | int) -> memoryview | None:
        """Return what is kept under a key or a mark; None where nothing is."""
        found = self.values.get(key)
        if found is None:
            return None
        if self._clock() >= _unpack(found)[0]:
            self.drop(key)
            return None
        self.values.move_to_end(key)
        return memoryview(found)[_END.size :]

    def keep(self, key: str | int, value: bytes, ttl: float) -> None:
        """Keep a value under a key or a mark."""
        values = self.values
        if key in values:
            self.drop(key)
        size = len(value) + _AROUND
        if size > self._max:
            return
        values[key] = _pack(self._clock() + ttl) + value
        size += self._size
        while size > self._max or len(values) > self._most:
            size -= len(values.popitem(last=False)[1]) + _BESIDE
        self._size = size

    def drop(self, key: str | int) -> bool:
        """Forget what is kept under a key or a mark; tell whether anything was."""
        found = self.values.pop(key, None)
        if found is None:
            return False
        self._size -= len(found) + _BESIDE
        return bool(self._clock() < _unpack(found)[0])

    def take_marked(self) -> Iterator[memoryview]:
        """Yield what is known by a mark, the last first, and forget it."""
        for mark in [key for key in reversed(self.values) if type(key) is int]:
            value = memoryview(self.values[mark])[_END.size :]
            if self.drop(mark):
                yield value

    async def get(self, key: str) -> bytes | None:
        value = self.look(key)
        return None if value is None else bytes(value)

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self.keep(key, value, float("inf") if ttl is None else ttl)

    async def delete(self, keys: Sequence[str]) -> int:
        return sum(self.drop(key) for key in keys)

    async def flush(self) -> None:
        self.values.clear()
        self._size = 0

    async def ping(self) -> None:
        return None

    async def info(self) -> Mapping[str, object]:
        return {"entries": len(self.values), "bytes": self._size, "max_bytes": self._max}

    async def close(self) -> None:
        await self.flush()
