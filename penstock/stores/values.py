"""Small values that processes share: kept in this process, too, so that it can go on alone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from penstock.stores.base import Store
from penstock.stores.memory import MemoryStore

LOCAL_BYTES = 16 * 1024 * 1024


class Values:
    """A ``stores.base.Store``: kept here, and in a store that others see as long as ``usable`` says that it is there.

    What is put while that is away stays in this process. Bounded here in bytes, as ``MemoryStore`` is."""

    def __init__(self, usable: Callable[[], bool], far: Store | None) -> None:
        self._usable = usable
        self._far = far
        self._near = MemoryStore(LOCAL_BYTES)

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        await self._near.put(key, value, ttl)
        if self._far is not None and self._usable():
            with suppress(OSError):  # what keeps processes in step says it
                await self._far.put(key, value, ttl)

    async def get(self, key: str) -> bytes | None:
        if self._far is not None and self._usable():
            with suppress(OSError):
                return await self._far.get(key)
        return await self._near.get(key)

    async def delete(self, key: str) -> bool:
        there = await self._near.delete(key)
        if self._far is not None and self._usable():
            with suppress(OSError):
                return await self._far.delete(key)
        return there

    async def close(self) -> None:
        await self._near.close()
