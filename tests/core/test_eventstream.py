"""AWS event-stream framing, both ways against the vendor's own client, and what is done with bytes that are none."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import eventstream, sse
from penstock.core.eventstream import BROKEN, EXCEPTION, BadMessage, Decoder
from tests.laws.streams import chop

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
HEADERS = st.dictionaries(TEXT.filter(bool), TEXT, max_size=5)
MESSAGES = st.lists(st.tuples(HEADERS, st.binary(max_size=200)), max_size=5)
CUTS = st.lists(st.integers(0, 10_000), max_size=12)


def typed(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def frame(headers: bytes, payload: bytes = b"") -> bytes:
    start = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = start + struct.pack(">I", crc32(start)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def run(chunks: list[bytes], limit: int = eventstream.MAX_MESSAGE) -> list[sse.Event]:
    decoder = Decoder(limit)
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.close()


@given(MESSAGES)
def test_what_we_write_the_vendors_client_reads(messages: list[tuple[dict[str, str], bytes]]) -> None:
    botocore = pytest.importorskip("botocore.eventstream")
    buffer = botocore.EventStreamBuffer()
    buffer.add_data(b"".join(eventstream.encode(headers.items(), payload) for headers, payload in messages))
    assert [(dict(message.headers), message.payload) for message in buffer] == messages


TYPED = st.lists(
    st.one_of(
        st.tuples(st.just(0), st.just(b""), st.just(True)),
        st.tuples(st.just(1), st.just(b""), st.just(False)),
        st.integers(-128, 127).map(lambda n: (2, struct.pack(">b", n), n)),
        st.integers(-(2**15), 2**15 - 1).map(lambda n: (3, struct.pack(">h", n), n)),
        st.integers(-(2**31), 2**31 - 1).map(lambda n: (4, struct.pack(">i", n), n)),
        st.integers(-(2**63), 2**63 - 1).map(lambda n: (5, struct.pack(">q", n), n)),
        st.binary(max_size=20).map(lambda raw: (6, struct.pack(">H", len(raw)) + raw, raw)),
        TEXT.map(lambda text: (7, struct.pack(">H", len(text.encode())) + text.encode(), text)),
        st.integers(0, 2**40).map(lambda n: (8, struct.pack(">q", n), n)),
        st.binary(min_size=16, max_size=16).map(lambda raw: (9, raw, raw)),
    ),
    max_size=6,
)


@given(TYPED, st.binary(max_size=50))
def test_headers_of_every_type_are_read_as_the_vendors_client_does(values: list[tuple], payload: bytes) -> None:
    botocore = pytest.importorskip("botocore.eventstream")
    raw = frame(b"".join(typed(f"h{n}", kind, data) for n, (kind, data, _) in enumerate(values)), payload)
    message = eventstream.parse(raw)
    wanted = {f"h{n}": value for n, (_, _, value) in enumerate(values)}
    assert (message.headers, message.payload) == (wanted, payload)
    buffer = botocore.EventStreamBuffer()
    buffer.add_data(raw)
    (theirs,) = buffer
    assert dict(theirs.headers) == wanted and theirs.payload == payload


KINDS = st.sampled_from(["messageStart", "contentBlockDelta", "metadata", "chunk"])


@given(st.lists(st.tuples(KINDS, st.binary(max_size=80)), max_size=8), CUTS)
def test_any_cut_gives_the_same_events(events: list[tuple[str, bytes]], where: list[int]) -> None:
    raw = b"".join(eventstream.event(kind, payload) for kind, payload in events)
    wanted = [sse.Event(kind.encode(), payload) for kind, payload in events]
    assert run(chop(raw, where)) == wanted
    assert run([raw[at : at + 1] for at in range(len(raw))]) == wanted


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.integers(0, 10_000), st.integers(1, 255), CUTS)
def test_a_changed_byte_never_passes(payloads: list[bytes], at: int, flip: int, where: list[int]) -> None:
    raw = bytearray(b"".join(eventstream.event("chunk", payload) for payload in payloads))
    raw[at % len(raw)] ^= flip
    told = run(chop(bytes(raw), where))
    assert told[-1].name == BROKEN and told == run([bytes(raw)])
    good = [sse.Event(b"chunk", payload) for payload in payloads]
    assert told[:-1] == good[: len(told) - 1] and len(told) - 1 < len(good)


@given(st.binary(max_size=400), CUTS)
def test_any_bytes_give_events_and_no_exception(raw: bytes, where: list[int]) -> None:
    told = run(chop(raw, where))
    assert told == run([raw]) and all(event.name != BROKEN for event in told[:-1])


@given(st.binary(max_size=300))
def test_headers_that_are_none_are_a_bad_message(headers: bytes) -> None:
    try:
        eventstream.parse(frame(headers))
    except BadMessage as error:
        assert "header" in str(error)


def test_exceptions_and_errors_have_their_kind_in_the_name() -> None:
    raw = eventstream.exception("throttlingException", b'{"message":"slow"}')
    raw += eventstream.encode(
        ((":message-type", "error"), (":error-code", "InternalFailure"), (":error-message", 'so "sorry"')), b""
    )
    assert run([raw]) == [
        sse.Event(EXCEPTION + b"throttlingException", b'{"message":"slow"}'),
        sse.Event(EXCEPTION + b"InternalFailure", rb'{"message":"so \"sorry\""}'),
    ]


def test_a_length_beyond_the_limit_is_refused_before_its_bytes_come() -> None:
    start = struct.pack(">II", 1 << 30, 0)
    decoder = Decoder()
    (told,) = decoder.feed(start + struct.pack(">I", crc32(start)))
    assert told.name == BROKEN and b"longer than" in told.data
    assert decoder.feed(b"x" * 100) == decoder.close() == []


def test_an_end_amid_a_message_is_told() -> None:
    raw = eventstream.event("chunk", b"abc")
    assert run([raw + raw[:5]]) == [sse.Event(b"chunk", b"abc"), sse.Event(BROKEN, b"it ends amid a message")]


def test_a_message_in_many_pieces_costs_no_square() -> None:
    raw = eventstream.event("chunk", b"x" * 2_000_000)
    decoder = Decoder()
    out = [event for at in range(0, len(raw), 100) for event in decoder.feed(raw[at : at + 100])]
    assert [len(event.data) for event in out] == [2_000_000]


@pytest.mark.parametrize("headers", [[("", "x")], [("n" * 256, "x")], [("n", "x" * 65_536)]])
def test_headers_that_do_not_fit(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(ValueError, match="too long"):
        eventstream.encode(headers, b"")
