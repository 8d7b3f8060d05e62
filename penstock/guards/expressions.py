"""Expressions that users write, made fit to go over other people's texts: one that may take many steps runs with a time
limit."""

from __future__ import annotations

import re
from typing import Any

from penstock.core.guarding.lint import BadPattern, look_at
from penstock.core.guarding.rules import Pattern, TooMuch

LIMIT = 0.05  # seconds of one search
_MISSING = "this expression may take many steps, and is used with the package 'regex' alone: pip install regex"


class Timed:
    """An expression whose searches end in time."""

    def __init__(self, source: str, flags: int) -> None:
        try:
            import regex  # type: ignore[import-untyped]
        except ImportError:
            raise BadPattern(_MISSING) from None
        wanted = regex.VERSION0 | (regex.IGNORECASE if flags & re.IGNORECASE else 0)
        try:
            self._pattern = regex.compile(source, wanted)
        except regex.error as error:
            raise BadPattern(f"the expression is not valid: {error}") from None

    def search(self, string: str, pos: int = 0, endpos: int | None = None) -> Any:
        return self._run(self._pattern.search, string, pos, endpos)

    def match(self, string: str, pos: int = 0, endpos: int | None = None) -> Any:
        return self._run(self._pattern.match, string, pos, endpos)

    def _run(self, find: Any, string: str, pos: int, endpos: int | None) -> Any:
        try:
            return find(string, pos, endpos, timeout=LIMIT)
        except TimeoutError:
            raise TooMuch(f"an expression took over {LIMIT * 1000:g} ms over one text") from None


def compile_expression(source: str, ignore_case: bool = True) -> tuple[Pattern, int]:
    """Compile an expression of a config, and tell how many characters a match of it may have. Raises ``BadPattern``."""
    flags = re.IGNORECASE if ignore_case else 0
    costs = look_at(source, flags)
    return (re.compile(source, flags) if costs.bounded else Timed(source, flags)), costs.reach
