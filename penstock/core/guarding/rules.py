"""A rule over text, and what it finds. What it finds at a place depends on a bounded stretch of text and on nothing
beyond, so that a text that comes in pieces is judged as the whole of it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

BLOCK, MASK, FLAG = "block", "mask", "flag"
ACTIONS = (BLOCK, MASK, FLAG)
REACH = 256  # characters of a match of which the rule does not say how long it may be
LONGEST = 4096  # the most that a rule may say
AROUND = 64  # characters beside a match by which it may be known: word borders, looks ahead and behind
_JSON = ("{", "[")
MOST_RETRIES = 10_000  # matches of one rule in one text that are too long, or that its check refuses


class Finding(NamedTuple):
    """What a guard found: ``kind`` of thing, in which of the texts, from where to where, and what is to be done.
    ``put``: what takes its place where it is masked; "" for a placeholder that is numbered."""

    kind: str
    text: int
    start: int
    end: int
    action: str
    put: str = ""


class TooMuch(Exception):
    """A rule took more steps over a text than it may."""


class Pattern(Protocol):
    """A compiled expression, of ``re`` or another library that has its shape."""

    def search(self, string: str, pos: int = ..., endpos: int = ...) -> Any: ...
    def match(self, string: str, pos: int = ..., endpos: int = ...) -> Any: ...


class Rule(Struct, frozen=True, eq=False):
    """One thing that is looked for. ``reach``: the most characters of a match. ``marks``: in lower case; a text that
    holds none of them has no match, () = look always. ``check``: tells whether what looks right is right. ``group``: the
    part of a match that is meant. ``spaceless``: no match holds white space. ``put``: see ``Finding``."""

    kind: str
    find: Pattern
    action: str = BLOCK
    reach: int = REACH
    marks: tuple[str, ...] = ()
    check: Callable[[str], bool] | None = None
    group: int = 0
    spaceless: bool = False
    put: str = ""

    def matches(self, text: str, begin: int, until: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the matches that begin from ``begin`` on and before ``until``, none over another: where each begins
        and ends, and where what is meant does. Raises ``TooMuch``."""
        search, reach, check, group = self.find.search, self.reach, self.check, self.group
        at, left = begin, MOST_RETRIES
        while at < until:
            found = search(text, at)
            if found is None or (start := found.start()) >= until:
                return
            if found.end() - start > reach:  # what is longer is looked at as if the text ended there
                found = self.find.match(text, start, start + reach)
            if found is None or found.end(group) == found.start(group) or (check and not check(found.group(group))):
                at, left = start + 1, left - 1
                if not left:
                    raise TooMuch(f"over {MOST_RETRIES} places look like a match, and are none")
                continue
            at = found.end()
            yield start, at, found.start(group), found.end(group)


class Span(NamedTuple):
    """What a rule found that no other has: from where to where."""

    start: int
    end: int
    rule: Any  # a Rule; None for what no rule found


class Judging:
    """One text that rules go through from its beginning to its end, in one step or in many: what comes of it is the
    same. Of two matches the one that begins first has what both share. ``in_json``: the text is JSON, of which no
    escape may be cut in two."""

    __slots__ = ("_in_json", "_nexts", "_rules", "_taken")

    def __init__(self, rules: Sequence[Rule], in_json: bool = False) -> None:
        self._rules = rules
        self._in_json = in_json
        self._nexts: dict[int, int] = {}  # of a rule: where its last match ended
        self._taken: list[tuple[int, int]] = []

    def go_on(self, text: str, begin: int, until: int, at: int = 0) -> list[Span]:
        """Find what begins from ``begin`` on and before ``until``. ``at``: the place in the whole of the text where
        what is given of it begins; spans are places of the whole."""
        matches: list[tuple[int, int, int, int, int]] = []
        lower = ""
        for number, rule in enumerate(self._rules):
            if rule.marks:
                lower = lower or text.lower()
                for mark in rule.marks:
                    if mark in lower:
                        break
                else:
                    continue
            first = max(begin, self._nexts.get(number, 0) - at)
            for start, stop, inner, outer in rule.matches(text, first, until):
                self._nexts[number] = at + stop
                matches.append((start, -stop, number, inner, outer))
        if not matches:
            return []
        matches.sort()
        found: list[Span] = []
        for _, _, number, inner, outer in matches:
            if self._in_json and inner and text[inner - 1] == "\\":
                inner = _behind_escape(text, inner)
            found += [Span(start, end, self._rules[number]) for start, end in self._take(at + inner, at + outer)]
        found.sort(key=_start)
        return found

    def _take(self, start: int, end: int) -> list[tuple[int, int]]:
        """Take what is free of a span."""
        free = [(start, end)]
        for begins, ends in self._taken:
            if ends > start and begins < end:
                free = [
                    (one, other)
                    for left, right in free
                    for one, other in ((left, min(right, begins)), (max(left, ends), right))
                    if one < other
                ]
        self._taken = [one for one in self._taken if one[1] > start - 2 * LONGEST] + free
        return free


def _behind_escape(text: str, start: int) -> int:
    """Move the begin of a match behind the escape in which it lies: the ``n`` of a line's end is no letter."""
    slashes = start - len(text[:start].rstrip("\\"))
    if slashes % 2 == 0:
        return start
    return start + (5 if text[start : start + 1] == "u" else 1)


def _start(span: Span) -> int:
    return span.start


def findings_of(rules: Sequence[Rule], texts: Iterable[str]) -> list[Finding]:
    """Find what rules find in whole texts."""
    found = []
    for number, text in enumerate(texts):
        for start, end, rule in Judging(rules, text[:1] in _JSON).go_on(text, 0, len(text)):
            found.append(Finding(rule.kind, number, start, end, rule.action, rule.put))
    return found


def settled_until(rules: Sequence[Rule], text: str) -> int:
    """Tell up to where matches that begin there are known, though more of the text may come."""
    size, spaces = len(text), -1
    upto = size
    for rule in rules:
        known = size - rule.reach - AROUND
        if rule.spaceless and known < size:
            if spaces < 0:
                spaces = last_space(text)
            known = max(known, spaces)
        upto = min(upto, known)
    return max(0, upto)


def last_space(text: str) -> int:
    """Return the place of the last white space in a text, 0 where there is none."""
    at = len(text)
    while at and not text[at - 1].isspace():
        at -= 1
    return max(0, at - 1)
