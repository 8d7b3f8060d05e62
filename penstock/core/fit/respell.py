"""Another name for one that an API does not take: made of the old one alone, so that it is the same in every turn."""

from __future__ import annotations

from collections.abc import Set
from hashlib import blake2b

from penstock.core.fit.limits import Spelling

_HASH = 8  # characters


def respell(name: str, spelling: Spelling, taken: Set[str] = frozenset()) -> str:
    """Return a name that ``spelling`` accepts, with a hash of the old one at its end. ``taken``: names that others
    have."""
    stem = spelling.refused.sub("_", name)
    for attempt in range(1 << 10):
        salt = str(attempt) if attempt else ""
        digest = blake2b((name + salt).encode("utf-8", "surrogatepass"), digest_size=_HASH // 2).hexdigest()
        short = f"{stem[: spelling.longest - _HASH - 1]}_{digest}"
        if not spelling.accepted.fullmatch(short):
            short = f"_{short}"[: spelling.longest]
        if short not in taken:
            break
    return short
