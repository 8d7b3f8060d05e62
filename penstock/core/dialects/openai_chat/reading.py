"""Typed reads of JSON values. What is wrong is said with its place, its kind and what would be right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError

_NULL = Raw(b"null")
_STR = Decoder(str).decode
_INT = Decoder(int).decode
_FLOAT = Decoder(float).decode
_BOOL = Decoder(bool).decode
_MAP = Decoder(dict[str, Raw]).decode
_LIST = Decoder(list[Raw]).decode
_MAPS = Decoder(list[dict[str, Raw]]).decode
_STRS = Decoder(list[str]).decode

_KINDS = {
    ord("{"): "an object",
    ord("["): "an array",
    ord('"'): "a string",
    ord("t"): "a boolean",
    ord("f"): "a boolean",
}


def kind_of(raw: Raw) -> str:
    """Name a JSON value's kind in words, for messages."""
    view = memoryview(raw)
    if not view:
        return "missing"
    return "null" if view[0] == ord("n") else _KINDS.get(view[0], "a number")


def opens(raw: Raw, sign: str) -> bool:
    """Tell whether the value begins with ``sign``: a quote for a string, a bracket for an array, a brace for an
    object."""
    return memoryview(raw)[0] == ord(sign)


def wrong(path: str, raw: Raw, want: str) -> GatewayError:
    return GatewayError("bad_request", f"'{path}' is {kind_of(raw)}; it must be {want}.", param=path)


def absent(raw: Raw | None) -> bool:
    """Tell whether a value is missing, or ``null``: in this dialect the same."""
    return raw is None or raw == _NULL


def present(fields: Mapping[str, Raw], key: str) -> Raw | None:
    """Return the field, None when it is missing or null."""
    raw = fields.get(key)
    return None if raw is None or raw == _NULL else raw


def text(raw: Raw, path: str) -> str:
    try:
        return _STR(raw)
    except BAD_JSON:
        raise wrong(path, raw, "a string of valid Unicode") from None


def integer(raw: Raw, path: str) -> int:
    try:
        return _INT(raw)
    except BAD_JSON:
        raise wrong(path, raw, "an integer") from None


def number(raw: Raw, path: str) -> float:
    try:
        return _FLOAT(raw)
    except BAD_JSON:
        raise wrong(path, raw, "a number") from None


def flag(raw: Raw, path: str) -> bool:
    try:
        return _BOOL(raw)
    except BAD_JSON:
        raise wrong(path, raw, "true or false") from None


def mapping(raw: Raw, path: str) -> dict[str, Raw]:
    try:
        return _MAP(raw)
    except BAD_JSON:
        raise wrong(path, raw, "an object") from None


def items(raw: Raw, path: str) -> list[Raw]:
    try:
        return _LIST(raw)
    except BAD_JSON:
        raise wrong(path, raw, "an array") from None


def mappings(raw: Raw, path: str) -> list[dict[str, Raw]]:
    try:
        return _MAPS(raw)
    except BAD_JSON:
        for place, item in enumerate(items(raw, path)):
            mapping(item, f"{path}[{place}]")
        raise wrong(path, raw, "an array of objects") from None


def exactly(raw: Raw) -> Callable[[int], bytes]:
    """Return a reader of the bytes of single elements of an array that was read before. The array is cut once, at the
    first need: once for each element would be its square."""
    found: list[Raw] = []

    def element(place: int) -> bytes:
        if not found:
            found.extend(_LIST(raw))
        return bytes(found[place])

    return element


def texts(raw: Raw, path: str) -> list[str]:
    try:
        return _STRS(raw)
    except BAD_JSON:
        for place, item in enumerate(items(raw, path)):
            text(item, f"{path}[{place}]")
        raise wrong(path, raw, "an array of strings") from None


def json_object(raw: Raw, path: str) -> bytes:
    """Return the bytes of an object, as they came."""
    if not opens(raw, "{"):
        raise wrong(path, raw, "an object")
    return bytes(raw)


def needed(fields: Mapping[str, Raw], key: str, path: str, want: str) -> Raw:
    """Return a field that must be there and not null."""
    raw = fields.get(key)
    if raw is None or absent(raw):
        place = f"{path}.{key}" if path else key
        found = "is missing" if raw is None else "is null"
        raise GatewayError("bad_request", f"'{place}' {found}; it must be {want}.", param=place)
    return raw


def optional_text(fields: Mapping[str, Raw], key: str, path: str) -> str:
    raw = present(fields, key)
    return "" if raw is None else text(raw, f"{path}.{key}" if path else key)


def optional_flag(fields: Mapping[str, Raw], key: str, path: str) -> bool | None:
    raw = present(fields, key)
    return None if raw is None else flag(raw, f"{path}.{key}")


def optional_object(fields: Mapping[str, Raw], key: str, path: str) -> bytes:
    raw = present(fields, key)
    return b"" if raw is None else json_object(raw, f"{path}.{key}")


def plain(raw: Raw | bytes) -> Any:
    """Decode the value to Python objects."""
    return msgspec.json.decode(raw)
