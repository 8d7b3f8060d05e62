"""Entries of the ledger as rows of a table, and back. What they say is foreign: whatever it is, it fits, as an entry
must not be lost for one of its texts."""

from __future__ import annotations

import hashlib
from operator import attrgetter
from typing import Any

import msgspec

from penstock.stores.base import Spent
from penstock.stores.kinds import LONGEST

FIELDS = Spent.__struct_fields__
_TEXTS = attrgetter(*(name for name, kind in Spent.__annotations__.items() if kind == "str"))
_COUNTS = attrgetter(*(name for name, kind in Spent.__annotations__.items() if kind == "int"))
_LONG = {"message": 4000, "address": 4000}  # characters of texts that nothing is looked up by
_LISTS = ("tags", "accounts")
_JSON = ("usage", "metadata")
_MOST = 2**63 - 1
_ENCODE, _DECODE = msgspec.json.Encoder().encode, msgspec.json.Decoder(tuple[str, ...]).decode


def _fits(one: Spent) -> bool:
    """Tell whether an entry fits as it is, by one look at all of it: nearly all do."""
    texts, counts = _TEXTS(one), _COUNTS(one)
    whole = "".join((*texts, *one.tags))
    if not whole.isascii() or "\0" in whole or max(map(len, texts)) > LONGEST or not -_MOST <= min(counts):
        return False
    return max(counts) <= _MOST and all(len(tag) <= LONGEST for tag in one.tags)


def fitted(one: Spent) -> Spent:
    """Return an entry whose values fit their columns: most are as they were."""
    if _fits(one):
        return one
    fits: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(one, name)
        kept: Any = value
        if isinstance(value, str):
            kept = named(value) if name == "call_id" else short(value, _LONG.get(name, LONGEST))
        elif type(value) is int:
            kept = max(-_MOST, min(value, _MOST))
        elif name == "tags":
            kept = tuple(map(short, value))
        if kept != value:
            fits[name] = kept
    return msgspec.structs.replace(one, **fits) if fits else one


def short(text: str, most: int = LONGEST) -> str:
    """Cut a text to what a column takes, without what no database takes."""
    if len(text) <= most and "\0" not in text and (text.isascii() or _is_utf8(text)):
        return text
    return text[:most].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def named(text: str, most: int = LONGEST) -> str:
    """Cut a name that must stay one of its kind: a digest stands for what is cut off."""
    kept = short(text, most)
    if kept == text:
        return text
    return kept[: most - 65] + "#" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def values_of(one: Spent) -> dict[str, Any]:
    """Return the row of an entry that fits."""
    values = dict(zip(FIELDS, msgspec.structs.astuple(one), strict=True))
    for name in _LISTS:
        values[name] = _ENCODE(values[name]).decode()
    for name in _JSON:
        values[name] = values[name].decode("utf-8", "replace").replace("\0", "\ufffd")
    return values


def spent_of(row: Any) -> Spent:
    """Return the entry of a row."""
    values = dict(zip(FIELDS, row, strict=True))
    for name in _LISTS:
        values[name] = _DECODE(values[name])
    for name in _JSON:
        values[name] = values[name].encode()
    return Spent(**values)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
