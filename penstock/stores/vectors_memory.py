"""Answers in this process's memory that are found by questions like theirs, too: every vector of a scope is compared.

Plain Python, no numpy: ``math.dist`` takes 9 us for two tuples of 1,536 numbers (3.11, an EPYC core; 37 where the
numbers are unpacked first). Such a tuple has 49 KB, so the 64 MB that answers have by default hold 1,300 of them, and
the longest search takes 12 ms, in slices between which others have their turn: less than the embedding that it waits
for. Who keeps more has a server for it.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest
from typing import NamedTuple

from penstock.stores.base import MOST_NEAR, Near

_AROUND = 300  # bytes of an entry beside its parts: the objects that hold them
_OF_NUMBER = 32  # bytes of a number in a tuple
_SLICE = 100  # vectors that are compared before others have their turn


class _Kept(NamedTuple):
    value: bytes
    ends: float
    scope: str
    size: int


class MemoryVectors:
    """A ``stores.base.NearAnswers`` in memory, bounded in bytes with its vectors; those that nobody has asked for
    longest go first. ``clock``: seconds, monotonic. ``max_entries``: how many, 0 = any."""

    at_once = False  # a search has pauses

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic, max_entries: int = 0) -> None:
        self._max = max_bytes
        self._most = max_entries or max_bytes
        self._clock = clock
        self._size = 0
        self._kept: dict[str, _Kept] = {}  # the one asked for longest ago first
        self._vectors: dict[str, dict[str, tuple[float, ...]]] = {}  # by scope and key

    async def get(self, key: str) -> bytes | None:
        found = self._kept.get(key)
        if found is None:
            return None
        if self._clock() >= found.ends:
            self._drop(key)
            return None
        self._kept[key] = self._kept.pop(key)
        return found.value

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        self._keep(key, value, ttl, "", ())

    async def put_near(self, key: str, value: bytes, ttl: float, scope: str, vector: Sequence[float]) -> None:
        self._keep(key, value, ttl, scope, tuple(vector))

    def _keep(self, key: str, value: bytes, ttl: float | None, scope: str, vector: tuple[float, ...]) -> None:
        self._drop(key)
        size = len(key) + len(value) + len(vector) * _OF_NUMBER + _AROUND
        if size > self._max:
            return
        ends = float("inf") if ttl is None else self._clock() + ttl
        self._kept[key] = _Kept(value, ends, scope if vector else "", size)
        if vector:
            self._vectors.setdefault(scope, {})[key] = vector
        self._size += size
        while self._size > self._max or len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    async def nearest(self, scope: str, vector: Sequence[float]) -> list[Near]:
        asked, now = tuple(vector), self._clock()
        vectors, kept = list(self._vectors.get(scope, {}).items()), self._kept
        best: list[tuple[float, str]] = []
        for at in range(0, len(vectors), _SLICE):
            if at:
                await asyncio.sleep(0)
            found = [
                (math.dist(asked, other), key) for key, other in vectors[at : at + _SLICE] if len(other) == len(asked)
            ]
            best = nsmallest(MOST_NEAR, best + [one for one in found if one[1] in kept and now < kept[one[1]].ends])
        # Of two vectors of length 1 the square of the distance is twice what the cosine lacks of 1.
        return [Near(key, 1.0 - distance * distance / 2.0) for distance, key in best]

    async def search_ready(self) -> None:
        return None

    async def delete(self, keys: Sequence[str]) -> int:
        return sum(self._drop(key) for key in keys)

    async def flush(self) -> None:
        self._kept.clear()
        self._vectors.clear()
        self._size = 0

    async def ping(self) -> None:
        return None

    async def info(self) -> Mapping[str, object]:
        compared = sum(map(len, self._vectors.values()))
        return {"entries": len(self._kept), "compared": compared, "bytes": self._size, "max_bytes": self._max}

    async def close(self) -> None:
        await self.flush()

    def _drop(self, key: str) -> bool:
        found = self._kept.pop(key, None)
        if found is None:
            return False
        self._size -= found.size
        if found.scope:
            vectors = self._vectors[found.scope]
            del vectors[key]
            if not vectors:
                del self._vectors[found.scope]
        return self._clock() < found.ends
