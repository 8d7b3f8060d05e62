"""Writes the messages of Amazon's event streams: the framing of ConverseStream's answers.

Written from https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html ("Message structure") and
https://smithy.io/2.0/aws/amazon-eventstream.html, and not from the gateway's decoder, which it is there to judge. All
numbers are big-endian:

    total length   4 bytes, this field and the last CRC counted
    headers length 4 bytes
    prelude CRC    4 bytes, CRC32 of the eight before
    headers        each: length of the name (1), the name, the type (1), length of the value (2), the value
    payload        what is left
    message CRC    4 bytes, CRC32 of all before

Of the ten types of a header the service uses one for these names, the text."""

from __future__ import annotations

import zlib

TEXT = 7  # the type of a header whose value is UTF-8 text
FRAME = 4 + 4 + 4 + 4  # bytes of a message beside its headers and its payload


def event(name: str, payload: bytes) -> bytes:
    """Write one event whose payload is JSON."""
    return message({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def exception(name: str, payload: bytes) -> bytes:
    """Write one exception: the service ends a stream with it, its JSON has the text."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, payload)


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """Write one message. Raises OverflowError for a name above 255 bytes or a value above 65,535."""
    lines = bytearray()
    for name, value in headers.items():
        lines += _sized(name, 1)
        lines.append(TEXT)
        lines += _sized(value, 2)
    prelude = _number(FRAME + len(lines) + len(payload), 4) + _number(len(lines), 4)
    written = prelude + _crc(prelude) + lines + payload
    return written + _crc(written)


def _sized(text: str, width: int) -> bytes:
    raw = text.encode()
    return _number(len(raw), width) + raw


def _crc(raw: bytes) -> bytes:
    return _number(zlib.crc32(raw), 4)


def _number(value: int, width: int) -> bytes:
    return value.to_bytes(width, "big")
