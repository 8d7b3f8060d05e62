"""Answers in Redis or Valkey that are found by questions like theirs, too, by the server's own search.

Each answer is a hash, and so is what it is found by: its scope, a TAG, and its vector, in a field of its own for each
length, so that another embedding model needs no other name. An index is made when a vector of its length is first
looked for. The search is Redis 8's, Redis Stack's (RediSearch) or valkey-search; the commands are those that all have:

    FT.CREATE index-1536 ON HASH PREFIX 1 penstock:near:index: SCHEMA scope TAG vector_1536 VECTOR HNSW 6
        TYPE FLOAT32 DIM 1536 DISTANCE_METRIC COSINE
    FT.SEARCH index-1536 "(@scope:{ab01})=>[KNN 4 @vector_1536 $asked AS distance]" PARAMS 2 asked <float32, little end>
        RETURN 1 distance LIMIT 0 4 DIALECT 2

https://redis.io/docs/latest/develop/ai/search-and-query/vectors/, https://valkey.io/commands/ft.search/. The filter
stands before ``=>``: only what passes it is compared.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from penstock.config.redis import RedisSettings
from penstock.stores.answers_redis import RedisAnswers
from penstock.stores.base import MOST_NEAR, CannotCompare, Near
from penstock.stores.redis_client import told

PREFIX = "penstock:near:"  # so that a flush takes nothing of anybody else's
_ANSWER, _SCOPE = "answer", "scope"
_CLUSTER = "a search needs a server that is no cluster; give one by host or url"
_NO_SEARCH = "this server has no search (FT.SEARCH): Redis 8, Redis Stack or valkey-search has it"


class RedisVectors(RedisAnswers):
    """A ``stores.base.NearAnswers`` in Redis or Valkey. ``index``: who has the same one in the same database shares
    everything. Raises ``NotInstalled`` without the package redis."""

    def __init__(self, settings: RedisSettings, index: str) -> None:
        super().__init__(settings, f"{PREFIX}{index}:")
        self._index = index
        self._is_cluster = bool(settings.nodes)

    async def get(self, key: str) -> bytes | None:
        with told():
            client: Any = self._client
            found = await client.hget(self._prefix + key, _ANSWER)
            return found if isinstance(found, bytes) else None

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        await self._write(key, {_ANSWER: value}, ttl)

    async def put_near(self, key: str, value: bytes, ttl: float, scope: str, vector: Sequence[float]) -> None:
        fields: dict[str, bytes | str] = {_ANSWER: value, _SCOPE: scope, _field(len(vector)): _packed(vector)}
        await self._write(key, fields, ttl)

    async def _write(self, key: str, fields: Mapping[Any, Any], ttl: float | None) -> None:
        name, px = self._prefix + key, None if ttl is None else int(ttl * 1000)
        if px is not None and px < 1:
            await self.delete([key])
            return
        with told():
            async with self._client.pipeline(transaction=True) as steps:
                steps.delete(name)
                steps.hset(name, mapping={**fields})
                if px is not None:
                    steps.pexpire(name, px)
                await steps.execute()

    async def nearest(self, scope: str, vector: Sequence[float]) -> list[Near]:
        size = len(vector)
        query = f"(@{_SCOPE}:{{{scope}}})=>[KNN {MOST_NEAR} @{_field(size)} $asked AS distance]"
        words = (self._index_of(size), query, "PARAMS", 2, "asked", _packed(vector))
        ask = ("FT.SEARCH", *words, "RETURN", 1, "distance", "LIMIT", 0, MOST_NEAR, "DIALECT", 2)
        try:
            found = await self._search(*ask)
        except CannotCompare:
            if not await self._make_index(size):  # it was there: that is not what is wrong
                raise
            found = await self._search(*ask)
        return self._read(found)

    def _read(self, found: Any) -> list[Near]:
        """Read an answer to FT.SEARCH: the count, then each key, and the list of its fields' names and values."""
        rows = found[1:] if isinstance(found, list) else []
        near = []
        for name, fields in zip(rows[::2], rows[1::2], strict=False):
            told_of = dict(zip(fields[::2], fields[1::2], strict=False)) if isinstance(fields, list) else {}
            distance = told_of.get(b"distance")
            if distance is not None:  # one that ended meanwhile has none
                near.append(Near(name.decode("utf-8", "replace").removeprefix(self._prefix), 1.0 - float(distance)))
        return sorted(near, key=lambda one: -one.likeness)

    async def _make_index(self, size: int) -> bool:
        """Make the index of vectors of a length. False where it is there already."""
        shape = ("HNSW", 6, "TYPE", "FLOAT32", "DIM", size, "DISTANCE_METRIC", "COSINE")
        fields = ("SCHEMA", _SCOPE, "TAG", _field(size), "VECTOR", *shape)
        try:
            await self._search("FT.CREATE", self._index_of(size), "ON", "HASH", "PREFIX", 1, self._prefix, *fields)
        except CannotCompare as error:
            if "exist" in str(error).lower():
                return False
            raise
        return True

    async def search_ready(self) -> None:
        await self._search("FT._LIST")

    async def _search(self, *words: Any) -> Any:
        """Run a command of the search module. Raises ``CannotCompare`` where the server refuses it."""
        if self._is_cluster:
            raise CannotCompare(_CLUSTER)
        with _refused():
            return await self._client.execute_command(*words)

    def _index_of(self, size: int) -> str:
        return f"{self._index}-{size}"


@contextmanager
def _refused() -> Iterator[None]:
    """Tell a server that cannot search from one that cannot be reached."""
    from redis.exceptions import ResponseError

    said = ""
    with told():
        try:
            yield
        except ResponseError as error:
            said = " ".join(str(error).split())[:200]
    if said:
        raise CannotCompare(_NO_SEARCH if "unknown command" in said.lower() else said)


def _field(size: int) -> str:
    return f"vector_{size}"


def _packed(vector: Sequence[float]) -> bytes:
    return struct.pack(f"<{len(vector)}f", *vector)
