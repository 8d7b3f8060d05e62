"""Answers in Redis or Valkey: shared by every gateway that is pointed there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from penstock.config.redis import RedisSettings
from penstock.stores.redis_client import close, connect, told

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX = "penstock:answer:"  # so that a flush takes nothing of anybody else's
_SCAN = 500  # keys looked through in one step


class RedisAnswers:
    """A ``stores.base.Answers`` in Redis. ``prefix``: of its keys there. Raises ``NotInstalled`` without the package
    redis."""

    at_once = False

    def __init__(self, settings: RedisSettings, prefix: str = PREFIX) -> None:
        self._client: Redis = connect(settings)
        self._prefix = prefix

    async def get(self, key: str) -> bytes | None:
        with told():
            found = await self._client.get(self._prefix + key)
            return found if isinstance(found, bytes) else None

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None:
        px = None if ttl is None else int(ttl * 1000)
        if px is not None and px < 1:
            await self.delete([key])
            return
        with told():
            await self._client.set(self._prefix + key, value, px=px)

    async def delete(self, keys: Sequence[str]) -> int:
        with told():  # one by one: in a cluster they are on different nodes
            return sum([int(await self._client.delete(self._prefix + key)) for key in keys])

    async def flush(self) -> None:
        with told():
            batch: list[Any] = []
            async for key in self._client.scan_iter(match=_literal(self._prefix) + "*", count=_SCAN):
                batch.append(key)
            for key in batch:
                await self._client.delete(key)

    async def ping(self) -> None:
        with told():
            client: Any = self._client
            await client.ping()

    async def info(self) -> Mapping[str, object]:
        with told():
            found: Mapping[str, object] = await self._client.info()
            return found

    async def close(self) -> None:
        await close(self._client)


def _literal(text: str) -> str:
    """Write a text so that Redis's patterns mean it as it is."""
    return "".join(f"\\{sign}" if sign in "\\*?[]" else sign for sign in text)
