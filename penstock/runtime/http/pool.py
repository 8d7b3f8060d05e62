"""The door to the transport: `Pool.send`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable
from time import monotonic
from typing import TYPE_CHECKING

from penstock.runtime.http.connect import Dial
from penstock.runtime.http.connection import BUSY, CLOSED, IDLE, INF, Connection
from penstock.runtime.http.driven import Batch, in_task
from penstock.runtime.http.errors import Disconnected, PoolTimeout, ProxyError, TotalTimeout, TransportError
from penstock.runtime.http.head import absolute_form, render_header
from penstock.runtime.http.names import Names
from penstock.runtime.http.options import Limits, Timeouts, Tls
from penstock.runtime.http.origin import Origin
from penstock.runtime.http.proxies import Proxies
from penstock.runtime.http.response import Response
from penstock.runtime.http.slot import Slot, Waiter
from penstock.runtime.http.tls import Contexts

if TYPE_CHECKING:
    from penstock.runtime.http.sockets import Wanted
    from penstock.runtime.http.websocket import WebSocket

# The ticker's pace: while exchanges run, and while there are only idle connections to expire.
TICK = 0.05
SLOW_TICK = 1.0
_CLOSING = 2.0


class Pool:
    """Keep-alive connections per origin. Belongs to the event loop of its first ``send``; needs none before.

    tls is for every https origin, unless ``send`` is given another. Without ``proxies`` none are used: the environment
    counts only through ``Proxies.from_env(os.environ)``. See `Limits` and `Tls` for their defaults.
    """

    def __init__(self, limits: Limits | None = None, tls: Tls | None = None, proxies: Proxies | None = None) -> None:
        self._limits = limits or Limits()
        self._tls = tls or Tls()
        self._proxies = proxies or Proxies()
        self._contexts = Contexts()
        self._names = Names()
        self._slots: dict[object, Slot] = {}
        self._connections: set[Connection] = set()  # sockets that are not yet closed
        self._loop: asyncio.AbstractEventLoop | None = None
        self._batch: Batch | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._fast = False
        self._closed = False

    async def send(
        self,
        origin: Origin,
        head: bytes,
        body: bytes | AsyncIterable[bytes] | None,
        timeouts: Timeouts,
        extra: bytes = b"",
        tls: Tls | None = None,
    ) -> Response:
        """Send one request and return when the response headers are complete. The caller closes the `Response`.

        head: from `render_head`. extra: further header lines, each from `render_header` (they are not checked here).
        body: bytes get a content-length, and so does an iterable with a ``size`` (in bytes, which it must keep to);
        any other iterable is sent chunked, None sends neither.
        TransportError for everything that can go wrong; what ``body`` raises comes through as it is. A request that
        may have been read is repeated never. A pooled connection found closed before anything was written is replaced,
        and so is one, once, whose peer is known to have closed it before the request's head had come there.
        """
        if body is None:
            wire = b"%b%b\r\n" % (head, extra)
        elif isinstance(body, bytes):
            wire = b"%bcontent-length: %d\r\n%b\r\n" % (head, len(body), extra)
        elif isinstance(body, AsyncIterable) and (size := getattr(body, "size", None)) is not None:
            wire = b"%bcontent-length: %d\r\n%b\r\n" % (head, size, extra)
        elif isinstance(body, AsyncIterable):
            wire = b"%btransfer-encoding: chunked\r\n%b\r\n" % (head, extra)
        else:
            raise TypeError(f"body is {type(body).__name__}, give bytes, an async iterable of bytes, or None")
        if extra and extra[-2:] != b"\r\n":
            raise ValueError("extra must be whole header lines, each ended with CRLF; see render_header")
        slot = self._slots.get(origin.key if tls is None else (origin.key, tls)) or self._open_slot(origin, tls)
        now = monotonic()
        total_deadline = INF if timeouts.total is None else now + timeouts.total
        conn = slot.take_idle(now) if slot.idle else None
        if conn is None:
            conn = await self._acquire(slot, timeouts, now, total_deadline)
        if slot.absolute:
            wire = _through_proxy(slot, wire)
        if not self._fast:
            self._hurry()
        try:
            resp = await conn.begin(wire, body, timeouts, total_deadline)
        except Disconnected as error:
            if error.sent:
                raise
            error.__traceback__ = None  # whose frames hold it
            conn = await self._acquire(slot, timeouts, monotonic(), total_deadline)
            resp = await conn.begin(wire, body, timeouts, total_deadline)
        if slot.absolute and resp.status == 407:
            resp.close()
            message = "the proxy asks for other credentials (407)"
            raise ProxyError(message, phase="proxy", sent=True, origin=origin)
        return resp

    def ask(
        self, origin: Origin, head: bytes, body: bytes, timeouts: Timeouts, extra: bytes = b"", tls: Tls | None = None
    ) -> Awaitable[Response]:
        """Do the same as ``send``, begun at once where a connection is free: without a coroutine in between. So it is
        the caller's to ``send`` again after a ``Disconnected`` that was not ``sent``."""
        slot = self._slots.get(origin.key if tls is None else (origin.key, tls))
        if slot is None or slot.absolute or not slot.idle or not self._fast:
            return self.send(origin, head, body, timeouts, extra, tls)
        now = monotonic()
        conn = slot.take_idle(now)
        if conn is None:
            return self.send(origin, head, body, timeouts, extra, tls)
        total = timeouts.total
        wire = b"%bcontent-length: %d\r\n%b\r\n" % (head, len(body), extra)
        return conn.begin(wire, body, timeouts, INF if total is None else now + total)

    async def open_socket(self, url: str, headers: list[tuple[bytes, bytes]], wanted: Wanted) -> WebSocket:
        """Open a WebSocket to ``url`` (http or https), outside of the pool's counts. Raises TransportError, and
        ``SocketRefused`` with what the server answered instead."""
        from penstock.runtime.http.sockets import open_socket  # most processes never open one

        return await open_socket(url, headers, wanted, self._proxies, self._tls, self._contexts, self._names)

    def batch(self, loop: asyncio.AbstractEventLoop) -> Batch:
        """Return the batch of the pool's loop, in which whoever drives requests through this pool drives them.
        RuntimeError when the pool belongs to another loop."""
        if self._batch is None:
            self._loop, self._batch = loop, Batch(loop)
        elif self._loop is not loop:
            raise RuntimeError("this Pool belongs to another event loop; make one per loop")
        return self._batch

    async def close(self) -> None:
        """Abort what is in progress, close what is idle, and wait until the sockets are closed (at most 2 s)."""
        self._closed = True
        for slot in self._slots.values():
            for entry in slot.waiters:
                if not entry.future.done():
                    entry.future.set_exception(self._closed_error(slot.origin))
        for conn in list(self._connections):
            if conn.state == BUSY:
                conn.fail(self._closed_error(conn.origin))
            elif conn.state == IDLE:
                conn.shut()
            else:
                conn.abort()
        until = monotonic() + _CLOSING
        while self._connections and monotonic() < until:
            await asyncio.sleep(0.001)
        for conn in list(self._connections):
            conn.transport.abort()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stats(self) -> dict[str, dict[str, int]]:
        """Per origin: open (active + idle), active (in an exchange or about to be), idle, connecting, waiting."""
        table: dict[str, dict[str, int]] = {}
        for slot in self._slots.values():
            row = table.setdefault(slot.origin.key, {"open": 0, "active": 0, "idle": 0, "connecting": 0, "waiting": 0})
            row["idle"] += len(slot.idle) + len(slot.resting)
            row["connecting"] += slot.used
            row["waiting"] += sum(not entry.future.done() for entry in slot.waiters)
        for conn in self._connections:
            if conn.state != CLOSED:
                row = table[conn.origin.key]
                row["open"] += 1
                row["active"] += conn.state != IDLE
                row["connecting"] -= 1
        return {key: row for key, row in table.items() if any(row.values())}

    # -- connections

    def _open_slot(self, origin: Origin, tls: Tls | None) -> Slot:
        key: object = origin.key if tls is None else (origin.key, tls)
        proxy = self._proxies.for_origin(origin)
        slot = Slot(key, origin, tls or self._tls, proxy, self._limits, self._connections)
        self._slots[key] = slot
        return slot

    async def _acquire(self, slot: Slot, timeouts: Timeouts, now: float, total_deadline: float) -> Connection:
        """Return a connection of one's own: a new one, or the next that becomes free."""
        await in_task()
        if self._closed:
            raise self._closed_error(slot.origin)
        batch = self.batch(asyncio.get_running_loop())
        if slot.used >= self._limits.max_per_origin and slot.resting:
            slot.resting[0].shut()
        if slot.used < self._limits.max_per_origin:
            slot.used += 1
        else:
            conn = await self._wait_turn(slot, timeouts, now, total_deadline)
            if conn is not None:
                return conn
        conn = Connection(batch, slot, self._limits)
        try:
            await Dial(conn, slot.proxy, slot.tls, self._contexts, self._names).run(timeouts.connect, total_deadline)
            if self._closed:
                raise self._closed_error(slot.origin)
        except BaseException:
            conn.abort()
            # Nobody reports the end of a connection that never was, nor uvloop of one whose opening was cancelled.
            slot.lost(conn)
            conn.discard_parser()
            raise
        return conn

    async def _wait_turn(self, slot: Slot, timeouts: Timeouts, now: float, total_deadline: float) -> Connection | None:
        """Wait in the queue. None is the permission to open a connection."""
        assert self._loop is not None
        pool_deadline = INF if timeouts.pool is None else now + timeouts.pool
        if total_deadline < pool_deadline:
            error: TransportError = TotalTimeout(
                "the total timeout passed while waiting for a free connection", phase="pool", origin=slot.origin
            )
        else:
            message = f"all {self._limits.max_per_origin} connections were busy for {timeouts.pool} s"
            error = PoolTimeout(message, phase="pool", origin=slot.origin)
        entry = Waiter(self._loop.create_future(), min(pool_deadline, total_deadline), error)
        slot.waiters.append(entry)
        self._hurry()
        while True:
            try:
                conn = await entry.future
            except BaseException:
                future = entry.future
                if future.done() and not future.cancelled() and future.exception() is None:
                    # Cancelled after the turn had come: pass it on.
                    given = future.result()
                    slot.give_back() if given is None else slot.release(given)
                raise
            if conn is None or not conn.looks_dead(0.0):
                return conn
            if conn.state != CLOSED:
                conn.abort()
            # It died between being handed over and now: back to the head of the queue, unless there is room again.
            if slot.used < self._limits.max_per_origin:
                slot.used += 1
                return None
            entry.future = self._loop.create_future()
            slot.waiters.appendleft(entry)

    def _closed_error(self, origin: Origin) -> TransportError:
        return TransportError("the connection pool is closed", phase="pool", origin=origin)

    # -- the clock

    def _hurry(self) -> None:
        if self._fast or self._loop is None:
            return
        self._fast = True
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(TICK, self._tick)

    def _tick(self) -> None:
        assert self._loop is not None
        # First, so that an error in here cannot leave the pool without a clock: the next send starts it again.
        self._timer = None
        self._fast = False
        now = monotonic()
        active = False
        for conn in list(self._connections):
            active |= conn.tick(now, self._limits.idle_expiry)
        for slot in list(self._slots.values()):
            active |= slot.tick(now)
            if not slot.used and not slot.waiters:
                del self._slots[slot.key]
        if active:
            self._fast = True
            self._timer = self._loop.call_later(TICK, self._tick)
        elif self._connections:
            self._timer = self._loop.call_later(min(SLOW_TICK, max(TICK, self._limits.idle_expiry / 4)), self._tick)


def _through_proxy(slot: Slot, wire: bytes) -> bytes:
    """Write the request in the form that an http proxy takes, with our credentials for it."""
    wire = absolute_form(wire, slot.origin)
    if slot.proxy is not None and slot.proxy.authorization is not None:
        wire = wire[:-2] + render_header(b"proxy-authorization", slot.proxy.authorization) + b"\r\n"
    return wire
