"""The pool: limits, waiting, expiry, guards, and a storm of everything at once."""

from __future__ import annotations

import asyncio
import random
from time import monotonic
from typing import Any

import pytest

from penstock.runtime.http import (
    FirstByteTimeout,
    Limits,
    Origin,
    PoolTimeout,
    Timeouts,
    TooLarge,
    TotalTimeout,
    TransportError,
)

from .upstream import (
    CHUNKED,
    OK,
    QUICK,
    Handler,
    Net,
    Peer,
    answer,
    eventually,
    fetch,
    open_sockets,
    rested,
    send,
    silent,
)

pytestmark = pytest.mark.asyncio


async def test_waiters_are_served_in_order(net: Net) -> None:
    served: list[bytes] = []

    async def handler(peer: Peer) -> None:
        while True:
            served.append((await peer.request())[1])
            await asyncio.sleep(0.002)
            await peer.send(OK)

    up = await net.serve(handler)
    pool = net.pool(Limits(max_per_origin=2))
    tasks = [asyncio.create_task(fetch(pool, up.origin, body=b"%d" % number)) for number in range(20)]
    await asyncio.sleep(0)
    assert pool.stats()[up.origin.key]["waiting"] == 18
    assert await asyncio.gather(*tasks) == [(200, b"ok")] * 20
    assert up.accepted == 2
    order = [int(body) for body in served]
    assert all(abs(place - number) <= 1 for place, number in enumerate(order)), order


async def test_pool_timeout(net: Net) -> None:
    up = await net.serve(silent)
    pool = net.pool(Limits(max_per_origin=1))
    first = asyncio.create_task(fetch(pool, up.origin))
    await eventually(lambda: up.accepted == 1)
    with pytest.raises(PoolTimeout, match="all 1 connections were busy for 0.1 s") as info:
        await fetch(pool, up.origin, timeouts=Timeouts(pool=0.1))
    assert (info.value.phase, info.value.sent) == ("pool", False)
    with pytest.raises(TotalTimeout) as info2:
        await fetch(pool, up.origin, timeouts=Timeouts(total=0.1))
    assert info2.value.phase == "pool"
    first.cancel()


async def test_a_failed_connection_passes_the_turn_on(net: Net) -> None:
    """Every ending of an exchange wakes the next in the queue: error, cancel, close without reading."""
    turn = 0

    async def handler(peer: Peer) -> None:
        nonlocal turn
        turn += 1
        await peer.request()
        if turn == 1:
            peer.reset()
        elif turn == 2:
            await peer.gone()
        elif turn == 3:
            await peer.send(CHUNKED)
            await peer.gone()
        else:
            await peer.send(OK)
            await peer.request()
            await peer.send(OK)

    up = await net.serve(handler)
    pool = net.pool(Limits(max_per_origin=1))
    tasks = [asyncio.create_task(send(pool, up.origin)) for _ in range(5)]
    with pytest.raises(TransportError):
        await tasks[0]
    await eventually(lambda: turn == 2)
    tasks[1].cancel()
    resp = await tasks[2]
    resp.close()
    assert [(await task).status for task in tasks[3:]] == [200, 200]


async def test_cancelled_waiters_do_not_swallow_their_turn(net: Net) -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await go.wait()
            await peer.send(OK)

    up = await net.serve(handler)
    pool = net.pool(Limits(max_per_origin=1))
    tasks = [asyncio.create_task(fetch(pool, up.origin)) for _ in range(6)]
    await eventually(lambda: up.accepted == 1)
    for task in tasks[1:5]:
        task.cancel()
    go.set()
    assert await tasks[0] == await tasks[5] == (200, b"ok")

    # The turn has come, and the task is cancelled before it runs again.
    (conn,) = pool._slots[up.origin.key].idle
    go.clear()
    first = asyncio.create_task(fetch(pool, up.origin))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(fetch(pool, up.origin))
    await asyncio.sleep(0)
    conn.data_received(OK)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert await first == (200, b"ok")
    assert pool.stats()[up.origin.key]["idle"] == 1


