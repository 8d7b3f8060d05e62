"""Upstreams that misbehave: every way ends in one clear TransportError and leaves nothing behind (fixture ``net``)."""

from __future__ import annotations

import asyncio
import gc
from itertools import pairwise
from time import monotonic

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.runtime.http import (
    BodyTruncated,
    ConnectError,
    Disconnected,
    FirstByteTimeout,
    Limits,
    Origin,
    ProtocolError,
    StallTimeout,
    Timeouts,
    TotalTimeout,
    TransportError,
)

from .upstream import CHUNKED, OK, QUICK, Net, Peer, answer, eventually, fetch, send, silent

pytestmark = pytest.mark.asyncio
LIMITS = Limits(max_header_bytes=8192, max_status_line=1024, max_header_count=20, max_chunk_extension=512)


async def test_refused(net: Net) -> None:
    up = await net.serve(silent)
    await up.close()
    with pytest.raises(ConnectError, match="cannot connect") as info:
        await fetch(net.pool(), up.origin)
    error = info.value
    assert (error.phase, error.sent, error.origin) == ("connect", False, up.origin)
    assert isinstance(error.__cause__, OSError)


async def test_unknown_host(net: Net) -> None:
    origin = Origin.parse("http://no-such-host.invalid")
    with pytest.raises(ConnectError, match=r"cannot resolve 'no-such-host\.invalid'") as info:
        await fetch(net.pool(), origin)
    assert info.value.phase == "connect" and not info.value.sent


async def test_never_answers(net: Net) -> None:
    up = await net.serve(silent)
    pool = net.pool()
    began = monotonic()
    with pytest.raises(FirstByteTimeout, match="no response headers within 0.1 s") as info:
        await fetch(pool, up.origin, timeouts=Timeouts(first_byte=0.1))
    assert 0.1 <= monotonic() - began < 0.4
    assert info.value.phase == "first_byte" and info.value.sent
    assert pool.stats() == {}


