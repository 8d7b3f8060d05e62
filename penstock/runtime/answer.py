"""What an attempt gets back: one shape for an upstream's response, for one that is held, and for one out of a cache."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

MAX_ANSWER = 256 * 1024 * 1024  # bytes of a whole answer: images in base64, vectors of a long list
_PIECE = 64 * 1024  # bytes of a held answer that are passed on at once
MAX_ERROR = 1024 * 1024  # bytes of an error answer that are read


class Answer(Protocol):
    """An answer whose head is here. ``whole``: the body where all of it has come, else None; ``read`` waits for it, and
    asks ``room`` (``Call.room``) for what it gathers; ``pump`` hands it on as it comes. ``pause`` and ``resume`` hold
    the sender back. ``close`` gives up what is left; whoever was given an answer closes it."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> list[tuple[bytes, bytes]]: ...
    def header(self, name: bytes) -> bytes | None: ...
    def whole(self, limit: int) -> bytes | None: ...
    async def read(self, limit: int, room: Callable[[int], bool] | None = None) -> bytes: ...
    async def pump(self, feed: Callable[[bytes], None]) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def close(self) -> None: ...


class HeldAnswer:
    """An answer whose body is here already."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def header(self, name: bytes) -> bytes | None:
        """Return the first value of a header (lower-case name), None when absent."""
        return next((value for key, value in self.headers if key == name), None)

    def whole(self, limit: int) -> bytes | None:
        return self.body

    async def read(self, limit: int, room: Callable[[int], bool] | None = None) -> bytes:
        return self.body

    async def pump(self, feed: Callable[[bytes], None]) -> None:
        for at in range(0, len(self.body), _PIECE):
            if at:
                await asyncio.sleep(0)  # others have their turn between two pieces
            feed(self.body[at : at + _PIECE])

    def pause(self) -> None:
        return None

    def resume(self) -> None:
        return None

    def close(self) -> None:
        return None
