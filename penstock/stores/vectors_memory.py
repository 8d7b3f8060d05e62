"""Answers in this process's memory that are found by questions like theirs, too: every vector of a scope is compared.

Plain Python, no numpy: of 1,536 numbers, unpacked and given to ``math.dist``, one takes 40 us (3.11 to 3.13, an EPYC
core), and a scope has at most 1,000, so the longest search takes 40 ms: less than the embedding that it waits for, and
in slices, between which others have their turn. Kept as tuples they take eight times the memory, and are as slow once
they do not fit into the processor's caches (9 us each of 300, 32 us of 1,300). Who keeps more has a server for it.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from heapq import nsmallest
from typing import NamedTuple

from penstock.stores.base import MOST_NEAR, Near

_AROUND = 300  # bytes of an entry beside its parts: the objects that hold them
_OF_NUMBER = 4  # bytes
MOST_COMPARED = 1000  # of a scope; the oldest is then only the answer to its very question
_SLICE = 25  # vectors that are compared before others have their turn


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
        self._vectors: dict[str, dict[str, bytes]] = {}  # by scope and key, the oldest first

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
        self._keep(key, value, ttl, "", b"")

    async def put_near(self, key: str, value: bytes, ttl: float, scope: str, vector: Sequence[float]) -> None:
        self._keep(key, value, ttl, scope, struct.pack(f"{len(vector)}f", *vector))

    def _keep(self, key: str, value: bytes, ttl: float | None, scope: str, vector: bytes) -> None:
        self._drop(key)
        size = len(key) + len(value) + len(vector) + _AROUND
        if size > self._max:
            return
        ends = float("inf") if ttl is None else self._clock() + ttl
        self._kept[key] = _Kept(value, ends, scope if vector else "", size)
        if vector:
            vectors = self._vectors.setdefault(scope, {})
            vectors[key] = vector
            if len(vectors) > MOST_COMPARED:
                del vectors[next(iter(vectors))]
        self._size += size
        while self._size > self._max or len(self._kept) > self._most:
            self._drop(next(iter(self._kept)))

    async def nearest(self, scope: str, vector: Sequence[float]) -> list[Near]:
        asked, now, unpack = tuple(vector), self._clock(), struct.Struct(f"{len(vector)}f").unpack
        vectors, kept = list(self._vectors.get(scope, {}).items()), self._kept
        best: list[tuple[float, str]] = []
        for at in range(0, len(vectors), _SLICE):
            if at:
                await asyncio.sleep(0)
            found = [
                (math.dist(asked, unpack(packed)), key)
                for key, packed in vectors[at : at + _SLICE]
                if len(packed) == len(asked) * _OF_NUMBER
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
            vectors = self._vectors.get(found.scope, {})
            vectors.pop(key, None)
            if not vectors:
                self._vectors.pop(found.scope, None)
        return self._clock() < found.ends
