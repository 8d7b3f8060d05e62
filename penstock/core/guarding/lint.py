"""How many steps an expression may take over other people's text. Some that somebody writes take time without end in
Python's ``re``, and would hold up everybody."""

from __future__ import annotations

import re
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from penstock.core.guarding.rules import LONGEST, REACH

MOST_LETTERS = 2000
FEW = 5000  # ways in which a match may be tried at one place
_ENDLESS = 1 << 40
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT)


class BadPattern(ValueError):
    """An expression that is not used; the message says why, and what to do."""


class Costs(NamedTuple):
    """What an expression takes. ``bounded``: the ways in which it may be tried at one place are few. ``reach``: the
    characters in which a match of it is looked for."""

    bounded: bool
    reach: int


def look_at(source: str, flags: int = 0) -> Costs:
    """Judge an expression. Raises ``BadPattern`` for one that is not valid, or matches everywhere."""
    if len(source) > MOST_LETTERS:
        raise BadPattern(f"the expression has {len(source)} characters; at most {MOST_LETTERS} are taken")
    try:
        tree = _parser.parse(source, flags)
        if re.compile(source, flags).match(""):
            raise BadPattern("the expression matches an empty text, so it would match everywhere: ask for a character")
        widest = int(tree.getwidth()[1])
        return Costs(_ways(tree) <= FEW, widest if widest <= LONGEST else REACH)
    except re.error as error:
        raise BadPattern(f"the expression is not valid: {error}") from None
    except (RecursionError, OverflowError):
        raise BadPattern("the expression is nested too deeply, or counts too far") from None


def _ways(tree: Any) -> int:
    """Count the ways in which a match may be tried, at most."""
    ways = 1
    for code, value in tree:
        if code in _REPEATS:
            ways *= _repeated(value[0], int(value[1]), _ways(value[2]))
        elif code is codes.BRANCH:
            ways *= sum(_ways(branch) for branch in value[1])
        elif code is codes.SUBPATTERN:
            ways *= _ways(value[3])
        elif code in (codes.ASSERT, codes.ASSERT_NOT):
            ways *= _ways(value[1])
        elif code is codes.ATOMIC_GROUP:
            ways *= _ways(value)
        elif code in (codes.GROUPREF, codes.GROUPREF_EXISTS):
            return _ENDLESS
        if ways >= _ENDLESS:
            return _ENDLESS
    return ways


def _repeated(least: int, most: int, inner: int) -> int:
    if most > FEW:
        return _ENDLESS
    if inner == 1:
        return most - least + 1
    total, power = 0, 1
    for count in range(most + 1):
        total += power if count >= least else 0
        power *= inner
        if power >= _ENDLESS:
            return _ENDLESS
    return total
