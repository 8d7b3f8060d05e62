"""A whole answer taken apart into its texts, and put together again with what changed in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from penstock.core.guarding.rules import Judging, Rule
from penstock.core.guarding.spots import Spot, forget_logprobs, quoted, spots


class Edit(NamedTuple):
    """A part of a text, and what takes its place: for the client, and in notes."""

    start: int
    end: int
    put: str
    noted: str


class Opened(NamedTuple):
    """An answer. ``box``: holds its value; ``plain``: it is no JSON, but one text."""

    box: dict[str, Any]
    spots: list[Spot]
    plain: bool


def opened(body: bytes) -> Opened:
    """Take an answer apart."""
    plain = False
    try:
        box: dict[str, Any] = {"": msgspec.json.decode(body)}
    except (msgspec.DecodeError, RecursionError):
        box, plain = {"": body.decode("utf-8", "replace")}, True
    return Opened(box, list(spots(box)), plain)


Spans = list[tuple[int, int, int]]
"""Of one text: from where to where, and by which of the rules."""


def spans_in(rules: Sequence[Rule], texts: Sequence[tuple[str, bool]]) -> list[Spans]:
    """Find what rules find in texts. The second of each pair: it is JSON itself."""
    numbers = {id(rule): number for number, rule in enumerate(rules)}
    return [
        [(one.start, one.end, numbers[id(one.rule)]) for one in Judging(rules, in_json).go_on(text, 0, len(text))]
        for text, in_json in texts
    ]


def spans_in_body(rules: Sequence[Rule], body: bytes) -> list[Spans]:
    """Find what rules find in an answer."""
    return spans_in(rules, [(spot.text, spot.in_json) for spot in opened(body).spots])


def put_together(answer: Opened, edits: Mapping[int, Sequence[Edit]]) -> tuple[bytes, bytes]:
    """Write an answer with its texts edited, by their number: for the client, and for notes."""
    changed = []
    for number, some in edits.items():
        spot = answer.spots[number]
        if some:
            changed.append((spot, *edited(spot, some)))
    forget_logprobs(answer.box)
    told = []
    for which in (1, 2):
        for change in changed:
            change[0].holder[change[0].key] = change[which]
        value = answer.box[""]
        told.append(value.encode() if answer.plain else msgspec.json.encode(value))
    return told[0], told[1]


def edited(spot: Spot, edits: Sequence[Edit]) -> tuple[str, str]:
    """Return a text with edits, for the client and for notes."""
    told: list[str] = []
    noted: list[str] = []
    at = 0
    for edit in sorted(edits):
        start = max(at, edit.start)
        if edit.end < start:
            continue
        before = spot.text[at:start]
        told += (before, quoted(edit.put) if spot.in_json else edit.put)
        noted += (before, quoted(edit.noted) if spot.in_json else edit.noted)
        at = edit.end
    rest = spot.text[at:]
    return "".join(told) + rest, "".join(noted) + rest
