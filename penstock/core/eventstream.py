"""AWS event-stream framing (``application/vnd.amazon.eventstream``): any cut of the bytes gives the same events.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/RESTSelectObjectAppendix.html (the same framing as Bedrock's)
and https://smithy.io/2.0/aws/amazon-eventstream.html. A message is: total length and length of the headers (4 bytes
each, big-endian), the CRC32 of these 8 bytes, the headers, the payload, and the CRC32 of all before it.

What cannot be read (a wrong CRC, a length beyond the limit, an end amid a message) is an event, too: ``BROKEN`` with
the reason as its data, the last one there is. So whatever came before it in the same piece is told first.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from zlib import crc32

from msgspec.json import encode as _json

from penstock.core import sse
from penstock.core.pieces import Pieces

Value = bool | int | str | bytes

BROKEN = b":broken"
"""Name of the event that says why the stream cannot be read any further."""
EXCEPTION = b":exception/"
"""Begins the name of an event that is an exception or an error of the service; its kind follows."""
MAX_MESSAGE = 24 * 1024 * 1024
"""Bytes of one message. The vendor's own clients take a payload of 24 MiB."""
MAX_HEADERS = 128 * 1024

_PRELUDE = struct.Struct(">III")
_CRC = struct.Struct(">I")
_FIXED = {2: ">b", 3: ">h", 4: ">i", 5: ">q", 8: ">q"}
_LEAST = 16  # bytes of a message without headers and payload


class BadMessage(ValueError):
    """Bytes that are no message of this framing. The text says why."""


class Message(NamedTuple):
    """One message: headers by name, and the payload."""

    headers: Mapping[str, Value]
    payload: bytes

    def text(self, name: str) -> str:
        """Return a header that is text, "" where there is none."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


def parse(frame: bytes) -> Message:
    """Parse one whole message. Raises ``BadMessage``."""
    if len(frame) < _LEAST:
        raise BadMessage("a message is cut short")
    total, size = _check_prelude(frame, MAX_MESSAGE)
    if total != len(frame):
        raise BadMessage(f"a message says that it has {total} bytes and has {len(frame)}")
    (told,) = _CRC.unpack_from(frame, total - 4)
    if crc32(frame[: total - 4]) != told:
        raise BadMessage("the CRC of a message is wrong")
    return Message(_headers(frame[12 : 12 + size]), frame[12 + size : total - 4])


def _check_prelude(data: bytes, limit: int) -> tuple[int, int]:
    total, size, told = _PRELUDE.unpack_from(data)
    if crc32(data[:8]) != told:
        raise BadMessage("the CRC of a message's beginning is wrong")
    if total > limit:
        raise BadMessage(f"a message of {total} bytes is longer than {limit}")
    if size > MAX_HEADERS or total < _LEAST + size:
        raise BadMessage(f"a message of {total} bytes cannot have headers of {size}")
    return total, size


def _headers(data: bytes) -> dict[str, Value]:
    out: dict[str, Value] = {}
    at, end = 0, len(data)
    try:
        while at < end:
            size = data[at]
            name = data[at + 1 : at + 1 + size].decode()
            kind = data[at + 1 + size]
            out[name], at = _value(data, at + 2 + size, kind)
    except (IndexError, struct.error, UnicodeDecodeError):
        raise BadMessage("the headers of a message cannot be read") from None
    if at != end:
        raise BadMessage("the headers of a message are cut short")
    return out


def _value(data: bytes, at: int, kind: int) -> tuple[Value, int]:
    """Read the value at ``at``, and tell where it ends. A timestamp is its milliseconds, a UUID its 16 bytes."""
    if kind in (0, 1):
        return kind == 0, at
    fixed = _FIXED.get(kind)
    if fixed is not None:
        (number,) = struct.unpack_from(fixed, data, at)
        return number, at + struct.calcsize(fixed)
    if kind in (6, 7):
        (size,) = struct.unpack_from(">H", data, at)
        end = at + 2 + size
        raw = data[at + 2 : end]
        return (raw.decode() if kind == 7 else raw), end
    if kind == 9:
        return data[at : at + 16], at + 16
    raise BadMessage(f"a header has the type {kind}, which is not known")


def event_of(message: Message) -> sse.Event:
    """Translate a message to an event: named by its event type, or ``EXCEPTION`` and the kind. An error has its text in
    headers; here it stands in the data as JSON, as an exception's does."""
    kind = message.text(":message-type")
    if kind == "exception":
        return sse.Event(EXCEPTION + message.text(":exception-type").encode(), message.payload)
    if kind == "error":
        data = _json({"message": message.text(":error-message")})
        return sse.Event(EXCEPTION + message.text(":error-code").encode(), data)
    return sse.Event(message.text(":event-type").encode(), message.payload)


class Decoder:
    """A stream of messages cut into events (``base.Framer``). ``limit``: bytes of one message."""

    __slots__ = ("_begun", "_broken", "_limit", "_wanted")

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._begun = Pieces(b"")  # the message that is under way
        self._wanted = 12  # bytes without which nothing can be done: the prelude, then the whole message
        self._limit = limit
        self._broken = False

    def feed(self, chunk: bytes) -> list[sse.Event]:
        if self._broken:
            return []
        self._begun.add(chunk)
        if self._begun.size < self._wanted:
            return []
        data = self._begun.take()
        out: list[sse.Event] = []
        at = 0
        self._wanted = 12
        try:
            while len(data) - at >= 12:
                total, _ = _check_prelude(data[at : at + 12], self._limit)
                if len(data) - at < total:
                    self._wanted = total
                    break
                out.append(event_of(parse(data[at : at + total])))
                at += total
        except BadMessage as error:
            return [*out, self._break(str(error))]
        if at < len(data):
            self._begun.add(data[at:] if at else data)
        return out

    def close(self) -> list[sse.Event]:
        if self._broken or not self._begun.size:
            return []
        return [self._break("it ends amid a message")]

    def _break(self, why: str) -> sse.Event:
        self._broken = True
        self._begun.take()
        return sse.Event(BROKEN, why.encode())


# The way out ----------------------------------------------------------------------------------------------------------


def encode(headers: Iterable[tuple[str, str]], payload: bytes) -> bytes:
    """Encode one message whose headers are all text. Raises ``ValueError`` for a name above 255 or a value above 65,535
    bytes."""
    lines = b"".join([_header(name, value) for name, value in headers])
    total = _LEAST + len(lines) + len(payload)
    start = struct.pack(">II", total, len(lines))
    body = start + _CRC.pack(crc32(start)) + lines + payload
    return body + _CRC.pack(crc32(body))


def _header(name: str, value: str) -> bytes:
    first, second = name.encode(), value.encode()
    if not 0 < len(first) < 256 or len(second) > 0xFFFF:
        raise ValueError(f"the header {name[:40]!r} is too long")
    return bytes([len(first)]) + first + b"\x07" + struct.pack(">H", len(second)) + second


def event(kind: str, payload: bytes) -> bytes:
    """Encode an event of JSON."""
    names = ((":event-type", kind), (":content-type", "application/json"), (":message-type", "event"))
    return encode(names, payload)


def exception(kind: str, payload: bytes) -> bytes:
    """Encode an exception, its JSON in the payload."""
    names = ((":exception-type", kind), (":content-type", "application/json"), (":message-type", "exception"))
    return encode(names, payload)
