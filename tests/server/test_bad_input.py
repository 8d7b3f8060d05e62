"""Every bad input that the gateway promises to answer clearly: OpenAI's error shape or a closed connection, never
a
500."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.server.doors import bodies, quick
from tests.door import HELLO, open_door, parse

GOOD = json.dumps(HELLO).encode()


def error_of(body: bytes) -> dict:
    told = json.loads(body)
    assert set(told) == {"error"}, told
    assert {"message", "type", "param", "code"} <= set(told["error"])
    assert told["error"]["message"]
    return told["error"]


BODIES = {
    "empty": (b"", 400, "empty"),
    "blank": (b"  \n ", 400, "empty"),
    "not JSON": (b"hello", 400, "not valid JSON"),
    "cut off": (GOOD[:-5], 400, "not valid JSON"),
    "trailing": (GOOD + b"x", 400, "not valid JSON"),
    "NaN": (b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":NaN}', 400, "not valid JSON"),
    "Infinity": (
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":-Infinity}',
        400,
        "not valid JSON",
    ),
    "UTF-8": (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', 400, "UTF-8"),
    "UTF-16": ('{"model":"m"}'.encode("utf-16"), 400, "not valid"),
    "BOM": (b"\xef\xbb\xbf" + GOOD, 400, "not valid JSON"),
    "list": (b"[1]", 400, "JSON object"),
    "string": (b'"m"', 400, "JSON object"),
    "null": (b"null", 400, "JSON object"),
    "duplicate": (b'{"model":"m","model":"other","messages":[{}]}', 400, "'model'"),
    "duplicate escaped": (b'{"model":"m","mod\\u0065l":"other","messages":[{}]}', 400, "'model'"),
    "deep": (b'{"model":"m","messages":' + b"[" * 200_000 + b"]" * 200_000 + b"}", 400, "nested too deeply"),
    "deep objects": (b'{"model":"m","messages":[' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"]}", 400, "nested"),
    "no model": (b'{"messages":[{"role":"user","content":"x"}]}', 400, "'model'"),
    "null model": (b'{"model":null,"messages":[{"role":"user","content":"x"}]}', 400, "'model'"),
    "model number": (b'{"model":3,"messages":[{"role":"user","content":"x"}]}', 400, "'model' must be a string"),
    "unknown model": (b'{"model":"mm","messages":[{"role":"user","content":"x"}]}', 400, "Nearest names here: m"),
    "no messages": (b'{"model":"m"}', 400, "'messages'"),
    "messages string": (b'{"model":"m","messages":"hi"}', 400, "'messages' must be a list"),
    "messages empty": (b'{"model":"m","messages":[ ]}', 400, "empty list"),
    "stream string": (b'{"model":"m","messages":[{}],"stream":"yes"}', 400, "'stream' must be true or false"),
    "key in body": (b'{"model":"m","messages":[{}],"api_base":"http://169.254.169.254"}', 400, "'api_base'"),
    "extra_body": (b'{"model":"m","messages":[{}],"extra_body":[]}', 400, "'extra_body'"),
}


@pytest.mark.parametrize("name", BODIES)
async def test_bad_bodies_get_a_clear_400(name, tmp_path):
    body, status, says = BODIES[name]
    async with open_door(tmp_path) as door:
        got, headers, answer = await door.post(body)
        error = error_of(answer)
        assert got == status, answer
        assert says in error["message"]
        assert error["code"] == str(status)
        assert error["type"] == "invalid_request_error"
        assert headers["x-litellm-call-id"]
        assert door.mock.received == []


async def test_a_wrong_content_type_is_415_and_a_missing_one_is_not(tmp_path):
    async with open_door(tmp_path) as door:
        status, _, answer = await door.post(GOOD, **{"content-type": "text/plain"})
        assert status == 415 and "application/json" in error_of(answer)["message"]
        status, _, _ = await door.post(GOOD, **{"content-type": "application/json; charset=utf-8"})
        assert status == 200
        for unasked in ({}, {"content-type": "application/octet-stream"}):  # aiohttp's name for bytes
            status, _, _ = await door.ask("POST", "/v1/chat/completions", GOOD, unasked)
            assert status == 200


async def test_a_body_over_the_limit_is_413_before_and_while_it_comes(tmp_path):
    async with open_door(tmp_path, max_body=10_000) as door:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        # Announced: answered without waiting for it.
        status, headers, body = parse(await door.raw(head + b"content-length: 10001\r\n\r\n"))
        assert status == 413 and "10000 bytes" in error_of(body)["message"] and headers["connection"] == "close"
        # Chunked: found out on the way.
        chunk = b"1000\r\n" + b" " * 4096 + b"\r\n"
        status, _, body = parse(await door.raw(head + b"transfer-encoding: chunked\r\n\r\n", chunk, chunk, chunk))
        assert status == 413
        assert (await door.post(GOOD))[0] == 200


SMUGGLED = {
    "CL and TE": b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two CL": b"content-length: 2\r\ncontent-length: 2\r\n\r\nab",
    "two values of CL": b"content-length: 2, 2\r\n\r\nab",
    "signed CL": b"content-length: +2\r\n\r\nab",
    "bare LF": b"x: y\ncontent-length: 2\r\n\r\nab",
    "bare CR": b"x: y\rz: a\r\ncontent-length: 2\r\n\r\nab",
    "obs-fold": b"x: y\r\n z\r\ncontent-length: 2\r\n\r\nab",
    "space before colon": b"content-length : 2\r\n\r\nab",
    "TE not chunked": b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "TE twice": b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "TE xchunked": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "NUL": b"x: a\x00b\r\ncontent-length: 2\r\n\r\nab",
    "chunk size": b"transfer-encoding: chunked\r\n\r\nzz\r\n\r\n",
    "chunk LF": b"transfer-encoding: chunked\r\n\r\n2\nab\r\n0\r\n\r\n",
    "expectation": b"expect: 200-ok\r\ncontent-length: 2\r\n\r\nab",
}


@pytest.mark.parametrize("name", SMUGGLED)
async def test_smuggling_shapes_are_refused_and_the_connection_closed(name, tmp_path):
    async with open_door(tmp_path) as door:
        follow = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
        answer = await door.raw(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n" + SMUGGLED[name] + follow, answers=0
        )
        status, headers, body = parse(answer)
        assert status == 400 and error_of(body)
        assert headers["connection"] == "close"
        assert answer.count(b"HTTP/1.1 ") == 1, "what followed was not answered"
        assert door.mock.received == []
        await door.settle()


async def test_header_floods_and_giants_are_431(tmp_path):
    async with open_door(tmp_path) as door:
        start = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
        many = b"".join(b"x-%d: y\r\n" % i for i in range(quick.MAX_HEADERS + 1))
        for parts in (
            (start + many + b"\r\n",),
            (start + b"x: " + b"y" * (quick.MAX_HEAD_BYTES + 1) + b"\r\n\r\n",),
            (start, *(b"x-%d: %b\r\n" % (i, b"z" * 8000) for i in range(9))),
            (b"GET /" + b"a" * quick.MAX_URL + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",),
        ):
            status, _, body = parse(await door.raw(*parts))
            assert status == 431 and error_of(body)


async def test_slow_heads_and_slow_bodies_are_ended(tmp_path, monkeypatch):
    monkeypatch.setattr(quick, "HEAD_TIME", 0.1)
    monkeypatch.setattr(bodies, "BODY_STALL", 0.1)
    async with open_door(tmp_path) as door:

        async def sweep() -> None:
            while True:
                await asyncio.sleep(0.05)
                for connection in list(door.state.connections):
                    connection.sweep(asyncio.get_running_loop().time())

        sweeper = asyncio.ensure_future(sweep())
        status, _, body = parse(await door.raw(b"POST /v1/chat/completions HTTP/1.1\r\nho"))
        assert status == 408 and "head did not come in time" in error_of(body)["message"]
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
        status, _, body = parse(await door.raw(head, b"{"))
        assert status == 408 and "No byte of the request" in error_of(body)["message"]
        assert await door.raw(b"") == b"", "an idle connection is closed without a word"
        sweeper.cancel()


async def test_a_slow_but_steady_body_is_served(tmp_path):
    async with open_door(tmp_path) as door:
        head = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: %d\r\n\r\n"
            % len(GOOD)
        )
        pieces = [GOOD[i : i + 9] for i in range(0, len(GOOD), 9)]
        status, _, _ = parse(await door.raw(head, *pieces, pause=0.005))
        assert status == 200


async def test_pipelined_requests_are_answered_in_order(tmp_path):
    async with open_door(tmp_path) as door:

        def request(content: str, close: bool = False) -> bytes:
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()
            last = b"connection: close\r\n" if close else b""
            return b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n%bcontent-length: %d\r\n\r\n%b" % (
                last,
                len(body),
                body,
            )

        names = [f"number-{i}" for i in range(40)]
        answer = await door.raw(b"".join(request(n, n == names[-1]) for n in names), answers=0)
        assert answer.count(b"HTTP/1.1 200 OK") == len(names)
        places = [answer.index(f"number-{i}".encode() + b'"') for i in range(40)]
        assert places == sorted(places)
        await door.settle()


async def test_http_1_0_gets_whole_and_streamed_answers_and_a_close(tmp_path):
    async with open_door(tmp_path) as door:
        for stream in (False, True):
            body = json.dumps({**HELLO, "stream": stream}).encode()
            answer = await door.raw(
                b"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
            status, headers, text = parse(answer)
            assert status == 200 and headers["connection"] == "close" and "transfer-encoding" not in headers
            assert text.endswith(b"data: [DONE]\n\n") if stream else json.loads(text)["model"] == "m"


async def test_expect_continue_is_honoured_only_for_bodies_that_may_come(tmp_path):
    async with open_door(tmp_path, max_body=5000) as door:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\nconnection: close\r\n"
        answer = await door.raw(head + b"content-length: %d\r\n\r\n" % len(GOOD), GOOD)
        first, _, rest = answer.partition(b"\r\n\r\n")
        assert first == b"HTTP/1.1 100 Continue" and parse(rest)[0] == 200
        answer = await door.raw(head + b"content-length: 5001\r\n\r\n")
        assert parse(answer)[0] == 413


async def test_absolute_form_and_odd_spellings_of_urls(tmp_path):
    async with open_door(tmp_path) as door:
        assert (await door.post(GOOD, "http://localhost/v1/chat/completions"))[0] == 200
        assert (await door.post(GOOD, "/v1/chat%2Fcompletions?x=1"))[0] == 200
        assert (await door.post(GOOD, "/v1/chat/completions#frag"))[0] in (200, 400)
        status, _, body = await door.post(GOOD, "/v1/chat/completion")
        assert status == 404 and "/chat/completions" in error_of(body)["message"]


async def test_versions_and_methods_that_are_not_served(tmp_path):
    async with open_door(tmp_path) as door:
        for line in (b"GET / HTTP/2.0", b"FOO / HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"PRI * HTTP/2.0"):
            answer = await door.raw(line + b"\r\nhost: localhost\r\n\r\n")
            assert parse(answer)[0] in (400, 426) and error_of(parse(answer)[2])
        status, _, body = parse(await door.raw(b"GET / HTTP/1.1\r\n\r\n"))
        assert status == 400 and "Host" in error_of(body)["message"]
        status, headers, body = await door.ask("GET", "/v1/chat/completions")
        assert status == 405 and headers["allow"] == "POST" and error_of(body)
        status, headers, _ = await door.ask("DELETE", "/v1/models")
        assert status == 405 and headers["allow"] == "GET, HEAD"
        upgrade = {
            "connection": "upgrade",
            "upgrade": "websocket",
            "sec-websocket-key": "x",
            "sec-websocket-version": "13",
        }
        assert (await door.ask("GET", "/v1/responses", headers=upgrade))[0] == 426


async def test_trailers_carry_no_credentials(tmp_path):
    async with open_door(tmp_path, master_key="sk-right-key-123456") as door:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n"
        sent = head + b"%x\r\n%b\r\n0\r\nauthorization: Bearer sk-right-key-123456\r\n\r\n" % (len(GOOD), GOOD)
        status, _, body = parse(await door.raw(sent))
        assert status == 401 and error_of(body)
