"""Entries of the ledger as rows of a table, and back. What they say is foreign: whatever it is, it fits, as an entry
must not be lost for one of its texts."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from penstock.stores.base import KeptTexts, Spent
from penstock.stores.kinds import LONGEST

FIELDS = Spent.__struct_fields__
_PLAIN = msgspec.structs.astuple
_TEXTS = tuple(number for number, name in enumerate(FIELDS) if Spent.__annotations__[name] == "str")
_COUNTS = tuple(number for number, name in enumerate(FIELDS) if Spent.__annotations__[name] == "int")
_TAGS = FIELDS.index("tags")
LONG = {"message": 4000, "address": 4000}  # characters of texts that nothing is looked up by
_LISTS = ("tags", "accounts")
_JSON = ("usage", "metadata", "way")
MOST = 2**63 - 1  # that a column takes
MOST_COUNTED = 2**40
"""Tokens of an entry: no vendor counts so many, and a day's sum of entries that claim more has to fit, too."""
_ENCODE, _DECODE = msgspec.json.Encoder().encode, msgspec.json.Decoder(tuple[str, ...]).decode


def fit_all(entries: Sequence[Spent]) -> Sequence[Spent]:
    """Return entries whose values fit their columns: nearly all are as they were, which one look at each column of all
    of them tells."""
    return entries if _fit(list(zip(*map(_PLAIN, entries), strict=True))) else [fitted(one) for one in entries]


def _fit(columns: Sequence[Sequence[Any]]) -> bool:
    """Tell whether all entries fit as they are."""
    for number in _TEXTS:
        texts = columns[number] if columns else ()
        whole = "".join(texts)
        if whole and (not whole.isascii() or "\0" in whole or max(map(len, texts)) > LONGEST):
            return False
    if not columns:
        return True
    tags = [tag for some in set(columns[_TAGS]) for tag in some]
    whole = "".join(tags)
    if not whole.isascii() or "\0" in whole or any(len(tag) > LONGEST for tag in tags):
        return False
    return all(max(columns[at]) <= (most := most_of(FIELDS[at])) and -most <= min(columns[at]) for at in _COUNTS)


def most_of(name: str) -> int:
    """Return the largest figure that a field takes."""
    return MOST if name == "cost" else MOST_COUNTED


def fitted(one: Spent) -> Spent:
    """Return an entry whose values fit their columns."""
    fits: dict[str, Any] = {}
    for name in FIELDS:
        value = getattr(one, name)
        kept: Any = value
        if isinstance(value, str):
            kept = named(value) if name == "call_id" else short(value, LONG.get(name, LONGEST))
        elif type(value) is int:
            kept = within(value, most_of(name))
        elif name == "tags":
            kept = tuple(map(short, value))
        if kept != value:
            fits[name] = kept
    return msgspec.structs.replace(one, **fits) if fits else one


def within(value: int, most: int = MOST) -> int:
    """Return a figure, or the nearest one that a column takes."""
    return max(-most, min(value, most))


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


def rows_of(entries: Sequence[Spent]) -> list[tuple[Any, ...]]:
    """Return the rows of entries that fit, in the order of ``FIELDS``; made column by column."""
    columns: list[Any] = list(zip(*map(_PLAIN, entries), strict=True))
    if not columns:
        return []
    for name in _LISTS:
        number = FIELDS.index(name)
        texts = {some: _ENCODE(some).decode() for some in set(columns[number])}
        columns[number] = [texts[some] for some in columns[number]]
    for name in _JSON:
        number = FIELDS.index(name)
        columns[number] = list(map(_text, columns[number]))
    return list(zip(*columns, strict=True))


def text_rows_of(texts: Sequence[KeptTexts]) -> list[dict[str, str]]:
    """Return the rows of what requests asked and were answered, in the order of their ids."""
    return [
        {"call_id": named(one.call_id), "request": _text(one.request), "response": _text(one.response)}
        for one in sorted(texts)
        if one.request or one.response
    ]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").replace("\0", "\ufffd")


def spent_of(row: Any) -> Spent:
    """Return the entry of a row."""
    values = dict(zip(FIELDS, row, strict=True))
    for name in _LISTS:
        values[name] = _DECODE(values[name])
    for name in _JSON:
        values[name] = (values[name] or "").encode()
    return Spent(**values)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
