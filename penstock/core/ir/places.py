"""Says where the blocks of a stream stand in the whole answer, as losses name them."""

from __future__ import annotations

from penstock.core.ir.answer import Open


class Places:
    """The blocks of one stream. Their numbers there go over all of its choices, those in an answer over one."""

    __slots__ = ("_counts", "_found")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._found: dict[int, str] = {}

    def note(self, event: Open) -> None:
        """Take down where a block stands that begins; one that is known stays where it is."""
        if event.index not in self._found:
            number = self._counts.get(event.choice, 0)
            self._counts[event.choice] = number + 1
            self._found[event.index] = f"choices.{event.choice}.blocks.{number}"

    def __getitem__(self, index: int) -> str:
        """Return the path of a block that has begun."""
        return self._found[index]
