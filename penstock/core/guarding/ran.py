"""What a guard came to, for records and headers: never a word of what it found."""

from __future__ import annotations

from msgspec import Struct

PASSED, FLAGGED, MASKED, BLOCKED, FAILED = "passed", "flagged", "masked", "blocked", "failed"
_ORDER = (PASSED, FLAGGED, MASKED, BLOCKED, FAILED)


class Ran(Struct):
    """A guard of a call, in one of its modes. ``ms``: how long it took; of one that judges a stream as it comes, 0.
    ``kinds``: what was found, and how often. ``why``: what kept it from judging."""

    name: str
    mode: str
    ms: float = 0.0
    verdict: str = PASSED
    kinds: dict[str, int] = {}
    why: str = ""

    def count(self, kind: str, verdict: str) -> None:
        """Count something that was found, and what follows from it."""
        self.kinds = {**self.kinds, kind: self.kinds.get(kind, 0) + 1}
        self.at_least(verdict)

    def at_least(self, verdict: str) -> None:
        """Note a verdict, unless there is a graver one."""
        if _ORDER.index(verdict) > _ORDER.index(self.verdict):
            self.verdict = verdict
