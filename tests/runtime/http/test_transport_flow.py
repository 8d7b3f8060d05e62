"""Cancellation in every phase, and back-pressure in both directions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from penstock.runtime.http import (
    ConnectTimeout,
    Limits,
    Pool,
    Response,
    StallTimeout,
    Timeouts,
    TotalTimeout,
)

from .upstream import CHUNKED, OK, FullBacklog, Net, Peer, answer, eventually, fetch, rested, send, silent

pytestmark = pytest.mark.asyncio


# -- cancellation: the upstream notices within 100 ms


async def _cancelled(task: asyncio.Task[Any], gone: list[float]) -> None:
    began = monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await eventually(lambda: bool(gone), 0.5)
    assert gone[0] - began < 0.1


@pytest.mark.parametrize("phase", ["first_byte", "head", "read", "pump", "iterate", "write", "upload"])
async def test_cancel(net: Net, phase: str) -> None:
    gone: list[float] = []
    started = asyncio.Event()

    async def handler(peer: Peer) -> None:
        if phase == "write":
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            started.set()
            await asyncio.sleep(0.05)
            peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        elif phase != "upload":
            await peer.request()
        if phase == "head":
            await peer.send(b"HTTP/1.1 200 OK\r\nx: ")
        elif phase in ("read", "pump", "iterate"):
            await peer.send(CHUNKED + b"1\r\nx\r\n")
        started.set()
        gone.append(await peer.gone())

    async def upload() -> AsyncIterator[bytes]:
        while True:
            yield b"x"
            await asyncio.sleep(0.01)

    async def client() -> None:
        body = {"write": b"x" * 30_000_000, "upload": upload()}.get(phase, b"{}")
        resp = await send(pool, up.origin, body=body)
        if phase == "read":
            await resp.read(100)
        elif phase == "pump":
            await resp.pump(lambda data: None)
        else:
            async for _ in resp:
                pass

    up = await net.serve(handler)
    pool = net.pool()
    task = asyncio.create_task(client())
    await started.wait()
    await asyncio.sleep(0.02)
    await _cancelled(task, gone)
    assert pool.stats() == {}


async def test_close_of_an_unread_response(net: Net) -> None:
    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        gone.append(await peer.gone())

    up = await net.serve(handler)
    pool = net.pool()
    resp = await send(pool, up.origin)
    began = monotonic()
    resp.close()
    resp.close()
    assert await eventually(lambda: bool(gone), 0.5) and gone[0] - began < 0.1
    assert pool.stats() == {}


async def test_close_after_the_end_keeps_the_connection(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool()
    resp = await send(pool, up.origin)
    other = await send(pool, up.origin)  # on the same connection: the first body had arrived
    resp.close()
    assert await other.read(10) == b"ok" and up.accepted == 1


async def test_cancel_after_the_answer_does_not_hurt_the_next_request(net: Net) -> None:
    """The head and body arrived, the connection serves another request already, then the first task is cancelled."""
    up = await net.serve(silent)
    pool = net.pool(Limits(max_per_origin=1))
    first = asyncio.create_task(send(pool, up.origin))
    await eventually(lambda: any(conn.waiter for conn in pool._connections))
    (conn,) = pool._connections
    conn.data_received(OK)
    second = conn.slot.take_idle(0.0)
    assert second is conn
    waiter = conn.begin(b"GET / HTTP/1.1\r\n\r\n", None, Timeouts(), float("inf"))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    conn.data_received(OK)
    assert (await waiter).status == 200


async def test_cancel_between_the_head_and_the_task_that_waits_for_it(net: Net) -> None:
    """The head is there, the task has not run since: nobody would ever close that response."""
    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        gone.append(await peer.gone())

    up = await net.serve(handler)
    pool = net.pool()
    task = asyncio.create_task(send(pool, up.origin))
    await eventually(lambda: any(conn.waiter for conn in pool._connections))
    (conn,) = pool._connections
    conn.data_received(CHUNKED)
    await _cancelled(task, gone)
    assert pool.stats() == {}


@pytest.mark.parametrize("steps", range(12))
async def test_cancel_at_every_step_of_connecting(net: Net, steps: int) -> None:
    up = await net.serve(silent)
    pool = net.pool()
    task = asyncio.create_task(fetch(pool, up.origin))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.stats() == {}
    assert await eventually(lambda: not pool._connections)


async def test_cancel_while_connecting(net: Net) -> None:
    pool = net.pool()
    with FullBacklog() as origin:
        task = asyncio.create_task(fetch(pool, origin))
        await asyncio.sleep(0.05)
        assert pool.stats()[origin.key]["connecting"] == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pool.stats() == {}


async def test_connect_timeout(net: Net) -> None:
    pool = net.pool()
    with FullBacklog() as origin:
        with pytest.raises(ConnectTimeout, match=r"not connected within 0.1 s \(connect\)") as info:
            await fetch(pool, origin, timeouts=Timeouts(connect=0.1))
        assert not info.value.sent
        with pytest.raises(TotalTimeout) as total:
            await fetch(pool, origin, timeouts=Timeouts(connect=1.0, total=0.1))
        assert total.value.phase == "connect"


# -- back-pressure


@pytest.mark.parametrize("iterable", [False, True])
async def test_slow_reading_upstream_stalls_our_writing(net: Net, iterable: bool) -> None:
    produced = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal produced
        while True:
            produced += 100_000
            yield b"x" * 100_000

    async def handler(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    up = await net.serve(handler)
    body = pieces() if iterable else b"x" * 30_000_000
    with pytest.raises(StallTimeout, match="request body") as info:
        await fetch(net.pool(), up.origin, body=body, timeouts=Timeouts(stall=0.2))
    assert (info.value.phase, info.value.sent) == ("write", True)
    assert produced < 20_000_000, "the producer waits, nothing piles up here"


async def test_slow_but_steady_upstream_is_not_stalled(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        left = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        while left:
            left -= len(await peer.reader.read(1_000_000))
            await asyncio.sleep(0.004)
        await peer.send(OK)
        await peer.gone()

    up = await net.serve(handler)
    timeouts = Timeouts(stall=0.15, first_byte=2.0)
    began = monotonic()
    assert await fetch(net.pool(), up.origin, body=b"x" * 30_000_000, timeouts=timeouts) == (200, b"ok")
    assert monotonic() - began > 0.2


@pytest.mark.parametrize("way", ["unread", "pause", "iterate"])
async def test_slow_client_stops_the_upstream(net: Net, way: str) -> None:
    """A fast upstream and a client that does not read: little is held here, and no stall is blamed on the upstream."""
    sent = 0
    size = 40_000_000

    async def handler(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.send(b"x" * 100_000)
            sent += 100_000
        await peer.gone()

    up = await net.serve(handler)
    pool = net.pool(Limits(read_high_water=200_000))
    resp = await send(pool, up.origin, timeouts=Timeouts(stall=0.15))
    got = 0

    def feed(data: bytes) -> None:
        nonlocal got
        got += len(data)
        if got == len(data):
            resp.pause()

    pump = asyncio.create_task(resp.pump(feed)) if way == "pause" else None
    await asyncio.sleep(0.35)
    held = resp._size if pump is None else got
    before = sent
    assert held < 1_000_000 and before < size
    await asyncio.sleep(0.02)
    assert sent == before, "the upstream is really waiting"
    if pump is not None:
        resp.resume()
        await pump
        assert got == size
    elif way == "unread":
        assert len(await resp.read(size)) == size
    else:
        assert await _slowly(resp) == size
    assert pool.stats()[up.origin.key]["idle"] == 1


async def _slowly(resp: Response) -> int:
    total = 0
    async for chunk in resp:
        assert len(chunk) < 1_000_000
        total += len(chunk)
        await asyncio.sleep(0)
    return total


async def test_pause_in_the_last_batch_does_not_deafen_the_connection(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool: Pool = net.pool()
    for _ in range(3):
        resp = await send(pool, up.origin)
        resp.pause()
        assert await resp.read(10) == b"ok"

    async def later(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(CHUNKED)
            await asyncio.sleep(0.01)
            await peer.send(b"2\r\nok\r\n0\r\n\r\n")

    up = await net.serve(later)
    for _ in range(3):
        resp = await send(pool, up.origin)
        await resp.pump(lambda data, resp=resp: resp.pause())  # type: ignore[misc]
        await rested(pool)
    assert up.accepted == 1


async def test_read_ends_a_pause(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await asyncio.sleep(0.01)
        await peer.send(b"2\r\nok\r\n0\r\n\r\n")

    up = await net.serve(handler)
    resp = await send(net.pool(), up.origin)
    resp.pause()
    assert await asyncio.wait_for(resp.read(10), 1.0) == b"ok"
