"""The contract of a store: small values under keys, each with a time to live.

Every store passes ``tests/contract/test_stores.py``. Values are bytes; what they mean is their owner's affair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


class Answers(Protocol):
    """Where answers are kept for those who ask the same again: a cache, which may forget whatever it likes, whenever it
    likes. ``put`` replaces; ``ttl``: seconds until the answer is gone, None = until there is no room. ``delete``: how
    many there were. ``flush`` forgets all that this gateway kept there, and nothing else's. ``ping`` does nothing but
    ask. ``info``: figures for an operator. Raises ``OSError``, and nothing else, when it cannot be reached.

    ``at_once``: nothing of it ever waits, so nobody needs a time limit. Each passes ``tests/contract/test_answers.py``.
    """

    at_once: bool

    async def get(self, key: str) -> bytes | None: ...
    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None: ...
    async def delete(self, keys: Sequence[str]) -> int: ...
    async def flush(self) -> None: ...
    async def ping(self) -> None: ...
    async def info(self) -> Mapping[str, object]: ...
    async def close(self) -> None: ...
