"""The contracts of stores: small values under keys, each with a time to live; and what several processes know together.

Every store passes ``tests/contract/test_stores.py``, every board ``tests/contract/test_boards.py``. Values are bytes;
what they mean is their owner's affair.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import NamedTuple, Protocol


class Store(Protocol):
    """Small values under keys. ``put`` replaces what was there. ``ttl``: seconds until the value is gone, None = until
    deleted. ``get``: None when there is nothing, or no longer. ``delete``: whether there was something. Raises
    ``OSError`` when the store cannot be reached; a store never loses a value that it accepted before its time, except
    where its docstring names a bound."""

    async def put(self, key: str, value: bytes, ttl: float | None = None) -> None: ...
    async def get(self, key: str) -> bytes | None: ...
    async def delete(self, key: str) -> bool: ...
    async def close(self) -> None: ...


class Mark(NamedTuple):
    """Something that holds for a while: a deployment rests, a key is dead. ``kind`` and ``key``: what is marked;
    ``value``: why; ``seconds``: how long it holds from now on."""

    kind: str
    key: str
    value: str
    seconds: float


class Board(Protocol):
    """What several processes know together. All raise ``OSError`` when it cannot be reached.

    ``where``: what people call it. ``tell``: write marks down; of two of the same kind and key the one that holds
    longer stays. ``marks``: those that hold now. ``changes``: yield None once it listens, from then on each mark that
    somebody tells (also the listener's own).

    ``count``: say what this process has counted in a window so far, by name, and learn what all have, in the same
    order. ``process``: letters and digits. As it is the whole count each time, saying it twice counts it once, and a
    board that forgot is told again. A window is forgotten ``KEEP_WINDOWS`` of its lengths after its last count."""

    where: str

    async def tell(self, marks: Sequence[Mark]) -> None: ...
    async def marks(self) -> list[Mark]: ...
    def changes(self) -> AsyncGenerator[Mark | None, None]: ...
    async def count(self, window: int, process: str, counts: Sequence[tuple[str, int]]) -> list[int]: ...
    async def close(self) -> None: ...


WINDOW = 60.0  # seconds in which requests and tokens are counted together
KEEP_WINDOWS = 2
NEWS = 0.25  # seconds that a mark must hold longer than the one before, to be worth telling
