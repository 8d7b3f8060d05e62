"""Which call a streamed piece belongs to.

OpenAI numbers calls by ``index`` and tells id and name once. Servers were seen to number all of them 0 (ollama/ollama
#15457), to leave out index or id, to tell the id late, to repeat id and name in every piece, to mint an id for every
piece, and to cut a name in two. Both lanes ask here, so that they cannot differ.
"""

from __future__ import annotations

from penstock.core.dialects.arguments import Pieces
from penstock.core.ir import Seal


class Slot:
    """A call as it comes in. ``number``: its place among the calls of its choice; ``given``: the id is the server's;
    ``block``: its neutral block, -1 until it is opened, for nothing of a call can be taken back; ``shown``: it was
    begun in the lane that relays bytes; ``last``: the last character of its arguments so far that is no white space;
    ``waiting``: what came of them before its name; ``seal``: one that came before it was opened."""

    __slots__ = (
        "block",
        "custom",
        "filled",
        "given",
        "id",
        "last",
        "name",
        "number",
        "pieces",
        "seal",
        "shown",
        "waiting",
    )

    def __init__(self, number: int, id: str, minted: str, custom: bool) -> None:
        self.number = number
        self.id = id or minted
        self.given = bool(id)
        self.name = ""
        self.custom = custom
        self.block = -1
        self.filled = False
        self.last = ""
        self.shown = False
        self.waiting = ""
        self.seal: Seal | None = None
        self.pieces = Pieces()

    def take_args(self, args: str) -> None:
        """Note a piece of the arguments."""
        if args:
            self.filled = True
            self.last = args.rstrip()[-1:] or self.last


class Calls:
    """The calls of one choice. ``slots``: in the order in which they began."""

    __slots__ = ("_by_id", "_by_index", "slots")

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self._by_id: dict[str, Slot] = {}
        self._by_index: dict[int, Slot] = {}

    def known(self, id: str) -> Slot | None:
        """Return the call with this id."""
        return self._by_id.get(id)

    def find(self, index: int | None, id: str, name: str, args: str, custom: bool, minted: str) -> Slot:
        """Find the call whose piece this is, or begin one with the id ``minted`` where the server gives none."""
        last = self.slots[-1] if self.slots else None
        slot: Slot | None
        if index is not None:
            slot = self._by_index.get(index)
            if slot is not None and _begins(slot, id, name, args):
                slot = self._by_id.get(id)
        elif id:
            slot = self._by_id.get(id)
            if slot is None and not name:
                slot = last
        else:
            slot = last if not name else None
        if slot is None:
            slot = Slot(len(self.slots), id, minted, custom)
            self.slots.append(slot)
            self._by_id[slot.id] = slot
        elif id and not slot.given:
            slot.given = True
            self._by_id[id] = slot
            if slot.block < 0:
                slot.id = id
        if index is not None:
            self._by_index[index] = slot
        return slot


def add_name(slot: Slot, name: str) -> str:
    """Note a piece of the name; return what is new in it. One that says the same again, or that comes when the
    arguments have begun, is a repetition."""
    if not name or slot.filled and slot.name or name == slot.name:
        return ""
    slot.name += name
    return name


def _begins(slot: Slot, id: str, name: str, args: str) -> bool:
    """Tell whether a piece under the number of ``slot`` begins another call. Another id alone does not: there are
    servers that mint one for every piece."""
    if not name or not slot.name:
        return False
    if id and slot.given:
        return id != slot.id
    return slot.filled and (name != slot.name or (slot.last == "}" and args.lstrip()[:1] == "{"))
