"""What a process counts of batches: lines that are on their way, and chats that are answered in one request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from penstock.core.errors import GatewayError

MOST_KNOWN = 1000  # requests of many chats whose end is known


class Progress:
    """How far many chats are that are answered in one request."""

    def __init__(self, total: int) -> None:
        self.total, self.successful, self.failed = total, 0, 0
        self.began, self.ended = time.time(), 0.0


class Answering:
    """Progress by owner and id: of what this process answers, and of the last that it has."""

    def __init__(self) -> None:
        self._all: dict[tuple[str, str], Progress] = {}

    def begin(self, owner: str, id_: str, total: int) -> Progress:
        """Note that something begins. Raises "exists" where its owner has something of that id under way."""
        before = self._all.pop((owner, id_), None)
        if before is not None and not before.ended:
            self._all[owner, id_] = before
            raise GatewayError("exists", f"batch_id: {id_!r} is under way already.", param="batch_id")
        over = [name for name, one in self._all.items() if one.ended][: max(0, len(self._all) - MOST_KNOWN)]
        for name in over:
            del self._all[name]
        made = self._all[owner, id_] = Progress(total)
        return made

    def find(self, owner: str, id_: str) -> Progress | None:
        return self._all.get((owner, id_))


class Places:
    """Places for lines that are on their way, in the order in which they are asked for. ``most``: as many as there are
    now; a reload may change it."""

    def __init__(self, most: Callable[[], int]) -> None:
        self._most, self._taken = most, 0
        self._line: list[asyncio.Future[None]] = []

    def take_now(self) -> bool:
        """Take a place where one is free."""
        if self._line or self._taken >= self._most():
            return False
        self._taken += 1
        return True

    async def take(self) -> None:
        """Wait for a place."""
        while self._taken >= self._most():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._next()
                raise
            finally:
                if waiter in self._line:
                    self._line.remove(waiter)
        self._taken += 1

    def free(self) -> None:
        """Give a place back."""
        self._taken -= 1
        self._next()

    def _next(self) -> None:
        while self._line and (waiter := self._line.pop(0)):
            if not waiter.done():
                waiter.set_result(None)
                return
