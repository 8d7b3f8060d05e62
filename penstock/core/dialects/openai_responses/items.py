"""An output item that is being told, and the log probabilities that belong to its texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw
from msgspec.json import Decoder, encode

_LOGS = Decoder(dict[str, list[Raw] | None]).decode


class Item:
    """An item being told. ``made``: the item as it will be; ``part``: its open part; ``index``: its place in the
    output."""

    __slots__ = ("index", "kind", "made", "part")

    def __init__(self, made: dict[str, Any], index: int) -> None:
        self.made = made
        self.kind: str = made["type"]
        self.index = index
        self.part: dict[str, Any] = {}

    def at(self, **places: int) -> dict[str, Any]:
        """Return the fields by which an event names its place."""
        return {"item_id": self.made["id"], "output_index": self.index, **places}

    def delta(self, name: str, **places: int) -> tuple[bytes, bytes]:
        """Write what stands before and after the text of each delta event; then come the sequence number and the
        end."""
        event = f"response.{name}.delta"
        head = encode({"type": event, **self.at(**places)})[:-1]
        return f"event: {event}\ndata: ".encode() + head + b',"delta":', b',"sequence_number":'

    def end_part(self, text: str, logs: Logs) -> list[tuple[str, dict[str, Any]]]:
        """Close the open part, whose text is whole: return the events that say so, with their fields."""
        part = self.part
        kind: str = part["type"]
        summary = kind == "summary_text"
        home = self.made["summary" if summary else "content"]
        at = self.at(**{"summary_index" if summary else "content_index": len(home)})
        home.append(part)
        told: dict[str, Any] = {**at, "text": text}
        part["refusal" if kind == "refusal" else "text"] = text
        if kind == "output_text":
            logs.put(part)
            told["logprobs"] = part["logprobs"]
        elif kind == "refusal":
            told = {**at, "refusal": text}
        name = {"summary_text": "reasoning_summary_text"}.get(kind, kind)
        ended = "reasoning_summary_part" if summary else "content_part"
        return [(f"response.{name}.done", told), (f"response.{ended}.done", {**at, "part": part})]


class Logs:
    """OpenAI log probabilities: a list per text. What comes while no text is open is the first text's that has none."""

    __slots__ = ("_here", "_late")

    def __init__(self) -> None:
        self._here: list[Raw] = []
        self._late: list[Raw] = []

    def add(self, raw: bytes, open_text: bool) -> None:
        (self._here if open_text else self._late).extend(_LOGS(raw).get("content") or [])

    def put(self, part: dict[str, Any]) -> None:
        """Give the open text what came for it."""
        if self._here:
            part["logprobs"] = self._here
            self._here = []

    def settle(self, items: list[Any], lose: Callable[[str, str], None]) -> None:
        """Give late ones to the first text."""
        late, self._late = self._here + self._late, []
        if not late:
            return
        for item in items:
            if isinstance(item, dict) and item["type"] == "message":
                for part in item["content"]:
                    if isinstance(part, dict) and part["type"] == "output_text" and not part["logprobs"]:
                        part["logprobs"] = late
                        return
        lose("choices.0.logprobs", "log probabilities without a text")
