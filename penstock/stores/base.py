"""The contract of a store: small values under keys, each with a time to live.

Every store passes ``tests/contract/test_stores.py``. Values are bytes; what they mean is their owner's affair.
"""

from __future__ import annotations

from typing import Protocol


class Store(Protocol):
    """Small values under keys. ``put`` replaces what was there. ``ttl``: seconds until the value is gone, None = until
    deleted. ``get``: None when there is nothing, or no longer. ``delete``: whether there was something. Raises
    ``OSError`` when the store cannot be reached; a store never loses a value that it accepted before its time, except
    where its docstring names a bound.

    ``get``: None when there is nothing, or no longer. ``delete``: whether there was something. Raises ``OSError`` when
    the store cannot be reached; a store never loses a value that it accepted before its time, except where its
    docstring names a bound."""

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None: ...
    async def get(self, key: str) -> bytes | None: ...
    async def delete(self, key: str) -> bool: ...
    async def close(self) -> None: ...
