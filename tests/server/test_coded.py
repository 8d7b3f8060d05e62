"""Compressed requests: read within limits on every route and at every door, or refused by name."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from penstock.core.errors import GatewayError
from penstock.runtime.http import decode as codecs
from penstock.runtime.http.decode import Missing
from penstock.server import coded
from penstock.server.mounts import MOUNTS
from penstock.server.surfaces import SURFACES
from tests.door import HELLO, open_door
from tests.doors import each_door
from tests.server.test_spellings import KEY, MASTER

JSON = {"content-type": "application/json"}


def raw_deflate(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-zlib.MAX_WBITS)


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}
BODY = {
    **HELLO,
    "max_tokens": 9,
    "input": "hello",
    "prompt": "hello",
    "query": "q",
    "documents": ["d"],
    "voice": "alloy",
}


def several(data: bytes, names: list[str]) -> bytes:
    for name in names:
        data = CODINGS[name](data)
    return data


# Pure -----------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=4000), st.lists(st.sampled_from(list(CODINGS)), max_size=3))
def test_what_was_coded_comes_back(data, names):
    sent = several(data, names)
    if data or not names:  # nothing at all is nothing, whatever its coding
        assert coded.decode(sent, ", ".join(names).encode(), 1 << 20) == data
        spelled = ",".join(f" {name.upper()}\t" for name in ["identity", *names, ""])
        assert coded.decode(sent, spelled.encode(), 1 << 20) == data


@given(st.binary(max_size=300), st.sampled_from(list(CODINGS)), st.data())
def test_what_is_broken_is_told_and_never_taken(data, name, draw):
    sent = bytearray(CODINGS[name](data * 3 + b"x"))
    at = draw.draw(st.integers(0, len(sent) - 1))
    if draw.draw(st.booleans()):
        broken = bytes(sent[:at])
    else:
        sent[at] ^= 1 << draw.draw(st.integers(0, 7))
        broken = bytes(sent)
    try:
        got = coded.decode(broken, name.encode(), 1 << 20)
    except GatewayError as error:
        assert error.kind in ("bad_request", "too_large") and (name in error.message or error.kind == "too_large")
    else:  # a bit of a gzip head that means nothing, or of a deflated text without a checksum
        assert len(got) < 1 << 20


def test_deflate_without_a_head_is_read_too():
    assert coded.decode(raw_deflate(b"{}" * 50), b"deflate", 1000) == b"{}" * 50


@pytest.mark.parametrize("name", CODINGS)
def test_a_bomb_costs_no_more_than_the_limit(name):
    zeros = bytes(64 << 20)
    bomb = brotli.compress(zeros, quality=3) if name == "br" else CODINGS[name](zeros)
    step = 8 << 20 if name == "zstd" else 1 << 20  # zstd's binding has no limit: what 256 bytes can come to
    for limit in (10_000, 4 << 20, 32 << 20):
        room = min(limit, max(coded.FLOOR, coded.RATIO * len(bomb)))
        tracemalloc.start()
        try:
            with pytest.raises(GatewayError) as caught:
                coded.decode(bomb, name.encode(), limit)
            assert tracemalloc.get_traced_memory()[1] < 2.5 * room + step
        finally:
            tracemalloc.stop()
        assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    ("name", "empty"),
    [("gzip", gzip.compress(b"", mtime=0)), ("zstd", zstandard.ZstdCompressor().compress(b""))],
    ids=["gzip", "zstd"],
)
def test_very_many_members_take_no_time(name, empty):
    began = time.perf_counter()
    with pytest.raises(GatewayError, match="members"):
        coded.decode(empty * 1_000_000, name.encode(), 32 << 20)
    assert time.perf_counter() - began < 2
    assert coded.decode(CODINGS[name](b"{}") * 500, name.encode(), 10_000) == b"{}" * 500


def test_a_layered_bomb_is_no_better():
    with pytest.raises(GatewayError) as caught:
        coded.decode(several(bytes(40 << 20), ["gzip", "gzip", "gzip"]), b"gzip, gzip, gzip", 32 << 20)
    assert caught.value.kind == "too_large"


@pytest.mark.parametrize(
    "header", [b"gzip, gzip, gzip, gzip", b"compress", b"exi", b"aws-chunked", b"gzip, sdch", b"\xff\xfe"]
)
def test_what_cannot_be_read_is_named_with_what_can(header):
    with pytest.raises(GatewayError) as caught:
        coded.decode(b"x", header, 1000)
    assert caught.value.kind == "content_coding" and caught.value.status == 415
    assert caught.value.upstream_type == "gzip, deflate, br, zstd"


# Through the doors ----------------------------------------------------------------------------------------------------


@each_door
async def test_every_route_reads_every_coding(tmp_path, opened):
    plain = json.dumps(BODY).encode()
    mounted = [mount.prefix + rest for mount in MOUNTS if not mount.parameter for rest in mount.surfaces]
    paths = [path for path in (*SURFACES, *mounted, "/spend/calculate") if "audio/t" not in path]
    async with opened(tmp_path, master_key=MASTER) as door:
        for path in paths:
            status, headers, _ = await door.ask("POST", path, plain, KEY)
            for name in CODINGS:
                got, told, body = await door.ask("POST", path, CODINGS[name](plain), KEY | {"content-encoding": name})
                assert got == status and told["content-type"] == headers["content-type"], (path, name, body)
        batch = json.dumps({"requests": [HELLO, HELLO]}).encode()
        for sent, header in ((batch, "identity"), (several(batch, ["br", "gzip"]), "br, gzip")):
            status, _, body = await door.ask(
                "POST", "/api/v1/batch/chat/completions", sent, KEY | {"content-encoding": header}
            )
            assert status == 200 and json.loads(body)["successful"] == 2
        await door.settle()


@each_door
async def test_refusals_by_name_in_the_dialects_own_shape(tmp_path, opened, monkeypatch):
    async with opened(tmp_path, max_body=5000) as door:
        status, told, body = await door.ask("POST", "/v1/messages", b"{}", JSON | {"content-encoding": "sdch"})
        error = json.loads(body)["error"]
        assert status == 415 and error["type"] == "invalid_request_error" and "'sdch'" in error["message"]
        assert told["accept-encoding"] == "gzip, deflate, br, zstd"
        for sent, says in (
            (b"{}", "not what Content-Encoding says"),
            (gzip.compress(b"{}")[:-3], "ends in the middle"),
        ):
            status, _, body = await door.ask("POST", "/v1/chat/completions", sent, JSON | {"content-encoding": "gzip"})
            assert status == 400 and says in json.loads(body)["error"]["message"]
        long = gzip.compress(json.dumps({**HELLO, "pad": "x" * 6000}).encode())
        status, _, body = await door.ask("POST", "/v1/responses", long, JSON | {"content-encoding": "gzip"})
        assert status == 413 and "5000 bytes" in json.loads(body)["error"]["message"]

        def none(name: str) -> object:
            raise Missing(name)

        monkeypatch.setattr(codecs, "_package", none)
        for name, package in (("br", "brotli"), ("zstd", "zstandard")):
            sent = CODINGS[name](json.dumps(HELLO).encode())
            status, told, body = await door.ask("POST", "/v1/chat/completions", sent, JSON | {"content-encoding": name})
            message = json.loads(body)["error"]["message"]
            assert status == 415 and f"'{name}'" in message and package in message
            assert told["accept-encoding"] == "gzip, deflate" and "gzip, deflate" in message
        assert door.mock.received == []
        await door.settle()


@each_door
async def test_a_stranger_is_refused_before_anything_is_read(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(coded, "decode", None)  # it would fail
    async with opened(tmp_path, master_key=MASTER) as door:
        sent = gzip.compress(bytes(1 << 20))
        status, _, _ = await door.ask("POST", "/v1/chat/completions", sent, JSON | {"content-encoding": "gzip"})
        assert status == 401
        status, _, _ = await door.ask("GET", "/v1/models", b"", KEY | {"content-encoding": "gzip, what"})
        assert status == 500  # the one that does fail
    async with opened(tmp_path, master_key=MASTER) as door:
        monkeypatch.undo()
        assert (await door.ask("GET", "/v1/models", b"", KEY | {"content-encoding": "gzip, what"}))[0] == 200  # no body


@each_door
async def test_forms_small_and_large(tmp_path, opened):
    line = b"--x\r\ncontent-disposition: form-data; name="
    sound = bytes(range(256)) * 4000
    form = line + b'"model"\r\n\r\nm\r\n' + line + b'"file"; filename="a.mp3"\r\n\r\n%b\r\n--x--\r\n'
    head = {"content-type": "multipart/form-data; boundary=x"}
    async with opened(tmp_path) as door:
        for data in (sound[:300], sound):
            for name in CODINGS:
                sent = CODINGS[name](form % data)
                chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(sent), sent)
                more = {"content-encoding": name}
                status, _, body = await door.ask("POST", "/v1/audio/transcriptions", sent, head | more)
                assert status == 200, body
                raw = "POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n"
                raw += "".join(f"{key}: {value}\r\n" for key, value in (head | more).items())
                assert (await door.raw(raw.encode() + b"\r\n" + chunked)).startswith(b"HTTP/1.1 200")
                assert data in door.mock.received[-1].body and door.mock.received[-1].header("content-encoding") is None
        status, told, body = await door.ask(
            "POST", "/v1/audio/transcriptions", b"x", head | {"content-encoding": "sdch"}
        )
        assert status == 415 and "sdch" in json.loads(body)["error"]["message"] and "accept-encoding" in told
        await door.settle()


@each_door
async def test_what_is_passed_through_goes_as_it_came(tmp_path, opened):
    yaml = 'model_list:\n  - {model_name: m, litellm_params: {model: openai/m, api_base: "{mock}/v1", api_key: sk-up-secret-1}}'
    async with opened(tmp_path, yaml=yaml) as door:
        for name, sent in (("zstd", CODINGS["zstd"](json.dumps(HELLO).encode())), ("sdch", b"whatever")):
            await door.ask("POST", "/openai/v1/chat/completions", sent, JSON | {"content-encoding": name})
            assert door.mock.received[-1].body == sent and door.mock.received[-1].header("content-encoding") == name


async def test_a_connection_that_always_compresses(tmp_path):
    """The second request of a connection has a head that is known, and is not parsed again."""
    async with open_door(tmp_path) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for number in range(5):
            sent = gzip.compress(json.dumps({**HELLO, "max_tokens": number + 10}).encode())
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b"
                % (len(sent), sent)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]))
        writer.close()
        assert [seen.json["max_tokens"] for seen in door.mock.received] == [10, 11, 12, 13, 14]


@each_door
async def test_while_a_large_one_is_read_others_are_served(tmp_path, opened):
    async with opened(tmp_path) as door:
        bomb = gzip.compress(json.dumps({**HELLO, "pad": "x" * (30 << 20)}).encode())
        assert len(bomb) > coded.AT_ONCE
        large = asyncio.ensure_future(
            door.ask("POST", "/v1/chat/completions", bomb, JSON | {"content-encoding": "gzip"})
        )
        slowest = 0.0
        while not large.done():
            began = time.perf_counter()
            assert (await door.ask("GET", "/health/liveliness"))[0] == 200
            slowest = max(slowest, time.perf_counter() - began)
        status, _, body = await large
        assert status == 413 and "100 times" in json.loads(body)["error"]["message"] and slowest < 0.25
        await door.settle()
