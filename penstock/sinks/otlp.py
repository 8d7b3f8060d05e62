"""OpenTelemetry's protocol for traces, as far as a sink needs it: spans to the bytes of an ExportTraceServiceRequest.

Written by hand, because it is five messages of https://github.com/open-telemetry/opentelemetry-proto (trace.proto,
common.proto), and the library for it brings two more packages. Field numbers stand beside each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

UNSET, OK, ERROR = 0, 1, 2
SERVER, CLIENT = 2, 3
_DEEPEST = 32


class Event(NamedTuple):
    """What happened at a moment of a span."""

    name: str
    at: int
    attributes: Mapping[str, Any] = {}


class Span(NamedTuple):
    """One span. Times in nanoseconds of unix time. ``parent``: b"" for the first of a trace."""

    trace_id: bytes
    span_id: bytes
    name: str
    start: int
    end: int
    attributes: Mapping[str, Any]
    status: int = OK
    message: str = ""
    parent: bytes = b""
    kind: int = CLIENT
    events: Sequence[Event] = ()
    state: str = ""


def request_of(spans: list[Span], resource: Mapping[str, Any], scope: str) -> bytes:
    """Render spans of one resource as the body of a request."""
    scoped = _field(1, _text(1, scope)) + b"".join(_field(2, _span(span)) for span in spans)
    return _field(1, _field(1, _attributes(1, resource)) + _field(2, scoped))


def _span(span: Span) -> bytes:
    """Render a span: trace_id 1, span_id 2, trace_state 3, parent_span_id 4, name 5, kind 6, start 7, end 8, attributes
    9, events 11, status 15.

    A status has its message in 2 and its code in 3, an event its time in 1, its name in 2 and its attributes in 3."""
    status = (_text(2, span.message) if span.message else b"") + (_number(3, span.status) if span.status else b"")
    events = [_fixed(1, event.at) + _text(2, event.name) + _attributes(3, event.attributes) for event in span.events]
    return (
        _field(1, span.trace_id)
        + _field(2, span.span_id)
        + (_text(3, span.state) if span.state else b"")
        + (_field(4, span.parent) if span.parent else b"")
        + _text(5, span.name)
        + _number(6, span.kind)
        + _fixed(7, span.start)
        + _fixed(8, span.end)
        + _attributes(9, span.attributes)
        + b"".join(_field(11, event) for event in events)
        + _field(15, status)
    )


def rejected_of(answer: bytes) -> tuple[int, str]:
    """Read how many spans a receiver did not take, and why: ``partial_success`` 1 of its answer, with
    ``rejected_spans`` 1 and ``error_message`` 2. What is no such answer says nothing."""
    try:
        part = _read(answer).get(1, b"")
        found = _read(part) if isinstance(part, bytes) else {}
    except (IndexError, ValueError):
        return 0, ""
    count, text = found.get(1, 0), found.get(2, b"")
    return count if isinstance(count, int) else 0, text.decode("utf-8", "replace") if isinstance(text, bytes) else ""


def _attributes(number: int, values: Mapping[str, Any], depth: int = 0) -> bytes:
    """Render a KeyValue each: key 1, value 2."""
    return b"".join(
        _field(number, _text(1, str(name)) + _field(2, _value(value, depth))) for name, value in values.items()
    )


def _value(value: Any, depth: int) -> bytes:
    """Render an AnyValue: string 1, bool 2, int 3, double 4, array 5, kvlist 6. One without any is null."""
    if value is None or depth > _DEEPEST:
        return b""
    if isinstance(value, bool):
        return _number(2, int(value))
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return _number(3, value)
    if isinstance(value, float):
        return _fixed_double(4, value)
    if isinstance(value, Mapping):
        return _field(6, _attributes(1, value, depth + 1))
    if isinstance(value, list | tuple):
        return _field(5, b"".join(_field(1, _value(one, depth + 1)) for one in value))
    return _text(1, str(value))


# The wire: a field is its number and kind, then a varint (0), eight bytes (1), or a length and bytes (2). -------------


def _varint(value: int) -> bytes:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode("utf-8", "replace"))


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _fixed(number: int, value: int) -> bytes:
    return _varint(number << 3 | 1) + value.to_bytes(8, "little")


def _fixed_double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _read(data: bytes) -> dict[int, int | bytes]:
    """Read a short message: the last value of each field."""
    found: dict[int, int | bytes] = {}
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        value, at = _read_varint(data, at)
        if tag & 7 == 2:
            if at + value > len(data):
                raise ValueError("the message is cut off")
            found[tag >> 3], at = data[at : at + value], at + value
        elif tag & 7 == 0:
            found[tag >> 3] = value
        else:
            raise ValueError("a kind of field that is not read here")
    return found


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError("a number is too long")
