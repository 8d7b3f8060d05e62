"""A server that closes while we send: what is avoided, what is repeated, and above all what is not."""

from __future__ import annotations

import asyncio
import os
import socket
import sys

import pytest

from penstock.runtime.http import Disconnected, Limits, Pool, Timeouts
from penstock.runtime.http.connection import Connection

from .upstream import CHUNKED, OK, QUICK, Net, Peer, Upstream, answer, eventually, fetch, rested, send

pytestmark = pytest.mark.asyncio
HELLO = CHUNKED + b"2\r\nok\r\n0\r\n\r\n"
KEEP = b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=5, max=100\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


class Counted:
    """A handler that answers, waits and closes, as llama.cpp's server does behind a stream; counts what it read."""

    def __init__(self, pause: float) -> None:
        self.pause = pause
        self.read: list[bytes] = []

    async def __call__(self, peer: Peer) -> None:
        self.read.append((await peer.request())[1])
        await peer.send(KEEP)
        await asyncio.sleep(self.pause)


@pytest.mark.parametrize("pause", [0.0, 0.001, 0.01])
@pytest.mark.parametrize("clients", [1, 8])
async def test_a_server_that_closes_behind_a_chunked_answer_loses_no_request(net: Net, pause: float, clients: int) -> None:
    handler = Counted(pause)
    up = await net.serve(handler)
    pool = net.pool()

    async def client(number: int) -> None:
        for _ in range(40 // clients):
            assert await fetch(pool, up.origin, body=b"%d" % number) == (200, b"ok")

    await asyncio.gather(*(client(number) for number in range(clients)))
    assert len(handler.read) == 40 // clients * clients, "and none was read twice"


async def test_a_server_that_keeps_its_connections_is_found_out(net: Net) -> None:
    up = await net.serve(answer(HELLO))
    pool = net.pool()
    for _ in range(3):
        await fetch(pool, up.origin)
    assert up.accepted == 3 and pool.stats()[up.origin.key]["idle"] == 3, "none is used while it rests"
    await rested(pool)
    for _ in range(20):
        assert await fetch(pool, up.origin) == (200, b"ok")
    assert up.accepted == 3


async def test_one_that_does_so_later_is_found_out_as_well(net: Net) -> None:
    closes = False

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(HELLO)
            await asyncio.sleep(0.002)
            if closes:
                return

    up = await net.serve(handler)
    pool = net.pool()
    await fetch(pool, up.origin)
    await rested(pool)
    slot = pool._slots[up.origin.key]
    assert slot.lasting
    closes = True
    await fetch(pool, up.origin)
    assert await eventually(lambda: not slot.lasting)
    assert [await fetch(pool, up.origin) for _ in range(5)] == [(200, b"ok")] * 5


async def test_a_whole_answer_is_followed_at_once(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool()
    for _ in range(5):
        await fetch(pool, up.origin)
    assert up.accepted == 1


async def test_a_resting_connection_keeps_nobody_waiting(net: Net) -> None:
    up = await net.serve(answer(HELLO))
    pool = net.pool(Limits(max_per_origin=1))
    for _ in range(3):
        assert await fetch(pool, up.origin) == (200, b"ok")
    results = await asyncio.gather(*(fetch(pool, up.origin) for _ in range(5)))
    assert results == [(200, b"ok")] * 5
    assert pool._slots[up.origin.key].used <= 1
    pool = net.pool(Limits(max_idle_per_origin=2))
    await asyncio.gather(*(fetch(pool, up.origin) for _ in range(5)))
    assert len(pool._slots[up.origin.key].resting) == 2


@pytest.mark.parametrize("rested_first", [True, False])
async def test_idle_and_resting_share_one_limit(net: Net, rested_first: bool) -> None:
    first, then = (HELLO, OK) if rested_first else (OK, HELLO)
    turn = 0

    async def handler(peer: Peer) -> None:
        nonlocal turn
        while True:
            await peer.request()
            turn += 1
            await peer.send(first if turn <= 3 else then)

    up = await net.serve(handler)
    pool = net.pool(Limits(max_idle_per_origin=3))
    held = [await send(pool, up.origin) for _ in range(6)]
    for resp in held:
        await resp.read(1000)
        resp.close()
    slot = pool._slots[up.origin.key]
    assert len(slot.idle) + len(slot.resting) == 3
    assert pool.stats()[up.origin.key]["open"] == 3


async def test_the_shortest_keep_alive_has_a_margin(net: Net) -> None:
    for told, hint in ((b"1", 1 / 3), (b"2", 2 / 3), (b"3", 1.0), (b"5", 3.0), (b"75", 73.0), (b"0", 0.0)):
        up = await net.serve(answer(b"HTTP/1.1 200 OK\r\nkeep-alive: timeout=%b\r\ncontent-length: 2\r\n\r\nok" % told))
        pool = net.pool()
        await fetch(pool, up.origin)
        (conn,) = pool._slots[up.origin.key].idle
        assert conn.idle_hint == pytest.approx(hint)
        conn.idle_since = 10.0
        assert not conn.looks_dead(10.0 + hint - 0.01) or not hint
        assert conn.looks_dead(10.01 + hint), "the ticker may come too late"


# Closed when we write -------------------------------------------------------------------------------------------------


async def used(net: Net, pool: Pool, up: Upstream) -> tuple[Connection, socket.socket]:
    """An idle connection that has served a request, and its socket at the other end."""
    assert await fetch(pool, up.origin) == (200, b"ok")
    (conn,) = pool._slots[up.origin.key].idle
    number = up.peers[0].writer.get_extra_info("socket").fileno()
    with socket.socket(fileno=os.dup(number)) as other:
        return conn, other.dup()  # uvloop's own cannot be shut down


class Once:
    """A handler that answers the first request of its first connection, and every one of the others; counts."""

    def __init__(self, reads: int = 1) -> None:
        self.reads = reads
        self.read: list[bytes] = []
        self.first = True

    async def __call__(self, peer: Peer) -> None:
        if not self.first:
            while True:
                self.read.append((await peer.request())[1])
                await peer.send(OK)
        self.first = False
        await peer.request()
        await peer.send(OK)
        for _ in range(self.reads - 1):
            self.read.append((await peer.request())[1])
        if self.reads == 1:
            peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="nothing else tells what was acknowledged")
@pytest.mark.parametrize("body", [b"second", None])
async def test_a_request_that_met_a_closed_connection_is_sent_again(net: Net, body: bytes | None) -> None:
    handler = Once()
    up = await net.serve(handler)
    pool = net.pool()
    await used(net, pool, up)
    up.peers[0].writer.transport.abort()  # closed in the loop's next turn, in which the request goes out, too
    await asyncio.sleep(0)
    assert await fetch(pool, up.origin, body=body) == (200, b"ok")
    assert up.accepted == 2 and handler.read == [body or b""]


async def test_what_ask_tells_of_it(net: Net) -> None:
    up = await net.serve(Once())
    pool = net.pool()
    conn, peer = await used(net, pool, up)
    peer.close()
    up.peers[0].writer.transport.abort()
    await asyncio.sleep(0)
    with pytest.raises(Disconnected) as info:
        await conn.begin(b"GET / HTTP/1.1\r\n\r\n", None, QUICK, float("inf"))
    assert info.value.sent is (sys.platform != "linux")


async def test_a_request_that_was_read_is_not(net: Net) -> None:
    handler = Once(reads=2)
    up = await net.serve(handler)
    pool = net.pool()
    await used(net, pool, up)
    with pytest.raises(Disconnected) as info:
        await fetch(pool, up.origin, body=b"second")
    assert info.value.sent and handler.read == [b"second"] and up.accepted == 1


async def test_a_request_that_may_have_been_read_is_not(net: Net) -> None:
    """It lies with the other kernel, which acknowledged it: whether the program has it is not to be known."""
    handler = Once()
    up = await net.serve(handler)
    pool = net.pool()
    _, peer = await used(net, pool, up)
    task = asyncio.create_task(send(pool, up.origin, body=b"second"))
    await asyncio.sleep(0.05)
    with peer:
        peer.shutdown(socket.SHUT_WR)
    with pytest.raises(Disconnected) as info:
        await task
    assert info.value.sent and up.accepted == 1


async def test_a_reset_tells_nothing(net: Net) -> None:
    up = await net.serve(Once())
    pool = net.pool()
    await used(net, pool, up)
    task = asyncio.create_task(send(pool, up.origin, body=b"second"))
    await asyncio.sleep(0.05)
    up.peers[0].reset()
    with pytest.raises(Disconnected) as info:
        await task
    assert info.value.sent and up.accepted == 1


async def test_a_new_connection_that_closes_is_not_asked_again(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        peer.close()

    up = await net.serve(handler)
    with pytest.raises(Disconnected) as info:
        await fetch(net.pool(), up.origin, timeouts=Timeouts(first_byte=1.0))
    assert info.value.sent and up.accepted == 1


async def test_a_large_body_is_not_sent_again(net: Net) -> None:
    up = await net.serve(Once())
    pool = net.pool()
    await used(net, pool, up)
    up.peers[0].writer.transport.abort()
    await asyncio.sleep(0)
    with pytest.raises(Disconnected) as info:
        await fetch(pool, up.origin, body=b"x" * 200_000)
    assert info.value.sent and up.accepted == 1
