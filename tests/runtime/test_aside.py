"""Streams that are translated in several turns: in order, not ahead of the client, and with every error told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable

import pytest

from penstock.core import sse
from penstock.core.budget import values_in
from penstock.core.errors import GatewayError
from penstock.runtime import aside
from penstock.runtime.aside import FEW, MOST_VALUES, Aside

LONG = b"[" + b"1," * 100_000 + b"1]"


class Upstream:
    """An answer that comes in the given pieces, one in each turn of the loop in which it is not held back."""

    def __init__(self, pieces: Iterable[bytes], broken: Exception | None = None) -> None:
        self.pieces = list(pieces)
        self.broken = broken
        self.paused = self.closed = False

    async def pump(self, feed: Callable[[bytes], None]) -> None:
        while self.pieces:
            await asyncio.sleep(0)
            if self.closed:
                raise OSError("closed")
            if not self.paused:
                feed(self.pieces.pop(0))
        if self.broken is not None:
            raise self.broken

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def close(self) -> None:
        self.closed = True


class Client:
    def __init__(self) -> None:
        self.out = b""

    def take(self, data: bytes, error: GatewayError | None) -> None:
        self.out += data
        if error is not None:
            raise error


def events(*data: bytes) -> bytes:
    return b"".join(b"data: %b\n\n" % one for one in data)


def told(event: sse.Event) -> bytes:
    if event.data == b"bad":
        raise GatewayError("broken_stream", "bad")
    return event.data[:3] + b";"


def made(upstream: Upstream, heavy: bool = True, feed: Callable[[sse.Event], bytes] = told) -> tuple[Aside, Client]:
    client = Client()
    return Aside(upstream, feed, client.take, heavy), client


@pytest.mark.parametrize("heavy", [True, False])
@pytest.mark.parametrize("cut", [1, 700, 10_000, 1 << 22])
async def test_events_keep_their_order(heavy, cut):
    names = [b"%03d" % n for n in range(300)]
    data = events(*names[:100], LONG, *names[100:103], LONG, *names[103:])
    pieces = [data[at : at + cut] for at in range(0, len(data), cut)] if cut > 1 else [events(n) for n in names]
    stream, client = made(Upstream(pieces), heavy)
    await stream.pump(sse.Decoder().feed)
    expected = names if cut == 1 else [*names[:100], b"[1,", *names[100:103], b"[1,", *names[103:]]
    assert client.out == b"".join(name + b";" for name in expected)


async def test_others_have_their_turn_between_few_events():
    turns: list[int] = []
    stream, client = made(Upstream([events(*[b"abc"] * (10 * FEW))]))

    async def count() -> None:
        while len(client.out) < 4 * 10 * FEW:
            turns.append(len(client.out))
            await asyncio.sleep(0)

    await asyncio.gather(stream.pump(sse.Decoder().feed), count())
    assert max(b - a for a, b in zip(turns, turns[1:], strict=False)) <= 4 * FEW


async def test_a_large_event_does_not_stop_the_loop():
    def slow(event: sse.Event) -> bytes:
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            pass
        return b"done"

    stream, client = made(Upstream([events(LONG)]), feed=slow)
    job = asyncio.create_task(stream.pump(sse.Decoder().feed))
    beats = 0
    while not job.done():
        await asyncio.sleep(0.005)
        beats += 1
    assert beats >= 10 and client.out == b"done"


@pytest.mark.parametrize("before", [0, 3, 3 * FEW])
async def test_what_precedes_a_bad_event_is_told(before):
    upstream = Upstream([events(*[b"abc"] * before, b"bad", *[b"xyz"] * 3 * FEW), events(b"xyz")])
    stream, client = made(upstream)
    with pytest.raises(GatewayError, match="bad"):
        await stream.pump(sse.Decoder().feed)
    assert client.out == b"abc;" * before


async def test_what_came_before_a_break_is_told():
    stream, client = made(Upstream([events(*[b"abc"] * 10 * FEW)], OSError("broken")))
    with pytest.raises(OSError, match="broken"):
        await stream.pump(sse.Decoder().feed)
    assert client.out == b"abc;" * 10 * FEW


async def test_nothing_goes_ahead_of_a_client_that_reads_slowly():
    upstream = Upstream([events(*[b"abc"] * 10 * FEW), events(b"xyz")])
    stream, client = made(upstream)
    job = asyncio.create_task(stream.pump(sse.Decoder().feed))
    while not client.out:
        await asyncio.sleep(0)
    stream.pause()
    for _ in range(5):
        await asyncio.sleep(0)
    seen = len(client.out)
    await asyncio.sleep(0.05)
    assert len(client.out) == seen < 4 * 10 * FEW and upstream.paused
    stream.resume()
    await job
    assert client.out == b"abc;" * 10 * FEW + b"xyz;" and not upstream.paused


async def test_who_leaves_ends_it():
    stream, client = made(Upstream([events(*[b"abc"] * 1000 * FEW)]))
    job = asyncio.create_task(stream.pump(sse.Decoder().feed))
    while not client.out:
        await asyncio.sleep(0)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    await asyncio.sleep(0)
    seen = len(client.out)
    await asyncio.sleep(0.05)
    assert len(client.out) == seen < 4 * 1000 * FEW


async def test_an_event_of_too_many_values_is_refused_and_one_long_text_is_not(monkeypatch):
    many = b"[" + b"1," * (MOST_VALUES + 5) + b"1]"
    stream, client = made(Upstream([events(many)]))
    with pytest.raises(GatewayError, match="more than 500000 values"):
        await stream.pump(sse.Decoder().feed)
    stream, client = made(Upstream([events(b'"' + b",{" * MOST_VALUES + b'"')]))
    await stream.pump(sse.Decoder().feed)
    assert client.out == b'",{;'
    assert aside.values_in is values_in


def test_values_are_counted_outside_of_texts():
    assert values_in(b'{"a,b":[1,2,{"c":"}{,\\",,"}],"d":3}', 100) == 5
    assert values_in(b"[" + b"1," * 50 + b'"a"', 10) > 10
    assert values_in(b'"' + b"," * 1000 + b'"', 10) == 0
    assert values_in(b"", 10) == 0
