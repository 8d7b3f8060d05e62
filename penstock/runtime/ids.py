"""Random ids: UUIDs of version 4, made in batches, since one system call serves many."""

from __future__ import annotations

import os

_BATCH = 256
_VARIANT = {digit: "89ab"[number % 4] for number, digit in enumerate("0123456789abcdef")}


class _Ids:
    """A stock of ids. Taken by ``list.pop``, which is one step for every thread: no two get the same."""

    def __init__(self) -> None:
        self._made: list[str] = []
        # A forked child must not hand out its parent's ids.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._made.clear)

    def next(self) -> str:
        """Return a fresh id."""
        try:
            return self._made.pop()
        except IndexError:
            text = os.urandom(16 * _BATCH).hex()
            made = [
                f"{text[at : at + 8]}-{text[at + 8 : at + 12]}-4{text[at + 13 : at + 16]}-"
                f"{_VARIANT[text[at + 16]]}{text[at + 17 : at + 20]}-{text[at + 20 : at + 32]}"
                for at in range(0, len(text), 32)
            ]
            last = made.pop()
            self._made += made
            return last


new_id = _Ids().next


def mint(prefix: str) -> str:
    """Return a fresh id with a dialect's prefix, e.g. ``msg_0f3c...``."""
    return prefix + new_id().replace("-", "")
