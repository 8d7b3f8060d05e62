"""SSE: any cut of the bytes gives the same events, for every line end, and they are those of a plain reading of the
standard (https://html.spec.whatwg.org/multipage/server-sent-events.html, 9.2.6)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock.core import sse
from tests.laws.strategies import chop, cuts, rich_text

LINE_ENDS = (b"\n", b"\r\n", b"\r")


def reference(stream: bytes) -> list[sse.Event]:
    """The standard read aloud, byte by byte, on the whole stream. A missing last blank line is forgiven."""
    lines: list[bytes] = []
    line = bytearray()
    at = 3 if stream.startswith(b"\xef\xbb\xbf") else 0
    while at < len(stream):
        byte = stream[at : at + 1]
        if byte in (b"\r", b"\n"):
            if stream[at : at + 2] == b"\r\n":
                at += 1
            lines.append(bytes(line))
            line.clear()
        else:
            line += byte
        at += 1
    lines += [bytes(line), b""]
    out: list[sse.Event] = []
    name, data, seen = b"", b"", False
    for text in lines:
        if text == b"":
            if seen:
                out.append(sse.Event(name, data[:-1]))
            name, data, seen = b"", b"", False
            continue
        field, value = text, b""
        if b":" in text:
            cut = text.index(b":")
            field, value = text[:cut], text[cut + 1 :]
            value = value[1:] if value.startswith(b" ") else value
        if field == b"data":
            data, seen = data + value + b"\n", True
        elif field == b"event":
            name = value
    return out


def decode(chunks: list[bytes]) -> list[sse.Event]:
    decoder = sse.Decoder()
    out = [event for chunk in chunks for event in decoder.feed(chunk)]
    return out + decoder.close()


words = st.sampled_from(
    [b"data: ", b"data:", b"data", b"event: ", b"event:", b"id: 7", b"retry: 10", b":", b": note", b" ", b"x", b"{}"]
    + ["\u2028".encode(), "\x85".encode(), b"\x0b", b"\x0c", b"\x1c", b"\x00", b"data: [DONE]", b"data: {}\n\n"]
    + [b"\xef\xbb\xbf"]
)
streams = st.lists(words | st.sampled_from(LINE_ENDS), max_size=30).map(b"".join)


@given(streams, cuts)
@example(b"data: a\r\n\r\ndata: b\r\n\r\n", [8, 9, 10])
@example(b"data: a\r\r\ndata: b\n\n", [8, 9])
@example(b"data: a\r\ndata: b\r\n\r\n", [8])
@example(b"data: a\n\ndata: b\n\ndata: c", [9])
@example(b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [1, 2])
def test_any_cut_of_any_bytes_reads_as_the_standard_says(stream: bytes, where: list[int]) -> None:
    assert decode(chop(stream, where)) == reference(stream)


@given(st.lists(st.tuples(st.sampled_from([b"", b"e"]), rich_text), max_size=5), st.sampled_from(LINE_ENDS), cuts)
def test_what_was_encoded_comes_back(events: list[tuple[bytes, str]], end: bytes, where: list[int]) -> None:
    wanted = [sse.Event(name, text.replace("\r", "").replace("\n", "").encode()) for name, text in events]
    stream = b"".join(sse.encode(event.data, event.name) for event in wanted).replace(b"\n", end)
    assert decode(chop(stream, where)) == wanted


@given(streams)
def test_one_byte_at_a_time(stream: bytes) -> None:
    assert decode([stream[i : i + 1] for i in range(len(stream))]) == decode([stream])


def test_comments_and_keep_alives_are_no_events() -> None:
    assert decode([sse.COMMENT, b"data: 1\n\n", sse.COMMENT, sse.DONE]) == [(b"", b"1"), (b"", b"[DONE]")]


def test_data_lines_are_joined_by_one_lf() -> None:
    assert decode([b"event: a\ndata: 1\ndata:  2\ndata\n\n"]) == [(b"a", b"1\n 2\n")]


def test_an_endless_line_is_cut_off() -> None:
    decoder = sse.Decoder(limit=1000)
    with pytest.raises(sse.TooLong):
        for _ in range(200):
            decoder.feed(b"data: " + b"x" * 10)


def test_endless_data_lines_without_a_blank_line_are_cut_off() -> None:
    decoder = sse.Decoder(limit=1000)
    with pytest.raises(sse.TooLong):
        for _ in range(200):
            decoder.feed(b"data: xxxxxxxxxx\n")
