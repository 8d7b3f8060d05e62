"""Answers in a collection of Qdrant's that are found by questions like theirs, too.

Each answer is a point: its id is made of its key, its payload has the answer, its scope and its end. One that is not to
be compared (an embedding, a rerank) has a vector that no scope has. Qdrant forgets nothing by itself: what has ended is
neither found nor given, and deleted now and then. What is asked is asked as the reference has it:
https://api.qdrant.tech/api-reference (collections, points, payload indexes; ``points/query`` is of Qdrant 1.10).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from penstock.stores.base import MOST_NEAR, CannotCompare, Near

SIZE = 1536  # numbers in a vector of text-embedding-ada-002 and text-embedding-3-small
_OURS = {"key": "kept_by", "match": {"value": "penstock"}}  # a flush takes nothing of anybody else's
_INDEXED = {"kept_by": "keyword", "scope": "keyword", "ends": "float"}
_FOREVER = 4e9  # seconds since 1970: the end of what has none
_SWEEP = 600.0  # seconds between two times that what has ended is deleted
_COMPRESSED: Mapping[str, Mapping[str, Any]] = {
    "binary": {"binary": {"always_ram": False}},
    "scalar": {"scalar": {"type": "int8", "quantile": 0.99, "always_ram": False}},
    "product": {"product": {"compression": "x16", "always_ram": False}},
}
# Compressed vectors find more than is asked for; the whole ones then tell which are nearest.
_SEARCH = {"quantization": {"ignore": False, "rescore": True, "oversampling": 3.0}}


class Ask(Protocol):
    """Sends JSON (None: nothing) to Qdrant; returns status and body. Raises ``OSError``."""

    async def __call__(self, method: str, path: str, body: object = None) -> tuple[int, bytes]: ...


class _Told(Struct):
    result: Raw = Raw(b"null")
    status: Raw = Raw(b"null")


class _Payload(Struct):
    key: str = ""
    answer: str = ""
    ends: float = 0.0


class _Point(Struct):
    score: float = 0.0
    payload: _Payload | None = None


class _Points(Struct):
    points: list[_Point] = []


class QdrantVectors:
    """A ``stores.base.NearAnswers`` in Qdrant. ``size``, ``compressed``: of a collection that is made because there is
    none; one that is there keeps its own. ``clock``: seconds since 1970."""

    at_once = False

    def __init__(
        self,
        ask: Ask,
        collection: str,
        size: int = SIZE,
        compressed: str = "binary",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ask = ask
        self._name = collection
        self._root = f"/collections/{quote(collection, safe='')}"
        self._size = size
        self._compressed = _COMPRESSED[compressed]
        self._clock = clock
        self._made = asyncio.Lock()
        self._is_there = False
        self._sweep_at = clock() + _SWEEP

    async def get(self, key: str) -> bytes | None:
        found = await self._tell("POST", "/points", {"ids": [_id_of(key)], "with_payload": True, "with_vector": False})
        for point in _read(found, list[_Point]):
            payload = point.payload
            if payload is not None and payload.key == key and self._clock() < payload.ends:
                try:
                    return base64.b64decode(payload.answer, validate=True)
                except binascii.Error:
                    return None
        return None

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        await self._there()
        await self._write(key, value, ttl, "", (1.0, *[0.0] * (self._size - 1)))

    async def put_near(self, key: str, value: bytes, ttl: float, scope: str, vector: Sequence[float]) -> None:
        await self._there()
        self._fits(vector)
        await self._write(key, value, ttl, scope, vector)

    async def _write(self, key: str, value: bytes, ttl: float | None, scope: str, vector: Sequence[float]) -> None:
        now = self._clock()
        payload = {
            "kept_by": "penstock",
            "key": key,
            "scope": scope,
            "ends": _FOREVER if ttl is None else now + ttl,
            "answer": base64.b64encode(value).decode(),
        }
        point = {"id": _id_of(key), "vector": list(vector), "payload": payload}
        await self._tell("PUT", "/points?wait=true", {"points": [point]})
        if now >= self._sweep_at:
            self._sweep_at = now + _SWEEP
            ended = {"must": [_OURS, {"key": "ends", "range": {"lte": now}}]}
            await self._tell("POST", "/points/delete", {"filter": ended})

    async def nearest(self, scope: str, vector: Sequence[float]) -> list[Near]:
        await self._there()
        self._fits(vector)
        alike = {"key": "scope", "match": {"value": scope}}
        query = {
            "query": list(vector),
            "filter": {"must": [alike, {"key": "ends", "range": {"gt": self._clock()}}]},
            "limit": MOST_NEAR,
            "with_payload": ["key"],
            "params": _SEARCH,
        }
        found = _read(await self._tell("POST", "/points/query", query), _Points).points
        return [Near(point.payload.key, point.score) for point in found if point.payload is not None]

    async def search_ready(self) -> None:
        await self._there()

    async def delete(self, keys: Sequence[str]) -> int:
        count = 0
        for key in keys:
            if await self.get(key) is not None:
                await self._tell("POST", "/points/delete?wait=true", {"points": [_id_of(key)]})
                count += 1
        return count

    async def flush(self) -> None:
        await self._tell("POST", "/points/delete?wait=true", {"filter": {"must": [_OURS]}})

    async def ping(self) -> None:
        await self._tell("GET", "/exists")

    async def info(self) -> Mapping[str, object]:
        counted = await self._tell("POST", "/points/count", {"filter": {"must": [_OURS]}, "exact": False})
        return {"collection": self._name, "vector_size": self._size} | _read(counted, dict[str, Any])

    async def close(self) -> None:
        return None

    # The collection. --------------------------------------------------------------------------------------------------

    async def _there(self) -> None:
        """Make sure that the collection is there, with what it is filtered by."""
        if self._is_there:
            return
        async with self._made:
            if self._is_there:
                return
            status, body = await self._ask("GET", self._root)
            if status == 404:
                shape = {"vectors": {"size": self._size, "distance": "Cosine"}, "quantization_config": self._compressed}
                status, body = await self._ask("PUT", self._root, shape)
                if status not in (200, 409):  # 409: another gateway was faster
                    raise self._refused(status, body)
            elif status != 200:
                raise self._refused(status, body)
            else:
                self._size = _size_in(body) or self._size
            for name, kind in _INDEXED.items():  # one that is there already is no fault
                await self._tell("PUT", "/index?wait=true", {"field_name": name, "field_schema": kind})
            self._is_there = True

    def _fits(self, vector: Sequence[float]) -> None:
        if len(vector) != self._size:
            told = f"the collection {self._name!r} has vectors of {self._size} numbers, the embedding model gives"
            hint = "name another collection, and its size as qdrant_semantic_cache_vector_size"
            raise CannotCompare(f"{told} {len(vector)}: {hint}")

    async def _tell(self, method: str, path: str, body: object = None) -> Raw:
        """Ask Qdrant about the collection; return what it says. b"null" of what is not there."""
        status, told = await self._ask(method, self._root + path, body)
        if status == 404:
            self._is_there = False  # somebody deleted it
            return Raw(b"null")
        if status != 200:
            raise self._refused(status, told)
        return _read(told, _Told).result

    def _refused(self, status: int, body: bytes) -> OSError:
        try:
            said = bytes(msgspec.json.decode(body, type=_Told).status).decode("utf-8", "replace")[:200]
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = ""
        return OSError(f"Qdrant answers {status} {said}".strip())


def _read(told: bytes | Raw, kind: Any) -> Any:
    """Read JSON of Qdrant's; what is null is an empty one. Raises ``OSError`` for what it cannot be."""
    if bytes(told) == b"null":
        return kind()
    try:
        return msgspec.json.decode(told, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise OSError(f"Qdrant answers what it does not say that it answers: {error}") from None


def _size_in(body: bytes) -> int:
    """Read the length of the vectors out of what Qdrant says of a collection; 0 where its vectors have names."""
    found: Any = _read(_read(body, _Told).result, dict[str, Any])
    for name in ("config", "params", "vectors", "size"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, int) else 0


def _id_of(key: str) -> str:
    """Make the id of a point: a UUID, the only text that an id may be."""
    return str(uuid.UUID(bytes=hashlib.blake2b(key.encode(), digest_size=16).digest()))
