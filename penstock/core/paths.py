"""Paths into JSON values, as LiteLLM writes them in ``additional_drop_params``: ``a.b``, ``a[0].b``, ``a[*].b``."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Raw

from penstock.core.envelope import BAD_JSON

_STEP = re.compile(r"([^.\[\]]+)|\[(\d{1,6}|\*)\]")
LONGEST = 200  # characters of a path
_DEEPEST = 20


def steps_of(path: str) -> list[str | int] | None:
    """Read a path as its steps: names, numbers, "*" for all of a list. None for what is no path."""
    if len(path) > LONGEST:
        return None
    steps: list[str | int] = []
    place = 0
    for match in _STEP.finditer(path):
        if path[place : match.start()] not in ("", ".") or (place == 0 and match.start()):
            return None
        place = match.end()
        steps.append(match[1] if match[1] is not None else -1 if match[2] == "*" else int(match[2]))
    return steps if steps and place == len(path) and len(steps) <= _DEEPEST else None


def remove(fields: dict[str, Raw], path: str) -> bool:
    """Take what stands at ``path`` out of a body's fields, in place; tell whether there was something."""
    steps = steps_of(path)
    if steps is None or not isinstance(steps[0], str) or steps[0] not in fields:
        return False
    if len(steps) == 1:
        del fields[steps[0]]
        return True
    try:
        value = msgspec.json.decode(fields[steps[0]])
    except BAD_JSON:
        return False
    if not _take(value, steps[1:]):
        return False
    fields[steps[0]] = Raw(msgspec.json.encode(value))
    return True


def _take(value: Any, steps: list[str | int]) -> bool:
    step, rest = steps[0], steps[1:]
    if isinstance(step, str):
        if not isinstance(value, dict) or step not in value:
            return False
        if rest:
            return _take(value[step], rest)
        del value[step]
        return True
    if not isinstance(value, list):
        return False
    if step >= 0:
        if step >= len(value):
            return False
        if rest:
            return _take(value[step], rest)
        del value[step]
        return True
    if rest:
        taken = [_take(item, rest) for item in value]  # of every item: ``any`` would stop at the first
        return any(taken)
    value.clear()
    return True