async def test_dripping_headers_do_not_reset_the_clock(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.drip(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 1000, pause=0.01)

    up = await net.serve(handler)
    with pytest.raises(FirstByteTimeout):
        await fetch(net.pool(), up.origin, timeouts=Timeouts(first_byte=0.15))


async def test_interim_responses_do_not_reset_the_clock(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.drip(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000, size=27, pause=0.01)

    up = await net.serve(handler)
    with pytest.raises(FirstByteTimeout):
        await fetch(net.pool(), up.origin, timeouts=Timeouts(first_byte=0.15))


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 21 + b"\r\n", "more than 20 response headers"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 9000 + b"\r\n\r\n", "headers are over 8192 bytes"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 9000, "headers are over 8192 bytes"),
        (b"HTTP/1.1 200 " + b"O" * 1100 + b"\r\n\r\n", "status line is over 1024 bytes"),
        (b"HTTP/1.1 200 " + b"O" * 1100, "status line is over 1024 bytes"),
        (b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 400, "headers are over 8192 bytes"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "Invalid status code"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "Expected HTTP/"),
        (b"HTTP/2.0 200 OK\r\ncontent-length: 0\r\n\r\n", "HTTP version 2.0 instead of 1.1"),
        (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nPRI", "101"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "101"),
        (b"HTTP/1.1 200 OK\ncontent-length: 2\n\nok", "Missing expected CR"),
        (b"HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 2\r\n\r\nok", "whitespace after header value"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "Invalid header token"),
        (b"HTTP/1.1 200 OK\r\nx : a\r\n\r\n", "Invalid header token"),
        (b"HTTP/1.1 200 OK\r\nx: a\0b\r\n\r\n", "Invalid header value char"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\n\r\nok", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nok", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nok", "Content-Length"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", "other than chunked"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "other than chunked"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n", "other than chunked"),
        (b"HTTP/1.1 200 OK\r\n" + b"transfer-encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", "two transfer-encoding"),
        (b"HTTP/1.1 200 OK\r\ncontent-encoding: rot13\r\ncontent-length: 2\r\n\r\nbx", "content-encoding 'rot13'"),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 100])
async def test_bad_head(net: Net, wire: bytes, message: str, size: int) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.drip(wire, size)
        await peer.gone()

    up = await net.serve(handler)
    pool = net.pool(LIMITS)
    with pytest.raises(ProtocolError) as info:
        await send(pool, up.origin)
    assert message in str(info.value) and info.value.sent
    assert info.value.origin == up.origin and str(info.value).startswith(str(up.origin))
    assert pool.stats() == {}


async def test_a_large_body_behind_a_small_head_is_not_a_large_head(net: Net) -> None:
    body = b"x" * 100_000
    up = await net.serve(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n" + body))
    assert await fetch(net.pool(LIMITS), up.origin) == (200, body)


@pytest.mark.parametrize("way", ["read", "pump", "iterate"])
@pytest.mark.parametrize(
    ("wire", "kind", "message"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", BodyTruncated, "before the end of the response body"),
        (CHUNKED + b"5\r\nhello\r\n", BodyTruncated, "before the end of the response body"),
        (CHUNKED + b"9\r\nhello", BodyTruncated, "before the end of the response body"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", BodyTruncated, "before the end of the response body"),
        (CHUNKED + b"5\r\nhello\r\nxyz\r\n", ProtocolError, "Invalid character in chunk size"),
        (CHUNKED + b"5\r\nhelloXX", ProtocolError, "not a valid HTTP/1.1 response"),
        (CHUNKED + b"5\r\nhello\r\n-1\r\n", ProtocolError, "chunk size"),
        (CHUNKED + b"5\r\nhello\r\n" + b"F" * 20 + b"\r\n", ProtocolError, "Chunk size overflow"),
    ],
)
async def test_bad_body(net: Net, wire: bytes, kind: type[TransportError], message: str, way: str) -> None:
    up = await net.serve(answer(wire, hold=False))
    pool = net.pool()
    resp = await send(pool, up.origin)
    got: list[bytes] = []
    with pytest.raises(kind) as info:
        if way == "read":
            await resp.read(100)
        elif way == "pump":
            await resp.pump(got.append)
        else:
            async for chunk in resp:
                got.append(chunk)
    assert message in str(info.value) and (info.value.phase, info.value.sent) == ("body", True)
    assert b"".join(got) == (b"" if way == "read" else b"hello"), "what came before the break is delivered"
    assert pool.stats() == {}


@pytest.mark.parametrize("extension", [b";" + b"a" * 50, b";" + b"a" * 3000])
async def test_chunk_extension_flood(net: Net, extension: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"1" + extension + b"\r\nx\r\n")
            await asyncio.sleep(0)

    up = await net.serve(handler)
    resp = await send(net.pool(LIMITS), up.origin)
    with pytest.raises(ProtocolError, match="chunk extensions or trailers of over 512 bytes"):
        await resp.read(1 << 30)


async def test_endless_chunk_extension(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"1;")
        while True:
            await peer.send(b"a" * 100)
            await asyncio.sleep(0)

    up = await net.serve(handler)
    resp = await send(net.pool(LIMITS), up.origin)
    with pytest.raises(ProtocolError, match="chunk extensions"):
        await resp.pump(lambda data: None)


async def test_trailer_flood(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"0\r\n")
        while True:
            await peer.send(b"x: y\r\n" * 20)
            await asyncio.sleep(0)

    up = await net.serve(handler)
    resp = await send(net.pool(LIMITS), up.origin)
    with pytest.raises(ProtocolError, match="trailers"):
        await resp.read(100)


async def test_one_byte_chunks_are_no_flood(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(200):
            await peer.send(b"1\r\nx\r\n" * 20)
            await asyncio.sleep(0)
        await peer.send(b"0\r\n\r\n")

    up = await net.serve(handler)
    resp = await send(net.pool(LIMITS), up.origin)
    assert await resp.read(10_000) == b"x" * 4000


@pytest.mark.parametrize(
    "surplus",
    [b"EXTRA", b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", b"\x00", b"HTTP/1.1 100 Continue\r\n\r\n"],
)
@pytest.mark.parametrize("pause", [0.0, 0.02])
async def test_surplus_data_is_never_the_next_response(net: Net, surplus: bytes, pause: float) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        if pause:
            await peer.send(OK)
            await asyncio.sleep(pause)
            await peer.send(surplus)
        else:
            await peer.send(OK + surplus)
        await peer.gone()

    up = await net.serve(handler)
    pool = net.pool()
    assert await fetch(pool, up.origin) == (200, b"ok")
    await asyncio.sleep(pause * 2)
    assert pool.stats() == {}
    assert await fetch(pool, up.origin) == (200, b"ok")
    assert up.accepted == 2


async def test_surplus_after_no_content(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello"))
    pool = net.pool()
    assert await fetch(pool, up.origin) == (204, b"")
    assert pool.stats() == {}


async def test_surplus_after_head(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"))
    pool = net.pool()
    assert await fetch(pool, up.origin, method=b"HEAD", body=None) == (200, b"")
    assert pool.stats() == {}


@pytest.mark.parametrize("reset", [False, True])
async def test_closed_while_idle_is_replaced(net: Net, reset: bool) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.02)
        if reset:
            peer.reset()

    up = await net.serve(handler)
    pool = net.pool()
    assert await fetch(pool, up.origin) == (200, b"ok")
    assert pool.stats()[up.origin.key]["idle"] == 1
    assert await eventually(lambda: pool.stats() == {})
    assert await fetch(pool, up.origin) == (200, b"ok")


async def test_closed_while_idle_and_not_noticed_yet(net: Net) -> None:
    """The close is in the kernel, the loop has not run since: the connection is asked before it is used."""
    count = 0

    async def handler(peer: Peer) -> None:
        nonlocal count
        count += len((await peer.request())[0]) > 0
        await peer.send(OK)
        await peer.gone()

    up = await net.serve(handler)
    pool = net.pool()
    await fetch(pool, up.origin)
    (conn,) = pool._slots[up.origin.key].idle
    conn.idle_since = monotonic() - 5.0
    conn.transport.pause_reading()  # the loop stays blind
    up.peers[0].close()
    await asyncio.sleep(0.02)
    assert await fetch(pool, up.origin) == (200, b"ok")
    assert (up.accepted, count) == (2, 2)


async def test_transport_closing_before_the_write_is_replaced(net: Net) -> None:
    up = await net.serve(answer(OK))
    pool = net.pool()
    await fetch(pool, up.origin)
    (conn,) = pool._slots[up.origin.key].idle
    conn.transport.abort()
    assert await fetch(pool, up.origin) == (200, b"ok")
    assert up.accepted == 2


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("partial", [b"", b"HTTP/1.1 200 OK\r\ncont"])
async def test_closed_after_the_write_is_never_repeated(net: Net, reset: bool, partial: bytes) -> None:
    requests = 0

    async def handler(peer: Peer) -> None:
        nonlocal requests
        await peer.request()
        requests += 1
        await peer.send(OK)
        await peer.request()
        requests += 1
        await peer.send(partial)
        await asyncio.sleep(0.01)
        if reset:
            peer.reset()

    up = await net.serve(handler)
    pool = net.pool()
    await fetch(pool, up.origin)
    with pytest.raises(Disconnected, match="before the response headers") as info:
        await fetch(pool, up.origin)
    assert (info.value.phase, info.value.sent) == ("first_byte", True)
    await asyncio.sleep(0.02)
    assert (requests, up.accepted) == (2, 1)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n", CHUNKED, b"HTTP/1.1 200 OK\r\n\r\n"])
async def test_reset_in_the_body(net: Net, head: bytes) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        await asyncio.sleep(0.02)
        peer.reset()

    up = await net.serve(handler)
    resp = await send(net.pool(), up.origin)
    with pytest.raises(BodyTruncated, match="lost") as info:
        await resp.read(100)
    assert isinstance(info.value.__cause__, ConnectionError)


@pytest.mark.parametrize("way", ["read", "pump"])
async def test_stall_in_the_body(net: Net, way: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(6):
            await peer.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.05)
        await peer.gone()

    up = await net.serve(handler)
    resp = await send(net.pool(), up.origin, timeouts=Timeouts(stall=0.15))
    got: list[bytes] = []
    with pytest.raises(StallTimeout, match=r"no byte of the response body for 0.15 s") as info:
        await (resp.read(100) if way == "read" else resp.pump(got.append))
    assert info.value.phase == "body"
    assert way == "read" or b"".join(got) == b"xxxxxx", "drips within the stall timeout keep it alive"


async def test_total_timeout_in_the_body(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        while True:
            await peer.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    up = await net.serve(handler)
    resp = await send(net.pool(), up.origin, timeouts=Timeouts(total=0.15))
    with pytest.raises(TotalTimeout) as info:
        await resp.read(1 << 20)
    assert (info.value.phase, info.value.sent) == ("body", True)


async def test_total_timeout_before_the_head(net: Net) -> None:
    up = await net.serve(silent)
    with pytest.raises(TotalTimeout) as info:
        await fetch(net.pool(), up.origin, timeouts=Timeouts(total=0.1))
    assert info.value.phase == "first_byte"


async def test_closes_as_soon_as_it_accepts(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        peer.reset()

    up = await net.serve(handler)
    pool = net.pool()
    for _ in range(20):
        with pytest.raises((ConnectError, Disconnected)):
            await fetch(pool, up.origin)
    assert await eventually(lambda: pool.stats() == {})


RESPONSES = st.sampled_from(
    [
        (b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 11\r\n\r\nhello world", 200, b"hello world"),
        (CHUNKED + b"5\r\nhello\r\n1\r\n \r\n5;x=y\r\nworld\r\n0\r\nt: u\r\n\r\n", 200, b"hello world"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 500 No\r\nx: y\r\n\r\nhello world", 500, b"hello world"),
        (b"HTTP/1.1 103 E\r\nl: m\r\n\r\nHTTP/1.1 204 None\r\nx: y\r\n\r\n", 204, b""),
    ]
)


@given(response=RESPONSES, cuts=st.lists(st.integers(1, 90), max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
async def test_any_cut_gives_the_same_response(net: Net, response: tuple[bytes, int, bytes], cuts: list[int]) -> None:
    wire, status, body = response
    whole = await _pieces(net, [wire])
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    cut = await _pieces(net, [wire[a:b] for a, b in pairwise(edges)])
    assert cut == whole
    assert (cut[0], cut[2]) == (status, body)


PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n", b"HTTP/1.0 204 No\r\n", b"\r\n", b"\n", b"\r", b"\r\n\r\n",
        b"content-length: 5\r\n", b"Content-Length: 0\r\n", b"transfer-encoding: chunked\r\n", b"connection: close\r\n",
        b"content-encoding: gzip\r\n", b"content-encoding: deflate\r\n", b"upgrade: h2c\r\nconnection: upgrade\r\n",
        b"keep-alive: timeout=1\r\n", b"5\r\nhello\r\n", b"5;a=b\r\nhello\r\n", b"0\r\n", b"0\r\n\r\n", b"hello", b" x: y\r\n",
        b"\x1f\x8b\x08", b"\x78\x9c", b"\0", b"x: \xff\r\n", b"FFFFFFFFFFFFFFFFF\r\n",
    ]
)  # fmt: skip


@given(
    wire=st.lists(PARTS | st.binary(max_size=4), max_size=12).map(b"".join),
    cuts=st.lists(st.integers(1, 120), max_size=4),
    method=st.sampled_from([b"POST", b"HEAD"]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
async def test_whatever_comes_is_a_response_or_a_transport_error(
    net: Net, wire: bytes, cuts: list[int], method: bytes
) -> None:
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    pool = net.pools[0] if net.pools else net.pool()
    up = net.upstreams[0] if net.upstreams else await net.serve(silent)
    task = asyncio.create_task(fetch(pool, up.origin, method=method))
    while not (busy := [conn for conn in pool._connections if conn.waiter is not None]):
        await asyncio.sleep(0)
    for start, end in pairwise(edges):
        busy[0].data_received(wire[start:end])
        await asyncio.sleep(0)
    busy[0].eof_received()
    try:
        status, _ = await task
    except TransportError as exc:
        assert exc.sent and exc.origin == up.origin
    else:
        assert 200 <= status <= 999
    assert pool.stats() == {}


async def _pieces(net: Net, pieces: list[bytes]) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """The response when its bytes arrive in exactly these pieces: they are handed to the protocol directly."""
    pool = net.pools[0] if net.pools else net.pool()
    up = net.upstreams[0] if net.upstreams else await net.serve(silent)
    task = asyncio.create_task(send(pool, up.origin))
    while not (busy := [conn for conn in pool._connections if conn.waiter is not None]):
        await asyncio.sleep(0)
    for piece in pieces:
        busy[0].data_received(piece)
    busy[0].eof_received()
    resp = await task
    return resp.status, resp.headers, await resp.read(1000)


async def test_sockets_are_closed_not_left_to_the_collector(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello", hold=False))
    pool = net.pool()
    for _ in range(3):
        with pytest.raises(BodyTruncated):
            await fetch(pool, up.origin, timeouts=QUICK)
    assert await eventually(lambda: not pool._connections)
    gc.collect()