async def test_handed_over_connection_dies_before_it_is_used(net: Net) -> None:
    up = await net.serve(silent)
    pool = net.pool(Limits(max_per_origin=1))
    first = asyncio.create_task(fetch(pool, up.origin))
    await eventually(lambda: up.accepted == 1)
    second = asyncio.create_task(fetch(pool, up.origin))
    await asyncio.sleep(0)
    (conn,) = pool._connections
    conn.data_received(OK)
    conn.eof_received()
    assert await first == (200, b"ok")
    assert await eventually(lambda: up.accepted == 2)
    (conn,) = pool._connections
    conn.data_received(OK)
    assert await second == (200, b"ok")


async def test_idle_expiry(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool(Limits(idle_expiry=0.1))
    await fetch(pool, up.origin)
    assert pool.stats()[up.origin.key]["idle"] == 1
    assert await eventually(lambda: pool.stats() == {}, 1.0)
    assert await eventually(lambda: pool._timer is None and not pool._slots), "the ticker stops when nothing is left"


async def test_idle_expiry_of_used_connections_only_counts_silence(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool(Limits(idle_expiry=0.15))
    for _ in range(5):
        await fetch(pool, up.origin)
        await asyncio.sleep(0.05)
    assert up.accepted == 1


async def test_closed_pool(net: Net) -> None:
    up = await net.serve(silent)
    pool = net.pool(Limits(max_per_origin=1))
    tasks = [asyncio.create_task(fetch(pool, up.origin)) for _ in range(2)]
    await eventually(lambda: up.accepted == 1)
    await pool.close()
    for task in tasks:
        with pytest.raises(TransportError, match="pool is closed"):
            await task
    with pytest.raises(TransportError, match="pool is closed"):
        await fetch(pool, up.origin)
    await pool.close()


async def test_pool_of_another_loop(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool()
    await fetch(pool, up.origin)
    other = Origin("http", "127.0.0.1", 1)

    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another event loop"):
            asyncio.run(send(pool, other))

    await asyncio.to_thread(elsewhere)


# -- hints, guards and a storm


async def test_keep_alive_hint_shortens_the_idle_time(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 200 OK\r\nkeep-alive: max=5, timeout=3\r\ncontent-length: 2\r\n\r\nok"))
    pool = net.pool()
    await fetch(pool, up.origin)
    (conn,) = pool._slots[up.origin.key].idle
    assert conn.idle_hint == 1.0
    conn.tick(10.0, 30.0)
    conn.tick(10.9, 30.0)
    assert pool.stats()[up.origin.key]["idle"] == 1
    conn.tick(11.1, 30.0)
    assert pool.stats() == {}


async def test_announced_length_over_the_limit_is_not_downloaded(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        await peer.gone()

    up = await net.serve(handler)
    pool = net.pool()
    resp = await send(pool, up.origin)
    with pytest.raises(TooLarge, match="larger than 999999 bytes"):
        await resp.read(999_999)
    assert pool.stats() == {}


async def test_extra_must_be_whole_lines(net: Net) -> None:
    pool = net.pool()
    origin = Origin("http", "127.0.0.1", 1)
    with pytest.raises(ValueError, match="ended with CRLF"):
        await pool.send(origin, b"GET / HTTP/1.1\r\n", None, Timeouts(), extra=b"x: y")


async def test_no_timer_per_request_or_chunk(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool's ticker is the only timer, whatever number of requests and chunks: counted, not timed."""

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(CHUNKED)
            for _ in range(5):
                await asyncio.sleep(0)
                await peer.send(b"1\r\nx\r\n")
            await peer.send(b"0\r\n\r\n")

    up = await net.serve(handler)
    pool = net.pool()
    await fetch(pool, up.origin)
    await rested(pool)
    conn = next(iter(pool._connections))
    timers = tasks = 0

    class Counting:
        """The loop as the connection and the pool see it."""

        def __getattr__(self, name: str) -> Any:
            nonlocal timers, tasks
            timers += name in ("call_later", "call_at")
            tasks += name == "create_task"
            return getattr(loop, name)

    loop = asyncio.get_running_loop()
    conn.loop = Counting()  # type: ignore[assignment]
    pool._loop = Counting()  # type: ignore[assignment]
    began = monotonic()
    for _ in range(50):
        assert await fetch(pool, up.origin) == (200, b"xxxxx")
    elapsed = monotonic() - began
    pool._loop = loop
    assert tasks == 0 and timers <= 2 + 2 * elapsed / 0.05
    assert up.accepted == 1


async def test_an_error_in_the_ticker_does_not_stop_the_clock(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool()
    await fetch(pool, up.origin)
    with monkeypatch.context() as patch:
        patch.setattr("penstock.runtime.http.pool.monotonic", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            pool._tick()
    quiet = await net.serve(silent)
    with pytest.raises(FirstByteTimeout):
        await fetch(pool, quiet.origin, timeouts=Timeouts(first_byte=0.1))


async def test_a_slot_that_was_cleared_away_meanwhile_comes_back(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool()
    slot = pool._open_slot(up.origin, None)
    del pool._slots[slot.key]  # as the clock does with one that is not used
    conn = await pool._acquire(slot, QUICK, 0.0, float("inf"))
    assert pool._slots[slot.key] is slot and pool.stats()[up.origin.key]["open"] == 1
    other = pool._open_slot(up.origin, None)  # and somebody else has opened one
    again = await pool._acquire(slot, QUICK, 0.0, float("inf"))
    assert again.slot is other
    for one in (conn, again):
        one.abort()


def _unreliable(chance: random.Random) -> Handler:
    """A handler that does something else every time."""

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            what = chance.randrange(9)
            await asyncio.sleep(chance.random() * 0.01)
            if what == 0:
                return
            if what == 1:
                return peer.reset()
            if what == 2:
                await peer.gone()
            if what == 3:
                await peer.send(b"garbage\r\n\r\n")
            elif what == 4:
                await peer.send(CHUNKED + b"5\r\nhel")
                return
            elif what == 5:
                await peer.send(OK + b"surplus")
            elif what == 6:
                await peer.send(CHUNKED)
                await peer.drip(b"1\r\nx\r\n" * 5 + b"0\r\n\r\n", 4, 0.001)
            else:
                await peer.send(OK)

    return handler


@pytest.mark.parametrize("seed", range(2))
async def test_storm(net: Net, seed: int) -> None:
    """Many requests against every misbehaviour, cancelled at random: nothing stays open, everyone is answered."""
    chance = random.Random(seed)

    up = await net.serve(_unreliable(chance))
    before = open_sockets()
    pool = net.pool(Limits(max_per_origin=10, max_idle_per_origin=3))
    timeouts = Timeouts(first_byte=0.1, stall=0.1, pool=0.3, total=0.4)
    outcomes: list[str] = []

    async def client() -> None:
        try:
            resp = await send(pool, up.origin, timeouts=timeouts)
            if chance.random() < 0.2:
                await asyncio.sleep(0)
            elif chance.random() < 0.5:
                await resp.pump(lambda data: None)
            else:
                await resp.read(1000)
            resp.close()
            outcomes.append("ok")
        except TransportError as exc:
            outcomes.append(type(exc).__name__)
        except asyncio.CancelledError:
            outcomes.append("cancelled")
            raise

    tasks = [asyncio.create_task(client()) for _ in range(300)]
    for task in chance.sample(tasks, 60):
        await asyncio.sleep(0.002)
        task.cancel()
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5.0)
    assert {"ok", "Disconnected"} < set(outcomes)
    row = pool.stats().get(up.origin.key, {"active": 0, "connecting": 0, "waiting": 0, "open": 0})
    assert (row["active"], row["connecting"], row["waiting"]) == (0, 0, 0) and row["open"] <= 3
    await pool.close()
    await up.close()
    assert await eventually(lambda: open_sockets() <= before - 1), "every socket of both sides is closed"
