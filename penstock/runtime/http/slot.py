"""What the pool holds for one origin: idle connections, a count of open ones, and who waits for one."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from penstock.runtime.http.connection import CLOSED, IDLE, RESERVED, Connection

if TYPE_CHECKING:
    from penstock.runtime.http.errors import TransportError
    from penstock.runtime.http.options import Limits, Tls
    from penstock.runtime.http.origin import Origin
    from penstock.runtime.http.proxies import Proxy

# Seconds, at least, that a connection rests, see ``Slot.rest``.
REST = 0.05


class Waiter:
    """A request in the queue. Its future gets a connection, or None: the permission to open one."""

    __slots__ = ("deadline", "error", "future")

    def __init__(self, future: asyncio.Future[Connection | None], deadline: float, error: TransportError) -> None:
        self.future = future
        self.deadline = deadline
        self.error = error


class Slot:
    """One origin (and TLS setting). ``used`` counts connections that are open, being opened, or permitted. ``resting``:
    connections that are not used again before it is clear that the server keeps them; ``lasting``: it was seen to.

    Invariant: somebody waits only while ``used`` is at the limit and nothing is idle or resting.
    """

    __slots__ = (
        "absolute", "connections", "idle", "key", "lasting", "limits", "origin", "proxy", "resting", "tls", "used",
        "waiters",
    )  # fmt: skip

    def __init__(
        self,
        key: object,
        origin: Origin,
        tls: Tls,
        proxy: Proxy | None,
        limits: Limits,
        connections: set[Connection],
    ) -> None:
        self.key = key
        self.origin = origin
        self.tls = tls
        self.proxy = proxy
        self.absolute = proxy is not None and origin.scheme == "http"  # a plain request through a proxy
        self.limits = limits
        self.idle: list[Connection] = []
        self.resting: list[Connection] = []
        self.lasting = False
        self.used = 0
        self.waiters: deque[Waiter] = deque()
        self.connections = connections

    def take_idle(self, now: float) -> Connection | None:
        """Take the connection used last that still lives: the others get the chance to expire."""
        idle = self.idle
        while idle:
            conn = idle.pop()
            conn.state = RESERVED
            if not conn.looks_dead(now):
                return conn
            conn.abort()
        return None

    def release(self, conn: Connection) -> None:
        """Free a reserved connection."""
        if conn.state == CLOSED:
            return
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(conn)
                return
        if len(self.idle) + len(self.resting) >= self.limits.max_idle_per_origin:
            conn.shut()
            return
        conn.state = IDLE
        conn.idle_since = 0.0
        self.idle.append(conn)

    def rest(self, conn: Connection) -> None:
        """Let a reserved connection rest, after a chunked answer and from a server not seen to keep one then.

        llama.cpp's server says ``keep-alive`` and closes right behind a streamed answer, within 0.1 to 4 ms. A request
        written in that time is lost, and nobody can tell whether it was read: 3 of 100 for one busy client, 11 for
        eight. A connection that outlives its rest is as good as any, and so are the next of this server."""
        if self.waiters or len(self.idle) + len(self.resting) >= self.limits.max_idle_per_origin:
            conn.shut()
            return
        conn.state = IDLE
        conn.idle_since = 0.0
        self.resting.append(conn)

    def hang_up(self, conn: Connection) -> None:
        """Note that the server closes an idle connection. ``lasting`` no more when it does so right behind a chunked
        answer."""
        if conn.chunked and (not conn.idle_since or conn in self.resting):
            self.lasting = False

    def forget(self, conn: Connection) -> None:
        """Forget a connection that was closed (its state says so already)."""
        if conn in self.idle:
            self.idle.remove(conn)
        elif conn in self.resting:
            self.resting.remove(conn)
        self.give_back()

    def give_back(self) -> None:
        """Give a permission to have a connection to the next in the queue: it is free."""
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(None)
                return
        self.used -= 1

    def lost(self, conn: Connection) -> None:
        """Note that the socket of a connection is closed."""
        self.connections.discard(conn)

    def tick(self, now: float) -> bool:
        """End waiting that took too long, and rests that were long enough. True while somebody waits or rests."""
        for conn in list(self.resting):
            if conn.idle_since and now - conn.idle_since >= REST:
                self.resting.remove(conn)
                self.lasting = True
                self.release(conn)
        for waiter in self.waiters:
            if now >= waiter.deadline and not waiter.future.done():
                waiter.future.set_exception(waiter.error)
        while self.waiters and self.waiters[0].future.done():
            self.waiters.popleft()
        return bool(self.waiters or self.resting)
