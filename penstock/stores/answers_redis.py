"""Answers in Redis or Valkey: shared by every gateway that is pointed there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar

PREFIX = "penstock:answer:"  # so that a flush takes nothing of anybody else's
_SCAN = 500  # keys looked through in one step
T = TypeVar("T")


class RedisAnswers:
    """A ``stores.base.Answers`` over a client of ``redis.asyncio``, which it closes. ``connect`` makes the client at
    the first need: it belongs to the event loop that uses it. ``told``: turns what the library raises inside it into
    ``OSError``."""

    at_once = False

    def __init__(self, connect: Callable[[], Any], told: Callable[[], AbstractContextManager[None]]) -> None:
        self._connect = connect
        self._told = told
        self._client: Any = None

    async def get(self, key: str) -> bytes | None:
        found: bytes | None = await self._ask(lambda client: client.get(PREFIX + key))
        return found

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        px = None if ttl is None else int(ttl * 1000)
        if px is not None and px < 1:
            await self.delete([key])
            return
        await self._ask(lambda client: client.set(PREFIX + key, value, px=px))

    async def delete(self, keys: Sequence[str]) -> int:
        async def drop(client: Any) -> int:
            return sum([await client.delete(PREFIX + key) for key in keys])

        return await self._ask(drop)

    async def flush(self) -> None:
        await self._ask(_flush)

    async def ping(self) -> None:
        await self._ask(lambda client: client.ping())

    async def info(self) -> Mapping[str, object]:
        told: Mapping[str, object] = await self._ask(lambda client: client.info())
        return told

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(self, question: Callable[[Any], Awaitable[T]]) -> T:
        """Ask the server. Raises ``OSError``."""
        if self._client is None:
            self._client = self._connect()
        with self._told():
            return await question(self._client)


async def _flush(client: Any) -> None:
    batch: list[bytes] = []
    async for key in client.scan_iter(match=PREFIX + "*", count=_SCAN):
        batch.append(key)
        if len(batch) == _SCAN:
            await _drop(client, batch)
            batch = []
    await _drop(client, batch)


async def _drop(client: Any, keys: list[bytes]) -> None:
    for key in keys:  # one by one: in a cluster they are on different nodes
        await client.delete(key)
