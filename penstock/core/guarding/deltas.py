"""Where the texts of a streamed event stand, and which of them go on in the next one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, NamedTuple

from penstock.core.guarding.spots import Spot, spots

Event = dict[str, Any]


class Piece(NamedTuple):
    """A text in an event. ``stream``: of which text it is the next piece; None for one that is whole. ``group``: that
    of texts of which one ends where another begins."""

    spot: Spot
    stream: Hashable
    group: Hashable


class Deltas(NamedTuple):
    """How a dialect streams. ``pieces``: those of an event. ``ends``: the groups whose texts are over with it, None for
    all of them."""

    pieces: Callable[[Event], Iterator[Piece]]
    ends: Callable[[Event], tuple[Hashable, ...] | None]


_NONE: tuple[Hashable, ...] = ()


def _typed(event: Event) -> Iterator[Piece]:
    """Yield the pieces of an event that has a type: one that ends in "delta" goes on, all others tell texts whole."""
    kind = str(event.get("type", ""))
    if not kind.endswith("delta"):
        for spot in spots(event):
            yield Piece(spot, None, 0)
        return
    places = ("output_index", "item_id", "index", "content_index", "summary_index")
    named = tuple(str(event[name]) for name in places if name in event)
    for spot in spots(event):
        yield Piece(spot, None if spot.free else (kind, named, spot.path), 0)


def _typed_ends(event: Event) -> tuple[Hashable, ...] | None:
    kind = str(event.get("type", ""))
    return _NONE if kind.endswith("delta") or kind in ("ping", "keepalive") else None


def _anthropic(event: Event) -> Iterator[Piece]:
    """Yield the pieces of an Anthropic event: a block may begin with text that its deltas go on with."""
    index = event.get("index")
    for key in ("delta", "content_block"):
        part = event.get(key)
        if isinstance(part, dict):
            for spot in spots(part):
                goes_on = not spot.free and len(spot.path) == 1
                yield Piece(spot, (index, spot.path) if goes_on else None, 0)
    if event.get("type") == "message_start":
        for spot in spots(event.get("message") or {}):
            yield Piece(spot, None, 0)


def _anthropic_ends(event: Event) -> tuple[Hashable, ...] | None:
    return None if event.get("type") in ("content_block_stop", "message_delta", "message_stop") else _NONE


def _choices(event: Event) -> Iterator[Piece]:
    """Yield the pieces of a chunk in OpenAI's form: Chat's, and that of completions."""
    choices = event.get("choices")
    if not isinstance(choices, list):
        yield from _typed(event)
        return
    for place, choice in enumerate(choices):
        index = choice.get("index", place) if isinstance(choice, dict) else place
        for spot in spots(choice):
            yield Piece(spot, None if spot.free else (index, spot.path), index)


def _choices_end(event: Event) -> tuple[Hashable, ...] | None:
    choices = event.get("choices")
    if not isinstance(choices, list):
        return _typed_ends(event)
    return tuple(
        choice.get("index", place)
        for place, choice in enumerate(choices)
        if isinstance(choice, dict) and choice.get("finish_reason") is not None
    )


def _gemini(event: Event) -> Iterator[Piece]:
    for place, candidate in enumerate(event.get("candidates") or ()):
        index = candidate.get("index", place) if isinstance(candidate, dict) else place
        for spot in spots(candidate):
            goes_on = not spot.free and spot.path[:2] == ("content", "parts") and len(spot.path) == 4
            thought = bool(spot.holder.get("thought")) if isinstance(spot.holder, dict) else False
            yield Piece(spot, (index, spot.path[3], thought) if goes_on else None, index)


def _gemini_ends(event: Event) -> tuple[Hashable, ...] | None:
    return tuple(
        candidate.get("index", place)
        for place, candidate in enumerate(event.get("candidates") or ())
        if isinstance(candidate, dict) and candidate.get("finishReason")
    )


def _ollama(event: Event) -> Iterator[Piece]:
    for spot in spots(event):
        yield Piece(spot, None if spot.free else spot.path, 0)


def _ollama_ends(event: Event) -> tuple[Hashable, ...] | None:
    return None if event.get("done") else _NONE


_OLLAMA, _CHOICES = Deltas(_ollama, _ollama_ends), Deltas(_choices, _choices_end)
DELTAS: Mapping[str, Deltas] = {
    "anthropic": Deltas(_anthropic, _anthropic_ends),
    "completions": _CHOICES,
    "gemini": Deltas(_gemini, _gemini_ends),
    "ollama": _OLLAMA,
    "ollama_generate": _OLLAMA,
    "openai_chat": _CHOICES,
    "openai_responses": Deltas(_typed, _typed_ends),
}
"""By the dialect of the client."""
