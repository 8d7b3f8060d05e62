"""What was said to a target in another way, undone in its answer: one step after the other, the last one first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from penstock.core.dialects.structured import Forced, Unforcer, unforce_response
from penstock.core.dialects.wrapped import Unwrapper, unwrap_response
from penstock.core.fit.base import Filter, Undo
from penstock.core.ir import Event, Response


def chain(done: Sequence[Undo]) -> Undo | None:
    """Make one of all; None when there is nothing to undo. ``done``: in the order in which it was done."""
    if len(done) < 2:
        return done[0] if done else None
    return _Chain(tuple(reversed(done)))


class _Chain(Struct, frozen=True):
    undo: tuple[Undo, ...]

    def response(self, response: Response) -> Response:
        for each in self.undo:
            response = each.response(response)
        return response

    def filter(self) -> Filter:
        return _ChainFilter([each.filter() for each in self.undo])


class _ChainFilter:
    __slots__ = ("_filters",)

    def __init__(self, filters: list[Filter]) -> None:
        self._filters = filters

    def feed(self, event: Event) -> Iterable[Event]:
        events: Iterable[Event] = (event,)
        for each in self._filters:
            events = [told for step in events for told in each.feed(step)]
        return events


class Unforced(Struct, frozen=True):
    """Makes the call of a forced tool the text that it stands in for."""

    forced: Forced

    def response(self, response: Response) -> Response:
        return unforce_response(response, self.forced)

    def filter(self) -> Filter:
        return Unforcer(self.forced)


class Unwrapped(Struct, frozen=True):
    """Takes the object from around a text."""

    def response(self, response: Response) -> Response:
        return unwrap_response(response)

    def filter(self) -> Filter:
        return Unwrapper()
