"""The client of these tests reads complete answers: neither less, nor until nothing comes for a while."""

from __future__ import annotations

import asyncio

import pytest

from tests.door import end_of_answer, read_answers

ANSWERS = {
    "a length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nx-a: b\r\n\r\nhello",
    "no body": b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhe\r\nl\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\ncontent-length: 99\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
}
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nhello"


@pytest.mark.parametrize("name", ANSWERS)
def test_the_end_of_an_answer_is_where_it_is_however_much_has_come(name: str) -> None:
    answer = ANSWERS[name]
    for at in range(len(answer)):
        assert end_of_answer(bytearray(answer[:at]), 0) == -1, answer[:at]
    assert end_of_answer(bytearray(b"before" + answer + ANSWERS["a length"]), 6) == 6 + len(answer)
    assert end_of_answer(bytearray(UNTIL_CLOSED), 0) == -1


@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("name", ANSWERS)
async def test_as_many_as_are_wanted_and_one_that_says_go_on_is_none(name: str, step: int) -> None:
    wanted = GO_ON + ANSWERS[name] + ANSWERS["chunks"]
    reader = asyncio.StreamReader()
    reading = asyncio.ensure_future(read_answers(reader, 2))
    for at in range(0, len(wanted), step):
        assert not reading.done()
        reader.feed_data(wanted[at : at + step])
        await asyncio.sleep(0)
    assert await asyncio.wait_for(reading, 1) == wanted


@pytest.mark.parametrize("count", [0, 1])
async def test_one_without_an_end_is_read_until_the_server_closes(count: int) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(UNTIL_CLOSED)
    assert await read_answers(reader, count, 0.01) == UNTIL_CLOSED, "what came until then"
    reader.feed_data(UNTIL_CLOSED)
    reader.feed_eof()
    assert await asyncio.wait_for(read_answers(reader, count), 1) == UNTIL_CLOSED
