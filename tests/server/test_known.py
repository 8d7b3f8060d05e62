"""A head that was read before means what it meant: whatever comes, the door hears the same with and without memory."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.server.doors.known import LESSONS, KnownHead, remember
from tests.door import HELLO, open_door, until

BODY = json.dumps(HELLO).encode()


def request(body: bytes = BODY, *lines: bytes, path: bytes = b"/v1/chat/completions", length: bytes = b"") -> bytes:
    head = [
        b"POST " + path + b" HTTP/1.1",
        b"Host: localhost",
        b"Content-Type: application/json",
        b"Content-Length: " + (length or b"%d" % len(body)),
        *lines,
    ]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def answers(port: int, *requests: bytes) -> list[tuple[int, bytes]]:
    """Each sent in one piece when the answer before it is complete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    told = []
    try:
        for data in requests:
            writer.write(data)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 3)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            told.append((int(head[9:12]), await reader.readexactly(length)))
    except asyncio.IncompleteReadError:
        told.append((0, b""))
    finally:
        writer.close()
    return told


async def test_the_second_request_of_a_connection_is_known(tmp_path):
    async with open_door(tmp_path) as door:
        longer = json.dumps({**HELLO, "user": "x" * 3000}).encode()
        told = await answers(door.port, request(), request(longer), request())
        assert [status for status, _ in told] == [200, 200, 200]
        assert door.mock.received[1].json["user"] == "x" * 3000 and "user" not in door.mock.received[2].json


@pytest.mark.parametrize(
    ("second", "status"),
    [
        (request(b""), 400),
        (request(b"{}"), 400),
        (request(BODY, b"X-Request-Id: other"), 200),
        (request(BODY, path=b"/v1/chat/completion"), 404),
        (request(BODY, length=b"0%d" % len(BODY)), 200),
        (request(BODY, length=b"+%d" % len(BODY)), 400),
        (request(BODY, length=b"-1"), 400),
        (request(BODY, length=b"9" * 25), 400),
        (request(BODY, length=b""), 200),
        (request(BODY, b"Content-Length: 5"), 400),
        (request(BODY, b"Transfer-Encoding: chunked"), 400),
    ],
)
async def test_what_is_not_the_same_is_parsed_anew(second, status, tmp_path):
    async with open_door(tmp_path) as door:
        told = await answers(door.port, request(), request(), second)
        assert [each for each, _ in told] == [200, 200, status]


async def test_two_requests_in_one_piece_are_two(tmp_path):
    async with open_door(tmp_path) as door:
        await answers(door.port, request(), request() + request(), b"")
        await until(lambda: len(door.mock.received) == 3)


async def test_a_body_over_the_limit_is_refused_also_when_its_head_is_known(tmp_path):
    async with open_door(tmp_path) as door:
        door.gateway.max_body = 200
        told = await answers(door.port, request(), request(), request(BODY + b" " * 300))
        assert [status for status, _ in told] == [200, 200, 413]


async def test_a_client_whose_heads_all_differ_is_not_studied_for_ever(tmp_path):
    async with open_door(tmp_path) as door:
        many = [request(BODY, b"X-Request-Id: %d" % number) for number in range(LESSONS + 3)]
        assert [status for status, _ in await answers(door.port, *many)] == [200] * len(many)
        assert [record.request_id for record in door.records] == [str(number) for number in range(len(many))]
        [proto] = door.state.connections or [None]
        assert proto is None or proto.lessons == 0


KNOWN = KnownHead(b"POST / HTTP/1.1\r\nContent-Length: ", b"\r\nHost: x\r\n\r\n", b"/", "/", b"", {}, True)


@given(st.binary(max_size=40), st.text("0123456789+- \t\r\nax", max_size=14), st.integers(-2, 2))
def test_a_known_head_gives_exactly_the_body_that_its_length_says(body, digits, off):
    data = KNOWN.before + digits.encode() + KNOWN.after + body
    fits = digits.isascii() and digits.isdigit() and int(digits) == len(body) and len(digits) <= 10
    assert KNOWN.body(data) == (body if fits else None)
    exact = KNOWN.before + b"%d" % max(0, len(body) + off) + KNOWN.after + body
    assert (KNOWN.body(exact) == body) == (max(0, len(body) + off) == len(body))


class Taken:
    method, url, path, query, error, chunked, keep_alive = "POST", b"/", "/", b"", None, True, True
    headers = {b"content-length": b"2"}


def test_only_the_usual_kind_teaches():
    data = request(b"{}")
    assert remember(data, Taken()) is not None
    for name, value in (("method", "GET"), ("chunked", False), ("keep_alive", False), ("error", Exception())):
        taken = Taken()
        setattr(taken, name, value)
        assert remember(data, taken) is None
    for headers in ({b"content-length": b"2, 2"}, {b"content-length": b"2", b"expect": b"100-continue"}, {}):
        taken = Taken()
        taken.headers = headers
        assert remember(data, taken) is None
    assert remember(data + b"x", Taken()) is None and remember(data[:-1], Taken()) is None
