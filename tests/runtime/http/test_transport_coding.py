"""Content-Encoding that nobody asked for: decoded as it comes, bounded, clear when it cannot be."""

from __future__ import annotations

import gzip
import importlib
import zlib
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.runtime.http import BodyTruncated, Limits, Origin, ProtocolError, TooLarge
from penstock.runtime.http.decode import Decoder, codings

from .upstream import Net, answer, fetch, send

brotli = pytest.importorskip("brotli")
zstandard = pytest.importorskip("zstandard")
ORIGIN = Origin("http", "example.com", 80)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACK = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate-raw": raw_deflate,
    "br": lambda data: brotli.compress(data, quality=3),
    "zstd": zstandard.ZstdCompressor().compress,
    "gzip, br": lambda data: brotli.compress(gzip.compress(data), quality=3),
}
NAMES = {name: name.removesuffix("-raw") for name in PACK}


@given(
    coding=st.sampled_from(sorted(PACK)),
    body=st.one_of(st.binary(max_size=300), st.text(max_size=50).map(lambda text: text.encode() * 100)),
    cuts=st.lists(st.integers(0, 500), max_size=8),
)
def test_any_cut_of_any_coding_gives_the_body(coding: str, body: bytes, cuts: list[int]) -> None:
    packed = PACK[coding](body)
    decoder = Decoder(NAMES[coding].encode(), Limits(), ORIGIN)
    edges = sorted({0, len(packed), *(cut for cut in cuts if cut < len(packed))})
    pieces = [decoder.feed(packed[a:b]) for a, b in pairwise(edges)]
    decoder.finish()
    assert b"".join(pieces) == body


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_several_members(coding: str) -> None:
    decoder = Decoder(coding.encode(), Limits(), ORIGIN)
    packed = PACK[coding](b"hello ") + PACK[coding](b"world")
    assert b"".join(decoder.feed(packed[at : at + 1]) for at in range(len(packed))) == b"hello world"
    decoder.finish()


@pytest.mark.parametrize("coding", sorted(PACK))
def test_truncated(coding: str) -> None:
    packed = PACK[coding](bytes(range(256)) * 4)
    for end in (len(packed) // 2, len(packed) - 1):
        decoder = Decoder(NAMES[coding].encode(), Limits(), ORIGIN)
        decoder.feed(packed[:end])
        with pytest.raises(BodyTruncated, match="in the middle of the compressed stream"):
            decoder.finish()


@pytest.mark.parametrize("coding", sorted(PACK))
def test_empty_body_is_no_error(coding: str) -> None:
    Decoder(NAMES[coding].encode(), Limits(), ORIGIN).finish()


@pytest.mark.parametrize("coding", sorted(PACK))
def test_corrupt(coding: str) -> None:
    decoder = Decoder(NAMES[coding].encode(), Limits(), ORIGIN)
    with pytest.raises((ProtocolError, BodyTruncated)):
        decoder.feed(b"\x07this was never compressed at all, and it is long enough to notice" * 3)
        decoder.finish()


@pytest.mark.parametrize("coding", sorted(PACK))
def test_bomb(coding: str) -> None:
    """20 MB of zeros; what is inflated before the stop stays near the limit, even from one piece."""
    limits = Limits(max_inflate_ratio=20, inflate_floor=100_000)
    packed = PACK[coding](bytes(20_000_000))
    decoder = Decoder(NAMES[coding].encode(), limits, ORIGIN)
    produced = 0
    with pytest.raises(TooLarge, match="inflates over 20 times"):
        for at in range(0, len(packed), 100):
            produced += len(decoder.feed(packed[at : at + 100]))
    assert produced <= max(100_000, 20 * len(packed))


def test_bomb_in_one_piece_is_not_inflated_whole() -> None:
    import tracemalloc

    packed = gzip.compress(bytes(50_000_000))
    decoder = Decoder(b"gzip", Limits(max_inflate_ratio=2, inflate_floor=100_000), ORIGIN)
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decoder.feed(packed)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def test_ordinary_text_is_no_bomb() -> None:
    body = b'{"a":"' + b"x" * 3_000_000 + b'"}'
    decoder = Decoder(b"gzip", Limits(), ORIGIN)
    assert decoder.feed(gzip.compress(body)) == body


def test_names() -> None:
    assert codings(b" GZIP , identity,,Br") == ["gzip", "br"]
    for header, message in ((b"lzma", "unknown content-encoding 'lzma'"), (b"gzip,gzip,gzip,gzip", "at most 3")):
        with pytest.raises(ProtocolError, match=message):
            Decoder(header, Limits(), ORIGIN)


@pytest.mark.parametrize(("coding", "package"), [("br", "brotli"), ("zstd", "zstandard")])
def test_missing_package_says_what_to_install(coding: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def absent(name: str, *args: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(ProtocolError, match=f"content-encoding '{coding}'.*install {package}"):
        Decoder(coding.encode(), Limits(), ORIGIN)


@pytest.mark.asyncio
@pytest.mark.parametrize("coding", sorted(PACK))
@pytest.mark.parametrize("way", ["read", "pump"])
async def test_over_the_wire(net: Net, coding: str, way: str) -> None:
    body = b"hello world, " * 1000
    packed = PACK[coding](body)
    name = NAMES[coding].encode()
    up = await net.serve(
        answer(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\nx: y\r\ncontent-length: %d\r\n\r\n%b"
            % (name, len(packed), packed)
        )
    )
    pool = net.pool()
    for _ in range(2):
        resp = await send(pool, up.origin)
        assert resp.headers == [(b"x", b"y")]
        got: list[bytes] = []
        if way == "read":
            got.append(await resp.read(len(body)))
        else:
            await resp.pump(got.append)
        assert b"".join(got) == body
    assert up.accepted == 1


@pytest.mark.asyncio
async def test_bomb_over_the_wire(net: Net) -> None:
    packed = gzip.compress(bytes(50_000_000))
    up = await net.serve(
        answer(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(packed), packed))
    )
    pool = net.pool()
    for limit in (1000, 1 << 40):
        resp = await send(pool, up.origin)
        with pytest.raises(TooLarge):
            await resp.read(limit)
    assert pool.stats() == {}


@pytest.mark.asyncio
async def test_truncated_and_corrupt_over_the_wire(net: Net) -> None:
    packed = gzip.compress(b"hello world")
    for sent, kind in ((packed[:-4], BodyTruncated), (b"not gzip at all", ProtocolError)):
        up = await net.serve(
            answer(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(sent), sent))
        )
        pool = net.pool()
        with pytest.raises(kind):
            await fetch(pool, up.origin)
        assert pool.stats() == {}


@pytest.mark.asyncio
async def test_no_body_no_decoding(net: Net) -> None:
    up = await net.serve(answer(b"HTTP/1.1 304 Not Modified\r\ncontent-encoding: gzip\r\ncontent-length: 20\r\n\r\n"))
    pool = net.pool()
    assert [await fetch(pool, up.origin) for _ in range(2)] == [(304, b"")] * 2
    assert up.accepted == 1
