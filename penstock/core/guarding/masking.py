"""What stands for what was masked: the same for the same value, so that a model can tell two of them apart, and the
value can be put back in its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from penstock.core.guarding.rules import MASK, Finding, Rule

RESTORED = "restored"  # kind of the rule that finds placeholders again
MOST_VALUES = 10_000  # that are told apart in one call; what is beyond has no number
_NAME = re.compile(r"[^A-Z0-9_]+")


class Masks:
    """The placeholders of one call. ``back``: those whose values are put back in its answer."""

    __slots__ = ("_by_value", "_counts", "_texts", "back")

    def __init__(self) -> None:
        self._by_value: dict[tuple[str, str], str] = {}
        self._counts: dict[str, int] = {}
        self._texts: Sequence[str] = ()
        self.back: dict[str, str] = {}

    def avoid(self, texts: Sequence[str]) -> None:
        """Take note of texts that may hold words that look like placeholders: none of those is given out."""
        self._texts = texts

    def put(self, kind: str, value: str, restore: bool) -> str:
        """Return what stands for a value. ``restore``: it is to be put back."""
        name = _NAME.sub("_", kind.upper()).strip("_") or "MASKED"
        known = self._by_value.get((name, value))
        if known is None:
            if len(self._by_value) >= MOST_VALUES:
                return f"[{name}]"
            number = self._counts.get(name, 0) + 1
            while any(f"[{name}_{number}]" in text for text in self._texts):
                number += 1
            self._counts[name] = number
            known = self._by_value[(name, value)] = f"[{name}_{number}]"
        if restore:
            self.back[known] = value
        return known

    def rule(self) -> Rule | None:
        """Make the rule that finds the placeholders whose values are put back; None where there are none."""
        if not self.back:
            return None
        # The longest first: none of them begins like another, but nobody has to know that.
        names = sorted(self.back, key=len, reverse=True)
        find = re.compile("|".join(map(re.escape, names)))
        return Rule(RESTORED, find, MASK, reach=len(names[0]), marks=("[",), spaceless=True)


def masked(text: str, findings: Iterable[Finding], masks: Masks, restore: bool = False) -> str:
    """Return a text with what is to be masked replaced. ``findings``: those in it, by their place."""
    parts: list[str] = []
    out = 0
    for found in sorted(findings, key=lambda one: (one.start, -one.end)):
        start = max(found.start, out)
        if found.action != MASK or found.end < start or (found.end == start and not found.put):
            continue
        parts += (text[out:start], found.put or masks.put(found.kind, text[start : found.end], restore))
        out = found.end
    return "".join(parts) + text[out:] if parts else text
