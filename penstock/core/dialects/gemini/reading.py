"""Typed reads of JSON values in Google's two spellings. What is wrong is said with its place and what would be
right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from msgspec import Raw
from msgspec.json import Decoder

from penstock.core.dialects.gemini.wire import CAMEL
from penstock.core.envelope import BAD_JSON
from penstock.core.errors import GatewayError

_FIELDS = Decoder(dict[str, Raw]).decode
_ITEMS = Decoder(list[Raw]).decode
_STR = Decoder(str).decode
_STRINGS = Decoder(list[str]).decode
_INT = Decoder(int).decode
_FLOAT = Decoder(float).decode
_BOOL = Decoder(bool).decode


def bad(param: str, value: Raw | bytes | None, want: str) -> NoReturn:
    """Refuse ``param``: say what it is and what would be right."""
    found = "it is missing" if value is None else f"got {spell(value)}"
    raise GatewayError("bad_request", f"`{param}` must be {want}, {found}.", param=param)


def spell(value: Raw | bytes) -> str:
    """Name the type of a JSON value in words; give the value itself where it is short and plain."""
    text = bytes(value)
    lead = text[:1]
    if lead == b'"':
        return f"the string {text.decode('utf-8', 'replace')}" if len(text) <= 40 else "a string"
    if lead == b"{":
        return "an object"
    return "an array" if lead == b"[" else text[:40].decode("utf-8", "replace")


def is_null(raw: Raw | bytes) -> bool:
    return bytes(memoryview(raw)[:4]) == b"null"


def present(fields: Mapping[str, Raw], key: str) -> Raw | None:
    """Return the value of ``key``, None when it is absent or null."""
    value = fields.get(key)
    return None if value is None or is_null(value) else value


def camel(fields: dict[str, Raw]) -> dict[str, Raw]:
    """Return the same object with known snake_case keys in lowerCamelCase. A key given in both spellings keeps its
    first."""
    if not any("_" in key for key in fields):
        return fields
    out: dict[str, Raw] = {}
    for key, value in fields.items():
        out.setdefault(CAMEL.get(key, key), value)
    return out


def mapping(value: Raw | bytes, at: str, want: str = "an object") -> dict[str, Raw]:
    """Read an object, with its keys in lowerCamelCase."""
    try:
        return camel(_FIELDS(value))
    except BAD_JSON:
        bad(at, value, want)


def verbatim(value: Raw | bytes, at: str, want: str = "an object") -> bytes:
    """Return the bytes of an object that a user or a model wrote, as they are."""
    try:
        _FIELDS(value)
    except BAD_JSON:
        bad(at, value, want)
    return bytes(value)


def items(value: Raw | bytes, at: str, want: str = "an array") -> list[Raw]:
    """Read an array. One object in its place is an array of one, as Google's own parser reads it."""
    if bytes(memoryview(value)[:1]) == b"{":
        return [Raw(bytes(value))]
    try:
        return _ITEMS(value)
    except BAD_JSON:
        bad(at, value, want)


def _typed(fields: Mapping[str, Raw], key: str, at: str, decode: Any, want: str) -> Any:
    value = present(fields, key)
    if value is None:
        return None
    try:
        return decode(value)
    except BAD_JSON:
        bad(at + key, value, want)


def text(fields: Mapping[str, Raw], key: str, at: str = "") -> str:
    """Read a string, "" when it is absent."""
    return _typed(fields, key, at, _STR, "a string") or ""


def needed_text(fields: Mapping[str, Raw], key: str, at: str) -> str:
    value = present(fields, key)
    if value is None:
        bad(at + key, None, "a string")
    return text(fields, key, at)


def integer(fields: Mapping[str, Raw], key: str, at: str = "") -> int | None:
    """Read a whole number; proto JSON also writes it as a string or as 40.0."""
    value = present(fields, key)
    if value is None:
        return None
    plain = bytes(value)
    if plain[:1] == b'"':
        plain = plain[1:-1]
    try:
        exact = _FLOAT(plain)
        return int(_INT(plain) if plain.isdigit() else exact) if exact.is_integer() else bad(at + key, value, _WHOLE)
    except BAD_JSON:
        bad(at + key, value, _WHOLE)


_WHOLE = "a whole number"


def number(fields: Mapping[str, Raw], key: str, at: str = "") -> float | None:
    value: float | None = _typed(fields, key, at, _FLOAT, "a number")
    return value


def flag(fields: Mapping[str, Raw], key: str, at: str = "") -> bool | None:
    value: bool | None = _typed(fields, key, at, _BOOL, "true or false")
    return value


def strings(fields: Mapping[str, Raw], key: str, at: str = "") -> tuple[str, ...]:
    return tuple(_typed(fields, key, at, _STRINGS, "an array of strings") or ())
