"""The well-behaved cases: framing, reuse, reading in every way, request bodies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from penstock.runtime.http import Limits, TooLarge, TransportError, render_head

from .upstream import CHUNKED, OK, QUICK, Net, Peer, answer, eventually, fetch, rested, send

pytestmark = pytest.mark.asyncio


async def test_request_on_the_wire(net: Net) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def handler(peer: Peer) -> None:
        while True:
            seen.append(await peer.request())
            await peer.send(OK)

    up = await net.serve(handler)
    pool = net.pool()
    head = render_head(b"POST", b"/v1/x?y=1", up.origin, [(b"Authorization", b"Bearer k")])
    resp = await pool.send(up.origin, head, b'{"a":1}', QUICK, extra=b"x-request-id: abc\r\n")
    assert (resp.status, await resp.read(10)) == (200, b"ok")
    assert seen == [
        (
            b"POST /v1/x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:%d\r\naccept-encoding: identity\r\nAuthorization: Bearer k\r\n"
            b"content-length: 7\r\nx-request-id: abc\r\n\r\n" % up.port,
            b'{"a":1}',
        )
    ]
    resp = await send(pool, up.origin, body=None, method=b"GET")
    await resp.read(10)
    assert b"content-length" not in seen[1][0] and b"transfer-encoding" not in seen[1][0]


async def test_keep_alive_and_timings(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool()
    for turn in range(5):
        resp = await send(pool, up.origin)
        timings = resp.timings
        assert timings.reused is (turn > 0)
        assert (timings.connect_ms > 0.0) is (turn == 0)
        assert timings.first_byte_ms > 0.0
        assert await resp.read(2) == b"ok"
        resp.close()
    assert up.accepted == 1
    assert pool.stats() == {up.origin.key: {"open": 1, "active": 0, "idle": 1, "connecting": 0, "waiting": 0}}


async def test_last_used_connection_is_used_first(net: Net) -> None:
    release = asyncio.Event()

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await release.wait()
            await peer.send(OK)

    up = await net.serve(handler)
    pool = net.pool()
    both = asyncio.gather(fetch(pool, up.origin), fetch(pool, up.origin))
    await eventually(lambda: up.accepted == 2)
    release.set()
    await both
    idle = list(pool._slots[up.origin.key].idle)
    before = idle[0].began, idle[1].began
    await fetch(pool, up.origin)
    assert len(idle) == 2 and list(pool._slots[up.origin.key].idle) == idle
    assert idle[0].began == before[0] and idle[1].began > before[1]


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", b"hello"),
        (CHUNKED + b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nx-trailer: 1\r\n\r\n", b"hello world"),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.0 200 OK\r\n\r\nold", b"old"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n", b""),
    ],
)
@pytest.mark.parametrize("way", ["read", "pump", "iterate"])
async def test_framings(net: Net, wire: bytes, body: bytes, way: str) -> None:
    up = await net.serve(answer(wire, hold=False))
    resp = await send(net.pool(), up.origin)
    got: list[bytes] = []
    if way == "read":
        got.append(await resp.read(100))
    elif way == "pump":
        await resp.pump(got.append)
    else:
        got.extend([chunk async for chunk in resp])
    resp.close()
    assert b"".join(got) == body


async def test_headers(net: Net) -> None:
    wire = b"HTTP/1.1 429 Slow\r\nRetry-After:  3 \r\nSet-Cookie: a\r\nSET-COOKIE: b\r\nEmpty:\r\n"
    wire += b"content-length: 0\r\n\r\n"
    up = await net.serve(answer(wire))
    resp = await send(net.pool(), up.origin)
    assert resp.headers == [
        (b"retry-after", b"3"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"empty", b""),
        (b"content-length", b"0"),
    ]  # fmt: skip
    assert resp.header(b"Retry-After") == b"3" and resp.header(b"set-cookie") == b"a" and resp.header(b"no") is None
    assert (resp.status, await resp.read(0)) == (429, b"")


@pytest.mark.parametrize(
    "headers", [b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"content-length: 0\r\n"]
)
async def test_head_has_no_body_and_keeps_the_connection(net: Net, headers: bytes) -> None:
    up = await net.serve(answer(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n"))
    pool = net.pool()
    for _ in range(3):
        resp = await send(pool, up.origin, body=None, method=b"HEAD")
        assert (resp.status, await resp.read(0)) == (200, b"")
        await rested(pool)
    assert up.accepted == 1


async def test_not_modified_has_no_body(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"))
    pool = net.pool()
    assert [await fetch(pool, up.origin) for _ in range(2)] == [(304, b"")] * 2
    assert up.accepted == 1


async def test_interim_responses_are_skipped(net: Net) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"

    async def handler(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n" + early)
            await asyncio.sleep(0.01)
            await peer.send(early + OK)

    up = await net.serve(handler)
    pool = net.pool()
    for _ in range(2):
        resp = await send(pool, up.origin)
        assert resp.headers == [(b"content-length", b"2")] and await resp.read(5) == b"ok"
    assert up.accepted == 1


async def test_connection_close_is_not_reused(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"))
    pool = net.pool()
    assert [await fetch(pool, up.origin) for _ in range(2)] == [(200, b"ok")] * 2
    assert up.accepted == 2 and pool.stats() == {}


async def test_pump_feeds_what_came_before_and_once_per_batch(net: Net) -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"1\r\na\r\n1\r\nb\r\n")
        await go.wait()
        await peer.send(b"1\r\nc\r\n1\r\nd\r\n")
        await asyncio.sleep(0.02)
        await peer.send(b"0\r\n\r\n")

    up = await net.serve(handler)
    resp = await send(net.pool(), up.origin)
    await eventually(lambda: resp._size == 2)
    got: list[bytes] = []
    pump = asyncio.create_task(resp.pump(got.append))
    await asyncio.sleep(0)
    assert got == [b"ab"]
    go.set()
    await pump
    assert got == [b"ab", b"cd"]


async def test_error_of_feed_ends_the_pump_and_the_connection(net: Net) -> None:
    hung_up = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(2):
            await asyncio.sleep(0.01)
            await peer.send(b"1\r\na\r\n")
        await peer.gone()
        hung_up.set()

    up = await net.serve(handler)
    pool = net.pool()
    resp = await send(pool, up.origin)

    def feed(data: bytes) -> None:
        raise KeyError("client is gone")

    with pytest.raises(KeyError):
        await resp.pump(feed)
    await asyncio.wait_for(hung_up.wait(), 0.1)
    assert pool.stats() == {}


async def test_read_limit(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n" + b"x" * 100))
    pool = net.pool()
    resp = await send(pool, up.origin)
    assert len(await resp.read(100)) == 100
    resp = await send(pool, up.origin)
    with pytest.raises(TooLarge) as info:
        await resp.read(99)
    assert info.value.phase == "body" and "99 bytes" in str(info.value)


async def test_read_limit_while_streaming(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await peer.send(b"x" * 1000)
            await asyncio.sleep(0.001)

    up = await net.serve(handler)
    pool = net.pool()
    resp = await send(pool, up.origin)
    with pytest.raises(TooLarge):
        await resp.read(5000)
    assert pool.stats() == {}


async def test_body_can_be_read_once_by_one(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no")
        await peer.gone()

    up = await net.serve(handler)
    resp = await send(net.pool(), up.origin)
    first = asyncio.create_task(resp.read(10))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="already being read"):
        await resp.read(10)
    resp.close()
    with pytest.raises(TransportError, match="closed before its body was read"):
        await first
    with pytest.raises(TransportError, match="closed before its body was read"):
        await resp.read(10)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 300_000, 5_000_000])
async def test_bytes_bodies_of_every_size(net: Net, size: int) -> None:
    async def handler(peer: Peer) -> None:
        while True:
            _, body = await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    up = await net.serve(handler)
    pool = net.pool()
    body = (b"0123456789" * (size // 10 + 1))[:size]
    for _ in range(2):
        assert await fetch(pool, up.origin, body=body) == (200, body)
    assert up.accepted == 1


async def test_iterable_body_is_chunked(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            assert b"transfer-encoding: chunked\r\n" in head and b"content-length" not in head
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async def pieces() -> AsyncIterator[bytes]:
        for size in (3, 0, 100_000, 1):
            await asyncio.sleep(0)
            yield b"x" * size

    up = await net.serve(handler)
    pool = net.pool()
    for _ in range(2):
        assert await fetch(pool, up.origin, body=pieces()) == (200, b"x" * 100_004)
    assert up.accepted == 1


async def test_error_of_an_iterable_body_comes_through(net: Net) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"x"
        raise LookupError("the client's upload broke")

    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        gone.append(await peer.gone())

    up = await net.serve(handler)
    pool = net.pool()
    with pytest.raises(LookupError):
        await fetch(pool, up.origin, body=pieces())
    assert await eventually(lambda: bool(gone)) and pool.stats() == {}


async def test_wrong_body_type(net: Net) -> None:
    up = await net.serve(answer(OK))
    with pytest.raises(TypeError, match="body is str"):
        await send(net.pool(), up.origin, body="text")


@pytest.mark.parametrize("iterable", [False, True])
async def test_early_answer_while_the_body_is_being_sent(net: Net, iterable: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 10_000
            await asyncio.sleep(0.001)

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")
        await asyncio.sleep(0.1)

    up = await net.serve(handler)
    pool = net.pool()
    assert await fetch(pool, up.origin, body=pieces() if iterable else b"x" * 20_000_000) == (413, b"no")
    assert pool.stats() == {}


@pytest.mark.parametrize("iterable", [False, True])
async def test_refusal_with_a_hasty_close_is_still_read(net: Net, iterable: bool) -> None:
    """Closing with our data unread makes the upstream's kernel send RST; its answer must not drown in that."""

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100_000
            await asyncio.sleep(0)

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.02)
        await peer.send(b"HTTP/1.1 413 Too Large\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno")

    up = await net.serve(handler)
    pool = net.pool()
    for _ in range(5):
        assert await fetch(pool, up.origin, body=pieces() if iterable else b"x" * 20_000_000) == (413, b"no")
    assert pool.stats() == {}


async def test_idle_limit(net: Net) -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(OK)
        await peer.gone()

    up = await net.serve(handler)
    pool = net.pool(Limits(max_idle_per_origin=2))
    many = asyncio.gather(*(fetch(pool, up.origin) for _ in range(5)))
    await eventually(lambda: up.accepted == 5)
    assert pool.stats()[up.origin.key]["active"] == 5
    go.set()
    await many
    assert pool.stats()[up.origin.key] == {"open": 2, "active": 0, "idle": 2, "connecting": 0, "waiting": 0}
