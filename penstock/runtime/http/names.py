"""Names of hosts to addresses: each name is looked up once for all who ask for it at the same time.

The resolver works in a handful of threads (uvloop's are four), and waits 5 s for a lost packet. A burst of requests to
one name that does not resolve would hold them all, and with them the look-up of every other name.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

Addresses = list[tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[str, int] | tuple[str, int, int, int]]]


class Names:
    """The look-ups under way. Belongs to a pool, and so to its event loop."""

    __slots__ = ("_running",)

    def __init__(self) -> None:
        self._running: dict[tuple[str, int], asyncio.Task[Addresses | OSError]] = {}

    async def find(self, loop: asyncio.AbstractEventLoop, host: str, port: int) -> Addresses:
        """Return the addresses of a name, in the system's order. Raises OSError, usually a ``socket.gaierror``; who is
        cancelled leaves the look-up to the others."""
        key = (host, port)
        running = self._running.get(key)
        if running is None:
            running = self._running[key] = loop.create_task(_ask(loop, host, port))
            running.add_done_callback(lambda task: self._forget(key, task))
        found = await asyncio.shield(running)
        if isinstance(found, OSError):
            raise type(found)(*found.args)  # each who waited gets an error of its own, with its own traceback
        return found

    def _forget(self, key: tuple[str, int], task: asyncio.Task[Addresses | OSError]) -> None:
        if self._running.get(key) is task:
            del self._running[key]


async def _ask(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Addresses | OSError:
    try:
        return await resolve(loop, host, port)
    except OSError as error:
        error.__traceback__ = None
        return error


async def resolve(loop: asyncio.AbstractEventLoop, host: str, port: int) -> Addresses:
    """Ask the system's resolver (in a thread)."""
    return cast(Addresses, await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
