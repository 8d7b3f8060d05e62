"""A text that comes in pieces, judged as the whole of it would be: only what may still turn out to be a part of a match
is held back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from penstock.core.guarding.rules import AROUND, Judging, Rule, Span, settled_until

_KEEP = 256  # characters that are known and in nobody's way: to cut them off each time would cost more


class Found(NamedTuple):
    """What a rule found, by its place in all of the text."""

    span: Span
    value: str


class Window:
    """One text. ``size``: how many characters of it came. ``known``: up to where it is judged; what begins before may
    end later."""

    __slots__ = ("_at", "_judging", "_rules", "_text", "known", "size")

    def __init__(self, rules: Sequence[Rule], in_json: bool = False) -> None:
        self._rules = rules
        self._judging = Judging(rules, in_json)
        self._text = ""  # what is left of it, from ``_at`` on
        self._at = 0
        self.size = self.known = 0

    def feed(self, text: str, over: bool = False) -> list[Found]:
        """Take more of the text, and return what is found in what is judged by now. ``over``: that was all of it."""
        if text:
            self._text += text
            self.size += len(text)
        whole, at = self._text, self._at
        until = len(whole) if over else settled_until(self._rules, whole)
        begin = self.known - at
        if until <= begin:
            return []
        found = [
            Found(span, whole[span.start - at : span.end - at]) for span in self._judging.go_on(whole, begin, until, at)
        ]
        self.known = at + until
        keep = until - AROUND
        if keep > _KEEP:
            self._text, self._at = whole[keep:], at + keep
        return found
