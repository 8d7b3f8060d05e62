"""Request bodies that are still on their way here: pushed, taken, sent on, with backpressure from end to end."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator

import pytest

from penstock.runtime.http import BodyTruncated, Disconnected, Origin, StallTimeout, Timeouts, TransportError
from penstock.runtime.http.source import Source

from .upstream import OK, QUICK, Net, Peer, eventually, fetch

pytestmark = pytest.mark.asyncio
MIB = 1024 * 1024


class Pushed:
    """A body out of a source. ``size`` None: sent chunked."""

    def __init__(self, size: int | None = None, high: int = 256 * 1024) -> None:
        self.calls: list[str] = []
        self.source = Source(lambda: self.calls.append("pause"), lambda: self.calls.append("resume"), high)
        self.size = size
        self.ended = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while data := await self.source.take():
                yield data
        finally:
            self.ended = True

    async def push(self, total: int, step: int = 64 * 1024) -> None:
        """As a connection does: not while it is told to pause."""
        left = total
        while left:
            while self.source.paused:
                await asyncio.sleep(0)
            data = b"x" * min(step, left)
            left -= len(data)
            self.source.feed(data)
            await asyncio.sleep(0)
        self.source.end()


# -- the source alone


async def test_everything_is_taken_in_order_and_the_end_is_told() -> None:
    body = Pushed()
    body.source.feed(b"one")
    body.source.feed(b"two")
    assert [await body.source.take(), await body.source.take()] == [b"one", b"two"]
    waiting = asyncio.ensure_future(body.source.take())
    await asyncio.sleep(0)
    body.source.feed(b"three")
    assert await waiting == b"three"
    body.source.feed(b"four")
    body.source.end()
    assert [await body.source.take(), await body.source.take(), await body.source.take()] == [b"four", b"", b""]
    assert len(body.source) == body.source.received == 15 and not body.calls


async def test_the_pusher_is_held_back_and_let_go_again() -> None:
    body = Pushed(high=100)
    source = body.source
    for _ in range(12):
        source.feed(b"x" * 10)
    assert body.calls == ["pause", "pause"] and source.paused, "whoever goes on pushing is told again"
    for _ in range(9):
        await source.take()
    assert source.paused
    await source.take()
    assert not source.paused and body.calls[2:] == ["resume"]


async def test_a_failure_goes_before_what_waits_and_the_first_counts() -> None:
    body = Pushed(high=10)
    body.source.feed(b"x" * 20)
    body.source.fail(ValueError("one"))
    body.source.fail(ValueError("two"))
    body.source.feed(b"y" * 20)
    assert body.calls == ["pause", "resume"], "nobody would ever let it go on"
    with pytest.raises(ValueError, match="one"):
        await body.source.take()
    late = Pushed()
    late.source.end()
    late.source.fail(ValueError("too late"))
    assert await late.source.take() == b""


async def test_a_failure_wakes_the_taker_and_a_cancelled_taker_loses_nothing() -> None:
    body = Pushed()
    waiting = asyncio.ensure_future(body.source.take())
    await asyncio.sleep(0)
    waiting.cancel()
    body.source.feed(b"kept")
    await asyncio.wait([waiting])
    assert waiting.cancelled() and await body.source.take() == b"kept"
    waiting = asyncio.ensure_future(body.source.take())
    await asyncio.sleep(0)
    body.source.fail(ValueError("gone"))
    with pytest.raises(ValueError, match="gone"):
        await waiting


async def test_after_close_everything_is_thrown_away() -> None:
    body = Pushed(high=10)
    body.source.feed(b"x" * 20)
    body.source.close()
    assert body.calls == ["pause", "resume"]
    body.source.feed(b"x" * 20)
    assert await body.source.take() == b"" and body.source.received == 40 and body.calls == ["pause", "resume"]


# -- sent on


@pytest.mark.parametrize("sized", [True, False])
async def test_a_source_is_sent_as_it_comes(net: Net, sized: bool) -> None:
    got: list[tuple[bytes, int]] = []

    async def handler(peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            got.append((head.lower(), len(body)))
            await peer.send(OK)

    up = await net.serve(handler)
    pool = net.pool()
    for _ in range(2):
        body = Pushed(5 * MIB if sized else None)
        pushing = asyncio.ensure_future(body.push(5 * MIB))
        assert await fetch(pool, up.origin, body=body) == (200, b"ok")
        await pushing
    assert [size for _, size in got] == [5 * MIB, 5 * MIB] and up.accepted == 1
    assert (b"content-length: %d\r\n" % (5 * MIB) in got[0][0]) is sized
    assert (b"transfer-encoding: chunked" in got[0][0]) is not sized


async def test_an_upstream_that_does_not_read_holds_the_pusher_back(net: Net) -> None:
    go = asyncio.Event()

    async def handler(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await go.wait()
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.request()
        await peer.send(OK)

    up = await net.serve(handler)
    body = Pushed(60 * MIB)
    pushing = asyncio.ensure_future(body.push(60 * MIB))
    asking = asyncio.ensure_future(fetch(net.pool(), up.origin, body=body, timeouts=Timeouts()))
    last = -1
    while last != body.source.received:
        last = body.source.received
        await asyncio.sleep(0.1)
    assert body.source.paused and last < 30 * MIB, "the kernel's buffers hold some megabytes, we hold next to nothing"
    assert body.source._size <= 256 * 1024 + 64 * 1024
    go.set()
    assert await asking == (200, b"ok")
    await pushing
    assert body.source.received == 60 * MIB


async def test_a_pusher_that_is_slow_is_nobodys_stall(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)

    up = await net.serve(handler)
    body = Pushed(30)

    async def slowly() -> None:
        for _ in range(3):
            await asyncio.sleep(0.2)
            body.source.feed(b"x" * 10)
        body.source.end()

    pushing = asyncio.ensure_future(slowly())
    assert await fetch(net.pool(), up.origin, body=body, timeouts=Timeouts(stall=0.1, first_byte=0.1)) == (200, b"ok")
    await pushing


async def test_an_upstream_that_takes_nothing_stalls(net: Net) -> None:
    async def handler(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(10)

    up = await net.serve(handler)
    body = Pushed(60 * MIB)
    pushing = asyncio.ensure_future(body.push(60 * MIB))
    with pytest.raises(StallTimeout, match="request body"):
        await fetch(net.pool(), up.origin, body=body, timeouts=Timeouts(stall=0.2))
    assert await eventually(lambda: body.ended)
    pushing.cancel()


@pytest.mark.parametrize(("size", "pushed"), [(10, 12), (10, 8)])
async def test_a_length_that_is_not_kept_is_an_error_and_never_another_request(net: Net, size: int, pushed: int) -> None:
    got: list[bytes] = []

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        got.append(await peer.reader.read(-1))

    up = await net.serve(handler)
    body = Pushed(size)
    body.source.feed(b"x" * pushed)
    body.source.end()
    with pytest.raises(ValueError, match="announced"):
        await fetch(net.pool(), up.origin, body=body)
    assert await eventually(lambda: up.peers[0].reader.at_eof() or bool(got))
    assert all(len(one) <= size for one in got)


async def test_what_the_source_fails_with_comes_through_and_the_upstream_notices(net: Net) -> None:
    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        gone.append(await peer.gone())

    up = await net.serve(handler)
    body = Pushed(100)
    body.source.feed(b"x" * 10)
    asking = asyncio.ensure_future(fetch(net.pool(), up.origin, body=body))
    await asyncio.sleep(0.05)
    body.source.fail(LookupError("the client left"))
    with pytest.raises(LookupError, match="the client left"):
        await asking
    assert await eventually(lambda: bool(gone) and body.ended)


async def test_cancelling_ends_the_taker(net: Net) -> None:
    gone: list[float] = []

    async def handler(peer: Peer) -> None:
        gone.append(await peer.gone())

    up = await net.serve(handler)
    body = Pushed(100)
    asking = asyncio.ensure_future(fetch(net.pool(), up.origin, body=body))
    await asyncio.sleep(0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await eventually(lambda: bool(gone) and body.ended)


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_an_upstream_that_dies_in_the_middle(net: Net, how: str) -> None:
    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.reader.readexactly(MIB)
        peer.reset() if how == "reset" else peer.close()

    up = await net.serve(handler)
    body = Pushed(60 * MIB)
    pushing = asyncio.ensure_future(body.push(60 * MIB))
    with pytest.raises(TransportError) as info:
        await fetch(net.pool(), up.origin, body=body)
    assert isinstance(info.value, Disconnected | BodyTruncated) and info.value.sent
    assert await eventually(lambda: body.ended)
    pushing.cancel()


REFUSED = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 7\r\nconnection: close\r\n\r\ntoo big"


@pytest.mark.parametrize("then", ["close", "drain", "after some"])
@pytest.mark.parametrize("sized", [True, False])
async def test_an_early_refusal_is_heard(net: Net, then: str, sized: bool) -> None:
    """Whoever refuses before the body is there may close at once, which is a reset: what was said must not be lost."""

    async def handler(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        if then == "after some":
            await peer.reader.readexactly(3 * MIB)
        await peer.send(REFUSED)
        if then == "drain":
            await peer.gone()

    up = await net.serve(handler)
    pool = net.pool()
    for _ in range(20):
        body = Pushed(60 * MIB if sized else None)
        pushing = asyncio.ensure_future(body.push(60 * MIB))
        assert await fetch(pool, up.origin, body=body, timeouts=QUICK) == (413, b"too big")
        assert await eventually(lambda body=body: body.ended)
        pushing.cancel()


def refusing(listener: socket.socket, after: int) -> None:
    """A server in a thread of its own: reads ``after`` bytes of a body, refuses and closes with the rest unread."""
    while True:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        with peer:
            got = b""
            while b"\r\n\r\n" not in got:
                got += peer.recv(65536)
            taken = 0
            while taken < after:
                taken += len(peer.recv(65536))
            peer.sendall(REFUSED)


@pytest.mark.parametrize("after", [0, 200_000, 2_000_000])
async def test_an_early_refusal_is_heard_though_our_writing_meets_the_reset_first(net: Net, after: int) -> None:
    class Fast:
        async def __aiter__(self) -> AsyncIterator[bytes]:
            for _ in range(600):
                yield b"x" * 65536
                await asyncio.sleep(0)

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        thread = threading.Thread(target=refusing, args=(listener, after), daemon=True)
        thread.start()
        pool, origin = net.pool(), Origin("http", "127.0.0.1", listener.getsockname()[1])
        for _ in range(40):
            assert await fetch(pool, origin, body=Fast(), timeouts=QUICK) == (413, b"too big")
        listener.shutdown(socket.SHUT_RDWR)
    await asyncio.get_running_loop().run_in_executor(None, thread.join, 5)
