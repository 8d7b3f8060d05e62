"""The mock's own framing of AWS: a message known byte by byte, read by the vendor's client and by the gateway."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.core import eventstream
from penstock.mock import aws_messages

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
MESSAGES = st.lists(
    st.tuples(st.dictionaries(TEXT.filter(bool), TEXT, max_size=6), st.binary(max_size=300)), max_size=5
)


def vendors() -> Any:
    return pytest.importorskip("botocore.eventstream").EventStreamBuffer()


def test_a_message_is_these_bytes() -> None:
    """The smallest one there is, and one with a header, as botocore's own tests have them."""
    assert aws_messages.message({}, b"") == bytes.fromhex("00000010 00000000 05c248eb 7d98c8ff")
    told = aws_messages.message({"content-type": "application/json"}, b"{'foo':'bar'}")
    assert told[:12] == bytes.fromhex("0000003d 00000020 07fd8396")
    assert told[12:-4] == b"\x0ccontent-type\x07\x00\x10application/json{'foo':'bar'}"
    assert told[-4:] == bytes.fromhex("8d9c08b1")


@given(MESSAGES)
def test_the_vendors_client_reads_every_message(messages: list[tuple[dict[str, str], bytes]]) -> None:
    buffer = vendors()
    buffer.add_data(b"".join(aws_messages.message(headers, payload) for headers, payload in messages))
    assert [(dict(read.headers), read.payload) for read in buffer] == messages


@given(MESSAGES)
def test_the_gateway_reads_every_message(messages: list[tuple[dict[str, str], bytes]]) -> None:
    for headers, payload in messages:
        read = eventstream.parse(aws_messages.message(headers, payload))
        assert (read.headers, read.payload) == (headers, payload)


def test_events_and_exceptions_are_what_both_readers_call_so() -> None:
    raw = aws_messages.event("messageStart", b'{"role":"assistant"}')
    raw += aws_messages.exception("throttlingException", b'{"message":"slow"}')
    decoder = eventstream.Decoder()
    first, last = [*decoder.feed(raw), *decoder.close()]
    assert (first.name, first.data) == (b"messageStart", b'{"role":"assistant"}')
    assert (last.name, last.data) == (eventstream.EXCEPTION + b"throttlingException", b'{"message":"slow"}')
    buffer = vendors()
    buffer.add_data(raw)
    event, exception = [read.to_response_dict() for read in buffer]
    assert event["status_code"] == 200 and event["headers"][":event-type"] == "messageStart"
    assert exception["status_code"] == 400 and exception["headers"][":exception-type"] == "throttlingException"
    assert exception["headers"][":message-type"] == "exception" and exception["body"] == b'{"message":"slow"}'


@pytest.mark.parametrize("headers", [{"n" * 256: "x"}, {"n": "x" * 65_536}])
def test_a_header_that_has_no_form_is_an_error(headers: dict[str, str]) -> None:
    with pytest.raises(OverflowError):
        aws_messages.message(headers, b"")
