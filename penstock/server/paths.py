"""Paths as clients write them, and which of ours may have been meant."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SLASHES = re.compile("/{2,}")
_VERSION = re.compile(r"v\d+(?:alpha|beta)?")
# Beyond these a path is no slip of ours: looking at it would cost more than it tells.
_LONGEST, _MOST_SEGMENTS, _LONGEST_SEGMENT = 300, 8, 40


def tidied(path: str) -> str:
    """Return a path without what a base URL that ends in a slash brings: empty segments, and a slash at the end."""
    if "//" in path:
        path = _SLASHES.sub("/", path)
    return path[:-1] if path[-1:] == "/" and len(path) > 1 else path


def nearest(path: str, paths: Iterable[str]) -> str:
    """Return the one of ``paths`` that may have been meant, "" where none is near.

    Near is a path that has the same segments, but for slips in their letters and for versions; one of the two may have
    more in front or behind, up to as many again: ``/v1/chat/completion``, ``/chat``, ``/openai/chat/completions``."""
    asked = [part for part in path.split("/") if part]
    if len(path) > _LONGEST or not 1 <= len(asked) <= _MOST_SEGMENTS:
        return ""
    found = [(*far, abs(len(row) - len(path)), row) for row in paths if (far := _far(asked, row)) is not None]
    return min(found)[-1] if found else ""


def _far(asked: list[str], path: str) -> tuple[float, int] | None:
    """Tell how far a path of ours is from the segments that were asked for: the share of segments that only one of the
    two has, and how many letters differ. None where it was not meant."""
    ours = [part for part in path.split("/") if part]
    left, right = _unversioned(asked), _unversioned(ours)
    short, long = sorted((len(left), len(right)))
    if not short or 2 * short < long:
        return None
    ways = (zip(left, right, strict=False), zip(reversed(left), reversed(right), strict=False))
    slips = [found for way in ways if (found := _slipped(list(way))) is not None]
    if not slips:
        return None
    return 1 - short / long, min(slips) + (set(asked) - set(left) != set(ours) - set(right))


def _unversioned(parts: list[str]) -> list[str]:
    return [part for part in parts if not _VERSION.fullmatch(part)]


def _slipped(pairs: list[tuple[str, str]]) -> int | None:
    """Count the slips of segments that should be the same; None where some are not. A place for a value takes any, but
    a path is not near by its values alone."""
    words = [_slips(mine, yours) for mine, yours in pairs if yours[:1] != "{"]
    there = [slips for slips in words if slips is not None]
    return sum(there) if there and len(there) == len(words) else None


def _slips(mine: str, yours: str) -> int | None:
    """Count the slips by which two segments differ: a letter too many, too few or another, two that changed places.
    None where that is more than a slip."""
    if len(mine) > _LONGEST_SEGMENT or abs(len(mine) - len(yours)) > 2:
        return None
    mine, yours = mine.lower(), yours.lower()
    allowed = 0 if len(yours) < 4 else 1 if len(yours) < 7 else 2
    older: list[int] = []
    row = list(range(len(yours) + 1))
    for at in range(1, len(mine) + 1):
        above, row = row, [at]
        for place in range(1, len(yours) + 1):
            cost = min(above[place] + 1, row[-1] + 1, above[place - 1] + (mine[at - 1] != yours[place - 1]))
            if at > 1 and place > 1 and mine[at - 2 : at] == yours[place - 2 : place][::-1]:
                cost = min(cost, older[place - 2] + 1)
            row.append(cost)
        older = above
    return row[-1] if row[-1] <= allowed else None
