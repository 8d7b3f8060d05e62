"""Raw-socket upstreams that do exactly what a test tells them, and the pools that talk to them."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import struct
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

import pytest

from penstock.runtime.http import Limits, Origin, Pool, Proxies, Response, Timeouts, Tls, render_head

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
QUICK = Timeouts(connect=2.0, first_byte=2.0, stall=2.0, total=5.0, pool=2.0)


class Peer:
    """One accepted connection, seen from the upstream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Head and body of the next request. IncompleteReadError or ConnectionError when there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lowered = head.lower()
        if b"transfer-encoding: chunked" in lowered:
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += await self.reader.readexactly(size)
                await self.reader.readexactly(2)
            await self.reader.readexactly(2)
            return head, body
        _, found, rest = lowered.partition(b"content-length: ")
        length = int(rest.split(b"\r\n", 1)[0]) if found else 0
        return head, await self.reader.readexactly(length)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, size: int = 1, pause: float = 0.0) -> None:
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            await asyncio.sleep(pause)

    async def gone(self) -> float:
        """Waits until the other side hung up; returns when that was."""
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        return monotonic()

    def reset(self) -> None:
        """RST instead of FIN."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()


Handler = Callable[[Peer], Awaitable[None]]


class Upstream:
    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.accepted = 0
        self.peers: list[Peer] = []
        self.tasks: list[asyncio.Task[None] | None] = []
        self.server: asyncio.Server
        self.origin: Origin

    async def start(self, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> Upstream:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port: int = self.server.sockets[0].getsockname()[1]
        self.origin = Origin("https" if tls else "http", name, self.port)
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        peer = Peer(reader, writer)
        self.peers.append(peer)
        self.tasks.append(asyncio.current_task())
        try:
            await self.handler(peer)
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        except RuntimeError as exc:
            if "closed" not in str(exc):  # uvloop's way to say that the transport is gone
                raise
        finally:
            writer.close()

    async def close(self) -> None:
        self.server.close()
        for task in self.tasks:
            if task is not None:
                task.cancel()
        for peer in self.peers:
            # CPython before 3.11.4 raises AttributeError out of the abort of a TLS transport that has ended already.
            with suppress(AttributeError):
                peer.writer.transport.abort()


class Net:
    """What one test opens; `close` proves that the pools give everything back."""

    def __init__(self) -> None:
        self.upstreams: list[Upstream] = []
        self.pools: list[Pool] = []

    async def serve(self, handler: Handler, tls: ssl.SSLContext | None = None, name: str = "127.0.0.1") -> Upstream:
        upstream = await Upstream(handler).start(tls, name)
        self.upstreams.append(upstream)
        return upstream

    def pool(self, limits: Limits | None = None, tls: Tls | None = None, proxies: Proxies | None = None) -> Pool:
        pool = Pool(limits, tls, proxies)
        self.pools.append(pool)
        return pool

    async def close(self) -> None:
        for pool in self.pools:
            await pool.close()
            assert pool.stats() == {}
            assert not pool._connections
            assert all(slot.used == 0 for slot in pool._slots.values())
        for upstream in self.upstreams:
            await upstream.close()
        await asyncio.sleep(0)


async def send(
    pool: Pool,
    origin: Origin,
    body: object = b"{}",
    timeouts: Timeouts = QUICK,
    method: bytes = b"POST",
    target: bytes = b"/x",
    tls: Tls | None = None,
) -> Response:
    head = render_head(method, target, origin, [(b"content-type", b"application/json")])
    return await pool.send(origin, head, body, timeouts, tls=tls)  # type: ignore[arg-type]


async def fetch(pool: Pool, origin: Origin, **options: object) -> tuple[int, bytes]:
    resp = await send(pool, origin, **options)  # type: ignore[arg-type]
    try:
        return resp.status, await resp.read(1 << 24)
    finally:
        resp.close()


def answer(data: bytes, hold: bool = True) -> Handler:
    """A handler that gives ``data`` to every request on the connection; ``hold`` False closes after the first."""

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(data)
            if not hold:
                return

    return handler


async def silent(peer: Peer) -> None:
    """Accepts, reads, never answers."""
    await peer.gone()


async def eventually(predicate: Callable[[], bool], within: float = 1.0) -> bool:
    until = monotonic() + within
    while monotonic() < until:
        if predicate():
            return True
        await asyncio.sleep(0.002)
    return predicate()


def open_sockets() -> int:
    """How many sockets this process has open."""
    folder = "/proc/self/fd"
    if not os.path.isdir(folder):
        pytest.skip("counting open sockets needs /proc")
    count = 0
    for name in os.listdir(folder):
        try:
            count += os.readlink(f"{folder}/{name}").startswith("socket:")
        except OSError:
            continue
    return count


class FullBacklog:
    """A listening socket whose queue is full: Linux drops further SYNs, so connecting hangs."""

    def __enter__(self) -> Origin:
        if sys.platform != "linux":
            pytest.skip("other kernels do not drop SYNs to a full queue")
        self.sockets = [socket.socket()]
        self.sockets[0].bind(("127.0.0.1", 0))
        self.sockets[0].listen(0)
        address = self.sockets[0].getsockname()
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(address)
            self.sockets.append(filler)
        return Origin("http", "127.0.0.1", address[1])

    def __exit__(self, *_: object) -> None:
        for sock in self.sockets:
            sock.close()


async def rested(pool: Pool) -> None:
    """Waits until no connection rests: a server is first seen to keep one after a chunked answer (`Slot.rest`)."""
    assert await eventually(lambda: not any(slot.resting for slot in pool._slots.values()))
