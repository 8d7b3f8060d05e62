"""Answers as objects in a bucket: shared by every gateway that may read there, kept for as long as the bucket keeps.

A bucket forgets nothing by itself at a given second, so an object says when it ends. What has ended is deleted when
somebody asks for it; the rest is a rule of the bucket's life cycle.
"""

from __future__ import annotations

import struct
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol
from urllib.parse import quote

_ENDS = struct.Struct(">d")  # before the value; 0: until it is deleted


class Bucket(Protocol):
    """The objects of a bucket by name. Raises ``OSError`` when it cannot be reached, or refuses. ``where``: what people
    call it."""

    where: str

    async def get(self, name: str) -> bytes | None: ...
    async def put(self, name: str, data: bytes) -> None: ...
    async def delete(self, name: str) -> None: ...
    def list(self, prefix: str) -> AsyncIterator[str]: ...


class ObjectAnswers:
    """A ``stores.base.Answers`` in a bucket, below ``path``. ``clock``: seconds since 1970."""

    at_once = False

    def __init__(self, bucket: Bucket, path: str = "", clock: Callable[[], float] = time.time) -> None:
        self._bucket = bucket
        self._prefix = f"{path.strip('/')}/penstock-answers/".lstrip("/")
        self._clock = clock

    async def get(self, key: str) -> bytes | None:
        name = self._name(key)
        data = await self._bucket.get(name)
        if data is None or len(data) < _ENDS.size:
            return None
        (ends,) = _ENDS.unpack_from(data)
        if ends and self._clock() >= ends:
            await self._bucket.delete(name)
            return None
        return data[_ENDS.size :]

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        ends = 0.0 if ttl is None else self._clock() + ttl
        await self._bucket.put(self._name(key), _ENDS.pack(ends) + value)

    async def delete(self, keys: Sequence[str]) -> int:
        count = 0
        for key in keys:
            if await self.get(key) is not None:
                await self._bucket.delete(self._name(key))
                count += 1
        return count

    async def flush(self) -> None:
        for name in [name async for name in self._bucket.list(self._prefix)]:
            await self._bucket.delete(name)

    async def ping(self) -> None:
        async for _ in self._bucket.list(self._prefix):
            return

    async def info(self) -> Mapping[str, object]:
        return {"bucket": self._bucket.where}

    async def close(self) -> None:
        return None

    def _name(self, key: str) -> str:
        return self._prefix + quote(key, safe=":")
