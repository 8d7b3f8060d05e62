"""A JSON object as ``dict[str, msgspec.Raw]``: read and edit top-level keys, copy the rest byte for byte.

One scan checks the syntax of everything and keeps each value's bytes. The client's own bytes are never forwarded as
they came: two ``model`` keys would let a client be checked for one and served another, so duplicates are refused.
"""

from __future__ import annotations

import re
from typing import TypeVar

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from penstock.core.errors import GatewayError

T = TypeVar("T")
_DECODE = Decoder(dict[str, Raw]).decode
_ENCODE = msgspec.json.Encoder().encode
_SHORT = 8192
BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding may raise: bad JSON or a wrong type, bad UTF-8 (raised as it is), a nesting bomb."""
MAX_DEPTH_TEXT = "The JSON body is nested too deeply."


def open_body(body: bytes) -> dict[str, Raw]:
    """Decode the top level of a request body. Raises ``GatewayError("bad_request")`` with a message for every kind of
    bad JSON: empty, invalid syntax (with the byte position), NaN, invalid UTF-8, not an object, nested too deeply,
    duplicate keys."""
    if not body or body.isspace():
        raise GatewayError("bad_request", "The request body is empty. Send a JSON object.")
    try:
        fields = _DECODE(body)
    except RecursionError:
        raise GatewayError("bad_request", MAX_DEPTH_TEXT) from None
    except msgspec.ValidationError as error:
        raise GatewayError("bad_request", f"The request body must be a JSON object: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatewayError("bad_request", f"The request body is not valid JSON: {error}.") from None
    if not body.isascii():
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            text = f"The request body is not valid UTF-8 (byte 0x{body[error.start]:02x} at position {error.start})."
            raise GatewayError("bad_request", text) from None
    if not _is_exact(fields, body):
        duplicate = _duplicate(fields, body)
        if duplicate is not None:
            raise GatewayError(
                "bad_request", f"The key {duplicate!r} stands twice in the request body.", param=duplicate
            )
    return fields


def read_as(body: bytes, type_: type[T], most: int = 0) -> T:
    """Decode a body as a type. Raises "bad_request" that says what is wrong where, and "too_large" for more than
    ``most`` bytes."""
    if most and len(body) > most:
        raise GatewayError("too_large", f"The body has {len(body):,} bytes; {most:,} are taken at most.")
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.ValidationError as error:
        raise GatewayError("bad_request", f"The body is not right: {error}.") from None
    except RecursionError:
        raise GatewayError("bad_request", MAX_DEPTH_TEXT) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise GatewayError("bad_request", "The body is not JSON.") from None


def seal(fields: dict[str, Raw]) -> bytes:
    """Encode the object as compact bytes, in the order of its keys."""
    return _ENCODE(fields)


def _is_exact(fields: dict[str, Raw], body: bytes) -> bool:
    """Tell whether the sizes of keys and values add up to a body without white space: then nothing stood twice.

    A duplicate key leaves its first value's bytes unaccounted for; white space does too, and is told apart by the
    slow walk. Written anew, a key is never longer than it was."""
    if len(body) < _SHORT:
        return len(_ENCODE(fields)) == len(body)  # for short ones the copy is cheaper than the sum
    size = 1 + 4 * len(fields)  # braces, and per field two quotes, a colon, a comma (one comma less, hence 1 and not 2)
    for key, value in fields.items():
        size += len(key) + len(memoryview(value))
    return size == len(body)


_TEXT = Decoder(str).decode
# Possessive: what a part has taken it never gives back, or white space of n characters would be tried n * n times.
_KEY = re.compile(rb'[ \t\r\n]*+(?:,[ \t\r\n]*+)?("(?:[^"\\]++|\\.)*+")[ \t\r\n]*+:[ \t\r\n]*+')


def _duplicate(fields: dict[str, Raw], body: bytes) -> str | None:
    """Find the first top-level key that stands twice. Walks keys only: a value is skipped by the length of what was
    decoded for its key; where the bytes differ, the decoder kept a later value, so the key comes again. The bytes may
    also agree by chance, when a number begins like the later one (``{"a":12,"a":1}``): then the walk stops short."""
    seen: set[str] = set()
    key = ""
    at = body.index(b"{") + 1
    while (match := _KEY.match(body, at)) is not None:
        key = _TEXT(match[1])
        value = memoryview(fields[key])
        at = match.end() + len(value)
        if key in seen or body[match.end() : at] != value:
            return key
        seen.add(key)
    return None if body[at:].strip() == b"}" else key
