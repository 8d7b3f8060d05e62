"""Requests that offer another protocol are answered as HTTP/1.1 (RFC 9110, 7.8); all but WebSocket, which cannot be."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.mock import Script, Step
from tests.door import HELLO, open_door, parse
from tests.doors import DOORS
from tests.server.test_quick import answer_of

DATA = json.dumps(HELLO).encode()
FRAMED = {
    "content-length": b"content-length: %d\r\n\r\n%b" % (len(DATA), DATA),
    "chunked": b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(DATA), DATA),
}
OFFERS = {
    "the JDK's": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n",
    "curl's": b"upgrade: h2c\r\nconnection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "of an unknown protocol": b"connection: keep-alive, Upgrade\r\nupgrade: TLS/1.2, foo/3\r\n",
    "that is none": b"upgrade: h2c\r\n",
}
# Under uvicorn's own httptools protocol the body of such a request is lost before ASGI begins: its h11 keeps it.
WHOLE = {name: opened for name, opened in DOORS.items() if name != "asgi-httptools"}


def request(path: bytes, more: bytes, rest: bytes) -> bytes:
    head = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n" % path
    return head + more + rest


@pytest.mark.parametrize("opened", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("framed", FRAMED)
async def test_an_offer_is_ignored(tmp_path, opened, offer, framed):
    sent = request(b"/v1/chat/completions", b"connection: close\r\n" + OFFERS[offer], FRAMED[framed])
    async with opened(tmp_path) as door:
        whole = parse(await door.raw(sent))
        assert whole[0] == 200 and json.loads(whole[2])["model"] == "m"
        assert "upgrade" not in whole[1]
        for at in range(7, len(sent), 31):  # cut anywhere
            assert (await door.raw(sent[:at], sent[at:], pause=0.001)).startswith(b"HTTP/1.1 200")
        assert {record.status for record in door.records} == {200}
        await door.settle()


async def test_the_connection_goes_on_and_what_follows_is_the_next_request(tmp_path):
    offered = request(b"/v1/chat/completions", OFFERS["the JDK's"], FRAMED["chunked"])
    page = b"GET /health/liveliness HTTP/1.1\r\nhost: localhost\r\n" + OFFERS["curl's"] + b"\r\n"
    plain = request(b"/v1/chat/completions", b"", FRAMED["content-length"])
    async with open_door(tmp_path) as door:
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        for _ in range(3):
            writer.write(offered + page + plain + offered)
            for expected in ("m", None, "m", "m"):
                status, headers, body = await answer_of(reader)
                assert status == 200 and "connection" not in headers
                assert expected is None or json.loads(body)["model"] == expected
        writer.close()
        many = await door.raw(page * 500, answers=500)  # no deeper for more of them
        assert many.count(b"HTTP/1.1 200") == 500
        await door.settle()


async def test_the_offer_of_an_upload_a_stream_and_a_refusal(tmp_path):
    stream = json.dumps({**HELLO, "stream": True}).encode()
    offer = OFFERS["the JDK's"]
    async with open_door(tmp_path, script=Script(default=Step(length=5)), max_body=4000) as door:
        rest = b"content-length: %d\r\n\r\n%b" % (len(stream), stream)
        assert b"[DONE]" in await door.raw(request(b"/v1/chat/completions", offer, rest))
        form = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--x--\r\n'
        head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        chunked = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(form), form)
        status, _, body = parse(await door.raw(head + offer + chunked))
        assert status == 400 and b"'file'" in body, body
        large = request(b"/v1/chat/completions", offer + b"expect: 100-continue\r\n", b"content-length: 5000\r\n\r\n")
        assert (await door.raw(large)).startswith(b"HTTP/1.1 413")
        await door.settle()


async def test_who_wants_a_websocket_is_told_that_there_is_none(tmp_path):
    head = b"GET /v1/responses HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n"
    async with open_door(tmp_path) as door:
        assert (await door.raw(head)).startswith(b"HTTP/1.1 426")


async def test_http_2_without_asking_gets_a_clear_answer(tmp_path):
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\x12\x04\0\0\0\0\0" + bytes(18)
    async with open_door(tmp_path) as door:
        for parts in ((preface,), (preface[:9], preface[9:]), (preface[:20], preface[20:])):
            status, headers, body = parse(await door.raw(*parts))
            assert status == 505 and "HTTP/1.1" in json.loads(body)["error"]["message"]
            assert headers["connection"] == "close"
        await door.settle()
