"""Values made once, from which most of an example is put together: a choice costs one draw instead of ten.

A law's time went into drawing its examples letter by letter (6 ms an answer, 10 ms a request), not into the law. So
each kind of block has a pool, plain values first because shrinking goes to the front; one draw in eight still makes a
new value, which keeps the reach of the free strategies.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")

# Characters that real gateways have tripped over, each for its own reason (line splitters, JSON escapers, UTF-8 cuts).
AWKWARD = [*'\u2028\u2029\x85\x0b\x0c\x1c\x00\r\n"\\\t\x7f\ufeffé漢🙂{}', "\r\n"]
AWKWARD += ["data: ", "[DONE]", "</system>", "data:image/png;base64,"]
SAMPLES = [
    "",
    "",
    "a",
    "hello",
    " ",
    "é漢🙂",
    "a\u2028b",
    "x\r\ny\n",
    'say "hi"\\',
    "\x00\x85",
    "data: [DONE]\n\n",
    '{"a":1}',
]
_CHANCE = random.Random(2026)


def mostly(pool: list[T], fresh: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """A value of the pool, or (one in eight) a new one."""
    size = len(pool)
    place = st.integers(0, size + size // 7)

    @st.composite
    def value(draw: st.DrawFn) -> T:
        at = draw(place)
        return pool[at] if at < size else draw(fresh)

    return value()


def combine(make: Callable[..., T], *parts: Iterable[Any], most: int = 120) -> list[T]:
    """``make`` over every combination of the parts, thinned to ``most``: the first ones stay, the others are a sample
    that is the same in every run."""
    rows = list(product(*map(list, parts)))
    if len(rows) > most:
        rows = rows[:4] + _CHANCE.sample(rows[4:], most - 4)
    return [make(*row) for row in rows]


def _text() -> str:
    return "".join(_CHANCE.choice(AWKWARD) for _ in range(_CHANCE.randint(1, 4)))


TEXTS = [*SAMPLES, *AWKWARD, *(_text() for _ in range(60))]
FULL_TEXTS = [text for text in TEXTS if text]


def _value(depth: int) -> Any:
    kind = _CHANCE.randint(0, 7 if depth else 5)
    if kind == 0:
        return _CHANCE.choice([None, True, False])
    if kind == 1:
        return _CHANCE.randint(-(2**70), 2**70)
    if kind == 2:
        return _CHANCE.choice([0.0, -1.5e-7, 1e22, 0.1, 3.0])
    if kind < 6:
        return _CHANCE.choice(TEXTS)
    if kind == 6:
        return [_value(depth - 1) for _ in range(_CHANCE.randint(0, 3))]
    return {_CHANCE.choice(TEXTS): _value(depth - 1) for _ in range(_CHANCE.randint(0, 3))}


def spelled(value: Any) -> str:
    """``value`` in one of the spellings that JSON allows."""
    separators = _CHANCE.choice([(",", ":"), (", ", ": "), (" ,\n", " : ")])
    return json.dumps(value, ensure_ascii=_CHANCE.random() < 0.5, separators=separators)


OBJECTS = [
    "{}",
    '{"a":1}',
    '{"q":"é\u2028\\u2028"}',
    '{ "n" : 1.50, "big": 12345678901234567890 }',
    '{"x":{"y":[null,true]}}',
    *(spelled({_CHANCE.choice(TEXTS): _value(2) for _ in range(_CHANCE.randint(0, 3))}) for _ in range(60)),
]
